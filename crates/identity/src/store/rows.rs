//! The rows, and the few statements that read and write them.

use super::{Record, Sighting, Verdict};
use crate::digest::Digest;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Error, Row as _, query};

/// The form of the tables.
pub(super) const VERSION: i64 = 1;
/// `PRAGMA application_id`: "CsId".
const APPLICATION: i64 = 0x4373_4964;
/// Refused digests that are kept of a path, to be approved.
const MOST_PENDING: i64 = 8;
/// Paths that are kept. About 300 bytes each.
const MOST_PATHS: i64 = 32_768;
/// How exact `last_seen` is: each time it moves, the disk is waited for.
const HOUR: i64 = 3600;

const TABLE: &str = "
    CREATE TABLE digest (
        path BLOB NOT NULL,
        sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
        first_seen INTEGER NOT NULL,
        last_seen INTEGER NOT NULL,
        approved INTEGER NOT NULL CHECK (approved IN (0, 1)),
        fingerprint BLOB,
        verity BLOB,
        PRIMARY KEY (path, sha256)
    ) STRICT, WITHOUT ROWID";

/// Makes the table in an empty file, and returns the version.
pub(super) async fn prepare(store: &mut SqliteConnection) -> Result<i64, Error> {
    let found: i64 = query("PRAGMA user_version")
        .fetch_one(&mut *store)
        .await?
        .try_get(0)?;
    let application: i64 = query("PRAGMA application_id")
        .fetch_one(&mut *store)
        .await?
        .try_get(0)?;
    if (found, application) != (0, 0) {
        // Another program's file is of no version that is known here.
        return Ok(if application == APPLICATION {
            found
        } else {
            -1
        });
    }
    let mut change = store.begin_with("BEGIN IMMEDIATE").await?;
    let tables: i64 = query("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *change)
        .await?
        .try_get(0)?;
    if tables != 0 {
        return Ok(-1);
    }
    query(TABLE).execute(&mut *change).await?;
    query("PRAGMA application_id = 1131628900")
        .execute(&mut *change)
        .await?;
    query("PRAGMA user_version = 1")
        .execute(&mut *change)
        .await?;
    change.commit().await?;
    Ok(VERSION)
}

pub(super) async fn list(
    store: &mut SqliteConnection,
    path: Option<&[u8]>,
) -> Result<Vec<Record>, Error> {
    let rows = query(
        "SELECT path, sha256, first_seen, last_seen, approved FROM digest
         WHERE ?1 IS NULL OR path = ?1 ORDER BY path, first_seen, sha256",
    );
    let rows = rows.bind(path).fetch_all(store).await?;
    rows.iter().map(record).collect()
}

pub(super) async fn approve(
    store: &mut SqliteConnection,
    path: &[u8],
    digest: Digest,
    now: i64,
) -> Result<(), Error> {
    let statement = query(
        "INSERT INTO digest (path, sha256, first_seen, last_seen, approved) VALUES (?, ?, ?, ?, 1)
         ON CONFLICT DO UPDATE SET approved = 1",
    );
    let bound = statement.bind(path).bind(&digest.0[..]).bind(now).bind(now);
    bound.execute(store).await.map(drop)
}

pub(super) async fn forget(store: &mut SqliteConnection, path: &[u8]) -> Result<u64, Error> {
    let statement = query("DELETE FROM digest WHERE path = ?").bind(path);
    Ok(statement.execute(store).await?.rows_affected())
}

/// By the fingerprint, or by the digest that the kernel holds the file to: that one was recorded
/// together with a SHA-256 of the same contents.
pub(super) async fn recall(
    store: &mut SqliteConnection,
    path: &[u8],
    fingerprint: &[u8],
    verity: Option<&[u8]>,
) -> Result<Option<Digest>, Error> {
    let statement = query(
        "SELECT sha256 FROM digest WHERE path = ? AND (fingerprint = ? OR verity = ?) LIMIT 1",
    );
    let bound = statement.bind(path).bind(fingerprint).bind(verity);
    bound
        .fetch_optional(store)
        .await?
        .map(|row| digest(&row, 0))
        .transpose()
}

pub(super) async fn see(
    store: &mut SqliteConnection,
    seen: &Sighting<'_>,
    now: i64,
) -> Result<Verdict, Error> {
    // The usual case is that nothing is new: a look, without the lock that writers take.
    if is_fresh(store, seen, now).await? {
        return Ok(Verdict::Trusted);
    }
    let mut change = store.begin_with("BEGIN IMMEDIATE").await?;
    let known = list(&mut change, Some(seen.path)).await?;
    let this = known.iter().find(|record| record.digest == seen.digest);
    let verdict = match this {
        Some(record) if record.approved => Verdict::Trusted,
        None if known.is_empty() && (!seen.may_add || is_full(&mut change).await?) => {
            return Ok(Verdict::Unknown);
        }
        None if known.is_empty() => Verdict::Added,
        _ => {
            let approved = known.iter().rev().filter(|record| record.approved);
            Verdict::Changed(approved.map(|record| record.digest).collect())
        }
    };
    if seen.may_add || this.is_some() {
        write(&mut change, seen, verdict == Verdict::Added, now).await?;
    }
    change.commit().await?;
    Ok(verdict)
}

/// True if the row would stay as it is.
async fn is_fresh(
    store: &mut SqliteConnection,
    seen: &Sighting<'_>,
    now: i64,
) -> Result<bool, Error> {
    let statement = query(
        "SELECT 1 FROM digest WHERE path = ? AND sha256 = ? AND approved = 1
         AND last_seen BETWEEN ? AND ? AND (?5 IS NULL OR fingerprint = ?5)",
    );
    let bound = statement.bind(seen.path).bind(&seen.digest.0[..]);
    let bound = bound.bind(now - HOUR).bind(now);
    let bound = bound.bind(seen.fingerprint.map(|fingerprint| fingerprint.to_bytes()));
    Ok(bound.fetch_optional(store).await?.is_some())
}

async fn write(
    store: &mut SqliteConnection,
    seen: &Sighting<'_>,
    approved: bool,
    now: i64,
) -> Result<(), Error> {
    let statement = query(
        "INSERT INTO digest VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET last_seen = ?3,
             fingerprint = coalesce(?5, fingerprint), verity = coalesce(?6, verity)",
    );
    let bound = statement
        .bind(seen.path)
        .bind(&seen.digest.0[..])
        .bind(now)
        .bind(approved);
    let bound = bound.bind(seen.fingerprint.map(|fingerprint| fingerprint.to_bytes()));
    bound.bind(seen.verity).execute(&mut *store).await?;
    // A program that changes a file again and again must not fill the disk.
    let prune = query(
        "DELETE FROM digest WHERE path = ?1 AND approved = 0 AND sha256 NOT IN
         (SELECT sha256 FROM digest WHERE path = ?1 AND approved = 0
          ORDER BY last_seen DESC, sha256 = ?2 DESC LIMIT ?3)",
    );
    let bound = prune
        .bind(seen.path)
        .bind(&seen.digest.0[..])
        .bind(MOST_PENDING);
    bound.execute(store).await.map(drop)
}

async fn is_full(store: &mut SqliteConnection) -> Result<bool, Error> {
    let rows: i64 = query("SELECT count(*) FROM digest")
        .fetch_one(store)
        .await?
        .try_get(0)?;
    Ok(rows >= MOST_PATHS)
}

fn record(row: &SqliteRow) -> Result<Record, Error> {
    Ok(Record {
        path: row.try_get::<&[u8], _>(0)?.into(),
        digest: digest(row, 1)?,
        first_seen: row.try_get(2)?,
        last_seen: row.try_get(3)?,
        approved: row.try_get(4)?,
    })
}

fn digest(row: &SqliteRow, column: usize) -> Result<Digest, Error> {
    let bytes: &[u8] = row.try_get(column)?;
    let digest = bytes
        .try_into()
        .map_err(|error| Error::Decode(Box::new(error)))?;
    Ok(Digest(digest))
}
