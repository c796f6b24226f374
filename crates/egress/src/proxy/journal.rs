//! The audit log: OCSF events as JSON lines, in a file outside the sandbox.
//!
//! Events are written by a thread of their own, so that a slow disk holds up nobody. The way
//! there is bounded; what doesn't fit is counted, and the count is written when there is room.
//! The file is rotated: `NAME`, `NAME.1`, `NAME.2`, the newest first.

use super::decide::Permit;
use super::spans;
use crate::audit::ocsf::{FindingActivity, HttpActivity, HttpRequest, Kind, NetworkActivity};
use crate::audit::{Ancestor, Event, Outcome, Process, Severity};
use casemate_core::error::{Error, Result};
use casemate_identity::{Executable, Identity, Refusal};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// Events on their way to the file.
const ON_THE_WAY: usize = 4096;
/// A file of this size makes place for a new one.
const ROTATED_AT: u64 = 16 << 20;
/// Files that are kept besides the current one.
const KEPT: u32 = 2;

/// Where events go.
#[derive(Clone, Default)]
pub struct Journal {
    writer: Option<Arc<Writer>>,
    sandbox: Option<String>,
    /// Also as short lines on standard error.
    aloud: bool,
}

struct Writer {
    /// All that were lost so far.
    lost_ever: AtomicU64,
    events: Mutex<Option<SyncSender<String>>>,
    lost: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Appends to a file, of which only the owner may read.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn to_file(path: &Path, sandbox: Option<String>) -> Result<Self> {
        let file = open(path)?;
        let (sender, receiver) = sync_channel(ON_THE_WAY);
        let lost = Arc::new(AtomicU64::new(0));
        let (path, lost_there) = (path.to_owned(), Arc::clone(&lost));
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .stack_size(128 << 10)
            .spawn(move || write(&receiver, file, &path, &lost_there))
            .map_err(|error| Error::io("start a thread that writes the audit log", &error))?;
        let writer = Writer {
            events: Mutex::new(Some(sender)),
            lost,
            lost_ever: AtomicU64::new(0),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self {
            writer: Some(Arc::new(writer)),
            sandbox,
            aloud: false,
        })
    }

    /// Also prints denials, as short lines on standard error.
    pub fn aloud(mut self) -> Self {
        self.aloud = true;
        self
    }

