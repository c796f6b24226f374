//! Rows as values. What isn't ours to query by is JSON.

use super::Answer;
use crate::audit::Entry;
use crate::keys::Key;
use crate::record::{Lifetime, Record, Snapshot};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};
use std::time::Duration;

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) struct Stored<T>(pub(super) T);

impl FromRow<'_, SqliteRow> for Stored<Record> {
    fn from_row(row: &SqliteRow) -> Result<Self> {
        Ok(Self(Record {
            id: text(row, "id")?,
            key: row.try_get("key")?,
            node: row.try_get("node")?,
            state: word(row, "state")?,
            reason: row.try_get("reason")?,
            wish: json(row, "wish")?,
            network: json(row, "network")?,
            traffic_token: row.try_get("traffic_token")?,
            metadata: json(row, "metadata")?,
            created: time(row, "created")?,
            paused: maybe_time(row, "paused")?,
            ended: maybe_time(row, "ended")?,
            lifetime: Lifetime {
                first: seconds(row, "first_timeout")?,
                end: maybe_time(row, "end_at")?,
                idle: seconds(row, "idle")?,
                at_end: word(row, "at_end")?,
                auto_resume: row.try_get("auto_resume")?,
            },
        }))
    }
}

impl FromRow<'_, SqliteRow> for Stored<Snapshot> {
    fn from_row(row: &SqliteRow) -> Result<Self> {
        Ok(Self(Snapshot {
            id: text(row, "id")?,
            key: row.try_get("key")?,
            name: row.try_get("name")?,
            sandbox: text(row, "sandbox")?,
            resources: json(row, "resources")?,
            created: time(row, "created")?,
            ready: row.try_get("ready")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Stored<Key> {
    fn from_row(row: &SqliteRow) -> Result<Self> {
        let hash: Vec<u8> = row.try_get("hash")?;
        Ok(Self(Key {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            hash: hash
                .try_into()
                .map_err(|_| undecodable("hash", "not 32 bytes"))?,
            first: row.try_get("first")?,
            last: row.try_get("last")?,
            scope: word(row, "scope")?,
            quotas: json(row, "quotas")?,
            created: time(row, "created")?,
            used: maybe_time(row, "used")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Stored<Entry> {
    fn from_row(row: &SqliteRow) -> Result<Self> {
        Ok(Self(Entry {
            id: row.try_get("id")?,
            at: time(row, "at")?,
            actor: row.try_get("actor")?,
            action: row.try_get("action")?,
            target: row.try_get("target")?,
            outcome: row.try_get("outcome")?,
            detail: json(row, "detail")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Stored<Answer> {
    fn from_row(row: &SqliteRow) -> Result<Self> {
        Ok(Self(Answer {
            key: row.try_get("key")?,
            request: row.try_get("request")?,
            asked: row.try_get("asked")?,
            status: row.try_get("status")?,
            body: row.try_get("body")?,
            expires: time(row, "expires")?,
        }))
    }
}

/// A value as JSON; one of our own types always has it.
pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// An enum's word.
pub(super) fn to_word<T: Serialize>(value: &T) -> Result<String> {
    Ok(to_json(value)?.trim_matches('"').to_owned())
}

fn text<T: std::str::FromStr<Err: std::fmt::Display>>(row: &SqliteRow, column: &str) -> Result<T> {
    let text: String = row.try_get(column)?;
    text.parse()
        .map_err(|error: T::Err| undecodable(column, error.to_string()))
}

fn word<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    let word: String = row.try_get(column)?;
    let value = serde_json::Value::String(word);
    serde_json::from_value(value).map_err(|error| undecodable(column, error))
}

fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| undecodable(column, error))
}

fn time(row: &SqliteRow, column: &str) -> Result<Timestamp> {
    Timestamp::from_microsecond(row.try_get(column)?).map_err(|error| undecodable(column, error))
}

fn maybe_time(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>> {
    let microseconds: Option<i64> = row.try_get(column)?;
    let time = microseconds.map(Timestamp::from_microsecond).transpose();
    time.map_err(|error| undecodable(column, error))
}

fn seconds(row: &SqliteRow, column: &str) -> Result<Option<Duration>> {
    let seconds: Option<i64> = row.try_get(column)?;
    let duration = seconds.map(u64::try_from).transpose();
    let duration = duration.map_err(|error| undecodable(column, error))?;
    Ok(duration.map(Duration::from_secs))
}

fn undecodable(
    column: &str,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.into(),
        source: why.into(),
    }
}
