//! A machine that runs.
//!
//! ```text
//!   configured ──▶ running ⇄ paused          resume, pause
//!                     │         │
//!                     └── snapshot: paused meanwhile
//!   any ──▶ ended: its process is gone
//! ```
//!
//! One that Firecracker doesn't answer for any more is ended: nobody knows what it does.

use super::bare::Hull;
use super::client::model::InstanceState;
use super::client::{Client, Fresh, Started};
use super::manifest::Parent;
use super::pages::Pages;
use super::place::Place;
use super::settings::{Settings, metadata};
use super::{PORT, snapshot, vsock};
use crate::driver::{Ended, How, Identity, Kind, Machine, Metrics, Reply, Running};
use casemate_core::error::{Error, Result};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

/// How often it is looked how far a balloon is, and how long one may be the same before it is as far
/// as it gets.
const LOOK: Duration = Duration::from_millis(20);
const STUCK: Duration = Duration::from_millis(500);

/// One Firecracker and what is known of it.
#[derive(Debug)]
pub(super) struct Machinery {
    pub(super) machine: Machine,
    pub(super) place: Place,
    pub(super) version: String,
    pub(super) written: AtomicU32,
    patience: Duration,
    /// Whoever has Firecracker do something holds it.
    state: Mutex<State>,
    hull: Hull,
    /// They end with it.
    _pages: Option<Pages>,
}

#[derive(Debug)]
pub(super) enum State {
    /// It was never let run.
    Configured(Client<Fresh>),
    /// It was.
    Live(Live),
    /// Its start failed, or nobody waited for it.
    Failed,
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) client: Client<Started>,
    pub(super) motion: Motion,
    /// What the next difference builds on.
    pub(super) parent: Option<Parent>,
}

/// What it was last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Motion {
    Runs,
    Stands,
    /// Nobody waited to hear whether it did as it was told.
    Unsure,
}

impl Live {
    /// Has it run or stand, unless it does.
    pub(super) async fn turn(&mut self, wanted: Motion) -> Result<()> {
        if self.motion == Motion::Unsure {
            self.motion = match self.client.info().await?.state {
                InstanceState::Running => Motion::Runs,
                InstanceState::Paused => Motion::Stands,
                InstanceState::NotStarted => return Err(failed("it was never started")),
            };
        }
        if self.motion == wanted {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.motion, Motion::Unsure);
        let told = match wanted {
            Motion::Runs => self.client.resume().await,
            _ => self.client.pause().await,
        };
        self.motion = if told.is_ok() { wanted } else { before };
        told
    }
}

impl Machinery {
    pub(super) fn fresh(
        settings: &Settings,
        machine: Machine,
        place: Place,
        hull: Hull,
        client: Client<Fresh>,
        version: String,
    ) -> Self {
        let state = State::Configured(client);
        Self::of(settings, machine, place, hull, version, state, None)
    }

    #[expect(clippy::too_many_arguments, reason = "it is all of a machine")]
    pub(super) fn restored(
        settings: &Settings,
        machine: Machine,
        place: Place,
        hull: Hull,
        client: Client<Started>,
        version: String,
        parent: Option<Parent>,
        pages: Option<Pages>,
    ) -> Self {
        let state = State::Live(Live {
            client,
            motion: Motion::Stands,
            parent,
        });
        Self::of(settings, machine, place, hull, version, state, pages)
    }

    fn of(
        settings: &Settings,
        machine: Machine,
        place: Place,
        hull: Hull,
        version: String,
        state: State,
        pages: Option<Pages>,
    ) -> Self {
        Self {
            machine,
            place,
            version,
            written: AtomicU32::new(0),
            patience: settings.patience,
            state: Mutex::new(state),
            hull,
            _pages: pages,
        }
    }

    /// Its state, if it lives.
    pub(super) async fn hold(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock().await;
        match self.hull.process.has_ended() {
            Some(ended) => Err(failed(&ended.to_string())),
            None => Ok(state),
        }
    }

    /// An error as it is told, once it is known what it means for the machine.
    pub(super) async fn judged(&self, over: Option<String>, error: Error) -> Error {
        if over.is_none() {
            return error;
        }
        let told = self.hull.explained(error).await;
        self.hull.settle(over);
        told
    }

    async fn turn(&self, wanted: Motion) -> Result<()> {
        let mut state = self.hold().await?;
        match &mut *state {
            State::Live(live) => match live.turn(wanted).await {
                Ok(()) => Ok(()),
                Err(error) => Err(self.judged(live.client.over(), error).await),
            },
            State::Configured(_) if wanted == Motion::Stands => Ok(()),
            State::Configured(_) => self.begin(&mut state).await,
            State::Failed => Err(failed("its start failed")),
        }
    }

