//! One alarm for each sandbox, and one task that waits for the next.

use crate::census::lock;
use casemate_core::sandbox::SandboxId;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use tokio::sync::Notify;

/// The alarms.
#[derive(Default)]
pub(crate) struct Timers {
    alarms: Mutex<Alarms>,
    /// Told when another alarm is the next.
    changed: Notify,
}

#[derive(Default)]
struct Alarms {
    order: BTreeSet<(Timestamp, SandboxId)>,
    of: HashMap<SandboxId, Timestamp>,
}

impl Alarms {
    fn clear(&mut self, id: &SandboxId) {
        if let Some(at) = self.of.remove(id) {
            self.order.remove(&(at, id.clone()));
        }
    }
}

impl Timers {
    /// Sets the alarm of a sandbox in place of the one it had.
    pub(crate) fn set(&self, id: &SandboxId, at: Option<Timestamp>) {
        let mut alarms = lock(&self.alarms);
        alarms.clear(id);
        if let Some(at) = at {
            alarms.of.insert(id.clone(), at);
            alarms.order.insert((at, id.clone()));
            if alarms.order.first().is_some_and(|(_, first)| first == id) {
                self.changed.notify_one();
            }
        }
    }

    /// The sandboxes whose alarm rings, each once.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<SandboxId> {
        let mut alarms = lock(&self.alarms);
        let mut due = Vec::new();
        while let Some((at, id)) = alarms.order.first().cloned()
            && at <= now
        {
            alarms.clear(&id);
            due.push(id);
        }
        due
    }

    /// When the next one rings.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        lock(&self.alarms).order.first().map(|(at, _)| *at)
    }

    /// Ends when another alarm became the next.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sandbox_has_one_alarm() {
        let timers = Timers::default();
        let [a, b] = [0u8, 1].map(|byte| SandboxId::of([byte; 20]));
        let at = |second| Timestamp::from_second(second).unwrap();
        timers.set(&a, Some(at(10)));
        timers.set(&b, Some(at(5)));
        timers.set(&a, Some(at(3)));
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.due(at(4)), [a]);
        timers.set(&b, None);
        assert_eq!((timers.next(), timers.due(at(99))), (None, vec![]));
    }
}