    /// Writes an event down.
    pub fn write(&self, mut event: Event) {
        spans::note(&event);
        event.sandbox = event.sandbox.or_else(|| self.sandbox.clone());
        if self.aloud && event.outcome == Outcome::Denied {
            eprintln!("casemate: {}", event.line());
        }
        let Some(writer) = &self.writer else { return };
        let events = writer.events.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = events
            .as_ref()
            .map(|events| events.try_send(event.to_json()));
        if !matches!(sent, Some(Ok(()))) {
            writer.lost.fetch_add(1, Ordering::Relaxed);
            writer.lost_ever.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events found no room so far.
    pub fn lost(&self) -> u64 {
        let lost = |writer: &Arc<Writer>| writer.lost_ever.load(Ordering::Relaxed);
        self.writer.as_ref().map_or(0, lost)
    }

    /// Waits until everything is written; nothing more is.
    pub fn flush(&self) {
        let Some(writer) = &self.writer else { return };
        drop(
            writer
                .events
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = writer
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It only ends; if it panicked, there is nothing to save.
            let _ = thread.join();
        }
    }

    /// An event of a connection.
    pub(super) fn event(&self, activity: NetworkActivity, identity: &Identity) -> Event {
        Event::new(Kind::Network(activity), now()).process(process(identity))
    }

    pub(super) fn allowed(&self, permit: &Permit, to: Option<SocketAddr>) {
        let mut event = self
            .event(NetworkActivity::Open, &permit.identity)
            .policy(permit.entry.clone())
            .to(permit.host.to_string(), permit.port);
        event.engine = Some("policy");
        event.dialled = to;
        self.write(event);
    }

    /// A connection that the program has had itself since this time.
    pub(super) fn direct(&self, permit: &Permit, to: SocketAddr, since: u64) {
        let mut event = Event::new(Kind::Network(NetworkActivity::Open), since)
            .process(process(&permit.identity))
            .policy(permit.entry.clone())
            .to(permit.host.to_string(), permit.port);
        event.engine = Some("policy");
        event.dialled = Some(to);
        event.reason = Some("the program has the connection itself; its end is not seen".into());
        self.write(event);
    }

    pub(super) fn denied(
        &self,
        identity: &Identity,
        (host, port): (&str, u16),
        engine: &'static str,
        reason: &str,
    ) {
        let event = self
            .event(NetworkActivity::Refuse, identity)
            .to(host, port)
            .decided(Outcome::Denied, engine, reason);
        self.write(event);
    }

    pub(super) fn failed(&self, permit: &Permit, reason: &str) {
        let mut event = self
            .event(NetworkActivity::Fail, &permit.identity)
            .policy(permit.entry.clone())
            .to(permit.host.to_string(), permit.port);
        event.outcome = Outcome::Failed;
        event.reason = Some(reason.to_owned());
        self.write(event);
    }

    pub(super) fn closed(&self, permit: &Permit, sent: u64, received: u64) {
        let mut event = self
            .event(NetworkActivity::Close, &permit.identity)
            .policy(permit.entry.clone())
            .to(permit.host.to_string(), permit.port);
        event.traffic = Some((sent, received));
        self.write(event);
    }

    /// A request that was judged.
    pub(super) fn request(
        &self,
        permit: &Permit,
        request: HttpRequest,
        (outcome, reason): (Outcome, &str),
        rule: Option<String>,
        to: Option<SocketAddr>,
    ) {
        let kind = Kind::Http(HttpActivity::from(&*request.method));
        let mut event = Event::new(kind, now())
            .process(process(&permit.identity))
            .policy(permit.entry.clone())
            .to(permit.host.to_string(), permit.port)
            .decided(outcome, "l7", reason);
        event.request = Some(request);
        event.rule = rule;
        event.dialled = to;
        self.write(event);
    }

    /// Something that a person should look at.
    pub(super) fn finding(&self, permit: &Permit, id: &str, title: &str, reason: &str) {
        let found = found(permit, id, title).severity(Severity::High);
        self.write(found.decided(Outcome::Denied, "l7", reason));
    }

    /// Something that a person may want to know, and that wasn't refused.
    pub(super) fn noticed(&self, permit: &Permit, id: &str, title: &str, reason: &str) {
        let found = found(permit, id, title).severity(Severity::Medium);
        self.write(found.decided(Outcome::Audited, "middleware", reason));
    }

    /// A client of whom nothing is known.
    pub(super) fn stranger(&self, from: &str, reason: &str) {
        let event = Event::new(Kind::Network(NetworkActivity::Refuse), now())
            .message(format!("a client at {from}"))
            .decided(Outcome::Denied, "identity", reason);
        self.write(event);
    }

    /// A process that could not be identified, or isn't what it was.
    pub(super) fn unidentified(&self, refusal: &Refusal, to: SocketAddr) {
        let mut event = Event::new(Kind::Network(NetworkActivity::Refuse), now())
            .to(to.ip().to_string(), to.port())
            .decided(Outcome::Denied, "identity", refusal.to_string());
        if matches!(refusal, Refusal::Changed(_)) {
            event = event.severity(Severity::High);
        }
        self.write(event);
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as u64
}

/// What was found on a connection.
fn found(permit: &Permit, id: &str, title: &str) -> Event {
    let kind = Kind::Finding {
        activity: FindingActivity::Create,
        id: id.to_owned(),
        title: title.to_owned(),
    };
    Event::new(kind, now())
        .process(process(&permit.identity))
        .policy(permit.entry.clone())
        .to(permit.host.to_string(), permit.port)
}

/// The program as events show it.
pub(super) fn process(identity: &Identity) -> Process {
    let path =
        |executable: &Executable| PathBuf::from(std::ffi::OsStr::from_bytes(&executable.path));
    let words: Vec<_> = identity.argv.iter().map(String::from_utf8_lossy).collect();
    Process {
        path: path(&identity.executable),
        sha256: Some(identity.executable.digest.0),
        pid: u32::try_from(identity.pid).ok(),
        command_line: (!words.is_empty()).then(|| words.join(" ")),
        ancestors: identity
            .ancestors
            .iter()
            .map(|ancestor| Ancestor {
                path: path(ancestor),
                pid: None,
            })
            .collect(),
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    // A link that somebody put there would lead elsewhere.
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
        .open(path)
        .map_err(|error| Error::io("open the audit log", &error).on(path.display()))
}

fn write(events: &Receiver<String>, mut file: File, path: &Path, lost: &AtomicU64) {
    for event in events {
        let missing = lost.swap(0, Ordering::Relaxed);
        let mut line = event;
        line.push('\n');
        if missing > 0 {
            line.push_str(&format!("{{\"casemate_events_lost\":{missing}}}\n"));
        }
        if file.write_all(line.as_bytes()).is_err() {
            lost.fetch_add(1 + missing, Ordering::Relaxed);
        }
        if file.metadata().is_ok_and(|meta| meta.len() >= ROTATED_AT)
            && let Some(new) = rotate(path)
        {
            file = new;
        }
    }
}

/// Moves the files on by one. Two processes may do that at once: then one file is moved twice,
/// and no line is lost but those of the oldest.
fn rotate(path: &Path) -> Option<File> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..KEPT).rev() {
        let _ = std::fs::rename(numbered(number), numbered(number + 1));
    }
    std::fs::rename(path, numbered(1)).ok()?;
    open(path).ok()
}
