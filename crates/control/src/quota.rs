//! How much one key may use.

use crate::clock::{later, until};
use crate::problem::Problem;
use crate::record::Record;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use utoipa::ToSchema;

/// When a quota that only an ended sandbox frees may be tried again.
const LATER: u64 = 5;
const MINUTE: Duration = Duration::from_secs(60);

/// What one key may use; what isn't given isn't limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Quotas {
    /// Sandboxes that run at the same time.
    pub concurrent: Option<u32>,
    /// Sandboxes that are made in a minute.
    pub creates_per_minute: Option<u32>,
    /// Processors of all sandboxes that run.
    pub cpus: Option<u32>,
    /// MiB of memory of all sandboxes, paused ones too: those hold theirs.
    #[serde(rename = "memoryMB")]
    pub memory_mb: Option<u64>,
    /// Calls of canisters at the same time.
    pub wasm_concurrent: Option<u32>,
    /// Calls of canisters in a minute.
    pub wasm_calls_per_minute: Option<u32>,
    /// Bytes of arguments and modules for canisters in a minute.
    pub wasm_bytes_per_minute: Option<u64>,
}

impl Quotas {
    /// These, and `others` where these don't say.
    pub(crate) fn or(self, others: Self) -> Self {
        Self {
            concurrent: self.concurrent.or(others.concurrent),
            creates_per_minute: self.creates_per_minute.or(others.creates_per_minute),
            cpus: self.cpus.or(others.cpus),
            memory_mb: self.memory_mb.or(others.memory_mb),
            wasm_concurrent: self.wasm_concurrent.or(others.wasm_concurrent),
            wasm_calls_per_minute: self.wasm_calls_per_minute.or(others.wasm_calls_per_minute),
            wasm_bytes_per_minute: self.wasm_bytes_per_minute.or(others.wasm_bytes_per_minute),
        }
    }

    /// Whether `new` may run beside what its key has already.
    pub(crate) fn admit<'a>(
        &self,
        new: &Record,
        others: impl Iterator<Item = &'a Record>,
    ) -> Result<(), Problem> {
        let mut held = Held::default();
        for other in others.filter(|other| other.key == new.key && other.id != new.id) {
            held.add(other);
        }
        held.add(new);
        exceeded(
            "sandboxes at the same time",
            held.sandboxes,
            self.concurrent.map(u64::from),
        )?;
        exceeded("processors", held.cpus, self.cpus.map(u64::from))?;
        exceeded(
            "MiB of memory",
            held.memory.div_ceil(1 << 20),
            self.memory_mb,
        )
    }
}

#[derive(Default)]
struct Held {
    sandboxes: u64,
    cpus: u64,
    memory: u64,
}

impl Held {
    fn add(&mut self, record: &Record) {
        if record.state.is_over() {
            return;
        }
        self.memory = self.memory.saturating_add(record.wish.resources.memory);
        if record.is_active() {
            self.sandboxes += 1;
            self.cpus += u64::from(record.wish.resources.cpus);
        }
    }
}

fn exceeded(what: &str, wanted: u64, limit: Option<u64>) -> Result<(), Problem> {
    match limit {
        Some(limit) if wanted > limit => Err(Problem::too_many(
            format!("this would be {wanted} {what}; the key's quota is {limit}"),
            LATER,
        )),
        _ => Ok(()),
    }
}

/// When each key made sandboxes in the last minute.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<String, VecDeque<Timestamp>>>);

impl Rates {
    /// Counts one more, unless the minute is full.
    pub(crate) fn admit(
        &self,
        key: &str,
        limit: Option<u32>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let Some(limit) = limit else { return Ok(()) };
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = keys.entry(key.to_owned()).or_default();
        while times.front().is_some_and(|at| later(*at, MINUTE) <= now) {
            times.pop_front();
        }
        if times.len() >= limit as usize {
            let free = times
                .front()
                .map_or(MINUTE, |at| until(now, later(*at, MINUTE)));
            return Err(Problem::too_many(
                format!("the key's quota is {limit} new sandboxes a minute"),
                free.as_secs() + u64::from(free.subsec_nanos() > 0),
            ));
        }
        times.push_back(now);
        Ok(())
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: &str) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(key);
    }
}
