//! Connecting to a sandbox, which resumes it if it is paused, and waking it for a request.

use crate::census::{Sandbox, lock};
use crate::clock::later;
use crate::control::{By, Control};
use crate::meters::{Level, Step};
use crate::problem::Problem;
use crate::record::{AtEnd, Record};
use crate::store::Change;
use casemate_core::sandbox::Keep;
use casemate_core::sandbox::lifecycle::State;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Control {
    /// Gives a client the sandbox, running. True if it was paused.
    pub(crate) async fn connect(
        &self,
        by: &By,
        id: &str,
        timeout: Duration,
        keep: Keep,
    ) -> Result<(Arc<Record>, bool), Problem> {
        self.short_enough(Some(timeout))?;
        let begun = Instant::now();
        let sandbox = self.find(id)?;
        let _gate = sandbox.gate.lock().await;
        let record = sandbox.record();
        let to = later(self.clock.now(), timeout);
        let connected = match record.state {
            State::Running => self
                .extend(by, &sandbox, to)
                .await
                .map(|record| (record, false)),
            State::Paused => {
                // What was made to run for ever does so again.
                let end = record.lifetime.first.is_some().then_some(to);
                let resumed = self
                    .resume_held(by, &sandbox, "sandbox.connect", end, None, keep)
                    .await;
                resumed.map(|record| (record, true))
            }
            _ => Err(Problem::no_sandbox(id)),
        };
        self.numbers
            .took(Step::connect, begun.elapsed(), connected.is_ok());
        connected
    }

    /// Resumes a sandbox that is paused.
    pub(crate) async fn resume(
        &self,
        by: &By,
        id: &str,
        timeout: Duration,
        at_end: Option<AtEnd>,
        keep: Keep,
    ) -> Result<Arc<Record>, Problem> {
        self.short_enough(Some(timeout))?;
        let sandbox = self.find(id)?;
        let _gate = sandbox.gate.lock().await;
        match sandbox.record().state {
            State::Paused => {
                let end = Some(later(self.clock.now(), timeout));
                self.resume_held(by, &sandbox, "sandbox.resume", end, at_end, keep)
                    .await
            }
            State::Running => Err(Problem::conflict(format!(
                "sandbox '{id}' is already running"
            ))),
            _ => Err(Problem::no_sandbox(id)),
        }
    }

    /// Makes a sandbox run for a request to it. Of many requests at once, one wakes it and all get
    /// the answer.
    pub(crate) async fn rouse(&self, sandbox: &Arc<Sandbox>) -> Result<(), Problem> {
        let seen = lock(&sandbox.wakes).tried;
        let _gate = sandbox.gate.lock().await;
        let record = sandbox.record();
        match record.state {
            State::Running => return Ok(()),
            State::Paused if record.lifetime.auto_resume => {}
            _ => return Err(Problem::no_sandbox(sandbox.id.as_str())),
        }
        {
            let wakes = lock(&sandbox.wakes);
            if let Some(problem) = wakes.failed.as_ref().filter(|_| wakes.tried != seen) {
                return Err(problem.clone());
            }
        }
        let end = record.lifetime.end_after_wake(self.clock.now());
        let woken = self
            .resume_held(
                &By::Itself,
                sandbox,
                "sandbox.wake",
                end,
                None,
                Keep::Memory,
            )
            .await;
        let mut wakes = lock(&sandbox.wakes);
        wakes.tried += 1;
        wakes.failed = woken.as_ref().err().cloned();
        woken.map(drop)
    }

    /// Resumes a paused sandbox whose gate the caller holds.
    async fn resume_held(
        &self,
        by: &By,
        sandbox: &Sandbox,
        action: &str,
        end: Option<Timestamp>,
        at_end: Option<AtEnd>,
        keep: Keep,
    ) -> Result<Arc<Record>, Problem> {
        let before = sandbox.record();
        let resuming = Record {
            state: before.state.resume()?,
            ..Record::clone(&before)
        };
        let own = self.keys.with_id(&before.key).map(|key| key.quotas);
        let quotas = own.unwrap_or_default().or(self.settings.quotas);
        let mut record = Record::clone(&*self.census.readmit(sandbox, resuming, &quotas)?);
        let begun = Instant::now();
        let resumed = self.node.resume(&sandbox.id, &before.wish, keep).await;
        self.numbers
            .took(Step::resume, begun.elapsed(), resumed.is_ok());
        if let Err(refusal) = resumed {
            let problem = Problem::node("resume the sandbox", refusal);
            record.state = record.state.paused()?;
            sandbox.set(record);
            let entry = self.entry(by, action, &sandbox.id, Some(&problem), json!({}));
            self.note(
                sandbox,
                Level::Error,
                "could not be resumed",
                BTreeMap::new(),
            );
            self.write(vec![entry]).await;
            return Err(problem);
        }
        record.state = record.state.run()?;
        record.paused = None;
        record.lifetime.end = end;
        record.lifetime.at_end = at_end.unwrap_or(record.lifetime.at_end);
        let entry = self.entry(by, action, &sandbox.id, None, json!({ "endAt": end }));
        sandbox.touch(self.clock.now());
        let record = sandbox.set(record);
        self.arm(sandbox);
        self.note(sandbox, Level::Info, "resumed", BTreeMap::new());
        self.write(vec![
            Change::Sandbox(Box::new(Record::clone(&record))),
            entry,
        ])
        .await;
        Ok(record)
    }
}
