//! A machine that runs.
//!
//! ```text
//!   start ──▶ paused ⇄ running          resume, pause
//!                │        │
//!                └── snapshot: stopped meanwhile
//!   any ──▶ ended: its process is gone
//! ```

use super::arguments::Origin;
use super::snapshot::{self, Lineage};
use super::{AGENT, MEMORY, PATIENCE, QMP, Qemu, balloon, event, sleep};
use crate::driver::{Ended, How, Kind, Machine, Metrics, Reply, Running};
use crate::monitor::fate::Fate;
use crate::monitor::process::{Process, Start, connect};
use crate::qmp::{Command, Qmp};
use casemate_core::error::{Error, Result};
use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// One QEMU and what is known of it.
#[derive(Debug)]
pub(super) struct Machinery {
    pub(super) machine: Machine,
    pub(super) folder: PathBuf,
    pub(super) qmp: Qmp,
    /// Its memory, if that is a file of its own. It stays the machine's under whatever name.
    pub(super) memory: Option<File>,
    /// What the next difference builds on; whoever writes a snapshot holds it.
    pub(super) lineage: Mutex<Lineage>,
    process: Process,
    fate: Arc<Fate>,
    /// What it was last told; whoever changes that holds it.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    Stands,
    /// It stands, and QEMU writes no state twice.
    Written,
}

impl Machinery {
    /// Starts QEMU with this command line, and waits until it answers.
    pub(super) async fn start(
        qemu: &Qemu,
        machine: Machine,
        arguments: Vec<OsString>,
        folder: &Path,
        origin: Origin,
    ) -> Result<Self> {
        let fate = Arc::<Fate>::default();
        let start = Start {
            name: "QEMU",
            program: &qemu.program,
            args: arguments,
            folder,
            dies_with_this: qemu.dies_with_this,
            // A guest that gives memory back would take it from all whom it is lent to.
            makes_no_holes: origin == Origin::Lent,
            log: None,
        };
        let process = Process::start(start, Arc::clone(&fate))?;
        let told = Arc::clone(&fate);
        let spoken = async {
            let socket = answering(folder, &process).await?;
            Qmp::connect(socket, PATIENCE, move |event| event::tell(&told, &event)).await
        };
        let qmp = match spoken.await {
            Ok(qmp) => qmp,
            Err(error) => return Err(explained(error, &process).await),
        };
        let memory = folder.join(MEMORY);
        let memory = (origin != Origin::Lent)
            .then(|| File::open(&memory))
            .transpose()
            .map_err(|error| Error::io("open", &error).on(memory.display()))?;
        Ok(Self {
            machine,
            folder: folder.to_owned(),
            qmp,
            memory,
            lineage: Mutex::default(),
            process,
            fate,
            state: Mutex::new(State::Stands),
        })
    }

    /// Has QEMU do something that is quick.
    pub(super) async fn ask(&self, command: Command<'_>) -> Result<serde_json::Value> {
        match self.qmp.ask(command, PATIENCE).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(explained(error, &self.process).await),
        }
    }

    /// Whether it was told to.
    pub(super) async fn runs(&self) -> bool {
        *self.state.lock().await == State::Runs
    }

    /// Stops it while it is written, and lets it go on if it ran.
    pub(super) async fn stopped<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
        let mut state = self.state.lock().await;
        let before = *state;
        match before {
            State::Runs => {
                self.tell("stop").await?;
                // So that it can be resumed if nobody waits for this any more.
                *state = State::Stands;
            }
            State::Stands => {}
            State::Written => {
                let why = "it was written since it was paused, and is the same";
                return Err(Error::rule("write a machine", why)
                    .hint("copy that snapshot, or resume the machine first"));
            }
        }
        let written = write.await;
        if before == State::Runs {
            self.tell("cont").await?;
            *state = State::Runs;
        } else if written.is_ok() {
            *state = State::Written;
        }
        written
    }

    async fn tell(&self, command: &str) -> Result<()> {
        self.ask(Command::plain(command)).await.map(drop)
    }

    async fn turn(&self, on: bool) -> Result<()> {
        let mut state = self.state.lock().await;
        if let Some(ended) = self.process.has_ended() {
            let step = if on { "resume" } else { "pause" };
            return Err(Error::rule(format!("{step} a machine"), ended.to_string()));
        }
        match (on, *state) {
            (true, State::Stands | State::Written) => {
                // From here on memory is another than the state was written for.
                sleep::forget(&self.folder)?;
                self.tell("cont").await?;
                *state = State::Runs;
            }
            (false, State::Runs) => {
                self.tell("stop").await?;
                *state = State::Stands;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Waits until QEMU listens.
async fn answering(folder: &Path, process: &Process) -> Result<UnixStream> {
    let fail = |error: &std::io::Error| Error::io("reach QEMU", error);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connect(folder, QMP) {
            Ok(socket) => {
                let socket = std::os::unix::net::UnixStream::from(socket);
                return UnixStream::from_std(socket).map_err(|error| fail(&error));
            }
            Err(error) if process.has_ended().is_some() || Instant::now() > deadline => {
                return Err(fail(&error));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// An error of QEMU's, with what it said if it has ended: that says more.
async fn explained(error: Error, process: &Process) -> Error {
    // Its end may be a moment behind its silence.
    let ended = tokio::time::timeout(Duration::from_millis(200), process.ended());
    match ended.await {
        Ok(ended) => Error::rule(error.step, ended.to_string()),
        Err(_) => error,
    }
}

impl Running for Machinery {
    fn resume(&self) -> Reply<'_, ()> {
        Box::pin(self.turn(true))
    }

    fn pause(&self) -> Reply<'_, ()> {
        Box::pin(self.turn(false))
    }

    fn snapshot<'a>(&'a self, folder: &'a Path) -> Reply<'a, ()> {
        self.snapshot_as(folder, Kind::Full)
    }

    fn snapshot_as<'a>(&'a self, folder: &'a Path, kind: Kind) -> Reply<'a, ()> {
        Box::pin(snapshot::snapshot(self, folder, kind))
    }

    fn balloon(&self, mib: u32) -> Reply<'_, ()> {
        Box::pin(balloon::inflate(self, mib))
    }

    fn sleep(&self) -> Reply<'_, ()> {
        Box::pin(sleep::sleep(self))
    }

    fn channel(&self) -> Reply<'_, OwnedFd> {
        let connected =
            connect(&self.folder, AGENT).map_err(|error| Error::io("connect to the guest", &error));
        Box::pin(std::future::ready(connected))
    }

    fn metrics(&self) -> Reply<'_, Metrics> {
        Box::pin(std::future::ready(self.process.metrics()))
    }

    fn console(&self) -> Vec<String> {
        self.process.console()
    }

    fn end(&self) {
        if self.process.has_ended().is_none() {
            self.fate.note(How::Asked);
        }
        self.process.kill();
    }

    fn ended(&self) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>> {
        Box::pin(self.process.ended())
    }
}
