//! What a run did, as JSON.
//!
//! Sizes are bytes, times are seconds. A list that was cut says so by a count beside it.

use crate::exit::Outcome;
use serde::Serialize;

/// The report of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The form of this document; grows when a field changes its meaning.
    pub version: u32,
    /// The name that the caller gave the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The command, lossily decoded.
    pub command: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The exit code of `casemate run`.
    pub exit_code: u8,
    /// Wall time from the start of the program to its end, seconds.
    pub wall_seconds: f64,
    /// User CPU time of the whole tree, seconds.
    pub user_seconds: f64,
    /// System CPU time of the whole tree, seconds.
    pub system_seconds: f64,
    /// Peak memory and what measured it.
    pub peak_memory: Measure,
    /// Processes and threads that were started.
    pub tasks_started: u64,
    /// What changed under the writable host paths.
    pub files: Changes,
    /// What was refused.
    pub refused: Vec<Refusal>,
    /// Where the program connected to, or tried to, by program and host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connection>,
    /// Carriers: protected ones, undone creations, and new ones.
    pub carriers: Carriers,
    /// Which layers were active.
    pub layers: Vec<LayerState>,
    /// How each limit was enforced.
    pub limits: Vec<LimitState>,
    /// What was brought into the view besides the plain one, and why.
    pub view: Vec<String>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// A number and where it comes from.
#[derive(Debug, Clone, Serialize)]
pub struct Measure {
    /// Bytes.
    pub bytes: u64,
    /// `cgroup`, or `largest process` where no cgroup counts the whole tree.
    pub source: &'static str,
}

/// Files created, changed and deleted.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Changes {
    /// Paths that were not there before.
    pub created: Vec<String>,
    /// Paths whose size, content time or inode changed.
    pub changed: Vec<String>,
    /// Paths that are gone.
    pub deleted: Vec<String>,
    /// How many more there were than are listed.
    pub not_listed: u64,
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Refusal {
    /// `syscall`, `connect` or `carrier`.
    pub kind: &'static str,
    /// The system call's name, the address, or the path.
    pub what: String,
    /// Why.
    pub why: String,
    /// How often.
    pub count: u64,
}

/// What one program did with one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// The executable; empty if it could not be identified.
    pub binary: String,
    /// The name or address that it asked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// `allowed` or `denied`.
    pub decision: &'static str,
    /// The policy's entry, or why it was denied.
    pub because: String,
    /// How often.
    pub count: u64,
    /// Bytes that the program sent.
    pub sent: u64,
    /// Bytes that it received.
    pub received: u64,
    /// How many of the connections the program has itself, so that nobody counts their bytes.
    pub direct: u64,
}

/// Carriers of the workspace.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Carriers {
    /// Paths that existed at the start and were made read-only.
    pub protected: Vec<String>,
    /// Paths that the program created at a protected name and that were removed.
    pub removed: Vec<String>,
    /// Paths that are new: repositories made inside, and carriers in new folders. Look at them
    /// before you trust them.
    pub new: Vec<String>,
}

/// One layer of the wall.
#[derive(Debug, Clone, Serialize)]
pub struct LayerState {
    /// Its name.
    pub name: String,
    /// Whether it was active.
    pub active: bool,
    /// Its version or extent, such as `ABI 7`.
    pub detail: String,
}

/// One limit.
#[derive(Debug, Clone, Serialize)]
pub struct LimitState {
    /// Its name.
    pub name: &'static str,
    /// Its value, in the unit of its name.
    pub value: String,
    /// What enforces it.
    pub by: &'static str,
    /// True if the kernel holds it for the whole tree.
    pub strong: bool,
}