    /// Lets it run for the first time. There is no second try.
    async fn begin(&self, state: &mut State) -> Result<()> {
        let State::Configured(client) = std::mem::replace(state, State::Failed) else {
            return Err(failed("it was started before"));
        };
        match client.start().await {
            Ok(client) => {
                *state = State::Live(Live {
                    client,
                    motion: Motion::Runs,
                    parent: None,
                });
                Ok(())
            }
            Err(error) => {
                let told = self.hull.explained(error).await;
                self.hull.settle(Some(format!("it didn't start: {told}")));
                Err(told)
            }
        }
    }

    async fn inflate(&self, mib: u32) -> Result<()> {
        if mib >= self.machine.memory {
            let why = format!("it has {} MiB in all", self.machine.memory);
            return Err(Error::rule("take memory from a guest", why));
        }
        let state = self.hold().await?;
        let (done, over) = match &*state {
            State::Configured(client) => (client.inflate(mib).await, client.over()),
            State::Live(live) => (live.client.inflate(mib).await, live.client.over()),
            State::Failed => (Err(failed("its start failed")), None),
        };
        drop(state);
        match done {
            Ok(()) => self.follow(mib).await,
            Err(error) => Err(self.judged(over, error).await),
        }
    }

    /// Waits while the balloon gets nearer to this size.
    async fn follow(&self, mib: u32) -> Result<()> {
        let (mut last, mut since) = (None, Instant::now());
        loop {
            let state = self.hold().await?;
            let State::Live(live) = &*state else {
                return Ok(());
            };
            // A guest that stands still takes no part, and one without the driver never does.
            let asked = match live.motion {
                Motion::Runs => live.client.balloon_statistics().await,
                _ => return Ok(()),
            };
            let over = live.client.over();
            drop(state);
            let actual = match asked {
                Ok(statistics) => statistics.actual_mib,
                Err(error) if over.is_some() => return Err(self.judged(over, error).await),
                Err(_) => return Ok(()),
            };
            if last.replace(actual) != Some(actual) {
                since = Instant::now();
            }
            if actual == mib || since.elapsed() > STUCK {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    async fn tell(&self, who: &Identity) -> Result<()> {
        if !self.machine.network {
            let why = "without a network it has nowhere to ask";
            return Err(
                Error::rule("tell a guest whom it is for", why).hint("tell it over the channel")
            );
        }
        let state = self.hold().await?;
        let data = metadata(who);
        let (done, over) = match &*state {
            State::Configured(client) => (client.put_mmds(&data).await, client.over()),
            State::Live(live) => (live.client.put_mmds(&data).await, live.client.over()),
            State::Failed => (Err(failed("its start failed")), None),
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) => Err(self.judged(over, error).await),
        }
    }

    async fn count(&self) -> Result<String> {
        let state = self.hold().await?;
        let next = self.hull.counters.next();
        let (done, over) = match &*state {
            State::Configured(client) => (client.flush_metrics().await, client.over()),
            State::Live(live) => (live.client.flush_metrics().await, live.client.over()),
            State::Failed => (Err(failed("its start failed")), None),
        };
        if let Err(error) = done {
            return Err(self.judged(over, error).await);
        }
        let silent = || Error::rule("ask Firecracker what it counts", "it says nothing");
        let next = tokio::time::timeout(self.patience, next).await;
        next.ok().flatten().ok_or_else(silent)
    }
}

pub(super) fn failed(why: &str) -> Error {
    Error::rule("have a machine do something", why)
}

impl Running for Machinery {
    fn resume(&self) -> Reply<'_, ()> {
        Box::pin(self.turn(Motion::Runs))
    }

    fn pause(&self) -> Reply<'_, ()> {
        Box::pin(self.turn(Motion::Stands))
    }

    fn snapshot<'a>(&'a self, folder: &'a Path) -> Reply<'a, ()> {
        self.snapshot_as(folder, Kind::Full)
    }

    fn snapshot_as<'a>(&'a self, folder: &'a Path, kind: Kind) -> Reply<'a, ()> {
        Box::pin(snapshot::snapshot(self, folder, kind))
    }

    fn balloon(&self, mib: u32) -> Reply<'_, ()> {
        Box::pin(self.inflate(mib))
    }

    fn identify<'a>(&'a self, who: &'a Identity) -> Reply<'a, ()> {
        Box::pin(self.tell(who))
    }

    fn channel(&self) -> Reply<'_, OwnedFd> {
        Box::pin(vsock::reach(&self.place.root, PORT, self.patience))
    }

    fn metrics(&self) -> Reply<'_, Metrics> {
        Box::pin(std::future::ready(self.hull.process.metrics()))
    }

    fn counters(&self) -> Reply<'_, String> {
        Box::pin(self.count())
    }

    fn end(&self) {
        if self.hull.process.has_ended().is_none() {
            self.hull.fate.note(How::Asked);
        }
        self.hull.process.kill();
    }

    fn ended(&self) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>> {
        Box::pin(self.hull.process.ended())
    }
}
