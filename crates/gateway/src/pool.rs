//! Connections into sandboxes that nobody uses just now, by class of traffic.
//!
//! A connection comes here only after a whole response, and is found again only by who wants the
//! same sandbox, door and host in the same class. Each class has a pool of its own with its own lock
//! and bounds.

use crate::class::Class;
use crate::link::{Link, Way};
use crate::metrics::Metrics;
use crate::settings::Patience;
use casemate_core::node::Door;
use casemate_core::sandbox::SandboxId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// Connections that wait in a class, and those of them for the same.
const MOST: usize = 1024;
const MOST_ALIKE: usize = 16;

/// The pools of all classes.
pub(crate) struct Pools {
    pools: HashMap<Class, Arc<Pool>>,
    metrics: Metrics,
}

struct Pool {
    idle: Mutex<Idle>,
    patience: Patience,
}

#[derive(Default)]
struct Idle {
    by_way: HashMap<Way, Vec<Link>>,
    count: usize,
    /// There is a task that ends those that nobody wanted.
    swept: bool,
}

impl Pools {
    pub(crate) fn new(patience: Patience, metrics: Metrics) -> Self {
        let pool = |class| {
            let idle = Mutex::default();
            (class, Arc::new(Pool { idle, patience }))
        };
        Self {
            pools: Class::ALL.into_iter().map(pool).collect(),
            metrics,
        }
    }

    /// The connection that was used last.
    pub(crate) fn take(&self, class: Class, way: &Way) -> Option<Link> {
        let pool = self.pools.get(&class)?;
        let mut idle = pool.lock();
        loop {
            let links = idle.by_way.get_mut(way)?;
            let link = links.pop();
            if links.is_empty() {
                idle.by_way.remove(way);
            }
            let mut link = link?;
            idle.count -= 1;
            if link.is_ready() && link.since.elapsed() < pool.patience_for(way) {
                link.counted = self.metrics.open(class);
                return Some(link);
            }
        }
    }

    /// Keeps a connection whose response has ended, unless `is_gone` says that its sandbox has.
    pub(crate) fn park(&self, mut link: Link, is_gone: impl FnOnce() -> bool) {
        let Some(pool) = self.pools.get(&link.class) else {
            return;
        };
        let mut idle = pool.lock();
        // Who ends a sandbox empties this afterwards, so one of the two sees it.
        let alike = idle.by_way.get(&link.way).map_or(0, Vec::len);
        if is_gone() || !link.is_ready() || idle.count >= MOST || alike >= MOST_ALIKE {
            return;
        }
        link.since = Instant::now();
        link.used = true;
        link.place = None;
        link.counted = self.metrics.idle(link.class);
        idle.count += 1;
        idle.by_way.entry(link.way.clone()).or_default().push(link);
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(pool)));
        }
    }

    /// Ends all of a sandbox.
    pub(crate) fn evict(&self, id: &SandboxId) {
        for pool in self.pools.values() {
            let mut idle = pool.lock();
            idle.retain(|way, _| way.id != *id);
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience_for(&self, way: &Way) -> Duration {
        match way.door {
            Door::Agent => self.patience.parked,
            Door::Port(_) => self.patience.parked_port,
        }
    }

    /// Ends those that waited for too long; when the next will have, if there are any.
    fn sweep(&self) -> Option<Instant> {
        let mut idle = self.lock();
        idle.retain(|way, link| link.is_ready() && link.since.elapsed() < self.patience_for(way));
        let ends = idle
            .by_way
            .iter()
            .flat_map(|(way, links)| links.iter().map(|link| link.since + self.patience_for(way)));
        let next = ends.min();
        idle.swept = next.is_some();
        next
    }
}

impl Idle {
    fn retain(&mut self, keep: impl Fn(&Way, &Link) -> bool) {
        self.by_way.retain(|way, links| {
            links.retain(|link| keep(way, link));
            !links.is_empty()
        });
        self.count = self.by_way.values().map(Vec::len).sum();
    }
}

/// Sweeps a pool until it's empty, or is no more.
async fn sweep(pool: Weak<Pool>) {
    loop {
        let next = pool.upgrade().and_then(|pool| pool.sweep());
        match next {
            Some(next) => sleep_until(next.into()).await,
            None => return,
        }
    }
}
