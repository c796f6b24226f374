//! The sandboxes that there are, in memory.
//!
//! Each has a gate: what changes a sandbox goes through it, one after the other, in the order of
//! arrival. What only looks doesn't wait. The last ones that ended are kept for their log lines and
//! samples.

use crate::meters::{Lines, Samples};
use crate::problem::Problem;
use crate::quota::Quotas;
use crate::record::Record;
use casemate_core::sandbox::SandboxId;
use jiff::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as Gate, watch};

/// Ended sandboxes whose lines and samples are kept.
const REMEMBERED: usize = 256;
/// When an end that failed is tried again, the first time.
const AGAIN: Duration = Duration::from_secs(10);
/// How often that is doubled.
const MOST_DOUBLED: u32 = 6;

/// One sandbox.
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    /// Held by whoever changes the sandbox.
    pub(crate) gate: Arc<Gate<()>>,
    record: watch::Sender<Arc<Record>>,
    /// Microseconds since 1970 of the last request.
    active: AtomicI64,
    /// How often in a row its end failed.
    failures: AtomicU32,
    pub(crate) wakes: Mutex<Wakes>,
    pub(crate) samples: Mutex<Samples>,
    pub(crate) lines: Mutex<Lines>,
}

/// Attempts to wake a sandbox: who waited while one failed doesn't try again by itself.
#[derive(Default)]
pub(crate) struct Wakes {
    pub(crate) tried: u64,
    pub(crate) failed: Option<Problem>,
}

impl Sandbox {
    pub(crate) fn new(record: Record) -> Arc<Self> {
        Arc::new(Self {
            id: record.id.clone(),
            gate: Arc::default(),
            active: AtomicI64::new(record.created.as_microsecond()),
            failures: AtomicU32::new(0),
            wakes: Mutex::default(),
            samples: Mutex::default(),
            lines: Mutex::default(),
            record: watch::Sender::new(Arc::new(record)),
        })
    }

    /// What is known of it now.
    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.borrow())
    }

    /// Changes what is known. Only who holds the gate may.
    pub(crate) fn set(&self, record: Record) -> Arc<Record> {
        let record = Arc::new(record);
        self.record.send_replace(Arc::clone(&record));
        record
    }

    /// Answers when what runs in it is gone.
    pub(crate) async fn until_over(&self) {
        let mut changes = self.record.subscribe();
        // It has a sender itself, so there is always another change to come.
        let _ = changes.wait_for(|record| !record.is_there()).await;
    }

    /// Somebody used it.
    pub(crate) fn touch(&self, now: Timestamp) {
        self.active
            .fetch_max(now.as_microsecond(), Ordering::Relaxed);
    }

    /// Its end failed once more; how long to wait before it is tried again.
    pub(crate) fn failed(&self) -> Duration {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        AGAIN * (1 << before.min(MOST_DOUBLED))
    }

    /// What is tried next is tried for the first time.
    pub(crate) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// When it is to end, as things stand.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let lifetime = self.record().lifetime;
        let active = Timestamp::from_microsecond(self.active.load(Ordering::Relaxed));
        let idle = lifetime
            .idle
            .map(|idle| crate::clock::later(active.unwrap_or(Timestamp::MAX), idle));
        [lifetime.end, idle].into_iter().flatten().min()
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Census(Mutex<Inhabitants>);

#[derive(Default)]
struct Inhabitants {
    living: HashMap<SandboxId, Arc<Sandbox>>,
    ended: VecDeque<Arc<Sandbox>>,
}

impl Census {
    /// Adds one, whatever the quotas say.
    pub(crate) fn add(&self, sandbox: Arc<Sandbox>) {
        let mut all = self.all();
        all.living.insert(sandbox.id.clone(), sandbox);
    }

    /// Adds one if its key may have one more.
    pub(crate) fn admit(&self, sandbox: Arc<Sandbox>, quotas: &Quotas) -> Result<(), Problem> {
        let mut all = self.all();
        allowed(&all, &sandbox.record(), quotas)?;
        all.living.insert(sandbox.id.clone(), sandbox);
        Ok(())
    }

    /// Lets a paused one run again if its key may have one more that runs: `record` is what it
    /// becomes.
    pub(crate) fn readmit(
        &self,
        sandbox: &Sandbox,
        record: Record,
        quotas: &Quotas,
    ) -> Result<Arc<Record>, Problem> {
        let all = self.all();
        allowed(&all, &record, quotas)?;
        Ok(sandbox.set(record))
    }

    /// One that isn't over.
    pub(crate) fn living(&self, id: &SandboxId) -> Option<Arc<Sandbox>> {
        self.all().living.get(id).cloned()
    }

    /// One that isn't over, or was until lately.
    pub(crate) fn known(&self, id: &SandboxId) -> Option<Arc<Sandbox>> {
        let all = self.all();
        let ended = || all.ended.iter().find(|sandbox| sandbox.id == *id);
        all.living.get(id).or_else(ended).cloned()
    }

    /// All that aren't over, in no order.
    pub(crate) fn everybody(&self) -> Vec<Arc<Sandbox>> {
        self.all().living.values().cloned().collect()
    }

    /// One never was.
    pub(crate) fn forget(&self, id: &SandboxId) {
        self.all().living.remove(id);
    }

    /// One is over.
    pub(crate) fn bury(&self, id: &SandboxId) {
        let mut all = self.all();
        if let Some(sandbox) = all.living.remove(id) {
            if all.ended.len() == REMEMBERED {
                all.ended.pop_front();
            }
            all.ended.push_back(sandbox);
        }
    }

    fn all(&self) -> MutexGuard<'_, Inhabitants> {
        lock(&self.0)
    }
}

fn allowed(all: &Inhabitants, new: &Record, quotas: &Quotas) -> Result<(), Problem> {
    if *quotas == Quotas::default() {
        return Ok(());
    }
    let records: Vec<_> = all
        .living
        .values()
        .map(|sandbox| sandbox.record())
        .collect();
    quotas.admit(new, records.iter().map(AsRef::as_ref))
}

/// What a panic left is still whole: every change here is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
