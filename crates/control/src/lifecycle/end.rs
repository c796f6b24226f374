//! Ends: asked for, at a time, or by itself.

use crate::census::Sandbox;
use crate::clock::later;
use crate::control::{By, Control};
use crate::meters::{Level, Step};
use crate::network::Network;
use crate::problem::Problem;
use crate::record::{AtEnd, Record};
use crate::store::Change;
use casemate_core::node::{Ended, Refusal};
use casemate_core::sandbox::lifecycle::State;
use casemate_core::sandbox::{Keep, Outward, SandboxId};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

impl Control {
    /// Takes a sandbox down. One that couldn't be taken down is tried again until nothing is left.
    pub(crate) async fn kill(&self, by: &By, id: &str) -> Result<(), Problem> {
        let sandbox = self.recall(id)?;
        let _gate = sandbox.gate.lock().await;
        self.kill_held(by, &sandbox, None).await
    }

    /// Takes down a sandbox whose gate the caller holds. `why` says it where no client asked.
    pub(super) async fn kill_held(
        &self,
        by: &By,
        sandbox: &Sandbox,
        why: Option<&str>,
    ) -> Result<(), Problem> {
        let before = sandbox.record();
        if before.state.is_over() {
            return Err(Problem::no_sandbox(sandbox.id.as_str()));
        }
        // What is tried again keeps its first reason.
        if before.state != State::Stopping {
            sandbox.set(Record {
                state: before.state.stop()?,
                reason: why.map(str::to_owned),
                ..Record::clone(&before)
            });
        }
        self.timers.set(&sandbox.id, None);
        let begun = Instant::now();
        let killed = match self.node.kill(&sandbox.id).await {
            Ok(()) | Err(Refusal::Unknown) => Ok(()),
            Err(refusal) => Err(Problem::node("take the sandbox down", refusal)),
        };
        self.numbers
            .took(Step::kill, begun.elapsed(), killed.is_ok());
        let detail = json!({ "why": why });
        let entry = self.entry(
            by,
            "sandbox.kill",
            &sandbox.id,
            killed.as_ref().err(),
            detail,
        );
        match killed {
            Ok(()) => {
                let reason = sandbox.record().reason.clone();
                self.close(sandbox, State::Stopped, reason, entry).await;
                Ok(())
            }
            Err(problem) => {
                self.note(
                    sandbox,
                    Level::Error,
                    "could not be taken down",
                    BTreeMap::new(),
                );
                self.try_again(sandbox);
                self.write(vec![entry]).await;
                Err(problem)
            }
        }
    }

    /// It is over.
    pub(super) async fn close(
        &self,
        sandbox: &Sandbox,
        state: State,
        reason: Option<String>,
        entry: Change,
    ) {
        self.timers.set(&sandbox.id, None);
        let mut record = Record {
            state,
            ended: Some(self.clock.now()),
            reason: reason.clone(),
            traffic_token: None,
            ..Record::clone(&sandbox.record())
        };
        // Secrets end with what they were for.
        record.wish.access_token = None;
        record.wish.environment.clear();
        record.wish.network = Outward::default();
        record.network = Network::default();
        sandbox.set(record.clone());
        let why = reason.map_or(String::new(), |reason| format!(": {reason}"));
        let level = match state {
            State::Failed => Level::Error,
            _ => Level::Info,
        };
        self.note(sandbox, level, format!("{state}{why}"), BTreeMap::new());
        self.census.bury(&sandbox.id);
        self.write(vec![Change::Sandbox(Box::new(record)), entry])
            .await;
    }

    /// A sandbox's alarm rang. What it means is found out now: its end may have moved meanwhile.
    pub(super) async fn expire(&self, id: &SandboxId) {
        let Some(sandbox) = self.census.living(id) else {
            return;
        };
        let _gate = sandbox.gate.lock().await;
        let done = match sandbox.record().state {
            State::Stopping => {
                let why = Some("it is tried again");
                self.kill_held(&By::Itself, &sandbox, why).await
            }
            State::Running => self.run_out(&sandbox).await,
            _ => Ok(()),
        };
        if let Err(problem) = done {
            tracing::error!(%id, %problem, "the end of a sandbox failed; it is tried again");
            // A kill that failed has set its alarm by itself.
            if sandbox.record().state == State::Running {
                self.try_again(&sandbox);
            }
        }
    }

    /// Ends a sandbox that runs, if it is time.
    async fn run_out(&self, sandbox: &Sandbox) -> Result<(), Problem> {
        let now = self.clock.now();
        if sandbox.deadline().is_none_or(|at| at > now) {
            self.arm(sandbox);
            return Ok(());
        }
        let lifetime = sandbox.record().lifetime;
        let why = match lifetime.end.is_some_and(|end| end <= now) {
            true => "its time was over",
            false => "it was idle",
        };
        match lifetime.at_end {
            AtEnd::Pause => {
                self.pause_held(&By::Itself, sandbox, Keep::Memory, why)
                    .await
            }
            AtEnd::PauseFiles => {
                self.pause_held(&By::Itself, sandbox, Keep::Files, why)
                    .await
            }
            AtEnd::Kill => self.kill_held(&By::Itself, sandbox, Some(why)).await,
        }
    }

    /// Sets the alarm for an end that failed.
    fn try_again(&self, sandbox: &Sandbox) {
        let at = later(self.clock.now(), sandbox.failed());
        self.timers.set(&sandbox.id, Some(at));
    }

    /// A sandbox ended without being told to.
    pub(super) async fn ended(&self, ended: &Ended) {
        let Some(sandbox) = self.census.living(&ended.id) else {
            return;
        };
        let _gate = sandbox.gate.lock().await;
        if sandbox.record().state.is_over() {
            return;
        }
        let detail = json!({ "why": ended.why });
        let entry = self.entry(&By::Itself, "sandbox.ended", &ended.id, None, detail);
        self.close(&sandbox, State::Failed, Some(ended.why.clone()), entry)
            .await;
    }
}
