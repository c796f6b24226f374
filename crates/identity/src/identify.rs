//! From a thread or a pidfd to an identity.
//!
//! A process that was identified is remembered under its id and start time, together with what
//! it then was: the executable's fingerprint and name, the parent, and where the parts of the
//! program lie in memory. All of that is read again each time and compared, which costs a few
//! system calls; ancestors, arguments and script are taken from memory if it is the same. That is
//! right after an execve(2), because
//!
//! - another executable has another fingerprint, and another name for the same file another name;
//! - the same executable, with other arguments, has another image: stack, arguments and
//!   environment are laid out anew. A program that switches randomization off and passes
//!   arguments of the same lengths looks the same, but it could as well have written over its
//!   arguments, which are its own word in any case.
//!
//! Ancestors are those of the first identification of a program; they are read again if its
//! parent died. An ancestor that executes something else later does not change what started it.

use crate::argv::Argv;
use crate::bounded::Bounded;
use crate::cache::{Digests, Found};
use crate::chain;
use crate::executable::{Executable, Fingerprint, Glimpse, Opened};
use crate::identity::Identity;
use crate::process::{Process, Procfs, Status};
use crate::refusal::Refusal;
use crate::script;
use crate::trust::{Sandbox, Scope, Trust};
use casemate_core::error::{Error, Result};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Processes that are remembered.
const MOST: usize = 4096;
/// Of these, how many are kept open: what connects often is recognised sooner.
const MOST_OPEN: usize = 16;
/// How often a process may change while it is looked at.
const ATTEMPTS: usize = 3;

/// What is to be identified. See [`crate::process`] for what the caller has to check.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// The id of a process or of one of its threads, as the host counts.
    Task(i32),
    /// The same of a thread that waits in a system call: whoever asks makes sure afterwards that
    /// it still waits there, so that it can't have executed another program meanwhile.
    Waiting(i32),
    /// A pidfd.
    Pidfd(BorrowedFd<'a>),
}

/// Where a file belongs, by its path inside and its device.
pub type ScopeOf = dyn Fn(&[u8], u64) -> Scope + Send + Sync;

/// What takes time in an identification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// To know an executable and what runs above it, and whether all of that is trusted.
    Verifying,
    /// To read a file for its digest; a part of the above.
    Hashing,
}

/// Is told how long something took.
pub type Clock = dyn Fn(Work, Duration) + Send + Sync;

/// Identifies the processes of one sandbox.
pub struct Identifier {
    procfs: Procfs,
    init: i32,
    trust: Arc<Trust>,
    digests: Arc<Digests>,
    scope: Box<ScopeOf>,
    sandbox: Sandbox,
    seen: Mutex<Bounded<(i32, u64), Record>>,
    /// Threads that asked last, the latest last.
    open: Mutex<Vec<Arc<Process>>>,
    stopped: AtomicBool,
    clock: Option<Box<Clock>>,
}

/// A process as it was identified.
struct Record {
    status: Status,
    fingerprint: Fingerprint,
    generation: u64,
    identity: Arc<Identity>,
}

