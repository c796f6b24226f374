//! One sandbox behind the wall, as the daemon has it: a keeper's process, and its folder.
//!
//! One that is a virtual machine can rest on disk. Then its folder says so before it ends, and until
//! it runs again:
//!
//! ```text
//!             asleep           end                 wake              up: own
//!   runs ────▶ asleep.json ─────────▶ (no keeper) ─────▶ waking.json ────────▶ runs
//! ```

use super::dial::Stock;
use super::hatch;
use super::ids::Taken;
use super::line::Line;
use super::snapshots::Snapshots;
use crate::driver::{Body, Parting, Rest};
use crate::folder::{AGENT, ASLEEP, BASE, Folder, LAUNCH, MACHINE, OWNED, WAKING};
use crate::keeper::wire::{Answer, Ask};
use crate::keeper::{Launch, READY};
use casemate_core::error::{Error, Result};
use casemate_core::node::{Door, Refusal, Reply};
use casemate_core::sandbox::{Keep, Outward, SandboxId, SnapshotId, Usage, Wish};
use casemate_sys::channel::connect_stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

/// How long a keeper that failed may take to say why, and how often it is looked.
const PARTING: Duration = Duration::from_secs(2);
const LOOKS: u32 = 200;
/// How long a machine may take to end that is asleep. Its guest may have to be switched off.
const FAREWELL: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Walled {
    line: Arc<Line>,
    process: Arc<OwnedFd>,
    is_machine: bool,
    /// Whether it is on disk: its end is no end, and its files are another body's by then.
    stored: AtomicBool,
    /// Whether it is being continued from there, and rests again should it end.
    wakes: AtomicBool,
    snapshots: Snapshots,
    /// Sockets of its network that were not used yet.
    stock: Stock,
    written: Mutex<Written>,
    /// Where a keeper that this daemon started says that it is up.
    says: Mutex<Option<ChildStdout>>,
    /// The user that it is outside. This is dropped by whoever waited for the keeper's end.
    _outside: Option<Taken>,
}

/// What is written down of it, and where.
struct Written {
    folder: Folder,
    launch: Launch,
}

impl Walled {
    /// A sandbox whose keeper is this process.
    pub(super) fn new(
        folder: Folder,
        launch: Launch,
        process: OwnedFd,
        says: Option<ChildStdout>,
        outside: Option<Taken>,
        snapshots: Snapshots,
    ) -> Result<Self> {
        let place = folder.open();
        if place.is_err() {
            // Nobody could ask anything of it.
            let _ = pidfd_send_signal(&process, Signal::KILL);
            reap(&process);
        }
        Ok(Self {
            line: Arc::new(Line::new(place?)),
            process: Arc::new(process),
            is_machine: launch.machine.is_some(),
            stored: AtomicBool::new(folder.has(ASLEEP)),
            wakes: AtomicBool::new(folder.has(WAKING)),
            snapshots,
            stock: Stock::default(),
            written: Mutex::new(Written { folder, launch }),
            says: Mutex::new(says),
            _outside: outside,
        })
    }

    /// Whether its programs are stopped.
    pub(super) async fn is_paused(&self) -> Result<bool, Refusal> {
        let (answer, _) = self.line.ask(Ask::Halted).await?;
        Ok(answer == Answer::Halted(true))
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> Folder {
        self.written().folder.clone()
    }

    async fn wait_until_up(&self) -> Result<()> {
        let says = self
            .says
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut said = Vec::new();
        if let Some(says) = says {
            let mut word = says.take(READY.len() as u64);
            let read = word.read_to_end(&mut said).await;
            read.map_err(|error| Error::io("wait for a sandbox's keeper", &error))?;
        }
        if said == READY {
            return Ok(());
        }
        // It says why when it has nothing more to do.
        for _ in 0..LOOKS {
            if !self.lives() {
                break;
            }
            tokio::time::sleep(PARTING / LOOKS).await;
        }
        Err(Error::rule("start a sandbox", self.folder().last_words()))
    }

    /// Puts a machine to sleep, and waits until nothing of it runs.
    async fn store(&self, keep: Keep) -> Result<(), Refusal> {
        let stream = hatch::sleep(self.agent()?, keep).await?;
        self.folder().write(ASLEEP, &keep)?;
        self.stored.store(true, Ordering::Release);
        // If it doesn't end by itself, it has written all that matters nevertheless.
        let _ = tokio::time::timeout(FAREWELL, hatch::end(stream)).await;
        self.cut();
        let process = Arc::clone(&self.process);
        let folder = self.folder();
        let _ = tokio::task::spawn_blocking(move || {
            reap(&process);
            folder.flush();
        })
        .await;
        Ok(())
    }

    fn agent(&self) -> Result<OwnedFd> {
        connect_stream(self.line.place.as_fd(), AGENT)
            .map_err(|errno| Error::errno("reach a sandbox's agent", errno.raw_os_error()))
    }
}

impl Body for Walled {
    fn up(&self) -> Reply<'_, ()> {
        Box::pin(async move { Ok(self.wait_until_up().await?) })
    }

