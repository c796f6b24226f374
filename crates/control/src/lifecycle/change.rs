//! Changing a sandbox that runs: its end, and where it may connect to.

use crate::census::Sandbox;
use crate::clock::later;
use crate::control::{By, Control};
use crate::meters::Level;
use crate::network::Network;
use crate::problem::Problem;
use crate::record::Record;
use crate::store::Change;
use casemate_core::sandbox::lifecycle::State;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A new end.
pub(crate) enum End {
    /// So long from now, sooner or later than before.
    In(Duration),
    /// So long from now, unless it is later already.
    NotBefore(Duration),
    /// Never.
    Never,
    /// As it is.
    Same,
}

impl Control {
    /// Moves the end of a sandbox that runs. `idle` replaces the limit of idleness, if given.
    pub(crate) async fn set_end(
        &self,
        by: &By,
        id: &str,
        end: End,
        idle: Option<Option<Duration>>,
    ) -> Result<Arc<Record>, Problem> {
        match end {
            End::In(timeout) | End::NotBefore(timeout) => self.short_enough(Some(timeout))?,
            End::Never => self.short_enough(None)?,
            End::Same => {}
        }
        let sandbox = self.find(id)?;
        let _gate = sandbox.gate.lock().await;
        let record = runs(&sandbox, id)?;
        let now = self.clock.now();
        let mut lifetime = record.lifetime;
        match end {
            End::In(timeout) => lifetime.end = Some(later(now, timeout)),
            End::NotBefore(timeout) => lifetime.end = lifetime.extended(later(now, timeout)),
            End::Never => lifetime.end = None,
            End::Same => {}
        }
        lifetime.idle = idle.unwrap_or(lifetime.idle);
        sandbox.touch(now);
        let record = Record {
            lifetime,
            ..Record::clone(&record)
        };
        self.apply(by, &sandbox, "sandbox.timeout", record).await
    }

    /// Moves the end of a running sandbox, whose gate the caller holds, no nearer.
    pub(super) async fn extend(
        &self,
        by: &By,
        sandbox: &Sandbox,
        to: Timestamp,
    ) -> Result<Arc<Record>, Problem> {
        let mut record = Record::clone(&sandbox.record());
        record.lifetime.end = record.lifetime.extended(to);
        sandbox.touch(self.clock.now());
        self.apply(by, sandbox, "sandbox.connect", record).await
    }

    async fn apply(
        &self,
        by: &By,
        sandbox: &Sandbox,
        action: &str,
        record: Record,
    ) -> Result<Arc<Record>, Problem> {
        let detail = json!({ "endAt": record.lifetime.end, "idle": record.lifetime.idle.map(|idle| idle.as_secs()) });
        let entry = self.entry(by, action, &sandbox.id, None, detail);
        self.save(vec![Change::Sandbox(Box::new(record.clone())), entry])
            .await?;
        let record = sandbox.set(record);
        self.arm(sandbox);
        Ok(record)
    }

    /// Replaces where a sandbox may connect to. What isn't about the way out stays as it is.
    pub(crate) async fn restrict(
        &self,
        by: &By,
        id: &str,
        network: Network,
    ) -> Result<(), Problem> {
        let sandbox = self.find(id)?;
        let _gate = sandbox.gate.lock().await;
        let mut record = Record::clone(&*match sandbox.record().state {
            State::Paused => {
                return Err(Problem::conflict(format!(
                    "sandbox '{id}' is paused: connect to it first"
                )));
            }
            _ => runs(&sandbox, id)?,
        });
        let outward = network.outward(record.wish.network.policy.clone())?;
        let done = self.node.restrict(&sandbox.id, &outward).await;
        let problem = done.map_err(|refusal| Problem::node("change the network", refusal));
        let detail =
            json!({ "allow": outward.allow, "deny": outward.deny, "internet": outward.internet });
        let entry = self.entry(
            by,
            "sandbox.network",
            &sandbox.id,
            problem.as_ref().err(),
            detail,
        );
        if let Err(problem) = problem {
            self.write(vec![entry]).await;
            return Err(problem);
        }
        record.wish.network = outward;
        record.network = Network {
            allow_public_traffic: record.network.allow_public_traffic,
            mask_request_host: record.network.mask_request_host,
            ..network
        };
        sandbox.set(record.clone());
        self.note(
            &sandbox,
            Level::Info,
            "network rules replaced",
            BTreeMap::new(),
        );
        self.write(vec![Change::Sandbox(Box::new(record)), entry])
            .await;
        Ok(())
    }
}

fn runs(sandbox: &Sandbox, id: &str) -> Result<Arc<Record>, Problem> {
    let record = sandbox.record();
    match record.state {
        State::Running => Ok(record),
        State::Paused => Err(Problem::missing(format!(
            "sandbox '{id}' is paused and has no end to move: connect to it first"
        ))),
        _ => Err(Problem::no_sandbox(id)),
    }
}