/// Why there is no identity yet.
enum Stop {
    /// Something has to be hashed, or asked of the store.
    Cold,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl Identifier {
    /// For the sandbox whose init has this id on the host.
    ///
    /// # Errors
    /// There is no /proc.
    pub fn new(
        init: i32,
        trust: Arc<Trust>,
        digests: Arc<Digests>,
        scope: impl Fn(&[u8], u64) -> Scope + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(Self {
            procfs: Procfs::open()?,
            init,
            trust,
            digests,
            scope: Box::new(scope),
            sandbox: Sandbox::new(),
            seen: Mutex::new(Bounded::new(MOST)),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
            clock: None,
        })
    }

    /// Tells somebody how long things take.
    #[must_use]
    pub fn timed(mut self, clock: impl Fn(Work, Duration) + Send + Sync + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// The identity, if nothing has to be hashed or asked of the store for it; for refusals too,
    /// ask [`Identifier::identify`]. Takes microseconds.
    ///
    /// Arguments of a process that is new are read from its memory, for which a process that is
    /// busy changing its mappings can make the reader wait a little.
    pub fn identify_warm(&self, subject: Subject<'_>) -> Option<Arc<Identity>> {
        self.examine(subject, false).ok()
    }

    /// The identity. May hash files of up to [`crate::cache::MOST_BYTES`] each and write to the
    /// store: for a thread that may block.
    ///
    /// # Errors
    /// See [`Refusal`]; without an identity, there is no connection.
    pub fn identify(&self, subject: Subject<'_>) -> Result<Arc<Identity>, Refusal> {
        let mut refusal = Refusal::Gone;
        for _ in 0..ATTEMPTS {
            match self.examine(subject, true) {
                Ok(identity) => return Ok(identity),
                // It was just becoming another program.
                Err(Stop::Refused(Refusal::Raced(path))) => refusal = Refusal::Raced(path),
                Err(Stop::Refused(refusal)) => return Err(refusal),
                // Not when it may hash.
                Err(Stop::Cold) => break,
            }
        }
        Err(refusal)
    }

    /// Hashes files ahead, on a thread of their own: what the policy names, so that the first
    /// connection finds them warm. What can't be opened is left for then. Returns how many were
    /// found.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn prehash(self: &Arc<Self>, paths: Vec<PathBuf>) -> Result<JoinHandle<usize>> {
        let identifier = Arc::clone(self);
        let hash = move |path: &PathBuf| {
            let mut file = Opened::at(path).ok().flatten()?;
            identifier.found(&mut file).ok()
        };
        std::thread::Builder::new()
            .name("prehash".to_owned())
            .spawn(move || paths.iter().filter_map(hash).count())
            .map_err(|error| Error::io("start a thread that hashes", &error))
    }

    /// Whether a program that isn't what it was is refused; see [`Trust::compare`].
    pub fn compare(&self, compares: bool) {
        self.trust.compare(compares);
    }

    /// Ends all hashing; every identification that still hashes is refused.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn examine(&self, subject: Subject<'_>, cold: bool) -> Result<Arc<Identity>, Stop> {
        let (process, status) = match subject {
            Subject::Task(id) | Subject::Waiting(id) => self.task(id)?,
            Subject::Pidfd(pidfd) => {
                let process = Process::of_pidfd(&self.procfs, pidfd)?;
                let status = process.status()?;
                (Arc::new(process), status)
            }
        };
        let generation = self.trust.generation();
        let key = (process.id(), status.start);
        let waits = matches!(subject, Subject::Waiting(_));
        if let Some(glimpse) = Glimpse::of(&process, waits)?
            && let Some(record) = self.seen().get(&key)
            && record.is_of(&status, &glimpse)
            && record.generation == generation
        {
            return Ok(Arc::clone(&record.identity));
        }
        let file = Opened::of(&process)?;
        let stat = (file.stat.st_dev, file.stat.st_ino);
        let (kept, identity) = self.derive(&process, &status, file, cold)?;
        // It may have executed something else while that was found out.
        let after = process.stat_of("exe")?;
        if process.status()? != status || (after.st_dev, after.st_ino) != stat {
            return Err(Refusal::Raced(identity.executable.path.clone()).into());
        }
        let identity = Arc::new(identity);
        if let Some(fingerprint) = kept {
            let record = Record {
                status,
                fingerprint,
                generation,
                identity: Arc::clone(&identity),
            };
            self.seen()
                .insert_sweeping(key, record, |(id, _)| has_ended(*id));
        }
        Ok(identity)
    }

