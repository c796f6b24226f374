//! The machine that this process runs on, as a node.
//!
//! - [`kept`]: one sandbox: its keeper, and what is asked of it
//! - [`start`]: how a keeper is started, in steps that are undone if a later one fails
//! - [`pool`]: sandboxes that are up before anybody wants them
//! - [`dial`]: connections into a sandbox
//! - [`attach`]: sandboxes that an earlier daemon left
//! - [`ids`]: users that sandboxes are outside, for root

mod attach;
mod dial;
mod ids;
mod kept;
mod pool;
mod start;

use crate::folder::Folders;
use casemate_core::error::Result;
use casemate_core::node::{Door, Ended, Kept as Standing, Node, Refusal, Reply};
use casemate_core::sandbox::{Outward, SandboxId, Usage, Wish};
use ids::Ids;
use ipnet::IpNet;
use kept::Kept;
use pool::Pool;
use rustix::fd::OwnedFd;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Ends that nobody has taken yet. Who doesn't take them finds them missing in [`Node::list`].
const UNTAKEN: usize = 1024;

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the sandboxes, which nobody else may enter.
    pub folder: PathBuf,
    /// The program that keepers are: this one.
    pub program: PathBuf,
    /// The root file system of the template `base`; `None` is a view of the host's.
    pub root: Option<PathBuf>,
    /// The most sandboxes that are kept ready.
    pub warm: usize,
    /// Addresses that sandboxes may reach besides the public ones, if they are allowed to.
    pub reach: Vec<IpNet>,
    /// Knows whether a network that is asked for could be put in force.
    pub check: Check,
}

/// Says what is wrong with the network that is asked for, by the field's name, where sandboxes may
/// reach these addresses besides the public ones.
pub type Check = fn(&Outward, &[IpNet]) -> Result<(), String>;

/// This machine.
pub struct Local {
    settings: Settings,
    folders: Folders,
    kept: Mutex<HashMap<SandboxId, Arc<Kept>>>,
    ids: Ids,
    pool: Pool,
    ends: mpsc::Sender<Ended>,
    ended: tokio::sync::Mutex<mpsc::Receiver<Ended>>,
}

impl Local {
    /// Takes the sandboxes that an earlier daemon left, and cleans up after those that ended.
    ///
    /// # Errors
    /// The folder can't be used.
    pub async fn open(settings: Settings) -> Result<Arc<Self>> {
        let folders = Folders::open(&settings.folder)?;
        let (ends, ended) = mpsc::channel(UNTAKEN);
        let local = Arc::new(Self {
            folders,
            kept: Mutex::default(),
            ids: Ids::default(),
            pool: Pool::new(settings.warm),
            ends,
            ended: tokio::sync::Mutex::new(ended),
            settings,
        });
        local.attach().await;
        Ok(local)
    }

    /// Ends the sandboxes that nobody was given. The others go on, until another daemon finds them.
    pub async fn close(&self) {
        for draft in self.pool.close() {
            draft.end().await;
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<SandboxId, Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, outward: &Outward) -> Result<(), Refusal> {
        (self.settings.check)(outward, &self.settings.reach).map_err(Refusal::Invalid)
    }

    fn find(&self, id: &SandboxId) -> Result<Arc<Kept>, Refusal> {
        self.table().get(id).cloned().ok_or(Refusal::Unknown)
    }
}

/// The trait is for what owns a node, so it is implemented for the shared one: watchers of
/// sandboxes hold it, too.
pub struct Handle(pub Arc<Local>);

impl Node for Handle {
    fn create<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish) -> Reply<'a, ()> {
        Box::pin(self.0.start(id, wish))
    }

    fn kill<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        Box::pin(async move { self.0.find(id)?.kill().await })
    }

    fn pause<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        Box::pin(async move { self.0.find(id)?.pause().await })
    }

    fn resume<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        Box::pin(async move { self.0.find(id)?.resume().await })
    }

    fn restrict<'a>(&'a self, id: &'a SandboxId, outward: &'a Outward) -> Reply<'a, ()> {
        Box::pin(async move {
            let kept = self.0.find(id)?;
            self.0.check(outward)?;
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
