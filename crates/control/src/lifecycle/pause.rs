//! Pausing.

use crate::census::{Sandbox, lock};
use crate::control::{By, Control};
use crate::meters::{Level, Step};
use crate::problem::Problem;
use crate::record::Record;
use crate::store::Change;
use casemate_core::sandbox::Keep;
use casemate_core::sandbox::lifecycle::State;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// What E2B's clients know it by.
const UNRESPONSIVE: &str = "sandbox_snapshot_guest_agent_unresponsive";

impl Control {
    /// Pauses a sandbox that runs. Nothing of its end is used up: when it is resumed it gets a new
    /// one. A `strict` one is refused if the agent gives no answer.
    pub(crate) async fn pause(
        &self,
        by: &By,
        id: &str,
        keep: Keep,
        strict: bool,
    ) -> Result<(), Problem> {
        let sandbox = self.find(id)?;
        let _gate = sandbox.gate.lock().await;
        if strict && sandbox.record().state == State::Running {
            let greeted = self.node.greet(&sandbox.id).await;
            greeted.map_err(|refusal| {
                Problem::conflict(format!("the sandbox's agent is not well: {refusal}"))
                    .coded(UNRESPONSIVE)
            })?;
        }
        self.pause_held(by, &sandbox, keep, "asked").await
    }

    /// Pauses a sandbox whose gate the caller holds.
    pub(super) async fn pause_held(
        &self,
        by: &By,
        sandbox: &Sandbox,
        keep: Keep,
        why: &str,
    ) -> Result<(), Problem> {
        let before = sandbox.record();
        if !before.is_there() {
            return Err(Problem::no_sandbox(sandbox.id.as_str()));
        }
        let pausing = Record {
            state: before.state.pause()?,
            ..Record::clone(&before)
        };
        let mut record = Record::clone(&sandbox.set(pausing));
        let begun = Instant::now();
        let paused = self.node.pause(&sandbox.id, keep).await;
        self.numbers
            .took(Step::pause, begun.elapsed(), paused.is_ok());
        if let Err(refusal) = paused {
            let problem = Problem::node("pause the sandbox", refusal);
            record.state = record.state.run()?;
            sandbox.set(record);
            let entry = self.entry(
                by,
                "sandbox.pause",
                &sandbox.id,
                Some(&problem),
                json!({ "why": why }),
            );
            self.note(
                sandbox,
                Level::Error,
                "could not be paused",
                BTreeMap::new(),
            );
            self.write(vec![entry]).await;
            return Err(problem);
        }
        record.state = record.state.paused()?;
        record.paused = Some(self.clock.now());
        let entry = self.entry(
            by,
            "sandbox.pause",
            &sandbox.id,
            None,
            json!({ "why": why, "keep": keep }),
        );
        sandbox.set(record.clone());
        sandbox.succeeded();
        self.arm(sandbox);
        lock(&sandbox.samples).interrupt();
        self.note(
            sandbox,
            Level::Info,
            format!("paused: {why}"),
            BTreeMap::new(),
        );
        self.write(vec![Change::Sandbox(Box::new(record)), entry])
            .await;
        Ok(())
    }
}
