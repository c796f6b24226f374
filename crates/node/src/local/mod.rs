//! The machine that this process runs on, as a node.
//!
//! - [`kept`]: one sandbox as an actor: its state, and what may be asked of it then
//! - [`start`]: how one is made and given to somebody; what was done is undone if a step fails
//! - [`introduce`]: how the agent learns whose it is
//! - [`pool`]: sandboxes that are up before anybody wants them
//! - [`attach`]: sandboxes that an earlier daemon left

mod attach;
mod introduce;
mod kept;
mod pool;
mod start;
#[cfg(test)]
mod tests;

use crate::driver::Driver;
use casemate_core::error::Error;
use casemate_core::node::{Door, Ended, Kept as Standing, Node, Refusal, Reply};
use casemate_core::sandbox::{Keep, Outward, SandboxId, SnapshotId, Usage, Wish};
use kept::Kept;
use pool::Pool;
use rustix::fd::OwnedFd;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, mpsc};

/// Ends that nobody has taken yet. Who doesn't take them finds them missing in [`Node::list`].
const UNTAKEN: usize = 1024;

/// Sandboxes that are brought up at one time, on each processor. All that takes is processor time:
/// were many begun at once, all would be there as late as the last.
const TURNS: usize = 2;

/// This machine.
pub struct Local {
    driver: Arc<dyn Driver>,
    kept: Mutex<HashMap<SandboxId, Arc<Kept>>>,
    pool: Pool,
    /// Sandboxes that may be brought up at one time, first come, first served.
    turns: Semaphore,
    ends: mpsc::Sender<Ended>,
    ended: tokio::sync::Mutex<mpsc::Receiver<Ended>>,
}

impl Local {
    /// Takes the sandboxes that an earlier daemon left, and cleans up after those that ended. Up to
    /// `warm` are kept ready.
    pub async fn open(driver: Arc<dyn Driver>, warm: usize) -> Arc<Self> {
        let (ends, ended) = mpsc::channel(UNTAKEN);
        let local = Arc::new(Self {
            driver,
            kept: Mutex::default(),
            pool: Pool::new(warm),
            turns: Semaphore::new(TURNS * processors()),
            ends,
            ended: tokio::sync::Mutex::new(ended),
        });
        local.attach().await;
        local
    }

    /// Ends the sandboxes that nobody was given. The others go on, until another daemon finds them.
    pub async fn close(&self) {
        for draft in self.pool.close() {
            draft.end().await;
        }
    }

    /// Ends all sandboxes, and waits until nothing of them is left.
    pub async fn end_all(self: &Arc<Self>) {
        let all: Vec<Arc<Kept>> = self.table().values().cloned().collect();
        let mut ends = tokio::task::JoinSet::new();
        for kept in all {
            let local = Arc::clone(self);
            ends.spawn(async move { kept.kill(&local).await });
        }
        while ends.join_next().await.is_some() {}
    }

    fn table(&self) -> MutexGuard<'_, HashMap<SandboxId, Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &SandboxId) -> Result<Arc<Kept>, Refusal> {
        self.table().get(id).cloned().ok_or(Refusal::Unknown)
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The trait is for what owns a node, so it is implemented for the shared one: watchers of
/// sandboxes hold it, too.
pub struct Handle(pub Arc<Local>);

impl Node for Handle {
    fn stores(&self) -> bool {
        self.0.driver.stores()
    }

    fn create<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish) -> Reply<'a, ()> {
        Box::pin(self.0.start(id, wish))
    }

    fn kill<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        Box::pin(async move { self.0.find(id)?.kill(&self.0).await })
    }

    fn pause<'a>(&'a self, id: &'a SandboxId, keep: Keep) -> Reply<'a, ()> {
        Box::pin(async move { self.0.find(id)?.pause(keep, &self.0).await })
    }

    fn resume<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish, keep: Keep) -> Reply<'a, ()> {
        Box::pin(async move { self.0.find(id)?.resume(wish, keep, &self.0).await })
    }

    fn greet<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        Box::pin(async move { self.0.find(id)?.greet().await })
    }

    fn snapshot<'a>(
        &'a self,
        id: &'a SandboxId,
        name: &'a SnapshotId,
        keep: Keep,
    ) -> Reply<'a, ()> {
        Box::pin(async move { self.0.find(id)?.snapshot(name, keep).await })
    }

    fn discard<'a>(&'a self, name: &'a SnapshotId) -> Reply<'a, ()> {
        let (local, name) = (Arc::clone(&self.0), name.clone());
        Box::pin(async move {
            let removed = tokio::task::spawn_blocking(move || local.driver.discard(&name)).await;
            removed.map_err(|error| Error::rule("remove a snapshot", error.to_string()))?
        })
    }

    fn snapshots(&self) -> Reply<'_, Vec<SnapshotId>> {
        Box::pin(async { Ok(self.0.driver.snapshots()) })
    }

    fn restrict<'a>(&'a self, id: &'a SandboxId, outward: &'a Outward) -> Reply<'a, ()> {
        Box::pin(async move {
            let kept = self.0.find(id)?;
            self.0.driver.check_network(outward)?;
            kept.restrict(outward).await
        })
    }

    fn usage<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, Usage> {
        Box::pin(async move { self.0.find(id)?.usage().await })
    }

    fn dial<'a>(&'a self, id: &'a SandboxId, to: Door) -> Reply<'a, OwnedFd> {
        Box::pin(async move { self.0.find(id)?.dial(to).await })
    }

    fn list(&self) -> Reply<'_, Vec<Standing>> {
        let kept: Vec<Standing> = self
            .0
            .table()
            .values()
            .map(|kept| kept.standing())
            .collect();
        Box::pin(async move { Ok(kept) })
    }

    fn ended(&self) -> Reply<'_, Ended> {
        Box::pin(async move {
            let ended = self.0.ended.lock().await.recv().await;
            // This node holds a sender itself, so there is always another end to come.
            ended.ok_or(Refusal::Unknown)
        })
    }
}
