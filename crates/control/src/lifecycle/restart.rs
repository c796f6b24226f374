//! After a restart: what is written down is compared with what the node keeps.
//!
//! Sandboxes outlive the daemon, so those that the node still keeps go on. One that was being made
//! when the daemon ended has no owner, who never got an answer: it is taken down. One that the node
//! keeps and nobody wrote down belongs to another store; it is left alone, and reported.

use crate::census::Sandbox;
use crate::control::{By, Control};
use crate::record::Record;
use crate::store::Change;
use casemate_core::error::{Error, Result};
use casemate_core::sandbox::SandboxId;
use casemate_core::sandbox::lifecycle::State;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

impl Control {
    /// Takes over what there is.
    pub(crate) async fn reconcile(&self) -> Result<()> {
        let records = self.store.sandboxes().await?;
        let kept = self.node.list().await.map_err(|refusal| {
            Error::rule("compare the store with the node", refusal.to_string())
                .on(&self.settings.node)
        })?;
        let mut kept: HashMap<_, _> = kept
            .into_iter()
            .map(|kept| (kept.id, kept.paused))
            .collect();
        for record in records {
            let paused = kept.remove(&record.id);
            self.take_over(record, paused).await;
        }
        for id in kept.keys() {
            self.stranger(id).await;
        }
        Ok(())
    }

    /// One that is written down; `paused` is what the node says of it, if it keeps it.
    async fn take_over(&self, mut record: Record, paused: Option<bool>) {
        let half_made = record.state == State::Creating;
        record.state = match paused {
            Some(true) => State::Paused,
            _ => State::Running,
        };
        record.paused = match record.state {
            State::Paused => record.paused.or(Some(self.clock.now())),
            _ => None,
        };
        let sandbox = Sandbox::new(record);
        sandbox.touch(self.clock.now());
        self.census.add(Arc::clone(&sandbox));
        let Some(why) = (match paused {
            None => Some("it was gone when the daemon came back"),
            Some(_) if half_made => Some("the daemon ended while it was being made"),
            Some(_) => None,
        }) else {
            let record = Record::clone(&sandbox.record());
            self.write(vec![Change::Sandbox(Box::new(record))]).await;
            self.arm(&sandbox);
            return;
        };
        // To kill what isn't kept is to write down that it is gone.
        let _gate = sandbox.gate.lock().await;
        if let Err(problem) = self.kill_held(&By::Itself, &sandbox, Some(why)).await {
            tracing::error!(id = %sandbox.id, %problem, "what a restart left couldn't be taken down; it is tried again");
        }
    }

    /// One that isn't written down as there: it is over, or belongs to another store.
    async fn stranger(&self, id: &SandboxId) {
        let known = self.store.sandbox(id).await;
        if !matches!(known, Ok(Some(_))) {
            tracing::warn!(%id, "the node keeps a sandbox that this store doesn't know; it is left alone");
            return;
        }
        let done = self.node.kill(id).await;
        let why = "it was over before the restart";
        let failed = done
            .err()
            .map(|refusal| crate::problem::Problem::node("take the sandbox down", refusal));
        let entry = self.entry(
            &By::Itself,
            "sandbox.kill",
            id,
            failed.as_ref(),
            json!({ "why": why }),
        );
        self.write(vec![entry]).await;
    }
}
