//! What Firecracker tells of itself. Neither is a part of snapshots.

use serde::Serialize;
use std::path::PathBuf;

/// Its log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Logger {
    /// The file or pipe; Firecracker's standard output if it isn't given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_path: Option<PathBuf>,
    /// What is worth a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Whether a line says which level it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_level: Option<bool>,
    /// Whether it says where in the source it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_log_origin: Option<bool>,
    /// Lines of this module alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// What is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "they say it")]
pub enum Level {
    Off,
    Error,
    Warning,
    Info,
    Debug,
    Trace,
}

/// What it counts: a line of JSON a minute, and one whenever it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// The file or pipe.
    pub metrics_path: PathBuf,
    /// Whether each line names the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emit_id: Option<bool>,
    /// What else each line has to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<serde_json::Map<String, serde_json::Value>>,
}
