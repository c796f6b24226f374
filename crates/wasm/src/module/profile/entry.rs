//! What a guest can be entered by.

use serde::{Deserialize, Serialize};

/// A method that a guest exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// What it is called by.
    pub name: String,
    /// What it may do.
    pub kind: MethodKind,
}

/// What a method may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// Change state.
    Update,
    /// Read state.
    Query,
    /// Read state, and call queries of others.
    CompositeQuery,
}

impl MethodKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Update, Self::Query, Self::CompositeQuery];

    /// What stands before the space and the method's name.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Update => "canister_update",
            Self::Query => "canister_query",
            Self::CompositeQuery => "canister_composite_query",
        }
    }

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Query => "query",
            Self::CompositeQuery => "composite query",
        }
    }

    pub(in crate::module) fn from_prefix(prefix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }
}

impl Method {
    /// The name of its export.
    pub fn export(&self) -> String {
        format!("{} {}", self.kind.prefix(), self.name)
    }
}

/// An entry point that isn't a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryPoint {
    /// Once, when the canister is installed.
    Init,
    /// Before its module is replaced.
    PreUpgrade,
    /// After its module was replaced.
    PostUpgrade,
    /// Before a message from outside is accepted.
    InspectMessage,
    /// Every round.
    Heartbeat,
    /// When the timer it has set is due.
    GlobalTimer,
    /// When memory runs low.
    LowMemory,
}

impl EntryPoint {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Init,
        Self::PreUpgrade,
        Self::PostUpgrade,
        Self::InspectMessage,
        Self::Heartbeat,
        Self::GlobalTimer,
        Self::LowMemory,
    ];

    /// The name of its export.
    pub const fn export(self) -> &'static str {
        match self {
            Self::Init => "canister_init",
            Self::PreUpgrade => "canister_pre_upgrade",
            Self::PostUpgrade => "canister_post_upgrade",
            Self::InspectMessage => "canister_inspect_message",
            Self::Heartbeat => "canister_heartbeat",
            Self::GlobalTimer => "canister_global_timer",
            Self::LowMemory => "canister_on_low_wasm_memory",
        }
    }

    pub(in crate::module) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.export() == name)
    }
}