    /// A thread, and what is said of it now. One that is open still has its number if something is
    /// said of it.
    fn task(&self, id: i32) -> Result<(Arc<Process>, Status), Refusal> {
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open().iter().rfind(|own| own.id() == id).cloned();
        if let Some(process) = known
            && let Ok(status) = process.status()
        {
            return Ok((process, status));
        }
        let process = Arc::new(Process::open(&self.procfs, id)?);
        let status = process.status()?;
        let mut open = open();
        open.retain(|own| own.id() != id);
        if open.len() >= MOST_OPEN {
            open.remove(0);
        }
        open.push(Arc::clone(&process));
        Ok((process, status))
    }

    /// Reads everything anew; with the fingerprint, if that stands for the executable.
    fn derive(
        &self,
        process: &Process,
        status: &Status,
        mut file: Opened,
        cold: bool,
    ) -> Result<(Option<Fingerprint>, Identity), Stop> {
        let pid = process.leader()?;
        if pid == self.init {
            return Err(Refusal::Outside.into());
        }
        let above = chain::ancestors(&self.procfs, self.init, process, status)?;
        let started = self.now();
        let executable = self.executable(&mut file, cold)?;
        let settled = self.digests.known(&file.fingerprint).is_some();
        let ancestor = |above| self.executable(&mut Opened::of(above)?, cold);
        let ancestors = above.iter().map(ancestor).collect::<Result<_, Stop>>()?;
        self.tell(Work::Verifying, started);
        let argv = Argv::of(process)?;
        let script = script::script(&executable.path, argv.iter(), || process.cwd());
        let identity = Identity {
            pid,
            executable,
            ancestors,
            script,
            argv,
        };
        Ok((settled.then_some(file.fingerprint), identity))
    }

    /// An executable, if it is trusted.
    fn executable(&self, file: &mut Opened, cold: bool) -> Result<Executable, Stop> {
        let found = match self.digests.known(&file.fingerprint) {
            Some(digest) => Found {
                digest,
                settled: true,
            },
            None if cold => self.found(file)?,
            None => return Err(Stop::Cold),
        };
        let (digest, scope) = (found.digest, (self.scope)(&file.path, file.fingerprint.dev));
        match cold {
            true => self
                .sandbox
                .check(&self.trust, scope, file, digest, found.settled)?,
            false if self.sandbox.is_warm(&self.trust, scope, file, digest) => {}
            false => return Err(Stop::Cold),
        }
        Ok(Executable {
            path: file.path.clone(),
            digest,
            deleted: file.deleted,
        })
    }

    /// A digest, from memory, from the store or from the file.
    fn found(&self, file: &mut Opened) -> Result<Found, Refusal> {
        let hashing = Cell::new(None);
        let recall = |file: &Opened| {
            let recalled = match (self.scope)(&file.path, file.fingerprint.dev) {
                Scope::Host => self.trust.recall(file)?,
                Scope::Private => None,
            };
            // What isn't remembered is read next.
            hashing.set(self.now().filter(|_| recalled.is_none()));
            Ok(recalled)
        };
        let stop = || self.stopped.load(Ordering::Relaxed);
        let found = self.digests.find(file, recall, &stop);
        self.tell(Work::Hashing, hashing.get());
        found
    }

    fn now(&self) -> Option<Instant> {
        self.clock.is_some().then(Instant::now)
    }

    fn tell(&self, work: Work, since: Option<Instant>) {
        if let (Some(clock), Some(since)) = (&self.clock, since) {
            clock(work, since.elapsed());
        }
    }

    fn seen(&self) -> MutexGuard<'_, Bounded<(i32, u64), Record>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if nobody has this id. If somebody else has it by now, that is found out later.
fn has_ended(id: i32) -> bool {
    let nobody = |id| test_kill_process(id) == Err(Errno::SRCH);
    Pid::from_raw(id).is_none_or(nobody)
}

impl Record {
    fn is_of(&self, status: &Status, file: &Glimpse) -> bool {
        let executable = &self.identity.executable;
        self.status == *status
            && self.fingerprint == file.fingerprint
            && executable.path == file.path
            && executable.deleted == file.deleted
    }
}
