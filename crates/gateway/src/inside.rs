//! Sandboxes as the gateway knows them: what is open to each, and that it's cut off at its end.
//!
//! A sandbox is here from its first request to its end. One task a sandbox waits for that end, and
//! then tells everything that is open to it and empties the pools.

use crate::class::Class;
use crate::pool::Pools;
use crate::sandboxes::Sandboxes;
use crate::tasks::Tasks;
use casemate_core::flow::Flows;
use casemate_core::sandbox::SandboxId;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How often a sandbox is said to be in use while bytes move.
const TOUCH: Duration = Duration::from_secs(1);

/// All sandboxes that had a request.
pub(crate) struct Insides {
    known: Arc<Mutex<HashMap<SandboxId, Arc<Inside>>>>,
    sandboxes: Arc<dyn Sandboxes>,
    pools: Arc<Pools>,
    per_sandbox: usize,
    bandwidth: Option<u64>,
    /// The tasks that wait for ends.
    watchers: Tasks,
}

/// One sandbox.
pub(crate) struct Inside {
    pub(crate) id: SandboxId,
    gone: watch::Receiver<bool>,
    sandboxes: Arc<dyn Sandboxes>,
    places: HashMap<Class, Arc<Semaphore>>,
    flows: Option<Arc<Flows>>,
    since: Instant,
    /// When it was last said to be in use, in milliseconds after `since`.
    touched: AtomicU64,
}

/// Resolves at a sandbox's end.
pub(crate) type Gone = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Insides {
    pub(crate) fn new(
        sandboxes: Arc<dyn Sandboxes>,
        pools: Arc<Pools>,
        (per_sandbox, bandwidth): (usize, Option<u64>),
    ) -> Self {
        Self {
            known: Arc::default(),
            sandboxes,
            pools,
            per_sandbox,
            bandwidth,
            watchers: Tasks::default(),
        }
    }

    /// The sandbox of this id, which is known to the control plane.
    pub(crate) fn of(&self, id: &SandboxId) -> Arc<Inside> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inside) = known.get(id) {
            return Arc::clone(inside);
        }
        let (over, gone) = watch::channel(false);
        let place = |class| (class, Arc::new(Semaphore::new(self.per_sandbox)));
        let inside = Arc::new(Inside {
            id: id.clone(),
            gone,
            sandboxes: Arc::clone(&self.sandboxes),
            places: Class::ALL.into_iter().map(place).collect(),
            flows: self.bandwidth.map(Flows::new).map(Arc::new),
            since: Instant::now(),
            touched: AtomicU64::new(0),
        });
        known.insert(id.clone(), Arc::clone(&inside));
        drop(known);
        let (sandboxes, known) = (Arc::clone(&self.sandboxes), Arc::clone(&self.known));
        let (pools, id) = (Arc::clone(&self.pools), id.clone());
        self.watchers.spawn(async move {
            sandboxes.ended(&id).await;
            // First the word, so that nothing is parked after the pools were emptied.
            let _ = over.send(true);
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.remove(&id);
            drop(known);
            pools.evict(&id);
        });
        inside
    }
}

impl Inside {
    /// True after its end.
    pub(crate) fn is_gone(&self) -> bool {
        // A watcher that is no more belonged to a gateway that is no more.
        *self.gone.borrow() || self.gone.has_changed().is_err()
    }

    /// Resolves at its end.
    pub(crate) fn gone(&self) -> Gone {
        let mut gone = self.gone.clone();
        Box::pin(async move {
            let _ = gone.wait_for(|gone| *gone).await;
        })
    }

    /// A place for one more connection of a class.
    pub(crate) fn place(&self, class: Class) -> Option<OwnedSemaphorePermit> {
        let places = self.places.get(&class)?;
        Arc::clone(places).try_acquire_owned().ok()
    }

    /// How fast bytes of a class may go. What the platform itself says to the agent goes as it can.
    pub(crate) fn flows(&self, class: Class) -> Option<Arc<Flows>> {
        self.flows.clone().filter(|_| class == Class::Port)
    }

    /// Says that it's in use.
    pub(crate) fn touch(&self) {
        let now = self.since.elapsed().as_millis() as u64;
        self.touched.store(now, Ordering::Relaxed);
        self.sandboxes.touch(&self.id);
    }

    /// Says so if that's some time ago.
    pub(crate) fn touch_again(&self) {
        let now = self.since.elapsed().as_millis() as u64;
        let then = self.touched.load(Ordering::Relaxed);
        if now.saturating_sub(then) >= TOUCH.as_millis() as u64 {
            self.touch();
        }
    }
}