    fn name(&self, id: &SandboxId, wish: &Wish) -> Result<()> {
        let mut written = self.written();
        let launch = Launch {
            id: id.clone(),
            wish: wish.clone(),
            ..written.launch.clone()
        };
        let folder = written.folder.beside(id);
        written.folder.write(LAUNCH, &launch)?;
        written.folder.rename(&folder)?;
        *written = Written { folder, launch };
        Ok(())
    }

    fn own(&self) -> Result<()> {
        let written = self.written();
        written.folder.write(OWNED, &written.launch.id)?;
        written.folder.forget(WAKING)?;
        self.wakes.store(false, Ordering::Release);
        Ok(())
    }

    fn lives(&self) -> bool {
        let mut fds = [PollFd::new(&*self.process, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())) == Ok(0)
    }

    fn dial(&self, to: Door) -> Reply<'_, OwnedFd> {
        Box::pin(async move {
            match (to, self.is_machine) {
                (_, true) => hatch::dial(self.agent()?, to).await,
                (Door::Agent, false) => Ok(self.agent()?),
                (Door::Port(port), false) => self.stock.dial(&self.line, port).await,
            }
        })
    }

    fn pause(&self, keep: Keep) -> Reply<'_, Rest> {
        Box::pin(async move {
            if self.is_machine {
                return self.store(keep).await.map(|()| Rest::Stored);
            }
            if keep == Keep::Files {
                return Err(Refusal::Unsupported("pausing without memory"));
            }
            let halted = self.line.ask(Ask::Halt).await;
            if halted.is_err() {
                let _ = self.line.ask(Ask::Continue).await;
            }
            halted.map(|_| Rest::Held)
        })
    }

    fn resume(&self) -> Reply<'_, ()> {
        Box::pin(async move { self.line.ask(Ask::Continue).await.map(drop) })
    }

    fn snapshot<'a>(&'a self, name: &'a SnapshotId, keep: Keep) -> Reply<'a, ()> {
        Box::pin(async move {
            if !self.is_machine {
                return Err(Refusal::Unsupported("a snapshot of a sandbox"));
            }
            hatch::write(self.agent()?, keep).await?;
            let folder = self.folder();
            let written = folder.path().join(MACHINE).join(hatch::WRITTEN);
            let base = folder.path().join(BASE);
            Ok(self.snapshots.take(&written, &base, name)?)
        })
    }

    fn restrict<'a>(&'a self, outward: &'a Outward) -> Reply<'a, ()> {
        let ask = Ask::Restrict(outward.clone());
        Box::pin(async move { self.line.ask(ask).await.map(drop) })
    }

    fn usage(&self) -> Reply<'_, Usage> {
        Box::pin(async move {
            match self.line.ask(Ask::Usage).await?.0 {
                Answer::Usage(usage) => Ok(usage),
                _ => Err(Error::rule("ask a keeper", "it answered something else").into()),
            }
        })
    }

    fn end(&self) -> Reply<'_, ()> {
        Box::pin(async move { self.line.ask(Ask::End).await.map(drop) })
    }

    fn cut(&self) {
        // With it, the kernel ends the sandbox.
        let _ = pidfd_send_signal(&*self.process, Signal::KILL);
    }

    fn ended(&self) -> Reply<'_, Parting> {
        Box::pin(async move {
            self.line.until_closed().await;
            let process = Arc::clone(&self.process);
            let _ = tokio::task::spawn_blocking(move || reap(&process)).await;
            let folder = self.folder();
            let wakes = || self.wakes.load(Ordering::Acquire);
            if self.stored.load(Ordering::Acquire) || wakes() && super::lies_down(&folder) {
                return Ok(Parting::Stored);
            }
            let words = folder.last_words();
            folder.remove();
            Ok(Parting::Over(words))
        })
    }
}

/// Waits for the end of a keeper, and reaps it if it is a child of this daemon and not of an earlier
/// one.
fn reap(process: &OwnedFd) {
    // A pidfd is readable when the process has ended (pidfd_open(2)).
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    while rustix::io::retry_on_intr(|| poll(&mut fds, None)).is_err() {}
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}
