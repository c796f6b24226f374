//! A worker, as all who talk to it share it. It ends for all of them at once.

use super::Crash;
use crate::process::Worker;
use casemate_sys::pages::ring::Line as Wire;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long it is waited to learn how it ended.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Life {
    pub(super) worker: Worker,
    /// What tells those who wait for a word of it.
    wires: Vec<Wire>,
    is_gone: AtomicBool,
    why: Mutex<Option<String>>,
}

impl Life {
    pub(super) fn of(worker: Worker, wires: Vec<Wire>) -> Self {
        Self {
            worker,
            wires,
            is_gone: AtomicBool::new(false),
            why: Mutex::new(None),
        }
    }

    /// An error once it has ended.
    pub(super) fn check(&self) -> Result<(), Crash> {
        match self.is_gone.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(self.end("it has ended")),
        }
    }

    /// Ends it: nothing that it says is believed any more. The first reason is everybody's.
    pub(super) fn end(&self, why: &(impl std::fmt::Display + ?Sized)) -> Crash {
        let mut known = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let why = known.get_or_insert_with(|| {
            self.worker.kill();
            self.is_gone.store(true, Ordering::Release);
            self.wires.iter().for_each(Wire::cut);
            self.worker.wait(PATIENCE);
            format!("{why}\n{}", self.worker.obituary())
        });
        Crash::Gone(why.clone())
    }
}
