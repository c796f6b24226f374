//! One sandbox, as the daemon knows it.

use super::Local;
use crate::folder::{CONTROL, Folder};
use crate::keeper::wire::{self, Answer, Ask};
use casemate_core::error::{Error, Result};
use casemate_core::node::{Ended, Kept as Standing, Refusal};
use casemate_core::sandbox::lifecycle::State;
use casemate_core::sandbox::{Outward, SandboxId, Usage};
use casemate_sys::channel::Channel;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;

/// How long a sandbox may take to end when it was told to, before its keeper is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer may take. Keepers give up a little sooner, and say so.
const ANSWER: Duration = Duration::from_secs(15);

/// A sandbox and its keeper.
pub(super) struct Kept {
    pub(super) id: SandboxId,
    pub(super) folder: Folder,
    pub(super) place: OwnedFd,
    /// The keeper.
    process: OwnedFd,
    /// The channel to it, unless its last question was not answered.
    channel: Mutex<Option<Channel>>,
    /// Sockets of its network that were not used yet.
    pub(super) stock: Mutex<Vec<OwnedFd>>,
    state: Mutex<State>,
    outside: Option<u32>,
    gone: watch::Sender<bool>,
}

impl Kept {
    /// Takes hold of a keeper that answers.
    pub(super) fn hold(
        id: SandboxId,
        folder: Folder,
        process: OwnedFd,
        outside: Option<u32>,
    ) -> Result<Self> {
        let place = folder.open()?;
        let channel = reach(&place).map_err(|error| error.on(&id))?;
        let state = match wire::ask(&channel, &Ask::Halted)?.0 {
            Answer::Halted(true) => State::Paused,
            _ => State::Running,
        };
        Ok(Self {
            id,
            folder,
            place,
            process,
            channel: Mutex::new(Some(channel)),
            stock: Mutex::default(),
            state: Mutex::new(state),
            outside,
            gone: watch::Sender::new(false),
        })
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            id: self.id.clone(),
            paused: *self.state() == State::Paused,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the keeper, on a thread that may wait.
    pub(super) async fn ask(self: &Arc<Self>, ask: Ask) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
        let own = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || {
            let mut kept = own.channel.lock().unwrap_or_else(PoisonError::into_inner);
            // One whose answer didn't come is never used again: the answer may still come.
            let channel = match kept.take() {
                Some(channel) => channel,
                None => reach(&own.place)?,
            };
            let answer = wire::ask(&channel, &ask)?;
            *kept = Some(channel);
            Ok::<_, Error>(answer)
        });
        let answered = asked
            .await
            .map_err(|error| Error::rule("ask a keeper", error.to_string()))?;
        match answered.map_err(|error| error.on(&self.id))? {
            (Answer::Failed(why), _) => {
                Err(Error::rule("change a sandbox", why).on(&self.id).into())
            }
            answer => Ok(answer),
        }
    }

    pub(super) async fn pause(self: &Arc<Self>) -> Result<(), Refusal> {
        self.change(State::pause)?;
        match self.ask(Ask::Halt).await {
            Ok(_) => self.change(State::paused),
            Err(refusal) => {
                let _ = self.ask(Ask::Continue).await;
                self.change(State::run)?;
                Err(refusal)
            }
        }
    }

    pub(super) async fn resume(self: &Arc<Self>) -> Result<(), Refusal> {
        self.change(State::resume)?;
        match self.ask(Ask::Continue).await {
            Ok(_) => self.change(State::run),
            Err(refusal) => {
                self.change(State::paused)?;
                Err(refusal)
            }
        }
    }

    pub(super) async fn restrict(self: &Arc<Self>, outward: &Outward) -> Result<(), Refusal> {
        self.ask(Ask::Restrict(outward.clone())).await.map(|_| ())
    }

    pub(super) async fn usage(self: &Arc<Self>) -> Result<Usage, Refusal> {
        match self.ask(Ask::Usage).await?.0 {
            Answer::Usage(usage) => Ok(usage),
            _ => Err(Error::rule("ask a keeper", "it answered something else")
                .on(&self.id)
                .into()),
        }
    }

    /// Ends the sandbox, and waits until nothing of it is left.
    pub(super) async fn kill(self: &Arc<Self>) -> Result<(), Refusal> {
        // A second one waits for the same end.
        let _ = self.change(State::stop);
        let _ = self.ask(Ask::End).await;
        let mut gone = self.gone.subscribe();
        let ended = gone.wait_for(|gone| *gone);
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            // With it, the kernel ends the sandbox.
            let _ = pidfd_send_signal(&self.process, Signal::KILL);
            let _ = gone.wait_for(|gone| *gone).await;
        }
        Ok(())
    }

    fn change(
        &self,
        to: impl FnOnce(State) -> Result<State, casemate_core::sandbox::lifecycle::Denied>,
    ) -> Result<(), Refusal> {
        let mut state = self.state();
        *state = to(*state)?;
        Ok(())
    }

    /// A channel to the keeper on which nothing is said, so that its end is all that is heard.
    fn line(&self) -> Option<UnixStream> {
        let channel = Channel::connect(self.place.as_fd(), CONTROL).ok()?;
        let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(channel));
        stream.set_nonblocking(true).ok()?;
        UnixStream::from_std(stream).ok()
    }

    /// Waits for the end of the keeper, and cleans up after it.
    pub(super) async fn watch(self: Arc<Self>, local: Arc<Local>) {
        if let Some(mut line) = self.line() {
            // Nothing ever comes but the end.
            let _ = line.read(&mut [0]).await;
        }
        let own = Arc::clone(&self);
        let _ = tokio::task::spawn_blocking(move || reap(&own.process)).await;
        let told = matches!(*self.state(), State::Stopping);
        let why = self.folder.last_words();
        self.folder.remove();
        local.ids.give_back(self.outside);
        local.table().remove(&self.id);
        *self.state() = State::Stopped;
        if !told {
            let end = Ended {
                id: self.id.clone(),
                why: if why.is_empty() {
                    "its keeper was killed".into()
                } else {
                    why
                },
            };
            let _ = local.ends.try_send(end);
        }
        self.gone.send_replace(true);
    }
}

/// A channel to the keeper of a folder.
pub(super) fn reach(place: &OwnedFd) -> Result<Channel> {
    let fail =
        |errno: rustix::io::Errno| Error::errno("reach a sandbox's keeper", errno.raw_os_error());
    let channel = Channel::connect(place.as_fd(), CONTROL).map_err(fail)?;
    channel.set_patience(ANSWER).map_err(fail)?;
    Ok(channel)
}

/// Waits for the end of a keeper, and reaps it if it is a child of this daemon and not of an earlier
/// one.
pub(super) fn reap(process: &OwnedFd) {
    // A pidfd is readable when the process has ended (pidfd_open(2)).
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    while rustix::io::retry_on_intr(|| poll(&mut fds, None)).is_err() {}
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}
