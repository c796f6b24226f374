//! Users that sandboxes have outside, for root, who may choose: a range each, so that no sandbox
//! has anything in common with another one, or with anybody of this machine.

use casemate_core::error::{Error, Result};
use casemate_core::spec::USERS;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Above what distributions give out, subordinate ids included (shadow(3), subuid(5),
/// systemd's UIDS-GIDS), and below what is special.
const FIRST: u32 = 0x7000_0000;
/// The last range ends at 0xf000_0000, far from 2^32 - 2, which means nobody.
const MANY: u32 = 0x8000;

/// The first ids of the ranges that are taken.
#[derive(Clone)]
pub(super) struct Ids {
    many: u32,
    taken: Arc<Mutex<BTreeSet<u32>>>,
}

/// A range. It is free again when this is dropped, and not before: whoever holds it drops it when no
/// process has any of it any more.
pub(super) struct Taken {
    id: u32,
    ids: Ids,
}

impl Taken {
    /// The first of the range.
    pub(super) fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.ids.taken().remove(&self.id);
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::of(MANY)
    }
}

impl Ids {
    fn of(many: u32) -> Self {
        Self {
            many,
            taken: Arc::default(),
        }
    }

    /// A range that nobody has.
    pub(super) fn take(&self) -> Result<Taken> {
        let fail = |why: String| Error::rule("find users for a sandbox", why);
        // Not always the first: another daemon of this machine counts its own.
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| fail(error.to_string()))?;
        let start = u32::from(u16::from_le_bytes(random));
        let mut ids = (0..self.many).map(|step| FIRST + (start + step) % self.many * USERS);
        let id = ids.find(|id| self.taken().insert(*id));
        let id = id.ok_or_else(|| fail(format!("all {} are taken", self.many)))?;
        let ids = self.clone();
        Ok(Taken { id, ids })
    }

    /// The one that a sandbox has already; none if another one has it, too.
    pub(super) fn note(&self, id: u32) -> Option<Taken> {
        let ids = self.clone();
        // Not then_some: one that isn't taken must not be given back either.
        self.taken().insert(id).then(|| Taken { id, ids })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, Ids};
    use std::collections::BTreeSet;

    #[test]
    fn nobody_shares_and_all_are_used() {
        let ids = Ids::of(100);
        let held: Vec<_> = (0..100).map(|_| ids.take().unwrap()).collect();
        let distinct: BTreeSet<u32> = held.iter().map(|taken| taken.id()).collect();
        assert_eq!(distinct.len(), held.len());
        let why = ids.take().err().unwrap().to_string();
        assert!(why.contains("all 100 are taken"), "{why}");
        drop(held);
        assert!(ids.taken().is_empty());
    }

    #[test]
    fn one_that_was_given_back_and_taken_again_stays_taken() {
        let ids = Ids::default();
        let first = ids.note(FIRST).unwrap();
        assert!(ids.note(FIRST).is_none());
        drop(first);
        let second = ids.note(FIRST).unwrap();
        assert!(ids.note(FIRST).is_none());
        drop(second);
    }
}
