//! A sandbox that outlives the command that made it.
//!
//! [`run`](crate::spec) ends with its program. A platform's sandbox is different: it has an [id](SandboxId),
//! programs come and go in it, and it can be paused. What it may do next is its
//! [state](lifecycle::State)'s business; what it was asked to be is a [`Wish`]; who keeps it is a
//! [`Node`](crate::node::Node).

mod id;
pub mod lifecycle;

pub use id::{SandboxId, SnapshotId};

use crate::limits::ByteSize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a sandbox was asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The template's name; `base` is the host's own system folders.
    pub template: String,
    /// The snapshot that it begins as, if not the template.
    #[serde(default)]
    pub from: Option<SnapshotId>,
    /// Variables that every program inside gets.
    pub environment: BTreeMap<String, String>,
    /// What the sandbox may use.
    pub resources: Resources,
    /// Where it may connect to.
    pub network: Outward,
    /// What programs and clients need to use the agent; `None` lets everybody.
    pub access_token: Option<String>,
}

/// What is kept of a sandbox that is paused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// All of it: what ran goes on.
    #[default]
    Memory,
    /// Its files: it starts anew with them.
    Files,
}

/// What a sandbox may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of private disk.
    pub disk: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: ByteSize::mib(512).0,
            disk: ByteSize::mib(1024).0,
            pids: 1024,
        }
    }
}

/// Where a sandbox may connect to. Private ranges are refused whatever stands here; what is
/// allowed wins over what is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outward {
    /// False refuses what isn't allowed by name.
    pub internet: bool,
    /// Addresses, CIDR blocks, domains and `*.domain`.
    pub allow: Vec<String>,
    /// Addresses and CIDR blocks.
    pub deny: Vec<String>,
    /// Request headers that are set on the way out, by host.
    pub headers: BTreeMap<String, BTreeMap<String, String>>,
    /// Servers that names are asked of; none means the host's own.
    pub dns: Vec<IpAddr>,
    /// A whole Casemate policy, in place of all the above.
    pub policy: Option<String>,
}

/// What a sandbox uses at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time since the start, in microseconds.
    pub cpu_usec: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of page cache among them.
    pub cache: u64,
    /// Bytes of private disk.
    pub disk: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Processes that were killed since the start because memory was used up.
    #[serde(default)]
    pub killed: u64,
}
