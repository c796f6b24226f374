//! What the process of a guest is told.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// One run of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What the program calls itself: its first argument.
    pub name: String,
    /// The arguments after that.
    pub args: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Folders that it may open files below.
    pub folders: Vec<Folder>,
    /// The export that is called; `None` is the command's `_start`.
    pub invoke: Option<Invocation>,
    /// How many instructions it may execute, if limited.
    pub fuel: Option<u64>,
    /// True if instructions are counted, which makes it slower.
    pub counts: bool,
    /// How many bytes its memories and tables may have together.
    pub memory: u64,
    /// How long it may run, if limited.
    pub timeout: Option<Duration>,
    /// What its clocks show, if not the time.
    pub clock: Option<Moment>,
    /// What its random numbers are made from, if not from randomness.
    pub random_seed: Option<u64>,
}

/// A folder that a guest sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Where it is in the process's view.
    pub path: PathBuf,
    /// What the guest calls it.
    pub name: String,
    /// False if nothing may be changed below it.
    pub writable: bool,
}

/// A call of one export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The export's name.
    pub function: String,
    /// Its arguments, as they were typed.
    pub args: Vec<String>,
}

/// A time since 1970-01-01 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Whole seconds.
    pub seconds: u64,
    /// And nanoseconds, below 10⁹.
    pub nanoseconds: u32,
}
