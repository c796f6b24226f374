//! The snapshots that there are, in memory.
//!
//! A row is written before the node makes one, so none is ever left behind unknown; one that isn't
//! ready after a restart is removed.

use crate::census::lock;
use crate::record::Snapshot;
use casemate_core::sandbox::SnapshotId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// See the module.
#[derive(Default)]
pub(crate) struct Snapshots(Mutex<HashMap<SnapshotId, Arc<Snapshot>>>);

impl Snapshots {
    pub(crate) fn add(&self, snapshot: Snapshot) {
        lock(&self.0).insert(snapshot.id.clone(), Arc::new(snapshot));
    }

    pub(crate) fn forget(&self, id: &SnapshotId) {
        lock(&self.0).remove(id);
    }

    /// The one that a client means: by its id, or the last of a name.
    pub(crate) fn find(&self, reference: &str) -> Option<Arc<Snapshot>> {
        let all = lock(&self.0);
        if let Ok(id) = reference.parse::<SnapshotId>() {
            return all.get(&id).cloned();
        }
        let named = all
            .values()
            .filter(|snapshot| snapshot.name.as_deref() == Some(reference));
        named.max_by_key(|snapshot| place(snapshot)).cloned()
    }

    /// All, the newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Snapshot>> {
        let mut all: Vec<_> = lock(&self.0).values().cloned().collect();
        all.sort_by_key(|snapshot| std::cmp::Reverse(place(snapshot)));
        all
    }
}

fn place(snapshot: &Snapshot) -> (jiff::Timestamp, SnapshotId) {
    (snapshot.created, snapshot.id.clone())
}
