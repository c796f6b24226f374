//! What clients ask for.

use super::extension::{Demand, LifetimeDemand};
use crate::lifecycle::Order;
use crate::network::Network;
use crate::problem::{Problem, shown};
use crate::record::AtEnd;
use casemate_core::sandbox::{Keep, Resources};
use http::HeaderMap;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Labels of one sandbox.
const MOST_LABELS: usize = 256;
/// Bytes of all of them.
const LONGEST_LABELS: usize = 64 * 1024;

/// E2B's `NewSandbox`, both versions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct NewSandbox {
    #[serde(rename = "templateID")]
    template: String,
    timeout: Option<i32>,
    auto_pause: Option<bool>,
    auto_pause_memory: Option<bool>,
    auto_resume: Option<AutoResume>,
    secure: Option<bool>,
    #[serde(rename = "allow_internet_access")]
    internet: Option<bool>,
    network: Option<Network>,
    metadata: Option<BTreeMap<String, String>>,
    env_vars: Option<BTreeMap<String, String>>,
    iam: Option<Iam>,
    volume_mounts: Option<Vec<VolumeMount>>,
    casemate: Option<Demand>,
}

#[derive(Deserialize)]
struct AutoResume {
    enabled: bool,
}

#[derive(Deserialize)]
struct Iam {
    tokens: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct VolumeMount {
    name: String,
}

/// What the two versions of the route differ in.
#[derive(Clone, Copy)]
pub(in crate::rest) struct Version {
    /// How long a sandbox runs if the request doesn't say.
    pub(in crate::rest) timeout: Duration,
    /// A token is made whatever the request says.
    pub(in crate::rest) always_secure: bool,
}

impl NewSandbox {
    /// The order, checked for what can be seen without a node.
    pub(in crate::rest) fn order(
        mut self,
        headers: &HeaderMap,
        version: Version,
        defaults: Resources,
    ) -> Result<Order, Problem> {
        let auto_pause = self.auto_pause.unwrap_or(false);
        let auto_resume = self.auto_resume.is_some_and(|resume| resume.enabled);
        check_filesystem_only(self.auto_pause_memory, auto_pause, auto_resume)?;
        if self
            .iam
            .and_then(|iam| iam.tokens)
            .is_some_and(|tokens| !tokens.is_empty())
        {
            return Err(Problem::unsupported("iam.tokens"));
        }
        if let Some(mount) = self.volume_mounts.iter().flatten().next() {
            return Err(Problem::unsupported(&format!(
                "volumeMounts ('{}')",
                shown(&mount.name)
            )));
        }
        let mut demand = self.casemate.take().unwrap_or_default();
        if demand.read(headers)? {
            self.timeout = None;
        }
        let environment = self.env_vars.unwrap_or_default();
        check_environment(&environment)?;
        let metadata = self.metadata.unwrap_or_default();
        let labels = metadata
            .iter()
            .map(|(name, value)| name.len() + value.len());
        if metadata.len() > MOST_LABELS || labels.sum::<usize>() > LONGEST_LABELS {
            return Err(Problem::bad(format!(
                "metadata: more than {MOST_LABELS} entries, or {LONGEST_LABELS} bytes"
            )));
        }
        let timeout = match demand.never.unwrap_or(false) {
            true if self.timeout.is_some() => {
                return Err(Problem::bad("casemate.never: there is a timeout as well"));
            }
            true => None,
            false => Some(seconds("timeout", self.timeout)?.unwrap_or(version.timeout)),
        };
        Ok(Order {
            template: self.template,
            timeout,
            idle: demand.idle()?,
            at_end: match (auto_pause, self.auto_pause_memory) {
                (true, Some(false)) => AtEnd::PauseFiles,
                (true, _) => AtEnd::Pause,
                (false, _) => AtEnd::Kill,
            },
            auto_resume,
            secure: version.always_secure || self.secure.unwrap_or(false),
            network: Network {
                internet: self.internet,
                ..self.network.unwrap_or_default()
            },
            resources: demand.resources(defaults)?,
            policy: demand.policy,
            metadata,
            environment,
        })
    }
}

fn check_filesystem_only(
    memory: Option<bool>,
    auto_pause: bool,
    auto_resume: bool,
) -> Result<(), Problem> {
    match (memory, auto_pause, auto_resume) {
        (Some(false), false, _) => Err(Problem::bad("autoPauseMemory: false needs autoPause")),
        (Some(false), true, true) => {
            Err(Problem::bad("autoPauseMemory: false excludes autoResume"))
        }
        _ => Ok(()),
    }
}

pub(super) fn keep(memory: Option<bool>) -> Keep {
    match memory {
        Some(false) => Keep::Files,
        _ => Keep::Memory,
    }
}

fn check_environment(variables: &BTreeMap<String, String>) -> Result<(), Problem> {
    for (name, value) in variables {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Problem::bad(format!(
                "envVars.{}: a name has no '=', and neither has a NUL",
                shown(name)
            )));
        }
    }
    Ok(())
}

