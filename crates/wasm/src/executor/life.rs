//! A worker, as all who talk to it share it. It ends for all of them at once.

use super::Crash;
use crate::process::Worker;
use casemate_sys::pages::ring::Line as Wire;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long it is waited to learn how it ended.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Life {
    pub(super) worker: Worker,
    pulse: Arc<Pulse>,
    why: Mutex<Option<String>>,
}

/// What stops.
struct Pulse {
    /// What tells those who wait for a word of it.
    wires: Vec<Wire>,
    is_gone: AtomicBool,
}

impl Pulse {
    fn stop(&self) {
        self.is_gone.store(true, Ordering::Release);
        self.wires.iter().for_each(Wire::cut);
    }
}

impl Life {
    pub(super) fn of(worker: Worker, wires: Vec<Wire>) -> Self {
        let pulse = Arc::new(Pulse {
            wires,
            is_gone: AtomicBool::new(false),
        });
        let stopping = pulse.clone();
        worker.at_end(move || stopping.stop());
        Self {
            worker,
            pulse,
            why: Mutex::new(None),
        }
    }

    /// An error once it has ended.
    pub(super) fn check(&self) -> Result<(), Crash> {
        match self.pulse.is_gone.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(self.end("it has ended")),
        }
    }

    /// Ends it: nothing that it says is believed any more. The first reason is everybody's.
    pub(super) fn end(&self, why: &(impl std::fmt::Display + ?Sized)) -> Crash {
        let mut known = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let why = known.get_or_insert_with(|| {
            self.worker.kill();
            self.pulse.stop();
            self.worker.wait(PATIENCE);
            format!("{why}\n{}", self.worker.obituary())
        });
        Crash::Gone(why.clone())
    }
}
