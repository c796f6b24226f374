//! Events between the folder and whoever reads them.

use super::event::Event;
use crate::fault::{Fault, Result};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Events that wait for their reader.
const MOST: usize = 8192;

/// A bounded queue. A reader that is too slow is told that events were lost, never left to
/// believe that nothing happened.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    fault: Option<Fault>,
    /// The fault stays: nothing comes any more.
    ended: bool,
}

impl Queue {
    /// Adds an event. One that says the same as the last one is that one; when there is no place,
    /// all that waited are lost, with `lost` in their place.
    pub(super) fn push(&self, event: Event, lost: impl FnOnce() -> Fault) {
        let mut waiting = self.waiting();
        let last = waiting.events.back_mut();
        if let Some(last) = last.filter(|l| l.name == event.name && l.kind == event.kind) {
            *last = event;
        } else if waiting.events.len() < MOST {
            waiting.events.push_back(event);
        } else {
            waiting.lose(lost());
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Events were lost; others may follow.
    pub(super) fn lose(&self, fault: Fault) {
        self.waiting().lose(fault);
        self.arrived.notify_one();
    }

    /// Nothing follows.
    pub(super) fn end(&self, fault: Fault) {
        let mut waiting = self.waiting();
        waiting.fault = Some(fault);
        waiting.ended = true;
        drop(waiting);
        self.arrived.notify_one();
    }

    /// What has arrived since it was last asked; a fault once what came before it was taken, and
    /// one that ends the watch every time from then on.
    pub(super) fn take(&self) -> Result<Vec<Event>> {
        let mut waiting = self.waiting();
        if !waiting.events.is_empty() && !waiting.is_lost() {
            return Ok(waiting.events.drain(..).collect());
        }
        let fault = match waiting.ended {
            true => waiting.fault.clone(),
            false => waiting.fault.take(),
        };
        fault.map_or_else(|| Ok(Vec::new()), Err)
    }

    /// Waits until there is something to take. For one reader.
    pub(super) async fn arrival(&self) {
        loop {
            let arrived = self.arrived.notified();
            {
                let waiting = self.waiting();
                if !waiting.events.is_empty() || waiting.fault.is_some() {
                    return;
                }
            }
            arrived.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn lose(&mut self, fault: Fault) {
        self.events.clear();
        self.fault.get_or_insert(fault);
    }

    /// Whether events are missing before those that wait.
    fn is_lost(&self) -> bool {
        self.fault.is_some() && !self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, Kind};
    use super::{MOST, Queue};
    use crate::fault::{Cause, Fault};

    fn event(name: &str, kind: Kind) -> Event {
        Event {
            name: name.to_owned(),
            kind,
            entry: None,
        }
    }

    fn lost() -> Fault {
        Fault::new(Cause::Lost, "lost")
    }

    fn push(queue: &Queue, name: &str, kind: Kind) {
        queue.push(event(name, kind), lost);
    }

    #[test]
    fn the_same_again_is_one() {
        let queue = Queue::default();
        for kind in [
            Kind::Create,
            Kind::Write,
            Kind::Write,
            Kind::Chmod,
            Kind::Write,
        ] {
            push(&queue, "a", kind);
        }
        push(&queue, "b", Kind::Write);
        let kinds: Vec<Kind> = queue.take().unwrap().iter().map(|e| e.kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::Create,
                Kind::Write,
                Kind::Chmod,
                Kind::Write,
                Kind::Write
            ]
        );
        assert_eq!(queue.take(), Ok(Vec::new()));
    }

    #[test]
    fn what_is_lost_is_told_before_what_follows() {
        let queue = Queue::default();
        for number in 0..=MOST {
            push(&queue, &number.to_string(), Kind::Create);
        }
        push(&queue, "after", Kind::Create);
        assert_eq!(queue.take(), Err(lost()));
        assert_eq!(queue.take(), Ok(vec![event("after", Kind::Create)]));
        assert_eq!(queue.take(), Ok(Vec::new()));
    }

    #[test]
    fn an_end_comes_last_and_stays() {
        let queue = Queue::default();
        push(&queue, "a", Kind::Create);
        queue.end(lost());
        assert_eq!(queue.take(), Ok(vec![event("a", Kind::Create)]));
        assert_eq!(queue.take(), Err(lost()));
        assert_eq!(queue.take(), Err(lost()));
    }

    #[tokio::test]
    async fn an_arrival_before_the_wait_counts() {
        let queue = Queue::default();
        push(&queue, "a", Kind::Create);
        queue.arrival().await;
        let (_, taken) = tokio::join!(
            async {
                queue.take().unwrap();
                push(&queue, "b", Kind::Create);
            },
            async {
                queue.arrival().await;
                queue.take()
            }
        );
        assert_eq!(taken, Ok(vec![event("b", Kind::Create)]));
    }
}