/// A number of seconds that isn't negative.
pub(super) fn seconds(field: &str, value: Option<i32>) -> Result<Option<Duration>, Problem> {
    let seconds = value.map(u64::try_from).transpose();
    let seconds = seconds.map_err(|_| Problem::bad(format!("{field}: less than 0")))?;
    Ok(seconds.map(Duration::from_secs))
}

/// E2B's `SandboxTimeoutRequest`, and our extension.
#[derive(Deserialize)]
pub(in crate::rest) struct SetTimeout {
    timeout: Option<i32>,
    casemate: Option<LifetimeDemand>,
}

impl SetTimeout {
    pub(in crate::rest) fn timeout(&self) -> Result<Option<Duration>, Problem> {
        seconds("timeout", self.timeout)
    }

    pub(in crate::rest) fn demand(&self) -> Option<&LifetimeDemand> {
        self.casemate.as_ref()
    }
}

/// E2B's `SandboxRefreshRequest`.
#[derive(Deserialize)]
pub(in crate::rest) struct Refresh {
    duration: Option<i32>,
}

impl Refresh {
    pub(in crate::rest) fn duration(&self) -> Result<Option<Duration>, Problem> {
        seconds("duration", self.duration)
    }
}

/// E2B's `ConnectSandbox`.
#[derive(Deserialize)]
pub(in crate::rest) struct Connect {
    timeout: Option<i32>,
    memory: Option<bool>,
}

impl Connect {
    pub(in crate::rest) fn keep(&self) -> Keep {
        keep(self.memory)
    }

    pub(in crate::rest) fn timeout(&self) -> Result<Option<Duration>, Problem> {
        seconds("timeout", self.timeout)
    }
}

/// E2B's `ResumedSandbox`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Resume {
    timeout: Option<i32>,
    auto_pause: Option<bool>,
    memory: Option<bool>,
}

impl Resume {
    pub(in crate::rest) fn keep(&self) -> Keep {
        keep(self.memory)
    }

    pub(in crate::rest) fn timeout(&self) -> Result<Option<Duration>, Problem> {
        seconds("timeout", self.timeout)
    }

    pub(in crate::rest) fn at_end(&self) -> Option<AtEnd> {
        self.auto_pause.map(|pause| match pause {
            true => AtEnd::Pause,
            false => AtEnd::Kill,
        })
    }
}

/// E2B's `SandboxPauseRequest`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Pause {
    memory: Option<bool>,
    require_healthy_guest: Option<bool>,
}

impl Pause {
    pub(in crate::rest) fn keep(&self) -> Keep {
        keep(self.memory)
    }

    pub(in crate::rest) fn is_strict(&self) -> bool {
        self.require_healthy_guest.unwrap_or(false)
    }
}
