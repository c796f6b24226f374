//! The store in one SQLite file.
//!
//! One connection, so the order of commits is the order of the calls. The log is written ahead and
//! not flushed at each commit: after a loss of power the last moments may be missing, never a half;
//! the node's list of sandboxes tells what is true anyway.

use super::rows::Stored as Row;
use super::write::write;
use super::{Answer, Change, Page, Store, Stored, file, schema};
use crate::audit::Entry;
use crate::keys::Key;
use crate::record::{Record, Snapshot};
use casemate_core::error::{Error, Result};
use casemate_core::sandbox::SandboxId;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// How long another program may hold the file before a request is refused.
const PATIENCE: Duration = Duration::from_secs(2);

/// The store, open.
pub struct Sqlite {
    path: PathBuf,
    /// One daemon at a time: two would each take the other's sandboxes for their own.
    _turn: File,
    connection: Mutex<SqliteConnection>,
}

impl Sqlite {
    /// Opens the file, and makes it (for its owner alone) if it isn't there.
    ///
    /// # Errors
    /// It can't be made or read, another daemon has it, or a newer program made it.
    pub async fn open(path: &Path) -> Result<Self> {
        file::make(path)?;
        let turn = file::take_turn(path)?;
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(PATIENCE)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("trusted_schema", "off")
            // Tokens that are no more are wiped, not just forgotten.
            .pragma("secure_delete", "on")
            .disable_statement_logging()
            .thread_name(|_| "control-store".to_owned());
        let opened = async {
            let mut connection = options.connect().await?;
            let version = schema::prepare(&mut connection).await?;
            Ok((connection, version))
        };
        let (connection, version) = opened.await.map_err(|error| failed("open", path, &error))?;
        if version != schema::VERSION {
            let why = format!(
                "it has version {version}, and this program knows {}",
                schema::VERSION
            );
            return Err(Error::rule("open the store", why)
                .on(path.display())
                .hint("use the newer program that made it"));
        }
        Ok(Self {
            path: path.to_owned(),
            _turn: turn,
            connection: Mutex::new(connection),
        })
    }

    pub(super) async fn connection(&self) -> MutexGuard<'_, SqliteConnection> {
        self.connection.lock().await
    }

    fn read<'a, T: Send + 'a>(
        &'a self,
        query: impl Future<Output = sqlx::Result<T>> + Send + 'a,
    ) -> Stored<'a, T> {
        Box::pin(async {
            query
                .await
                .map_err(|error| failed("read", &self.path, &error))
        })
    }
}

impl Store for Sqlite {
    fn commit(&self, changes: Vec<Change>) -> Stored<'_, ()> {
        Box::pin(async move {
            let written = async {
                let mut connection = self.connection().await;
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                for change in &changes {
                    write(&mut transaction, change).await?;
                }
                transaction.commit().await
            };
            written
                .await
                .map_err(|error| failed("write to", &self.path, &error))
        })
    }

    fn sandboxes(&self) -> Stored<'_, Vec<Record>> {
        self.read(async {
            let rows: Vec<Row<Record>> =
                sqlx::query_as("SELECT * FROM sandboxes WHERE ended IS NULL")
                    .fetch_all(&mut *self.connection().await)
                    .await?;
            Ok(rows.into_iter().map(|row| row.0).collect())
        })
    }

    fn sandbox<'a>(&'a self, id: &'a SandboxId) -> Stored<'a, Option<Record>> {
        self.read(async {
            let row: Option<Row<Record>> = sqlx::query_as("SELECT * FROM sandboxes WHERE id = ?")
                .bind(id.as_str())
                .fetch_optional(&mut *self.connection().await)
                .await?;
            Ok(row.map(|row| row.0))
        })
    }

    fn snapshots(&self) -> Stored<'_, Vec<Snapshot>> {
        self.read(async {
            let rows: Vec<Row<Snapshot>> = sqlx::query_as("SELECT * FROM snapshots")
                .fetch_all(&mut *self.connection().await)
                .await?;
            Ok(rows.into_iter().map(|row| row.0).collect())
        })
    }

    fn keys(&self) -> Stored<'_, Vec<Key>> {
        self.read(async {
            let rows: Vec<Row<Key>> = sqlx::query_as("SELECT * FROM keys")
                .fetch_all(&mut *self.connection().await)
                .await?;
            Ok(rows.into_iter().map(|row| row.0).collect())
        })
    }

    fn answer<'a>(
        &'a self,
        key: &'a str,
        request: &'a str,
        now: Timestamp,
    ) -> Stored<'a, Option<Answer>> {
        self.read(async move {
            let row: Option<Row<Answer>> = sqlx::query_as(
                "SELECT * FROM answers WHERE key = ? AND request = ? AND expires > ?",
            )
            .bind(key)
            .bind(request)
            .bind(now.as_microsecond())
            .fetch_optional(&mut *self.connection().await)
            .await?;
            Ok(row.map(|row| row.0))
        })
    }

    fn audit<'a>(&'a self, page: &'a Page) -> Stored<'a, Vec<Entry>> {
        self.read(async {
            let rows: Vec<Row<Entry>> = sqlx::query_as(
                "SELECT * FROM audit WHERE id < ?1 AND (?2 IS NULL OR target = ?2) ORDER BY id DESC LIMIT ?3",
            )
            .bind(page.before.unwrap_or(i64::MAX))
            .bind(&page.target)
            .bind(page.limit)
            .fetch_all(&mut *self.connection().await)
            .await?;
            Ok(rows.into_iter().map(|row| row.0).collect())
        })
    }

    fn team(&self) -> Stored<'_, String> {
        self.read(async {
            let mut connection = self.connection().await;
            let id =
                crate::random::uuid().map_err(|problem| sqlx::Error::Encode(problem.into()))?;
            sqlx::query("INSERT INTO team SELECT ? WHERE NOT EXISTS (SELECT 1 FROM team)")
                .bind(id)
                .execute(&mut *connection)
                .await?;
            let (id,) = sqlx::query_as("SELECT id FROM team")
                .fetch_one(&mut *connection)
                .await?;
            Ok(id)
        })
    }
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
        Some(5 | 6) => "another program holds it for long; see who has it open",
        Some(8) => "make the file and its folder writable for their owner",
        Some(13) => "make room on its disk",
        Some(11 | 26) => {
            "it is damaged: put back a copy, or move it away with its -wal and -shm files to start anew"
        }
        _ => "see that the disk is sound and the file is a store of this program",
    };
    Error::rule(format!("{step} the store"), why)
        .on(path.display())
        .hint(hint)
}
