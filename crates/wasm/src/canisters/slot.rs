//! A canister's place among the others, whether it is opened or not.

use super::canister::Canister;
use super::message::Parcel;
use super::view::View;
use crate::call::{Log, Principal};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

type Broken<'a> = PoisonError<MutexGuard<'a, Option<Canister>>>;

/// One place. The canister's lock is held for a turn; the others for a moment, and none of them
/// while another is asked for.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) principal: Principal,
    canister: Mutex<Option<Canister>>,
    inbox: Mutex<VecDeque<Parcel>>,
    /// Answers of this canister that their callers have written down.
    read: Mutex<Vec<(Principal, u64)>>,
    /// How queries find the canister, if it is opened and has a place to run in.
    pub(super) view: Mutex<Option<Arc<View>>>,
    /// What queries printed that isn't written down yet.
    printed: Mutex<Vec<Log>>,
    /// When it has to be woken, nanoseconds since 1970; 0 for never.
    pub(super) due: AtomicU64,
    /// When it last had a turn.
    pub(super) used: AtomicU64,
    /// Queries that run.
    pub(super) asking: AtomicUsize,
}

impl Slot {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            principal: principal(name),
            canister: Mutex::default(),
            inbox: Mutex::default(),
            read: Mutex::default(),
            view: Mutex::default(),
            printed: Mutex::default(),
            due: AtomicU64::new(0),
            used: AtomicU64::new(0),
            asking: AtomicUsize::new(0),
        }
    }

    pub(super) fn canister(&self) -> MutexGuard<'_, Option<Canister>> {
        self.canister
            .lock()
            .unwrap_or_else(|broken| self.emptied(broken))
    }

    /// Unless it has a turn right now.
    pub(super) fn try_canister(&self) -> Option<MutexGuard<'_, Option<Canister>>> {
        match self.canister.try_lock() {
            Ok(canister) => Some(canister),
            Err(TryLockError::Poisoned(broken)) => Some(self.emptied(broken)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// A turn panicked, and may have left anything in memory: what counts is what is stored.
    fn emptied<'a>(&self, broken: Broken<'a>) -> MutexGuard<'a, Option<Canister>> {
        let mut canister = broken.into_inner();
        self.close(&mut canister);
        self.canister.clear_poison();
        canister
    }

    /// Lets the canister go. True if it was opened.
    pub(super) fn close(&self, canister: &mut Option<Canister>) -> bool {
        *lock(&self.view) = None;
        canister.take().is_some()
    }

    /// How queries find it, as its last turn left it.
    pub(super) fn view(&self) -> Option<Arc<View>> {
        lock(&self.view).clone()
    }

    pub(super) fn has_view(&self) -> bool {
        lock(&self.view).is_some()
    }

    /// Keeps what a query printed until a turn ends.
    pub(super) fn print(&self, logs: &[Log]) {
        lock(&self.printed).extend_from_slice(logs);
    }

    pub(super) fn take_printed(&self) -> Vec<Log> {
        std::mem::take(&mut *lock(&self.printed))
    }

    pub(super) fn put(&self, parcel: Parcel) {
        lock(&self.inbox).push_back(parcel);
    }

    pub(super) fn take(&self) -> Option<Parcel> {
        lock(&self.inbox).pop_front()
    }

    pub(super) fn has_post(&self) -> bool {
        !lock(&self.inbox).is_empty()
    }

    pub(super) fn note_read(&self, who: Principal, number: u64) {
        lock(&self.read).push((who, number));
    }

    pub(super) fn take_read(&self) -> Vec<(Principal, u64)> {
        std::mem::take(&mut *lock(&self.read))
    }
}

/// What these locks guard is whole between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A canister's own: the same for the same name.
pub(super) fn principal(name: &str) -> Principal {
    let mut number = [0; 8];
    number.copy_from_slice(&Sha256::digest(name)[..8]);
    Principal::of_canister(u64::from_be_bytes(number))
}
