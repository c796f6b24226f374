//! What is written to the store, in order.
//!
//! Some changes must be written before they are made ([`Control::save`]): if that fails, nothing was
//! changed, and the caller is told. Others describe what a node did already ([`Control::write`]):
//! those are kept until they can be written, and go ahead of everything later.
//!
//! What comes while something is being written is written together after it: a crowd takes few
//! transactions, and waits twice for a store that is locked, not once for each of it.

use crate::census::lock;
use crate::control::Control;
use crate::problem::Problem;
use crate::store::{Change, Store};
use casemate_core::error::{Error, Result};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::Mutex as Gate;

/// Changes that wait for the store; beyond it the oldest are lost.
const MOST_WAITING: usize = 10_000;

/// Changes on their way to the store.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Those that couldn't be written yet.
    waiting: Mutex<Vec<Change>>,
    next: Mutex<Batch>,
    turn: Gate<()>,
}

/// Changes that are written together: all that came while those before were being written.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    outcome: Arc<OnceLock<Result<()>>>,
}

impl Ledger {
    /// Writes what waits, and then these, with what others bring meanwhile.
    async fn commit(&self, store: &dyn Store, changes: Vec<Change>) -> Result<()> {
        let outcome = {
            let mut next = lock(&self.next);
            next.changes.extend(changes);
            Arc::clone(&next.outcome)
        };
        let _turn = self.turn.lock().await;
        if let Some(done) = outcome.get() {
            return done.clone();
        }
        let batch = {
            let mut next = lock(&self.next);
            if !Arc::ptr_eq(&next.outcome, &outcome) {
                // Who had taken these panicked.
                return Err(Error::rule("write to the store", "it was interrupted"));
            }
            std::mem::take(&mut *next)
        };
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let all = waiting.iter().cloned().chain(batch.changes).collect();
        let done = store.commit(all).await;
        if done.is_err() {
            lock(&self.waiting).splice(0..0, waiting);
        }
        outcome.get_or_init(|| done).clone()
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

#[cfg(test)]
mod tests {
    use super::Ledger;
    use crate::store::{Answer, Change, Page, Store, Stored};
    use crate::{Entry, Key, Record, Snapshot};
    use casemate_core::error::Error;
    use casemate_core::sandbox::SandboxId;
    use jiff::Timestamp;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};
    use tokio::sync::Mutex as Gate;

    /// A store that fails as often as it is told, and knows what was written.
    #[derive(Default)]
    struct Paper {
        door: Gate<()>,
        tries: Mutex<Vec<Vec<String>>>,
        failures: Mutex<VecDeque<bool>>,
    }

    impl Store for Paper {
        fn commit(&self, changes: Vec<Change>) -> Stored<'_, ()> {
            Box::pin(async move {
                let names = changes.iter().map(|change| match change {
                    Change::Revoked(name) => name.clone(),
                    other => format!("{other:?}"),
                });
                self.tries.lock().unwrap().push(names.collect());
                drop(self.door.lock().await);
                match self.failures.lock().unwrap().pop_front() {
                    Some(true) => Err(Error::rule("write to the store", "locked")),
                    _ => Ok(()),
                }
            })
        }

        fn sandboxes(&self) -> Stored<'_, Vec<Record>> {
            unreachable!()
        }

        fn sandbox<'a>(&'a self, _: &'a SandboxId) -> Stored<'a, Option<Record>> {
            unreachable!()
        }

        fn snapshots(&self) -> Stored<'_, Vec<Snapshot>> {
            unreachable!()
        }

        fn keys(&self) -> Stored<'_, Vec<Key>> {
            unreachable!()
        }

        fn answer<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: Timestamp,
        ) -> Stored<'a, Option<Answer>> {
            unreachable!()
        }

        fn audit<'a>(&'a self, _: &'a Page) -> Stored<'a, Vec<Entry>> {
            unreachable!()
        }

        fn team(&self) -> Stored<'_, String> {
            unreachable!()
        }
    }

    fn change(name: &str) -> Vec<Change> {
        vec![Change::Revoked(name.to_owned())]
    }

    /// Forty changes, the first of which waits in the store for the others; how many were written.
    async fn crowd(ledger: &Arc<Ledger>, paper: &Arc<Paper>) -> usize {
        let door = paper.door.lock().await;
        let crowd: Vec<_> = (0..40)
            .map(|_| {
                let (ledger, paper) = (Arc::clone(ledger), Arc::clone(paper));
                tokio::spawn(async move { ledger.commit(&*paper, change("a")).await })
            })
            .collect();
        // On this one thread, all of them come as far as they get.
        tokio::task::yield_now().await;
        drop(door);
        let mut written = 0;
        for one in crowd {
            written += usize::from(one.await.unwrap().is_ok());
        }
        written
    }

    #[tokio::test]
    async fn a_crowd_is_written_together() {
        let (ledger, paper) = (Arc::<Ledger>::default(), Arc::<Paper>::default());
        assert_eq!(crowd(&ledger, &paper).await, 40);
        let sizes = || {
            let tries = paper.tries.lock().unwrap();
            tries.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(), [1, 39]);
        // The first one's failure is its own; the others share theirs.
        paper.failures.lock().unwrap().push_back(true);
        assert_eq!(crowd(&ledger, &paper).await, 39);
        *paper.failures.lock().unwrap() = [false, true].into();
        assert_eq!(crowd(&ledger, &paper).await, 1);
        assert_eq!(sizes(), [1, 39, 1, 39, 1, 39]);
        assert!(
            ledger.is_empty(),
            "who was told of a failure tries again by itself"
        );
    }

    #[tokio::test]
    async fn what_waits_is_written_before_what_comes_later() {
        let (ledger, paper) = (Ledger::default(), Paper::default());
        *paper.failures.lock().unwrap() = [true, true, false].into();
        assert!(ledger.commit(&paper, change("a")).await.is_err());
        ledger.wait(change("a"));
        assert!(ledger.commit(&paper, change("b")).await.is_err());
        ledger.wait(change("c"));
        assert!(ledger.commit(&paper, change("d")).await.is_ok());
        let tries = paper.tries.lock().unwrap();
        assert_eq!(*tries, [vec!["a"], vec!["a", "b"], vec!["a", "c", "d"]]);
        assert!(ledger.is_empty());
    }
}
