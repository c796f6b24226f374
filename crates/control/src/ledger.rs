//! What is written to the store, in order.
//!
//! Some changes must be written before they are made ([`Control::save`]): if that fails, nothing was
//! changed, and the caller is told. Others describe what a node did already ([`Control::write`]):
//! those are kept until they can be written, and go ahead of everything later.

use crate::census::lock;
use crate::control::Control;
use crate::problem::Problem;
use crate::store::{Change, Store};
use casemate_core::error::{Error, Result};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Mutex as Gate;

/// How long a change waits for those before it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Changes that wait for the store; beyond it the oldest are lost.
const MOST_WAITING: usize = 10_000;

/// Changes that couldn't be written yet.
#[derive(Default)]
pub(crate) struct Ledger {
    waiting: Mutex<Vec<Change>>,
    turn: Gate<()>,
}

impl Ledger {
    /// Writes what waits, and then these.
    async fn commit(&self, store: &dyn Store, changes: Vec<Change>) -> Result<()> {
        let Ok(_turn) = tokio::time::timeout(PATIENCE, self.turn.lock()).await else {
            return Err(Error::rule(
                "write to the store",
                "those who came before still wait for it",
            ));
        };
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let all = waiting.iter().cloned().chain(changes).collect();
        let done = store.commit(all).await;
        if done.is_err() {
            lock(&self.waiting).splice(0..0, waiting);
        }
        done
    }

    fn wait(&self, changes: Vec<Change>) {
        let mut waiting = lock(&self.waiting);
        waiting.extend(changes);
        let lost = waiting.len().saturating_sub(MOST_WAITING);
        if lost > 0 {
            waiting.drain(..lost);
            tracing::error!(
                lost,
                "the store is away for too long: changes were not recorded"
            );
        }
    }

    fn is_empty(&self) -> bool {
        lock(&self.waiting).is_empty()
    }
}

impl Control {
    /// Writes what is about to be changed.
    pub(crate) async fn save(&self, changes: Vec<Change>) -> Result<(), Problem> {
        let done = self.ledger.commit(&*self.store, changes).await;
        done.map_err(|error| Problem::store(&error))
    }

    /// Writes what was changed, now or later.
    pub(crate) async fn write(&self, changes: Vec<Change>) {
        if let Err(error) = self.ledger.commit(&*self.store, changes.clone()).await {
            tracing::warn!(%error, "a change is recorded later");
            self.ledger.wait(changes);
        }
    }

    /// Tries again to write what waits.
    pub(crate) async fn catch_up(&self) {
        if !self.ledger.is_empty() {
            self.write(Vec::new()).await;
        }
    }
}
