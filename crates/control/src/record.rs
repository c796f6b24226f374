//! What is kept of a sandbox, in memory and in the store.

use crate::clock::later;
use crate::network::Network;
use casemate_core::sandbox::lifecycle::State;
use casemate_core::sandbox::{Resources, SandboxId, SnapshotId, Wish};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// After a wake-up by a request, a sandbox runs at least this long.
const LEAST_AFTER_WAKE: Duration = Duration::from_secs(300);

/// What happens to a sandbox at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AtEnd {
    /// It is taken down.
    Kill,
    /// It is paused.
    Pause,
    /// It is paused without its memory: it starts anew with its files.
    #[serde(rename = "pause-files")]
    PauseFiles,
}

/// When and how a sandbox ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// How long it was to run when it was made; `None` is for ever.
    pub first: Option<Duration>,
    /// When it ends; `None` is never.
    pub end: Option<Timestamp>,
    /// It ends as well after so long without a request.
    pub idle: Option<Duration>,
    /// What happens then.
    pub at_end: AtEnd,
    /// A request wakes it when it is paused.
    pub auto_resume: bool,
}

impl Lifetime {
    /// The end of a sandbox that a request wakes now: as long as it was made for, with a floor.
    pub(crate) fn end_after_wake(&self, now: Timestamp) -> Option<Timestamp> {
        self.first
            .map(|first| later(now, first.max(LEAST_AFTER_WAKE)))
    }

    /// The end that a client who connects gets: never sooner than the one that stands.
    pub(crate) fn extended(&self, to: Timestamp) -> Option<Timestamp> {
        self.end.map(|end| end.max(to))
    }
}

/// A sandbox, as the control plane knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Which.
    pub id: SandboxId,
    /// The API key that made it.
    pub key: String,
    /// The node that keeps it.
    pub node: String,
    /// Where in its life it is.
    pub state: State,
    /// Why it ended, if nobody asked for it.
    pub reason: Option<String>,
    /// What the node was asked for.
    pub wish: Wish,
    /// The network as the client put it.
    pub network: Network,
    /// What callers of its ports need, if those aren't public.
    pub traffic_token: Option<String>,
    /// The client's own labels.
    pub metadata: BTreeMap<String, String>,
    /// When it was asked for.
    pub created: Timestamp,
    /// Since when it is paused.
    pub paused: Option<Timestamp>,
    /// Since when it is gone.
    pub ended: Option<Timestamp>,
    /// When it is to end.
    pub lifetime: Lifetime,
}

/// What was written of a sandbox, which others can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which.
    pub id: SnapshotId,
    /// The API key that made it.
    pub key: String,
    /// What its owner calls it; the last one of a name has it.
    pub name: Option<String>,
    /// What it was made of.
    pub sandbox: SandboxId,
    /// What that had.
    pub resources: Resources,
    /// When it was asked for.
    pub created: Timestamp,
    /// Whether it is there: one that isn't was being made, or is to go.
    pub ready: bool,
}

impl Record {
    /// True if clients find it: it was made, and isn't being taken down.
    pub(crate) fn is_there(&self) -> bool {
        matches!(
            self.state,
            State::Running | State::Pausing | State::Paused | State::Resuming
        )
    }

    /// True if its programs run, or are about to.
    pub(crate) fn is_active(&self) -> bool {
        !self.state.is_over() && self.state != State::Paused
    }
}
