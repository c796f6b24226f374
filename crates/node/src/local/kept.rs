//! One sandbox, as the daemon knows it: an actor whose state says what may be asked of it.

use super::Local;
use crate::driver::{Attached, Body, Parting, Rest};
use casemate_core::node::{Door, Ended, Kept as Standing, Refusal};
use casemate_core::sandbox::lifecycle::{Denied, State};
use casemate_core::sandbox::{Keep, Outward, SandboxId, SnapshotId, Usage, Wish};
use rustix::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a sandbox may take to end when it was told to, before it is cut.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sandbox and its state.
pub(super) struct Kept {
    pub(super) id: SandboxId,
    /// None while it rests on disk.
    body: Mutex<Option<Arc<dyn Body>>>,
    state: Mutex<State>,
    gone: watch::Sender<bool>,
}

impl Kept {
    /// One that runs.
    pub(super) fn new(id: SandboxId, body: Arc<dyn Body>) -> Self {
        Self {
            id,
            body: Mutex::new(Some(body)),
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
            id,
            body: Mutex::new(found.body),
            state: Mutex::new(state),
            gone: watch::Sender::new(false),
        }
    }

    /// What is kept, if it isn't on disk.
    pub(super) fn body(&self) -> Option<Arc<dyn Body>> {
        self.held().clone()
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<dyn Body>>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `wanted` needs of one that isn't on disk.
    fn present(&self, wanted: &'static str) -> Result<Arc<dyn Body>, Refusal> {
        let resting = Denied {
            wanted,
            state: State::Paused,
        };
        self.body().ok_or(Refusal::State(resting))
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

    pub(super) async fn pause(&self, keep: Keep, local: &Local) -> Result<(), Refusal> {
        self.change(State::pause)?;
        let rest = match self.present("pause") {
            Ok(body) => body.pause(keep).await,
            Err(refusal) => Err(refusal),
        };
        match rest {
            Ok(Rest::Held) => self.change(State::paused),
            Ok(Rest::Stored) => {
                *self.held() = None;
                let paused = self.change(State::paused);
                if paused.is_err() {
                    // It is being killed, and there is nothing left that would end.
                    local.driver.remove(&self.id);
                    self.over(local);
                }
                paused
            }
            Err(refusal) => {
                self.change(State::run)?;
                Err(self.named(refusal))
            }
        }
    }

    pub(super) async fn resume(
        self: &Arc<Self>,
        wish: &Wish,
        keep: Keep,
        local: &Arc<Local>,
    ) -> Result<(), Refusal> {
        self.change(State::resume)?;
        let resumed = match (self.body(), keep) {
            (Some(_), Keep::Files) => Err(Refusal::Unsupported("resuming without memory")),
            (Some(body), Keep::Memory) => body.resume().await,
            (None, keep) => self.wake(wish, keep, local).await,
        };
        match resumed {
            Ok(()) => self.change(State::run),
            Err(refusal) => {
                if self.change(State::paused).is_err() && self.body().is_none() {
                    // It is being killed, and there is nothing left that would end.
                    local.driver.remove(&self.id);
                    self.over(local);
                }
                Err(self.named(refusal))
            }
        }
    }

    /// Continues one that rests on disk; if that fails, it rests there still.
    async fn wake(
        self: &Arc<Self>,
        wish: &Wish,
        keep: Keep,
        local: &Arc<Local>,
    ) -> Result<(), Refusal> {
        // It is never closed.
        let _turn = local.turns.acquire().await;
        let body = local.driver.wake(&self.id, wish, keep)?;
        *self.held() = Some(Arc::clone(&body));
        let patience = local.driver.patience();
        let up = async {
            body.up().await?;
            // If it isn't new, it knows that already; what matters is that it answers.
            self.introduce(wish).await?;
            Ok(body.own()?)
        };
        let up = tokio::time::timeout(patience, up).await;
        let up = up.unwrap_or(Err(Refusal::Slow(patience)));
        if up.is_err() {
            body.cut();
        }
        match &up {
            Ok(()) => drop(tokio::spawn(
                Arc::clone(self).watch(body, Arc::clone(local)),
            )),
            // It may have run for a moment, and can't rest any more.
            Err(_) => Arc::clone(self).watch(body, Arc::clone(local)).await,
        }
        if up.is_err() {
            *self.held() = None;
        }
        up
    }

    pub(super) async fn snapshot(&self, name: &SnapshotId, keep: Keep) -> Result<(), Refusal> {
        let written = self.present("write")?.snapshot(name, keep).await;
        written.map_err(|refusal| self.named(refusal))
    }

    pub(super) async fn restrict(&self, outward: &Outward) -> Result<(), Refusal> {
        let restricted = self.present("restrict")?.restrict(outward).await;
        restricted.map_err(|refusal| self.named(refusal))
    }

    pub(super) async fn usage(&self) -> Result<Usage, Refusal> {
        let usage = self.present("measure")?.usage().await;
        usage.map_err(|refusal| self.named(refusal))
    }

    pub(super) async fn dial(&self, to: Door) -> Result<OwnedFd, Refusal> {
        let dialled = self.present("reach")?.dial(to).await;
        dialled.map_err(|refusal| self.named(refusal))
    }

    /// Ends the sandbox, and waits until nothing of it is left.
    pub(super) async fn kill(&self, local: &Local) -> Result<(), Refusal> {
        // A second one waits for the same end.
        let before = *self.state();
        let _ = self.change(State::stop);
        let mut gone = self.gone.subscribe();
        let Some(body) = self.body() else {
            if before == State::Paused {
                local.driver.remove(&self.id);
                self.over(local);
            }
            let _ = gone.wait_for(|gone| *gone).await;
            return Ok(());
        };
        let ended = async {
            let _ = body.end().await;
            gone.wait_for(|gone| *gone).await.is_ok()
        };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            body.cut();
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

    /// Waits for the end of its body, and says so.
    pub(super) async fn watch(self: Arc<Self>, body: Arc<dyn Body>, local: Arc<Local>) {
        let words = match body.ended().await {
            Ok(Parting::Stored) => return,
            Ok(Parting::Over(words)) => words,
            Err(refusal) => refusal.to_string(),
        };
        let told = matches!(*self.state(), State::Stopping);
        if !told {
            let why = match words.is_empty() {
                true => "its keeper was killed".into(),
                false => words,
            };
            let id = self.id.clone();
            let _ = local.ends.try_send(Ended { id, why });
        }
        self.over(&local);
    }

    /// Nothing is left of it.
    fn over(&self, local: &Local) {
        local.table().remove(&self.id);
        *self.state() = State::Stopped;
        self.gone.send_replace(true);
    }
}
