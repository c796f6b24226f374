//! A node that keeps sandboxes in a table.

use casemate_core::node::{Door, Ended, Kept, Node, Refusal, Reply};
use casemate_core::sandbox::{Keep, Outward, SandboxId, SnapshotId, Usage, Wish};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Mutex as Gate, OwnedMutexGuard, mpsc, watch};

pub(crate) struct Sim {
    world: Mutex<World>,
    /// How often each operation was begun.
    begun: watch::Sender<BTreeMap<&'static str, usize>>,
    doors: HashMap<&'static str, Arc<Gate<()>>>,
    ends: (mpsc::Sender<Ended>, Gate<mpsc::Receiver<Ended>>),
}

#[derive(Default)]
struct World {
    kept: BTreeMap<SandboxId, Inside>,
    /// What the next operations of a kind are refused with.
    refusals: Vec<(&'static str, Refusal)>,
    /// Sandboxes with an operation under way.
    busy: BTreeSet<SandboxId>,
    overlaps: usize,
    /// What is paused rests in memory.
    holds: bool,
    snapshots: BTreeSet<SnapshotId>,
}

#[derive(Clone)]
pub(crate) struct Inside {
    pub(crate) wish: Wish,
    pub(crate) paused: bool,
    pub(crate) keeps: Keep,
    pub(crate) usage: Usage,
}

const OPERATIONS: [&str; 8] = [
    "create", "kill", "pause", "resume", "restrict", "usage", "snapshot", "greet",
];

impl Default for Sim {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(64);
        Self {
            world: Mutex::default(),
            begun: watch::Sender::default(),
            doors: OPERATIONS.map(|name| (name, Arc::default())).into(),
            ends: (sender, Gate::new(receiver)),
        }
    }
}

impl Sim {
    /// The next operation of this kind is refused.
    pub(crate) fn refuse(&self, operation: &'static str, refusal: Refusal) {
        self.world().refusals.push((operation, refusal));
    }

    /// Operations of this kind don't go on until what is returned is dropped.
    pub(crate) async fn hold(&self, operation: &str) -> OwnedMutexGuard<()> {
        Arc::clone(&self.doors[operation]).lock_owned().await
    }

    /// Comes back when operations of this kind were begun so often, since the node began.
    pub(crate) async fn reached(&self, operation: &str, times: usize) {
        let mut begun = self.begun.subscribe();
        let enough = |begun: &BTreeMap<_, _>| begun.get(operation).is_some_and(|n| *n >= times);
        begun.wait_for(enough).await.unwrap();
    }

    pub(crate) fn count(&self, operation: &str) -> usize {
        self.begun.borrow().get(operation).copied().unwrap_or(0)
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.world().kept.keys().map(ToString::to_string).collect()
    }

    pub(crate) fn inside(&self, id: &SandboxId) -> Option<Inside> {
        self.world().kept.get(id).cloned()
    }

    pub(crate) fn use_up(&self, id: &SandboxId, usage: Usage) {
        self.world().kept.get_mut(id).unwrap().usage = usage;
    }

    /// From now on, what is paused rests in memory.
    pub(crate) fn hold_on(&self) {
        self.world().holds = true;
    }

    pub(crate) fn written(&self) -> usize {
        self.world().snapshots.len()
    }

    /// Those that it has are gone.
    pub(crate) fn lose_snapshots(&self) {
        self.world().snapshots.clear();
    }

    /// A sandbox that nobody asked for.
    pub(crate) fn plant(&self, id: &SandboxId, wish: Wish) {
        let inside = Inside {
            wish,
            paused: false,
            keeps: Keep::Memory,
            usage: Usage::default(),
        };
        self.world().kept.insert(id.clone(), inside);
    }

    pub(crate) fn lose(&self, id: &SandboxId) {
        self.world().kept.remove(id);
    }

    /// A sandbox ends by itself.
    pub(crate) async fn end(&self, id: &SandboxId, why: &str) {
        self.lose(id);
        let (id, why) = (id.clone(), why.to_owned());
        self.ends.0.send(Ended { id, why }).await.unwrap();
    }

