//! Ends: asked for, at a time, or by itself.

use crate::census::Sandbox;
use crate::clock::later;
use crate::control::{By, Control};
use crate::meters::{Level, Step};
use crate::problem::Problem;
use crate::record::{AtEnd, Record};
use crate::store::Change;
use casemate_core::node::{Ended, Refusal};
use casemate_core::sandbox::SandboxId;
use casemate_core::sandbox::lifecycle::State;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// When what failed at a sandbox's end is tried again.
const AGAIN: Duration = Duration::from_secs(10);

impl Control {
    /// Takes a sandbox down. One that couldn't be taken down is tried again until nothing is left.
    pub(crate) async fn kill(&self, by: &By, id: &str) -> Result<(), Problem> {
        let sandbox = self.recall(id)?;
        let _gate = sandbox.gate.lock().await;
        self.kill_held(by, &sandbox, "asked").await
    }

    /// Takes down a sandbox whose gate the caller holds.
    pub(super) async fn kill_held(
        &self,
        by: &By,
        sandbox: &Sandbox,
        why: &str,
    ) -> Result<(), Problem> {
        let before = sandbox.record();
        if before.state.is_over() {
            return Err(Problem::no_sandbox(sandbox.id.as_str()));
        }
        let stopping = before.state.stop().unwrap_or(State::Stopping);
        sandbox.set(Record {
            state: stopping,
            ..Record::clone(&before)
        });
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
                let reason = (why != "asked").then(|| why.to_owned());
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
                self.timers
                    .set(&sandbox.id, Some(later(self.clock.now(), AGAIN)));
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
        let record = Record {
            state,
            ended: Some(self.clock.now()),
            reason: reason.clone(),
            ..Record::clone(&sandbox.record())
        };
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
        let record = sandbox.record();
        let now = self.clock.now();
        let is_due = sandbox.deadline().is_some_and(|at| at <= now);
        let is_end = record.lifetime.end.is_some_and(|end| end <= now);
        let why = if is_end {
            "its time was over"
        } else {
            "it was idle"
        };
        let done = match record.state {
            State::Stopping => self.kill_held(&By::Itself, &sandbox, "tried again").await,
            State::Running if !is_due => {
                self.arm(&sandbox);
                Ok(())
            }
            State::Running if record.lifetime.at_end == AtEnd::Pause => {
                self.pause_held(&By::Itself, &sandbox, why).await
            }
            State::Running => self.kill_held(&By::Itself, &sandbox, why).await,
            _ => Ok(()),
        };
        if let Err(problem) = done {
            tracing::error!(%id, %problem, "the end of a sandbox failed; it is tried again");
            self.timers.set(id, Some(later(now, AGAIN)));
        }
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
