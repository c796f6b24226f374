//! Snapshots of sandboxes that run: made, found, and removed.

use crate::control::{By, Control};
use crate::meters::Level;
use crate::problem::Problem;
use crate::record::Snapshot;
use crate::store::Change;
use crate::{census::Sandbox, random};
use casemate_core::error::Result as Opened;
use casemate_core::node::Refusal;
use casemate_core::sandbox::lifecycle::State;
use casemate_core::sandbox::{Keep, SnapshotId};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

impl Control {
    /// Writes a sandbox that runs, which goes on.
    pub(crate) async fn snapshot(
        &self,
        by: &By,
        id: &str,
        name: Option<String>,
        keep: Keep,
    ) -> Result<Arc<Snapshot>, Problem> {
        let sandbox = self.find(id)?;
        let _gate = sandbox.gate.lock().await;
        let mut snapshot = self.write_held(by, &sandbox, name, keep).await?;
        snapshot.ready = true;
        let entry = self.entry(
            by,
            "sandbox.snapshot",
            &sandbox.id,
            None,
            json!({ "snapshot": snapshot.id, "name": snapshot.name }),
        );
        let changes = vec![Change::Snapshot(Box::new(snapshot.clone())), entry];
        if let Err(problem) = self.save(changes).await {
            // Nobody was told of it.
            self.drop_snapshot(&snapshot.id).await;
            return Err(problem);
        }
        self.snapshots.add(snapshot.clone());
        self.note(
            &sandbox,
            Level::Info,
            format!("snapshot {}", snapshot.id),
            BTreeMap::new(),
        );
        Ok(Arc::new(snapshot))
    }

    /// Has the node write a sandbox whose gate the caller holds. What comes of it isn't ready.
    pub(super) async fn write_held(
        &self,
        by: &By,
        sandbox: &Sandbox,
        name: Option<String>,
        keep: Keep,
    ) -> Result<Snapshot, Problem> {
        let record = sandbox.record();
        match record.state {
            State::Running => {}
            State::Paused => {
                return Err(Problem::conflict(format!(
                    "sandbox '{}' is paused: connect to it first",
                    sandbox.id
                )));
            }
            _ => return Err(Problem::no_sandbox(sandbox.id.as_str())),
        }
        let key = match by {
            By::Key(key) => key.id.clone(),
            By::Itself => record.key.clone(),
        };
        let snapshot = Snapshot {
            id: random::snapshot()?,
            key,
            name,
            sandbox: sandbox.id.clone(),
            resources: record.wish.resources,
            created: self.clock.now(),
            ready: false,
        };
        self.save(vec![Change::Snapshot(Box::new(snapshot.clone()))])
            .await?;
        if let Err(refusal) = self.node.snapshot(&sandbox.id, &snapshot.id, keep).await {
            self.drop_snapshot(&snapshot.id).await;
            let problem = Problem::node("write the sandbox", refusal);
            let entry = self.entry(
                by,
                "sandbox.snapshot",
                &sandbox.id,
                Some(&problem),
                json!({}),
            );
            self.write(vec![entry]).await;
            return Err(problem);
        }
        Ok(snapshot)
    }

    /// Removes a snapshot that a client names.
    pub(crate) async fn remove_snapshot(&self, by: &By, reference: &str) -> Result<(), Problem> {
        let snapshot = self
            .snapshots
            .find(reference)
            .ok_or_else(|| Problem::not_found("template", reference))?;
        // From now on nobody finds it; if the rest fails, it is tried again after a restart.
        let going = Snapshot {
            ready: false,
            ..Snapshot::clone(&snapshot)
        };
        let entry = self.entry(by, "snapshot.delete", &snapshot.id, None, json!({}));
        self.save(vec![Change::Snapshot(Box::new(going)), entry])
            .await?;
        self.drop_snapshot(&snapshot.id).await;
        Ok(())
    }

    /// Removes what isn't ready, as far as that is possible now.
    pub(super) async fn drop_snapshot(&self, id: &SnapshotId) {
        self.snapshots.forget(id);
        match self.node.discard(id).await {
            Ok(()) | Err(Refusal::Unknown | Refusal::Unsupported(_)) => {
                self.write(vec![Change::Discarded(id.clone())]).await;
            }
            Err(refusal) => {
                tracing::error!(%id, %refusal, "a snapshot couldn't be removed; it is tried again after a restart");
            }
        }
    }

    /// Takes over those that are written down, as far as the node has them.
    pub(crate) async fn take_snapshots(&self) -> Opened<()> {
        let kept: HashSet<_> = match self.node.snapshots().await {
            Ok(kept) => kept.into_iter().collect(),
            Err(refusal) => {
                tracing::error!(%refusal, "the node doesn't say which snapshots it has");
                return Ok(());
            }
        };
        for snapshot in self.store.snapshots().await? {
            match snapshot.ready && kept.contains(&snapshot.id) {
                true => self.snapshots.add(snapshot),
                false => self.drop_snapshot(&snapshot.id).await,
            }
        }
        Ok(())
    }
}
