//! The store in one SQLite file.
//!
//! One connection, so the order of commits is the order of the calls. The log is written ahead and
//! not flushed at each commit: after a loss of power the last moments may be missing, never a half;
//! the node's list of sandboxes tells what is true anyway.

use super::rows::{Stored as Row, to_json, to_word};
use super::{Answer, Change, Page, Store, Stored, schema};
use crate::audit::Entry;
use crate::keys::Key;
use crate::record::Record;
use casemate_core::error::{Error, Result};
use casemate_core::sandbox::SandboxId;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// How long another program may hold the file before a request is refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// Sandboxes that are over and still have a row.
const MOST_OVER: i64 = 1000;
/// Lines of the audit journal.
const MOST_ENTRIES: i64 = 100_000;

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
        make(path)?;
        let turn = take_turn(path)?;
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(PATIENCE)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("trusted_schema", "off")
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

    /// The connection. Who waits behind one that waits for another program gives up as well: a
    /// queue of requests must not be as long as all their patience together.
    pub(super) async fn connection(&self) -> sqlx::Result<MutexGuard<'_, SqliteConnection>> {
        let locked = tokio::time::timeout(PATIENCE, self.connection.lock());
        locked.await.map_err(|_| sqlx::Error::PoolTimedOut)
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
                let mut connection = self.connection().await?;
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
                    .fetch_all(&mut *self.connection().await?)
                    .await?;
            Ok(rows.into_iter().map(|row| row.0).collect())
        })
    }

    fn sandbox<'a>(&'a self, id: &'a SandboxId) -> Stored<'a, Option<Record>> {
        self.read(async {
            let row: Option<Row<Record>> = sqlx::query_as("SELECT * FROM sandboxes WHERE id = ?")
                .bind(id.as_str())
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            Ok(row.map(|row| row.0))
        })
    }

    fn keys(&self) -> Stored<'_, Vec<Key>> {
        self.read(async {
            let rows: Vec<Row<Key>> = sqlx::query_as("SELECT * FROM keys")
                .fetch_all(&mut *self.connection().await?)
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
            .fetch_optional(&mut *self.connection().await?)
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
            .fetch_all(&mut *self.connection().await?)
            .await?;
            Ok(rows.into_iter().map(|row| row.0).collect())
        })
    }

    fn team(&self) -> Stored<'_, String> {
        self.read(async {
            let mut connection = self.connection().await?;
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

async fn write(connection: &mut SqliteConnection, change: &Change) -> sqlx::Result<()> {
    match change {
        Change::Sandbox(record) => write_sandbox(connection, record).await,
        Change::Audit(entry) => write_entry(connection, entry).await,
        Change::Answer(answer) => write_answer(connection, answer).await,
        Change::Key(key) => write_key(connection, key).await,
        Change::Used(id, at) => {
            sqlx::query("UPDATE keys SET used = ? WHERE id = ?")
                .bind(at.as_microsecond())
                .bind(id)
                .execute(connection)
                .await?;
            Ok(())
        }
        Change::Revoked(id) => {
            sqlx::query("DELETE FROM keys WHERE id = ?")
                .bind(id)
                .execute(&mut *connection)
                .await?;
            sqlx::query("DELETE FROM answers WHERE key = ?")
                .bind(id)
                .execute(connection)
                .await?;
            Ok(())
        }
    }
}

async fn write_sandbox(connection: &mut SqliteConnection, record: &Record) -> sqlx::Result<()> {
    let lifetime = &record.lifetime;
    let whole = |duration: Option<Duration>| {
        duration.map(|duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
    };
    sqlx::query("INSERT OR REPLACE INTO sandboxes VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
        .bind(record.id.as_str())
        .bind(&record.key)
        .bind(&record.node)
        .bind(to_word(&record.state)?)
        .bind(&record.reason)
        .bind(to_json(&record.wish)?)
        .bind(to_json(&record.network)?)
        .bind(&record.traffic_token)
        .bind(to_json(&record.metadata)?)
        .bind(record.created.as_microsecond())
        .bind(record.paused.map(Timestamp::as_microsecond))
        .bind(record.ended.map(Timestamp::as_microsecond))
        .bind(whole(lifetime.first))
        .bind(lifetime.end.map(Timestamp::as_microsecond))
        .bind(whole(lifetime.idle))
        .bind(to_word(&lifetime.at_end)?)
        .bind(lifetime.auto_resume)
        .execute(&mut *connection)
        .await?;
    if record.ended.is_some() {
        sqlx::query(
            "DELETE FROM sandboxes WHERE ended < (SELECT ended FROM sandboxes WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT 1 OFFSET ?)",
        )
        .bind(MOST_OVER - 1)
        .execute(connection)
        .await?;
    }
    Ok(())
}

async fn write_entry(connection: &mut SqliteConnection, entry: &Entry) -> sqlx::Result<()> {
    let done = sqlx::query(
        "INSERT INTO audit (at, actor, action, target, outcome, detail) VALUES (?,?,?,?,?,?)",
    )
    .bind(entry.at.as_microsecond())
    .bind(&entry.actor)
    .bind(&entry.action)
    .bind(&entry.target)
    .bind(&entry.outcome)
    .bind(to_json(&entry.detail)?)
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM audit WHERE id <= ?")
        .bind(done.last_insert_rowid() - MOST_ENTRIES)
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_answer(connection: &mut SqliteConnection, answer: &Answer) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM answers WHERE expires <= ?")
        .bind(answer.expires.as_microsecond() - crate::idempotency::KEPT.as_micros() as i64)
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?)")
        .bind(&answer.key)
        .bind(&answer.request)
        .bind(&answer.asked)
        .bind(answer.status)
        .bind(&answer.body)
        .bind(answer.expires.as_microsecond())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_key(connection: &mut SqliteConnection, key: &Key) -> sqlx::Result<()> {
    sqlx::query("INSERT OR REPLACE INTO keys VALUES (?,?,?,?,?,?,?,?,?)")
        .bind(&key.id)
        .bind(&key.name)
        .bind(key.hash.as_slice())
        .bind(&key.first)
        .bind(&key.last)
        .bind(to_word(&key.scope)?)
        .bind(to_json(&key.quotas)?)
        .bind(key.created.as_microsecond())
        .bind(key.used.map(Timestamp::as_microsecond))
        .execute(connection)
        .await?;
    Ok(())
}

/// Makes folder and file for the owner alone: tokens of sandboxes are in it.
fn make(path: &Path) -> Result<()> {
    let failed = |step: &str, error: std::io::Error| {
        Error::io(step, &error)
            .on(path.display())
            .hint("the folder of the store has to be yours and writable")
    };
    let folder = path.parent().unwrap_or(path);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(folder)
        .map_err(|error| failed("make the folder of the store", error))?;
    // The file is only ever made here, never opened once SQLite has it: closing any descriptor of
    // a file takes away the locks that SQLite, in this process, holds on it (fcntl(2)).
    let new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match new {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
                .map_err(|error| failed("close the store to others", error))
        }
        made => made
            .map(drop)
            .map_err(|error| failed("make the store", error)),
    }
}

/// Takes the lock beside the file; the kernel lets go of it when the daemon ends.
fn take_turn(path: &Path) -> Result<File> {
    let lock = path.with_extension("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let file = options
        .open(&lock)
        .map_err(|error| Error::io("open the lock of the store", &error).on(lock.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::rule("open the store", "another daemon uses it")
                .on(path.display())
                .hint("stop that daemon, or give this one a store of its own"))
        }
        Err(TryLockError::Error(error)) => {
            Err(Error::io("lock the store", &error).on(lock.display()))
        }
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
