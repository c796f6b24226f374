//! What clients are told.

use crate::lifecycle::BASE;
use crate::meters::Sample;
use crate::network::Network;
use crate::record::{AtEnd, Record};
use crate::settings::{ENVD_VERSION, Settings};
use casemate_core::sandbox::lifecycle::State;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// E2B's clients want an end; this one is far, and still a date in every time zone.
const FAR: Timestamp = Timestamp::constant(253_370_764_800, 0);
/// E2B's id of the client; nothing depends on it.
const CLIENT: &str = "casemate";

/// E2B's `Sandbox`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Sandbox {
    #[serde(rename = "templateID")]
    template: String,
    #[serde(rename = "sandboxID")]
    id: String,
    alias: &'static str,
    #[serde(rename = "clientID")]
    client: &'static str,
    envd_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    envd_access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic_access_token: Option<String>,
    domain: Option<String>,
}

impl Sandbox {
    pub(in crate::rest) fn of(record: &Record, settings: &Settings) -> Self {
        Self {
            template: record.wish.template.clone(),
            id: record.id.to_string(),
            alias: BASE,
            client: CLIENT,
            envd_version: ENVD_VERSION,
            envd_access_token: record.wish.access_token.clone(),
            traffic_access_token: record.traffic_token.clone(),
            domain: settings.domain.clone(),
        }
    }
}

/// E2B's `ListedSandbox`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Listed {
    #[serde(rename = "templateID")]
    template: String,
    #[serde(rename = "sandboxID")]
    id: String,
    alias: &'static str,
    #[serde(rename = "clientID")]
    client: &'static str,
    started_at: Timestamp,
    end_at: Timestamp,
    cpu_count: u32,
    #[serde(rename = "memoryMB")]
    memory_mb: u64,
    #[serde(rename = "diskSizeMB")]
    disk_mb: u64,
    metadata: BTreeMap<String, String>,
    state: &'static str,
    envd_version: &'static str,
}

impl Listed {
    pub(in crate::rest) fn of(record: &Record) -> Self {
        let resources = record.wish.resources;
        Self {
            template: record.wish.template.clone(),
            id: record.id.to_string(),
            alias: BASE,
            client: CLIENT,
            started_at: record.created,
            end_at: record.paused.or(record.lifetime.end).unwrap_or(FAR),
            cpu_count: resources.cpus,
            memory_mb: resources.memory >> 20,
            disk_mb: resources.disk >> 20,
            metadata: record.metadata.clone(),
            state: state(record.state),
            envd_version: ENVD_VERSION,
        }
    }
}

/// E2B's `SandboxDetail`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Detail {
    #[serde(flatten)]
    listed: Listed,
    #[serde(skip_serializing_if = "Option::is_none")]
    envd_access_token: Option<String>,
    allow_internet_access: Option<bool>,
    domain: Option<String>,
    network: Network,
    lifecycle: Lifecycle,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle {
    auto_resume: bool,
    on_timeout: &'static str,
}

impl Detail {
    pub(in crate::rest) fn of(record: &Record, settings: &Settings) -> Self {
        Self {
            listed: Listed::of(record),
            envd_access_token: record.wish.access_token.clone(),
            allow_internet_access: record.network.internet,
            domain: settings.domain.clone(),
            network: Network {
                internet: None,
                ..record.network.clone()
            },
            lifecycle: Lifecycle {
                auto_resume: record.lifetime.auto_resume,
                on_timeout: match record.lifetime.at_end {
                    AtEnd::Kill => "kill",
                    AtEnd::Pause | AtEnd::PauseFiles => "pause",
                },
            },
        }
    }

    /// For who is only to look.
    pub(in crate::rest) fn without_token(mut self) -> Self {
        self.envd_access_token = None;
        self
    }
}

/// E2B knows two states.
fn state(state: State) -> &'static str {
    match state {
        State::Paused | State::Resuming => "paused",
        _ => "running",
    }
}

/// E2B's `SandboxMetric`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Metric {
    timestamp: Timestamp,
    timestamp_unix: i64,
    cpu_count: u32,
    cpu_used_pct: f64,
    mem_used: u64,
    mem_total: u64,
    mem_cache: u64,
    disk_used: u64,
    disk_total: u64,
}

impl Metric {
    pub(in crate::rest) fn of(sample: &Sample, record: &Record) -> Self {
        let resources = record.wish.resources;
        Self {
            timestamp: sample.at,
            timestamp_unix: sample.at.as_second(),
            cpu_count: resources.cpus,
            cpu_used_pct: sample.cpu_percent,
            mem_used: sample.usage.memory,
            mem_total: resources.memory,
            mem_cache: sample.usage.cache,
            disk_used: sample.usage.disk,
            disk_total: resources.disk,
        }
    }
}
