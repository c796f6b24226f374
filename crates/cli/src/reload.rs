//! A policy that changes while it is in force.
//!
//! ```text
//!  folders of the policy, of its bases and of every link to them
//!        │ something in there changed (dnotify), or a second went by
//!        ▼
//!  are the files the same? ──yes──▶ wait on
//!        │ no: until nothing has changed for a moment
//!        ▼
//!  load, compile ──fails──▶ a little later once more, then say so and keep the old one
//!        │
//!        ▼
//!  in force; connections that it doesn't allow end
//! ```
//!
//! Folders are watched and not files: editors put a new file in the old one's place, and links
//! are made to point elsewhere. The watch costs nothing when the program ends; nobody waits for
//! its thread.

mod files;

pub(crate) use files::Files;

use crate::observe::OnInvalid;
use crate::printer;
use casemate_core::error::{Error, Result};
use casemate_egress::proxy::{Policy, Reloading};
use casemate_policy::{Document, Located};
use casemate_sys::dnotify;
use casemate_sys::signal::{self, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A writer that is silent for so long is done.
const SETTLED: Duration = Duration::from_millis(15);
/// A file that is written all the time is read after so long.
const UNSETTLED: Duration = Duration::from_millis(50);
/// For somebody who empties a file before writing it, until it is called invalid.
const HALF_WRITTEN: Duration = Duration::from_millis(150);
/// For changes that no folder tells of: links above them, file systems of other machines.
const CLOCK: Duration = Duration::from_secs(1);

/// What makes a policy of a document.
type Compile = dyn Fn(&Document) -> Result<Policy> + Send;

/// What is watched, and what becomes of a change.
pub(crate) struct Watch {
    /// The policy.
    pub(crate) path: PathBuf,
    /// Folders that programs inside may write to: a policy in there would be theirs to change.
    pub(crate) writable: Vec<PathBuf>,
    /// The proxy.
    pub(crate) reloading: Reloading,
    /// Makes a document a policy.
    pub(crate) compile: Box<Compile>,
    /// What an invalid policy does.
    pub(crate) on_invalid: OnInvalid,
    /// Whether to print notes; errors are printed in any case.
    pub(crate) notes: bool,
}

/// Ends the watch when dropped, without waiting for it.
pub(crate) struct Watching(Arc<AtomicBool>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    /// Watches on a thread of its own. `document` is what is in force.
    /// `files` is how it was when it was read.
    pub(crate) fn start(self, document: &Document, files: Files) -> Result<Option<Watching>> {
        if let Some(path) = files.within(&self.writable) {
            if self.notes {
                printer::note(&format!(
                    "{}: programs inside can write there, so changes apply from the next run",
                    path.display()
                ));
            }
            return Ok(None);
        }
        let (stopped, fixed) = (Arc::new(AtomicBool::new(false)), Fixed::of(document));
        let there = Arc::clone(&stopped);
        std::thread::Builder::new()
            .name("reload".to_owned())
            .stack_size(1 << 20)
            .spawn(move || {
                if let Err(error) = self.run(files, fixed, &there) {
                    printer::error(&format!("{error}: changes of the policy are not seen"));
                }
            })
            .map_err(|error| Error::io("start a thread that watches the policy", &error))?;
        Ok(Some(Watching(stopped)))
    }

    fn run(&self, mut files: Files, fixed: Fixed, stopped: &AtomicBool) -> Result<()> {
        let bell = Bell::new()?;
        let mut folders = bell.watch(&files);
        // It may have changed before it was watched, and is then found different here.
        let mut wait = Duration::ZERO;
        let mut invalid_since: Option<Instant> = None;
        loop {
            bell.wait(wait);
            if stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            wait = CLOCK;
            if invalid_since.is_none() && files.are_same() {
                continue;
            }
            bell.settle();
            let loaded = Document::load(&self.path);
            let seen = match &loaded {
                Ok(document) => Files::of(document),
                Err(error) => Files::named(error.files().iter().map(PathBuf::from), &files),
            };
            if !seen.are_same() {
                // Somebody writes.
                wait = Duration::ZERO;
                continue;
            }
            folders = bell.follow(folders, &files, &seen);
            let changed = seen != files;
            files = seen;
            match self.judge(loaded.map_err(|error| error.to_string()), &files) {
                Ok((policy, document)) => {
                    invalid_since = None;
                    self.reloading.put(Arc::new(policy));
                    self.tell(&fixed, &document);
                }
                Err(why) => match invalid_since {
                    Some(since) if since.elapsed() >= HALF_WRITTEN => {
                        invalid_since = None;
                        self.refuse(&why);
                    }
                    _ => {
                        if changed || invalid_since.is_none() {
                            invalid_since = Some(Instant::now());
                        }
                        wait = HALF_WRITTEN;
                    }
                },
            }
        }
    }

    fn judge(
        &self,
        loaded: std::result::Result<Document, String>,
        files: &Files,
    ) -> std::result::Result<(Policy, Document), String> {
        let document = loaded?;
        if let Some(path) = files.within(&self.writable) {
            return Err(format!(
                "{}: programs inside can write there",
                path.display()
            ));
        }
        let policy = (self.compile)(&document).map_err(|error| error.to_string())?;
        Ok((policy, document))
    }

    fn tell(&self, fixed: &Fixed, document: &Document) {
        if !self.notes {
            return;
        }
        printer::note(&format!(
            "{}: the changed policy is in force",
            self.path.display()
        ));
        for section in fixed.differences(&Fixed::of(document)) {
            printer::note(&format!(
                "{section} changed, which applies from the next run"
            ));
        }
    }

    fn refuse(&self, why: &str) {
        let path = self.path.display();
        match (self.on_invalid, crate::egress::nothing()) {
            (OnInvalid::DenyAll, Ok(nothing)) => {
                printer::error(&format!(
                    "{path} is invalid; EVERYTHING IS DENIED until it is valid\n{why}"
                ));
                self.reloading.deny_all(Arc::new(nothing), why);
            }
            (OnInvalid::Keep | OnInvalid::DenyAll, _) => {
                printer::error(&format!(
                    "{path} is invalid; THE OLD POLICY STAYS IN FORCE\n{why}"
                ));
                self.reloading.refused(why);
            }
        }
    }
}

/// Rings when something in a folder changes.
struct Bell(Signals);

impl Bell {
    fn new() -> Result<Self> {
        // Only this thread is told, and only it has these blocked for itself.
        // The second is not read: others may wait for it.
        let blocked = Signals::block(&[signal::OVERFLOW]);
        blocked
            .and_then(|_| Signals::block(&[signal::spare()]))
            .map(Self)
            .map_err(|errno| Error::errno("watch the policy", errno.raw_os_error()))
    }

    /// Watches the folders until they are dropped. One that can't be opened, or a kernel that
    /// can't tell, leaves the clock.
    fn watch(&self, files: &Files) -> Vec<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &PathBuf| {
            let folder = openat(CWD, path, flags, Mode::empty()).ok()?;
            dnotify::tell_thread(folder.as_fd(), signal::spare()).ok()?;
            Some(folder)
        };
        files.folders().iter().filter_map(open).collect()
    }

    /// The folders of other files, without a gap.
    fn follow(&self, folders: Vec<OwnedFd>, before: &Files, now: &Files) -> Vec<OwnedFd> {
        match before.folders() == now.folders() {
            true => folders,
            false => self.watch(now),
        }
    }

    /// Waits until it rings, at most this long; false if it didn't.
    fn wait(&self, most: Duration) -> bool {
        let most = Timespec {
            tv_sec: most.as_secs() as i64,
            tv_nsec: most.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let rang = poll(&mut fds, Some(&most)).is_ok_and(|ready| ready > 0);
        while self.0.next().is_some() {}
        rang
    }

    /// Waits until it has been silent for a moment.
    fn settle(&self) {
        let begun = Instant::now();
        while self.wait(SETTLED) && begun.elapsed() < UNSETTLED {}
    }
}

/// What of a policy a sandbox has for its life.
#[derive(PartialEq, Eq)]
struct Fixed {
    files: (bool, Vec<PathBuf>, Vec<PathBuf>),
    landlock: casemate_policy::Compatibility,
    process: [Option<casemate_policy::Account>; 2],
    carriers: (Vec<PathBuf>, Vec<PathBuf>),
}

impl Fixed {
    fn of(document: &Document) -> Self {
        let values =
            |paths: &[Located<PathBuf>]| paths.iter().map(|path| path.value.clone()).collect();
        let (files, process) = (&document.filesystem_policy, &document.process);
        let account = |account: &Option<Located<casemate_policy::Account>>| {
            account.as_ref().map(|account| account.value)
        };
        Self {
            files: (
                files.include_workdir,
                values(&files.read_only),
                values(&files.read_write),
            ),
            landlock: document.landlock.compatibility(),
            process: [
                account(&process.run_as_user),
                account(&process.run_as_group),
            ],
            carriers: (
                values(&document.carriers.allow),
                values(&document.carriers.protect),
            ),
        }
    }

    fn differences(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let sections = [
            ("filesystem_policy", self.files != other.files),
            ("landlock", self.landlock != other.landlock),
            ("process", self.process != other.process),
            ("carriers", self.carriers != other.carriers),
        ];
        let differ = sections.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(section, _)| section)
    }
}

/// The folder that a path is in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
