//! Making a sandbox.

use crate::census::Sandbox;
use crate::clock::later;
use crate::control::{By, Control};
use crate::keys::Key;
use crate::meters::{Level, Step};
use crate::network::Network;
use crate::problem::Problem;
use crate::random;
use crate::record::{AtEnd, Lifetime, Record};
use crate::store::Change;
use casemate_core::node::Refusal;
use casemate_core::sandbox::lifecycle::State;
use casemate_core::sandbox::{Resources, Wish};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The one template that there is.
pub(crate) const BASE: &str = "base";

/// What a client asked for, checked for form.
pub(crate) struct Order {
    pub(crate) template: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) at_end: AtEnd,
    pub(crate) auto_resume: bool,
    /// Whether the agent asks for a token.
    pub(crate) secure: bool,
    pub(crate) network: Network,
    pub(crate) policy: Option<String>,
    pub(crate) resources: Resources,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Control {
    /// Makes a sandbox. It is written down before the node makes it, so that none is ever left
    /// behind unknown; `also` is written when it runs, with that fact.
    pub(crate) async fn create(
        &self,
        key: &Arc<Key>,
        order: Order,
        also: impl FnOnce(&Record) -> Option<Change> + Send,
    ) -> Result<Arc<Record>, Problem> {
        self.short_enough(order.timeout)?;
        let record = self.record(key, order)?;
        self.admit(key, record, also).await
    }

    /// Makes the sandbox of a record that nobody else knows yet.
    pub(super) async fn admit(
        &self,
        key: &Arc<Key>,
        record: Record,
        also: impl FnOnce(&Record) -> Option<Change> + Send,
    ) -> Result<Arc<Record>, Problem> {
        let quotas = key.quotas.or(self.settings.quotas);
        let sandbox = Sandbox::new(record);
        // Nobody else knows it yet, so the gate is free.
        let _gate = Arc::clone(&sandbox.gate).lock_owned().await;
        self.census.admit(Arc::clone(&sandbox), &quotas)?;
        let rate = self
            .rates
            .admit(&key.id, quotas.creates_per_minute, self.clock.now());
        let planned = Change::Sandbox(Box::new(Record::clone(&sandbox.record())));
        let planned = match rate {
            Ok(()) => self.save(vec![planned]).await,
            refused => refused,
        };
        if let Err(problem) = planned {
            self.census.forget(&sandbox.id);
            return Err(problem);
        }
        self.make(key, &sandbox, also).await
    }

    async fn make(
        &self,
        key: &Arc<Key>,
        sandbox: &Arc<Sandbox>,
        also: impl FnOnce(&Record) -> Option<Change> + Send,
    ) -> Result<Arc<Record>, Problem> {
        let by = By::Key(Arc::clone(key));
        let record = sandbox.record();
        let begun = Instant::now();
        let made = self.node.create(&sandbox.id, &record.wish).await;
        self.numbers
            .took(Step::create, begun.elapsed(), made.is_ok());
        let made = match made {
            Ok(()) => self.running(&by, sandbox, also).await,
            Err(refusal) => Err(self.not_made(&by, sandbox, refusal).await),
        };
        match &made {
            Ok(_) => {
                self.started.fetch_add(1, Ordering::Relaxed);
                self.note(sandbox, Level::Info, "created", BTreeMap::new());
            }
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        made
    }

    /// The node didn't make it.
    async fn not_made(&self, by: &By, sandbox: &Sandbox, refusal: Refusal) -> Problem {
        let may_be_there = matches!(refusal, Refusal::Slow(_));
        let problem = Problem::node("create the sandbox", refusal);
        let entry = self.entry(by, "sandbox.create", &sandbox.id, Some(&problem), json!({}));
        if may_be_there {
            self.write(vec![entry]).await;
            self.undo(sandbox, &problem.message).await;
        } else {
            let reason = Some(problem.message.clone());
            self.close(sandbox, State::Failed, reason, entry).await;
        }
        problem
    }

    /// Takes down what nobody was told of; if that fails, it is tried again.
    async fn undo(&self, sandbox: &Sandbox, why: &str) {
        if let Err(problem) = self.kill_held(&By::Itself, sandbox, Some(why)).await {
            tracing::error!(id = %sandbox.id, %problem, "a sandbox without an owner is taken down later");
        }
    }

    /// It runs: writes that down, or takes it down again.
    async fn running(
        &self,
        by: &By,
        sandbox: &Arc<Sandbox>,
        also: impl FnOnce(&Record) -> Option<Change> + Send,
    ) -> Result<Arc<Record>, Problem> {
        let mut record = Record::clone(&sandbox.record());
        let now = self.clock.now();
        record.state = record.state.run()?;
        record.lifetime.end = record.lifetime.first.map(|first| later(now, first));
        let detail = json!({
            "template": record.wish.template,
            "timeout": record.lifetime.first.map(|first| first.as_secs()),
            "metadata": record.metadata,
            "idle": record.lifetime.idle.map(|idle| idle.as_secs()),
        });
        let entry = self.entry(by, "sandbox.create", &sandbox.id, None, detail);
        let changes = [Change::Sandbox(Box::new(record.clone())), entry];
        let saved = self
            .save(changes.into_iter().chain(also(&record)).collect())
            .await;
        if let Err(problem) = saved {
            // Without a row that says so it would be taken for a half-made one after a restart.
            self.undo(sandbox, "it could not be recorded").await;
            return Err(problem);
        }
        let record = sandbox.set(record);
        sandbox.touch(now);
        self.arm(sandbox);
        Ok(record)
    }

    fn record(&self, key: &Key, order: Order) -> Result<Record, Problem> {
        if order.at_end == AtEnd::PauseFiles && !self.node.stores() {
            return Err(Problem::unsupported("autoPauseMemory: false"));
        }
        let now = self.clock.now();
        let is_private = order.network.allow_public_traffic == Some(false);
        let from = match template(&order.template)? {
            BASE => None,
            name => Some(
                self.snapshots
                    .find(name)
                    .filter(|snapshot| snapshot.ready)
                    .ok_or_else(|| Problem::not_found("template", &order.template))?,
            ),
        };
        Ok(Record {
            id: random::sandbox()?,
            key: key.id.clone(),
            node: self.settings.node.clone(),
            state: State::Creating,
            reason: None,
            wish: Wish {
                template: from
                    .as_ref()
                    .map_or_else(|| BASE.into(), |from| from.id.to_string()),
                environment: order.environment,
                // What goes on can't be of another size.
                resources: from.as_ref().map_or(order.resources, |from| from.resources),
                from: from.map(|from| from.id.clone()),
                network: order.network.outward(order.policy)?,
                access_token: order.secure.then(random::token).transpose()?,
            },
            traffic_token: is_private.then(random::token).transpose()?,
            network: order.network,
            metadata: order.metadata,
            created: now,
            paused: None,
            ended: None,
            lifetime: Lifetime {
                first: order.timeout,
                end: order.timeout.map(|timeout| later(now, timeout)),
                idle: order.idle,
                at_end: order.at_end,
                auto_resume: order.auto_resume,
            },
        })
    }
}

/// The template that a reference names: `name`, `name:tag` or `team/name`.
fn template(reference: &str) -> Result<&str, Problem> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    if reference.is_empty() || reference.len() > 256 || !reference.bytes().all(sound) {
        return Err(Problem::bad(
            "templateID: not a template's id, alias or name:tag",
        ));
    }
    let name = match reference.rsplit_once(':') {
        Some((name, "default" | "latest")) => name,
        // Another tag is another template, and there is none.
        _ => reference,
    };
    Ok(name)
}
