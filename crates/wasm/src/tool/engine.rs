//! wasmtime, as it is set up for one run.

use super::job::Job;
use super::verdict::Complaint;
use wasmtime::{Config, Engine, Store};

/// A compiler and runtime that counts and interrupts only if it has to: both cost time.
pub(super) fn engine(job: &Job) -> Result<Engine, Complaint> {
    let mut config = Config::new();
    config
        .consume_fuel(is_counted(job))
        .epoch_interruption(job.timeout.is_some());
    Engine::new(&config).map_err(|error| Complaint::new("set up wasmtime", format!("{error:#}")))
}

/// Gives a store what the job allows.
pub(super) fn allow<T>(store: &mut Store<T>, job: &Job) -> Result<(), Complaint> {
    if job.timeout.is_some() {
        // The time is over after one tick, which whoever looks at the clock makes.
        store.set_epoch_deadline(1);
    }
    if !is_counted(job) {
        return Ok(());
    }
    let set = store.set_fuel(given(job));
    set.map_err(|error| Complaint::new("set the instructions", format!("{error:#}")))
}

/// What was executed, if it was counted.
pub(super) fn instructions<T>(store: &Store<T>, job: &Job) -> Option<u64> {
    let left = store.get_fuel().ok()?;
    Some(given(job).saturating_sub(left))
}

fn given(job: &Job) -> u64 {
    job.fuel.unwrap_or(u64::MAX)
}

fn is_counted(job: &Job) -> bool {
    job.counts || job.fuel.is_some()
}
