//! What clients may ask of Casemate beyond E2B: the field `casemate` of E2B's shapes.

use super::told::Detail;
use crate::problem::Problem;
use crate::record::Record;
use crate::settings::Settings;
use casemate_core::limits::ByteSize;
use casemate_core::sandbox::Resources;
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;
use utoipa::ToSchema;

/// `casemate` of a new sandbox.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Demand {
    /// The sandbox has no end; `timeout` is left out then.
    pub(super) never: Option<bool>,
    /// It ends (as at its timeout) after so many seconds without a request.
    idle_timeout: Option<u32>,
    /// What it may use, where that isn't the server's default.
    resources: Option<ResourceDemand>,
    /// A whole Casemate policy, in place of `network`.
    pub(super) policy: Option<String>,
}

/// What a sandbox may use.
#[derive(Deserialize, ToSchema)]
pub(in crate::rest) struct ResourceDemand {
    /// Processors.
    cpus: Option<u32>,
    /// MiB of memory.
    #[serde(rename = "memoryMB")]
    memory_mb: Option<u32>,
    /// MiB of private disk.
    #[serde(rename = "diskMB")]
    disk_mb: Option<u32>,
    /// Processes and threads.
    pids: Option<u32>,
}

/// What asks the same as the fields, for clients that can add headers and no fields.
const NEVER: &str = "casemate-never";
const IDLE_TIMEOUT: &str = "casemate-idle-timeout";

impl Demand {
    /// Adds what the headers say. True if they say that there is no end: such clients always send a
    /// timeout, which then means nothing.
    pub(super) fn read(&mut self, headers: &HeaderMap) -> Result<bool, Problem> {
        let never = header(headers, NEVER)?.unwrap_or(false);
        self.never = self.never.or(never.then_some(true));
        self.idle_timeout = header(headers, IDLE_TIMEOUT)?.or(self.idle_timeout);
        Ok(never)
    }

    pub(super) fn idle(&self) -> Result<Option<Duration>, Problem> {
        idle(self.idle_timeout)
    }

    pub(super) fn resources(&self, defaults: Resources) -> Result<Resources, Problem> {
        let Some(wanted) = &self.resources else {
            return Ok(defaults);
        };
        let of = |name: &str, value: Option<u32>, default: u64, unit: u64| match value {
            None => Ok(default),
            Some(0) => Err(Problem::bad(format!(
                "casemate.resources.{name}: less than 1"
            ))),
            Some(value) => Ok(u64::from(value) * unit),
        };
        let mib = ByteSize::mib(1).0;
        let cpus = of("cpus", wanted.cpus, u64::from(defaults.cpus), 1)?;
        Ok(Resources {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            memory: of("memoryMB", wanted.memory_mb, defaults.memory, mib)?,
            disk: of("diskMB", wanted.disk_mb, defaults.disk, mib)?,
            pids: of("pids", wanted.pids, defaults.pids, 1)?,
        })
    }
}

/// `casemate` of a new timeout.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct LifetimeDemand {
    /// The sandbox has no end any more; `timeout` is left out then.
    pub(in crate::rest) never: Option<bool>,
    /// It ends after so many seconds without a request; 0 takes this away.
    idle_timeout: Option<u32>,
}

impl LifetimeDemand {
    /// The new limit of idleness, if it is to change.
    pub(in crate::rest) fn idle(&self) -> Option<Option<Duration>> {
        let seconds = self.idle_timeout?;
        Some((seconds > 0).then(|| Duration::from_secs(seconds.into())))
    }
}

fn header<T: FromStr>(headers: &HeaderMap, name: &str) -> Result<Option<T>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let value = value.to_str().ok().and_then(|value| value.parse().ok());
    let value = value.ok_or_else(|| Problem::bad(format!("{name}: not what this header says")))?;
    Ok(Some(value))
}

fn idle(seconds: Option<u32>) -> Result<Option<Duration>, Problem> {
    match seconds {
        Some(0) => Err(Problem::bad("casemate.idleTimeout: less than 1")),
        seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.into()))),
    }
}

/// All that is known of a sandbox, its secrets excepted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Inspected {
    /// What E2B's route tells.
    #[schema(value_type = Object)]
    sandbox: Detail,
    /// `creating`, `running`, `pausing`, `paused`, `resuming`, `stopping`, `stopped` or `failed`.
    state: String,
    /// Why it ended, if nobody asked for it.
    reason: Option<String>,
    /// The id of the API key that made it.
    key: String,
    /// The node that keeps it.
    node: String,
    /// When it is to end; nothing if never.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_at: Option<Timestamp>,
    /// Seconds without a request after which it ends.
    idle_timeout: Option<u64>,
    /// Since when it is paused.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// Since when it is gone.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Processes and threads that it may have.
    pids: u64,
    /// Whether it has a whole Casemate policy.
    has_policy: bool,
}

impl Inspected {
    pub(in crate::rest) fn of(record: &Record, settings: &Settings) -> Self {
        Self {
            sandbox: Detail::of(record, settings).without_token(),
            state: record.state.to_string(),
            reason: record.reason.clone(),
            key: record.key.clone(),
            node: record.node.clone(),
            end_at: record.lifetime.end,
            idle_timeout: record.lifetime.idle.map(|idle| idle.as_secs()),
            paused_at: record.paused,
            ended_at: record.ended,
            pids: record.wish.resources.pids,
            has_policy: record.wish.network.policy.is_some(),
        }
    }
}