    /// Operations that were under way on one sandbox at the same time.
    pub(crate) fn overlaps(&self) -> usize {
        self.world().overlaps
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn operate<'a, T: Send + 'a>(
        &'a self,
        name: &'static str,
        id: &'a SandboxId,
        work: impl FnOnce(&mut World) -> Result<T, Refusal> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            let alone = name == "usage" || self.world().busy.insert(id.clone());
            self.begun
                .send_modify(|begun| *begun.entry(name).or_default() += 1);
            drop(self.doors[name].lock().await);
            // Others get their turn in the middle of it.
            tokio::task::yield_now().await;
            let mut world = self.world();
            world.overlaps += usize::from(!alone);
            world.busy.remove(id);
            let refused = world.refusals.iter().position(|(of, _)| *of == name);
            match refused {
                Some(index) => Err(world.refusals.remove(index).1),
                None => work(&mut world),
            }
        })
    }

    fn turn(&self, world: &mut World, id: &SandboxId, paused: bool) -> Result<(), Refusal> {
        let inside = world.kept.get_mut(id).ok_or(Refusal::Unknown)?;
        assert_ne!(inside.paused, paused, "{id} was so already");
        inside.paused = paused;
        Ok(())
    }
}

impl Node for Sim {
    fn stores(&self) -> bool {
        !self.world().holds
    }

    fn create<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish) -> Reply<'a, ()> {
        self.operate("create", id, move |world| {
            let from = wish.from.as_ref();
            assert!(from.is_none_or(|from| world.snapshots.contains(from)));
            let inside = Inside {
                wish: wish.clone(),
                paused: false,
                keeps: Keep::Memory,
                usage: Usage::default(),
            };
            assert!(world.kept.insert(id.clone(), inside).is_none(), "{id}");
            Ok(())
        })
    }

    fn kill<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        self.operate("kill", id, move |world| {
            world.kept.remove(id).map(drop).ok_or(Refusal::Unknown)
        })
    }

    fn pause<'a>(&'a self, id: &'a SandboxId, keep: Keep) -> Reply<'a, ()> {
        self.operate("pause", id, move |world| {
            self.turn(world, id, true)?;
            world.kept.get_mut(id).unwrap().keeps = keep;
            Ok(())
        })
    }

    fn resume<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish, keep: Keep) -> Reply<'a, ()> {
        self.operate("resume", id, move |world| {
            self.turn(world, id, false)?;
            assert_eq!(world.kept[id].wish, *wish);
            world.kept.get_mut(id).unwrap().keeps = keep;
            Ok(())
        })
    }

    fn greet<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        self.operate("greet", id, |_| Ok(()))
    }

    fn snapshot<'a>(
        &'a self,
        id: &'a SandboxId,
        name: &'a SnapshotId,
        keep: Keep,
    ) -> Reply<'a, ()> {
        self.operate("snapshot", id, move |world| {
            assert!(!world.kept[id].paused);
            world.kept.get_mut(id).unwrap().keeps = keep;
            assert!(world.snapshots.insert(name.clone()));
            Ok(())
        })
    }

    fn discard<'a>(&'a self, name: &'a SnapshotId) -> Reply<'a, ()> {
        self.world().snapshots.remove(name);
        Box::pin(async { Ok(()) })
    }

    fn snapshots(&self) -> Reply<'_, Vec<SnapshotId>> {
        let all = self.world().snapshots.iter().cloned().collect();
        Box::pin(async { Ok(all) })
    }

    fn restrict<'a>(&'a self, id: &'a SandboxId, outward: &'a Outward) -> Reply<'a, ()> {
        self.operate("restrict", id, move |world| {
            let inside = world.kept.get_mut(id).ok_or(Refusal::Unknown)?;
            inside.wish.network = outward.clone();
            Ok(())
        })
    }

    fn usage<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, Usage> {
        self.operate("usage", id, move |world| {
            let inside = world.kept.get(id).ok_or(Refusal::Unknown)?;
            Ok(inside.usage)
        })
    }

    fn dial<'a>(&'a self, _: &'a SandboxId, _: Door) -> Reply<'a, OwnedFd> {
        unreachable!("the control plane dials nothing")
    }

    fn list(&self) -> Reply<'_, Vec<Kept>> {
        let world = self.world();
        let kept = world.kept.iter().map(|(id, inside)| Kept {
            id: id.clone(),
            paused: inside.paused,
        });
        let kept = kept.collect();
        Box::pin(async move { Ok(kept) })
    }

    fn ended(&self) -> Reply<'_, Ended> {
        Box::pin(async {
            let mut ends = self.ends.1.lock().await;
            Ok(ends.recv().await.unwrap())
        })
    }
}
