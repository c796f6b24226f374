//! Changes as statements.

use super::rows::{to_json, to_word};
use super::{Answer, Change};
use crate::audit::Entry;
use crate::idempotency::KEPT;
use crate::keys::Key;
use crate::record::{Record, Snapshot};
use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use std::time::Duration;

/// Sandboxes that are over and still have a row.
const MOST_OVER: i64 = 1000;
/// Lines of the audit journal.
const MOST_ENTRIES: i64 = 100_000;

/// Writes one change; the caller's transaction makes it whole.
pub(super) async fn write(connection: &mut SqliteConnection, change: &Change) -> sqlx::Result<()> {
    match change {
        Change::Sandbox(record) => write_sandbox(connection, record).await,
        Change::Snapshot(snapshot) => write_snapshot(connection, snapshot).await,
        Change::Discarded(id) => {
            sqlx::query("DELETE FROM snapshots WHERE id = ?")
                .bind(id.as_str())
                .execute(connection)
                .await?;
            Ok(())
        }
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

async fn write_snapshot(
    connection: &mut SqliteConnection,
    snapshot: &Snapshot,
) -> sqlx::Result<()> {
    sqlx::query("INSERT OR REPLACE INTO snapshots VALUES (?,?,?,?,?,?,?)")
        .bind(snapshot.id.as_str())
        .bind(&snapshot.key)
        .bind(&snapshot.name)
        .bind(snapshot.sandbox.as_str())
        .bind(to_json(&snapshot.resources)?)
        .bind(snapshot.created.as_microsecond())
        .bind(snapshot.ready)
        .execute(connection)
        .await?;
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
    // It is given now, and kept as long as all of them.
    let now = answer.expires.as_microsecond() - KEPT.as_micros() as i64;
    sqlx::query("DELETE FROM answers WHERE expires <= ?")
        .bind(now)
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
