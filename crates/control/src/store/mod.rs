//! What outlives the daemon: keys, sandboxes, the audit journal, answers to repeated requests.
//!
//! The control plane keeps the sandboxes in memory and writes them here; it reads them once, when it
//! starts. A [`Change`] is written whole or not at all.

mod file;
mod rows;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod write;

pub use sqlite::Sqlite;

use crate::audit::Entry;
use crate::keys::Key;
use crate::record::{Record, Snapshot};
use casemate_core::error::Error;
use casemate_core::sandbox::{SandboxId, SnapshotId};
use jiff::Timestamp;
use std::pin::Pin;

/// An answer of the store.
pub type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Where everything is kept.
pub trait Store: Send + Sync {
    /// Writes all of it, or nothing.
    fn commit(&self, changes: Vec<Change>) -> Stored<'_, ()>;

    /// The sandboxes that aren't over.
    fn sandboxes(&self) -> Stored<'_, Vec<Record>>;

    /// One sandbox, be it over or not.
    fn sandbox<'a>(&'a self, id: &'a SandboxId) -> Stored<'a, Option<Record>>;

    /// All snapshots, be they ready or not.
    fn snapshots(&self) -> Stored<'_, Vec<Snapshot>>;

    /// All keys.
    fn keys(&self) -> Stored<'_, Vec<Key>>;

    /// What was answered to this request of a key, if it hasn't expired.
    fn answer<'a>(
        &'a self,
        key: &'a str,
        request: &'a str,
        now: Timestamp,
    ) -> Stored<'a, Option<Answer>>;

    /// A page of the audit journal, the newest first.
    fn audit<'a>(&'a self, page: &'a Page) -> Stored<'a, Vec<Entry>>;

    /// The id of the one team, made when the store was.
    fn team(&self) -> Stored<'_, String>;
}

/// Something to be written.
#[derive(Debug, Clone)]
pub enum Change {
    /// A sandbox, new or changed.
    Sandbox(Box<Record>),
    /// A snapshot, new or changed.
    Snapshot(Box<Snapshot>),
    /// A snapshot is no more.
    Discarded(SnapshotId),
    /// A line of the audit journal.
    Audit(Entry),
    /// What was answered to a request that may be repeated.
    Answer(Answer),
    /// A key, new or changed.
    Key(Box<Key>),
    /// When a key was used.
    Used(String, Timestamp),
    /// A key is no more.
    Revoked(String),
}

/// What was answered to a request with an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The API key that asked.
    pub key: String,
    /// Its name of the request.
    pub request: String,
    /// What was asked: SHA-256 of method, path and body.
    pub asked: Vec<u8>,
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// When it is forgotten.
    pub expires: Timestamp,
}

/// Which lines of the audit journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Only older ones than this.
    pub before: Option<i64>,
    /// Only of this sandbox or key.
    pub target: Option<String>,
    /// No more than these.
    pub limit: u32,
}
