//! The machine as a whole.

use serde::{Deserialize, Serialize};

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Info {
    /// What the program calls itself.
    pub app_name: String,
    /// The machine's name.
    pub id: String,
    /// What it does.
    pub state: InstanceState,
    /// Which Firecracker it is.
    pub vmm_version: String,
}

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum InstanceState {
    /// It has no machine yet.
    #[serde(rename = "Not started")]
    NotStarted,
    /// It runs.
    Running,
    /// It stands still.
    Paused,
}

/// What it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum VmState {
    /// Stand still.
    Paused,
    /// Go on.
    Resumed,
}
