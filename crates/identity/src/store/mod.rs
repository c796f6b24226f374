//! What is trusted, in a SQLite file that all processes of a user share.
//!
//! One row is one digest at one path: when it was seen first and last, whether it is trusted, and
//! the fingerprint of the file that had it, so that a later process need not hash that file.
//!
//! - **Several processes**: a file that is new or changed is checked and recorded under
//!   `BEGIN IMMEDIATE`, so of two processes that see different files at a new path, one is first.
//! - **kill -9, power loss**: write-ahead log with full synchronisation; a commit is there or not.
//! - **Others' hands**: the folder is for the owner alone (0700), and so is the file (0600).
//! - **Anything wrong** with it is an error, never an empty store: forgetting is what an attacker
//!   would want.

mod file;
mod rows;
#[cfg(test)]
mod tests;

use crate::digest::Digest;
use crate::executable::Fingerprint;
use crate::wait::wait;
use casemate_core::error::{Error, Result};
use sqlx::sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long another process may hold the store before this one gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store, open.
pub struct Store {
    path: PathBuf,
    /// There until the store is dropped.
    connection: Mutex<Option<SqliteConnection>>,
}

/// A digest at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// As the sandbox names it.
    pub path: Box<[u8]>,
    /// What was found there.
    pub digest: Digest,
    /// Seconds since 1970.
    pub first_seen: i64,
    /// Seconds since 1970, to the hour.
    pub last_seen: i64,
    /// It is trusted. If not, it was refused and waits for approval.
    pub approved: bool,
}

/// An executable as it was found.
pub(crate) struct Sighting<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) digest: Digest,
    /// If it stands for the digest.
    pub(crate) fingerprint: Option<&'a Fingerprint>,
    /// The fs-verity digest, if the file has one and the fingerprint stands.
    pub(crate) verity: Option<&'a [u8]>,
    /// A path that is new may be recorded.
    pub(crate) may_add: bool,
}

/// What the store says of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The digest is trusted at this path.
    Trusted,
    /// The path was new; it is trusted from now on.
    Added,
    /// The path is new, and was not to be recorded.
    Unknown,
    /// Others are trusted there.
    Changed(Vec<Digest>),
}

impl Store {
    /// Opens the store, and makes it if it isn't there. The caller may block.
    ///
    /// # Errors
    /// It is damaged, not writable, open to others, or made by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        file::make(path)?;
        Self::connect(path)
    }

    /// Opens the store if it is there.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_existing(path: &Path) -> Result<Option<Self>> {
        match file::check(path)? {
            true => Self::connect(path).map(Some),
            false => Ok(None),
        }
    }

    fn connect(path: &Path) -> Result<Self> {
        // A switch to the write-ahead log does not wait for others who are at the same.
        let _turn = file::take_turn(path)?;
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(PATIENCE)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Rows come from a file that anything may have happened to.
            .pragma("cell_size_check", "on")
            .pragma("trusted_schema", "off")
            .disable_statement_logging()
            .thread_name(|_| "identity-store".to_owned());
        let connected = wait(options.connect()).and_then(|mut connection| {
            wait(rows::prepare(&mut connection)).map(|version| (connection, version))
        });
        let (connection, version) = connected.map_err(|error| failed("open", path, &error))?;
        if version != rows::VERSION {
            let why = format!(
                "it has version {version}, and this program knows {}",
                rows::VERSION
            );
            return Err(Error::rule("open the identity store", why)
                .on(path.display())
                .hint("use the newer program that made it, or move the file away to start anew"));
        }
        Ok(Self {
            path: path.to_owned(),
            connection: Mutex::new(Some(connection)),
        })
    }

    /// All that is remembered, by path and then by time.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn list(&self) -> Result<Vec<Record>> {
        self.run("read", async |store| rows::list(store, None).await)
    }

    /// What is remembered of one path.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn show(&self, path: &[u8]) -> Result<Vec<Record>> {
        self.run("read", async |store| rows::list(store, Some(path)).await)
    }

    /// Trusts a digest at a path, whether or not it was seen there yet.
    ///
    /// # Errors
    /// The store can't be written to.
    pub fn approve(&self, path: &[u8], digest: Digest) -> Result<()> {
        self.run("write to", async |store| {
            rows::approve(store, path, digest, now()).await
        })
    }

    /// Forgets a path; what is seen there next is trusted. Returns the digests it had.
    ///
    /// # Errors
    /// The store can't be written to.
    pub fn forget(&self, path: &[u8]) -> Result<u64> {
        self.run("write to", async |store| rows::forget(store, path).await)
    }

    /// The digest of a file in a state that was seen before.
    pub(crate) fn recall(
        &self,
        path: &[u8],
        fingerprint: &Fingerprint,
        verity: Option<&[u8]>,
    ) -> Result<Option<Digest>> {
        let fingerprint = fingerprint.to_bytes();
        self.run("read", async |store| {
            rows::recall(store, path, &fingerprint, verity).await
        })
    }

    /// Checks a sighting, and records it if it is new.
    pub(crate) fn see(&self, seen: &Sighting<'_>) -> Result<Verdict> {
        self.run("write to", async |store| {
            rows::see(store, seen, now()).await
        })
    }

    fn run<T>(
        &self,
        step: &str,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T> {
        // What a panic left undone, the driver rolls back.
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let closed = Err(sqlx::Error::WorkerCrashed);
        let done = connection
            .as_mut()
            .map_or(closed, |connection| wait(work(connection)));
        done.map_err(|error| failed(step, &self.path, &error))
    }
}

impl Drop for Store {
    /// Waits until the driver's thread has closed it: the last one to leave writes the log into
    /// the file. What fails here was committed before.
    fn drop(&mut self) {
        let connection = self
            .connection
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = connection.take().map(|connection| wait(connection.close()));
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

fn failed(step: &str, path: &Path, error: &sqlx::Error) -> Error {
    let database = error.as_database_error();
    let code = database.and_then(|error| error.code()?.parse::<u32>().ok());
    let why = match database {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    };
    // The low byte is the primary result code (sqlite.org/rescode.html).
    let hint = match code.map(|code| code & 0xff) {
        Some(5 | 6) => "another process holds it for long; see who has it open",
        Some(8) => "make the file and its folder writable for their owner",
        Some(13) => "make room on its disk",
        Some(11 | 26) => {
            "it is damaged: move it and its -wal and -shm files away to start anew; what was trusted is then forgotten"
        }
        _ => "its folder has to exist on a local disk and to belong to you",
    };
    Error::rule(format!("{step} the identity store"), why)
        .on(path.display())
        .hint(hint)
}
