//! One sandbox, as the daemon knows it: an actor whose state says what may be asked of it.

use super::Local;
use crate::driver::{Attached, Body};
use casemate_core::node::{Door, Ended, Kept as Standing, Refusal};
use casemate_core::sandbox::lifecycle::{Denied, State};
use casemate_core::sandbox::{Outward, SandboxId, Usage};
use rustix::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a sandbox may take to end when it was told to, before it is cut.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sandbox and its state.
pub(super) struct Kept {
    pub(super) id: SandboxId,
    body: Arc<dyn Body>,
    state: Mutex<State>,
    gone: watch::Sender<bool>,
}

impl Kept {
    /// One that runs.
    pub(super) fn new(id: SandboxId, body: Arc<dyn Body>) -> Self {
        Self {
            id,
            body,
            state: Mutex::new(State::Running),
            gone: watch::Sender::new(false),
        }
    }

    /// One that was found as it is.
    pub(super) fn found(id: SandboxId, found: Attached) -> Self {
        let state = match found.paused {
            true => State::Paused,
            false => State::Running,
        };
        Self {
            state: Mutex::new(state),
            ..Self::new(id, found.body)
        }
    }

    /// What is kept.
    #[cfg(test)]
    pub(super) fn body(&self) -> &dyn Body {
        &*self.body
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

    pub(super) async fn pause(&self) -> Result<(), Refusal> {
        self.change(State::pause)?;
        match self.body.pause().await {
            Ok(()) => self.change(State::paused),
            Err(refusal) => {
                self.change(State::run)?;
                Err(self.named(refusal))
            }
        }
    }

    pub(super) async fn resume(&self) -> Result<(), Refusal> {
        self.change(State::resume)?;
        match self.body.resume().await {
            Ok(()) => self.change(State::run),
            Err(refusal) => {
                self.change(State::paused)?;
                Err(self.named(refusal))
            }
        }
    }

    pub(super) async fn restrict(&self, outward: &Outward) -> Result<(), Refusal> {
        let restricted = self.body.restrict(outward).await;
        restricted.map_err(|refusal| self.named(refusal))
    }

    pub(super) async fn usage(&self) -> Result<Usage, Refusal> {
        let usage = self.body.usage().await;
        usage.map_err(|refusal| self.named(refusal))
    }

    pub(super) async fn dial(&self, to: Door) -> Result<OwnedFd, Refusal> {
        let dialled = self.body.dial(to).await;
        dialled.map_err(|refusal| self.named(refusal))
    }

    /// Ends the sandbox, and waits until nothing of it is left.
    pub(super) async fn kill(&self) -> Result<(), Refusal> {
        // A second one waits for the same end.
        let _ = self.change(State::stop);
        let mut gone = self.gone.subscribe();
        let ended = async {
            let _ = self.body.end().await;
            gone.wait_for(|gone| *gone).await.is_ok()
        };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            self.body.cut();
            let _ = gone.wait_for(|gone| *gone).await;
        }
        Ok(())
    }

    /// Says whose error it is.
    fn named(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::Failed(error) => {
                let object = match &error.object {
                    Some(object) => format!("{}, {object}", self.id),
                    None => self.id.to_string(),
                };
                error.on(object).into()
            }
            other => other,
        }
    }

    fn change(&self, to: impl FnOnce(State) -> Result<State, Denied>) -> Result<(), Refusal> {
        let mut state = self.state();
        *state = to(*state)?;
        Ok(())
    }

    /// Waits for the end, and says so.
    pub(super) async fn watch(self: Arc<Self>, local: Arc<Local>) {
        let words = self.body.ended().await.unwrap_or_default();
        let told = matches!(*self.state(), State::Stopping);
        local.table().remove(&self.id);
        *self.state() = State::Stopped;
        if !told {
            let why = match words.is_empty() {
                true => "its keeper was killed".into(),
                false => words,
            };
            let id = self.id.clone();
            let _ = local.ends.try_send(Ended { id, why });
        }
        self.gone.send_replace(true);
    }
}
