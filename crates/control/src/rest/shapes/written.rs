//! Snapshots and forks: what clients ask for, and are told.

use super::Sandbox;
use super::asked::{keep, seconds};
use crate::lifecycle::BASE;
use crate::problem::Problem;
use crate::record::{Record, Snapshot};
use crate::settings::Settings;
use casemate_core::sandbox::{Keep, SnapshotId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// E2B's `SandboxSnapshotRequest`.
#[derive(Deserialize)]
pub(in crate::rest) struct NewSnapshot {
    name: Option<String>,
    memory: Option<bool>,
}

/// Bytes of a snapshot's name.
const LONGEST_NAME: usize = 128;

impl NewSnapshot {
    pub(in crate::rest) fn keep(&self) -> Keep {
        keep(self.memory)
    }

    pub(in crate::rest) fn name(self) -> Result<Option<String>, Problem> {
        let Some(name) = self.name.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
        if name.len() > LONGEST_NAME || !name.bytes().all(sound) {
            return Err(Problem::bad(format!(
                "name: letters, digits and -_./: only, and {LONGEST_NAME} at most"
            )));
        }
        if name == BASE || name.parse::<SnapshotId>().is_ok() {
            return Err(Problem::bad("name: it is a template's or a snapshot's id"));
        }
        Ok(Some(name))
    }
}

/// E2B's `SandboxForkRequest`.
#[derive(Deserialize)]
pub(in crate::rest) struct Fork {
    timeout: Option<i32>,
    count: Option<i64>,
}

/// Forks of one request.
const MOST_FORKS: usize = 100;
/// How long they run if the request doesn't say.
const FORKED: Duration = Duration::from_secs(15);

impl Fork {
    pub(in crate::rest) fn count(&self) -> Result<usize, Problem> {
        let count = usize::try_from(self.count.unwrap_or(1)).unwrap_or(0);
        match (1..=MOST_FORKS).contains(&count) {
            true => Ok(count),
            false => Err(Problem::bad(format!(
                "count: not a whole number from 1 to {MOST_FORKS}"
            ))),
        }
    }

    pub(in crate::rest) fn timeout(&self) -> Result<Duration, Problem> {
        Ok(seconds("timeout", self.timeout)?.unwrap_or(FORKED))
    }
}

/// E2B's `SnapshotInfo`.
#[derive(Serialize)]
pub(in crate::rest) struct SnapshotInfo {
    #[serde(rename = "snapshotID")]
    id: String,
    names: Vec<String>,
}

impl SnapshotInfo {
    pub(in crate::rest) fn of(snapshot: &Snapshot) -> Self {
        Self {
            id: snapshot.id.to_string(),
            names: snapshot.name.iter().cloned().collect(),
        }
    }
}

/// E2B's `SandboxForkResult`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::rest) enum Forked {
    Sandbox(Box<Sandbox>),
    Error { code: u16, message: String },
}

impl Forked {
    pub(in crate::rest) fn of(fork: &Result<Arc<Record>, Problem>, settings: &Settings) -> Self {
        match fork {
            Ok(record) => Self::Sandbox(Box::new(Sandbox::of(record, settings))),
            Err(problem) => Self::Error {
                code: problem.status.as_u16(),
                message: problem.message.clone(),
            },
        }
    }
}
