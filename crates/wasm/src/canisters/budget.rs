//! The memory of all canisters together, which none may take from another.
//!
//! A call that may grow its memory borrows a share of what is left before it runs, and gives back
//! what it didn't take when it is done; so calls that run at the same time never grow by more than
//! there is, whatever they do, and a call that fails has taken nothing.

use std::sync::{Arc, Mutex, PoisonError};

/// Into how many parts what is left is divided: as many calls can grow at once.
const SHARES: u64 = 4;

/// What is left for all, bytes.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Mutex<u64>>);

/// What a call may grow by; given back when it goes.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    bytes: u64,
}

/// What a canister has; given back when it goes.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// So many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    /// What is left.
    pub(super) fn left(&self) -> u64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(u64) -> u64) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = change(*left);
    }

    /// A share of what is left.
    pub(super) fn share(&self) -> Share {
        let mut bytes = 0;
        self.change(|left| {
            bytes = left.div_ceil(SHARES);
            left - bytes
        });
        Share {
            budget: self.clone(),
            bytes,
        }
    }

    /// What a canister has already: it was granted when it grew, so it is taken even if there is
    /// less.
    pub(super) fn held(&self, bytes: u64) -> Held {
        let mut held = Held {
            budget: self.clone(),
            bytes: 0,
        };
        held.become_of(bytes);
        held
    }
}

impl Share {
    /// What it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.change(|left| left.saturating_add(self.bytes));
    }
}

impl Held {
    /// Has another size now.
    pub(super) fn become_of(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.budget
            .change(|left| left.saturating_add(before).saturating_sub(bytes));
    }

    /// Grows by part of a share, which has to be dropped after it.
    pub(super) fn grow(&mut self, share: &mut Share, bytes: u64) {
        let part = bytes.min(share.bytes);
        share.bytes -= part;
        self.bytes += part;
        let rest = bytes - part;
        if rest > 0 {
            self.become_of(self.bytes + rest);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.become_of(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_isnt_taken_comes_back() {
        let budget = Budget::new(1000);
        let mut held = budget.held(100);
        let mut share = budget.share();
        assert_eq!((share.bytes(), budget.left()), (225, 675));
        held.grow(&mut share, 25);
        drop(share);
        assert_eq!(budget.left(), 875);
        drop(held);
        assert_eq!(budget.left(), 1000);
    }

    #[test]
    fn shares_at_once_are_never_more_than_there_is() {
        let budget = Budget::new(10);
        let shares: Vec<Share> = (0..100).map(|_| budget.share()).collect();
        assert_eq!(shares.iter().map(Share::bytes).sum::<u64>(), 10);
        assert_eq!(budget.left(), 0);
        drop(shares);
        assert_eq!(budget.left(), 10);
    }
}
