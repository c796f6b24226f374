//! A few places for queries, for which whoever needs one waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub(super) struct Places<T> {
    free: Mutex<Free<T>>,
    freed: Condvar,
}

struct Free<T> {
    places: Vec<Option<T>>,
    waiting: usize,
}

impl<T> Places<T> {
    pub(super) fn new(places: Vec<Option<T>>) -> Self {
        Self {
            free: Mutex::new(Free { places, waiting: 0 }),
            freed: Condvar::new(),
        }
    }

    /// Takes one, once one is free: the one that was used last.
    pub(super) fn take(&self) -> Held<'_, T> {
        let mut free = self.free();
        loop {
            if let Some(place) = free.places.pop() {
                return Held {
                    places: self,
                    place,
                };
            }
            free.waiting += 1;
            let woken = self.freed.wait(free);
            free = woken.unwrap_or_else(PoisonError::into_inner);
            free.waiting -= 1;
        }
    }

    fn free(&self) -> MutexGuard<'_, Free<T>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is free again when this is dropped.
pub(super) struct Held<'a, T> {
    places: &'a Places<T>,
    /// What is there, if something was put there yet.
    pub(super) place: Option<T>,
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        let mut free = self.places.free();
        free.places.push(self.place.take());
        if free.waiting > 0 {
            self.places.freed.notify_one();
        }
    }
}
