//! What watchers are told.

use crate::filesystem::entry::Entry;
use std::path::PathBuf;

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// It is there: made, or moved here.
    Create,
    /// Its content changed.
    Write,
    /// It is gone.
    Remove,
    /// It has another name now.
    Rename,
    /// Its mode, owner, times or attributes changed.
    Chmod,
}

/// Something happened to a name below a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Relative to the watched folder; `.` is that folder itself.
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
}

/// A change as a client is told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// What was there when the change was read; absent unless asked for, and for names that are
    /// gone.
    pub(crate) entry: Option<Entry>,
}
