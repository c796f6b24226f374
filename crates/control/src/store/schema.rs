//! The tables, and how an older file gets them.
//!
//! Each step is applied once, in order, and counted in `user_version`; a step that was released is
//! never changed.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _};

const STEPS: &[&str] = &[
    "
    CREATE TABLE team (id TEXT NOT NULL) STRICT;

    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE,
        first TEXT NOT NULL,
        last TEXT NOT NULL,
        scope TEXT NOT NULL,
        quotas TEXT NOT NULL,
        created INTEGER NOT NULL,
        used INTEGER
    ) STRICT;

    CREATE TABLE sandboxes (
        id TEXT PRIMARY KEY,
        key TEXT NOT NULL,
        node TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        wish TEXT NOT NULL,
        network TEXT NOT NULL,
        traffic_token TEXT,
        metadata TEXT NOT NULL,
        created INTEGER NOT NULL,
        paused INTEGER,
        ended INTEGER,
        first_timeout INTEGER,
        end_at INTEGER,
        idle INTEGER,
        at_end TEXT NOT NULL,
        auto_resume INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX sandboxes_ended ON sandboxes (ended);

    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT NOT NULL,
        outcome TEXT,
        detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX audit_target ON audit (target, id);

    CREATE TABLE answers (
        key TEXT NOT NULL,
        request TEXT NOT NULL,
        asked BLOB NOT NULL,
        status INTEGER NOT NULL,
        body TEXT NOT NULL,
        expires INTEGER NOT NULL,
        PRIMARY KEY (key, request)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX answers_expires ON answers (expires);
",
    "
    CREATE TABLE snapshots (
        id TEXT PRIMARY KEY,
        key TEXT NOT NULL,
        name TEXT,
        sandbox TEXT NOT NULL,
        resources TEXT NOT NULL,
        created INTEGER NOT NULL,
        ready INTEGER NOT NULL
    ) STRICT;
",
];

/// The version that this program knows.
pub(super) const VERSION: usize = STEPS.len();

/// Brings the file up to date. Returns its version, which is higher than ours if a newer program
/// made it.
pub(super) async fn prepare(connection: &mut SqliteConnection) -> Result<usize, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let (found,): (i64,) = sqlx::query_as("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let missing = STEPS.get(found..).unwrap_or_default();
    for step in missing {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
    }
    if !missing.is_empty() {
        let stamp = format!("PRAGMA user_version = {VERSION}");
        sqlx::raw_sql(AssertSqlSafe(stamp))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(found.max(VERSION))
}
