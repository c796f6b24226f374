//! Users that sandboxes are outside, for root, who may choose: one each, so that no sandbox has
//! anything in common with another one, or with anybody of this machine.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Above what distributions give out, subordinate ids included (shadow(3), subuid(5),
/// systemd's UIDS-GIDS), and below what is special.
const FIRST: u32 = 1_879_048_192;
const LAST: u32 = FIRST + 0xffff;

/// The ids that are taken.
#[derive(Default)]
pub(super) struct Ids(Mutex<BTreeSet<u32>>);

impl Ids {
    /// One that nobody has, if this process may choose at all.
    pub(super) fn take(&self) -> Option<u32> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = (FIRST..=LAST).find(|id| !taken.contains(id))?;
        taken.insert(free);
        Some(free)
    }

    /// Notes one that a sandbox has already.
    pub(super) fn note(&self, id: Option<u32>) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(id);
    }

    /// Gives one back.
    pub(super) fn give_back(&self, id: Option<u32>) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = id {
            taken.remove(&id);
        }
    }
}
