//! What a composite query has in memory while it waits for the answers of its calls.
//!
//! ```text
//!  a call of it ends ──▶ its pages, globals and sizes are taken here; its place is free again
//!  updates write     ──▶ what a page held before is put aside here, for this query alone
//!  an answer comes   ──▶ any place becomes what it was: both, over what is committed by then
//! ```
//!
//! So a query that waits holds no thread, no place and no version, and nobody ever waits for it:
//! neither an update nor another query, whoever calls whom. It goes on nevertheless with the version
//! that it began with. Only memory is held, which is bounded, for each and for all of them.

use super::Crash;
use super::staged::{Files, Origin};
use crate::call::{Effects, Failure, Ran};
use crate::guest::{PER_WASM_PAGE, State};
use casemate_sys::pages::{PAGE, Run, Runs};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most pages that one may have written when it begins to wait: 64 MiB.
pub(crate) const MOST_KEPT: usize = 16384;
/// The most pages that are put aside for one beside that.
const MOST_REPLACED: usize = MOST_KEPT;
/// The most pages of all of them in this process: 1 GiB.
const MOST: usize = 1 << 18;
/// Pages that are given at once.
const PIECE: usize = 64;

static LEFT: AtomicUsize = AtomicUsize::new(MOST);

/// What a call of a composite query left, for the next one.
pub struct Kept {
    /// Its globals and sizes.
    pub(super) state: State,
    shelf: Arc<Shelf>,
}

/// The pages of one.
pub(super) struct Shelf {
    /// Sizes of the version that it began with, in pages of WebAssembly. What is beyond them is its
    /// own, whatever is committed there meanwhile.
    base: [u64; 2],
    pages: Mutex<Pages>,
}

struct Pages {
    runs: [Runs; 2],
    bytes: [Vec<u8>; 2],
    /// What was replaced by updates.
    replaced: [BTreeMap<usize, Box<[u8]>>; 2],
    room: Room,
    /// More was replaced than there is room for.
    is_lost: bool,
}

/// Pages of all that there may be, given back when it goes.
struct Room(usize);

impl Room {
    /// For so many pages, if they are left.
    fn take(pages: usize) -> Option<Self> {
        let less = |left: usize| left.checked_sub(pages);
        let taken = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok().then_some(Self(pages))
    }

    fn add(&mut self, other: Self) {
        self.0 += std::mem::take(&mut { other }.0);
    }
}

/// Pages that are left for all of them.
#[cfg(test)]
pub(super) fn left() -> usize {
    LEFT.load(Ordering::Relaxed)
}

impl Drop for Room {
    fn drop(&mut self) {
        LEFT.fetch_add(self.0, Ordering::Relaxed);
    }
}

/// Takes the pages that a call left. If there is no room for them, it is the call's failure.
pub(super) fn take(
    origin: &dyn Origin,
    base: [u64; 2],
    state: State,
) -> Result<Result<Kept, Failure>, Crash> {
    let runs = origin.runs().map(Clone::clone);
    let count = runs.iter().map(Runs::pages).sum();
    let Some(room) = Room::take(count) else {
        let why = "too many composite queries wait for the answers of their calls right now";
        return Ok(Err(Failure::Memory(why.to_owned())));
    };
    let mut bytes = [&runs[0], &runs[1]].map(|runs| vec![0; runs.pages() * PAGE]);
    let [heap, stable] = &mut bytes;
    origin.stage([heap, stable])?;
    Ok(Ok(Kept::of(room, base, state, runs, bytes)))
}

/// Makes a failure of a call whose pages can't be kept. It leaves what was there before.
pub(super) fn fail(ran: &mut Ran, why: Failure, before: Option<&Kept>, committed: &State) {
    let state = before.map_or(committed, |before| &before.state);
    let logs = std::mem::take(&mut ran.effects.logs);
    *ran = Ran {
        result: Err(why),
        instructions: ran.instructions,
        effects: Effects {
            logs,
            ..Effects::default()
        },
        globals: Vec::new(),
        heap_pages: state.heap_pages,
        stable_pages: state.stable_pages,
    };
}

impl Kept {
    /// Of a call that ended in this state, with these pages; it began with such sizes.
    fn of(room: Room, base: [u64; 2], state: State, runs: [Runs; 2], bytes: [Vec<u8>; 2]) -> Self {
        let pages = Mutex::new(Pages {
            runs,
            bytes,
            replaced: Default::default(),
            room,
            is_lost: false,
        });
        Self {
            state,
            shelf: Arc::new(Shelf { base, pages }),
        }
    }

    /// The sizes that it began with.
    pub(super) fn base(&self) -> [u64; 2] {
        self.shelf.base
    }

    pub(super) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// Gives all its pages, in pieces: of which memory, from which page on, and what they hold.
    /// Nothing may be committed meanwhile.
    ///
    /// # Errors
    /// [`Crash::Overtaken`], and what `give` fails with.
    pub(super) fn give(
        &self,
        mut give: impl FnMut(usize, usize, &[u8]) -> Result<(), Crash>,
    ) -> Result<(), Crash> {
        let pages = self.shelf.pages();
        if pages.is_lost {
            return Err(Crash::Overtaken);
        }
        for (which, runs) in pages.runs.iter().enumerate() {
            let mut left = &pages.bytes[which][..];
            for run in runs.as_slice() {
                for start in run.pages().step_by(PIECE) {
                    let length = PIECE.min(run.end - start) * PAGE;
                    let (piece, rest) = left.split_at(length.min(left.len()));
                    give(which, start, piece)?;
                    left = rest;
                }
            }
            for (page, bytes) in &pages.replaced[which] {
                give(which, *page, bytes)?;
            }
        }
        Ok(())
    }
}

impl Shelf {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts aside what these pages hold, as far as it is part of what the query began with and has
    /// not written.
    pub(super) fn put_aside(&self, runs: [&Runs; 2], files: &mut Files) {
        let mut pages = self.pages();
        for (which, runs) in runs.into_iter().enumerate() {
            let end = usize::try_from(self.base[which]).unwrap_or(usize::MAX);
            let base: Runs = [Run {
                start: 0,
                end: end.saturating_mul(PER_WASM_PAGE),
            }]
            .into_iter()
            .collect();
            let others = runs.within(&base).without(&pages.runs[which]);
            for page in others.as_slice().iter().flat_map(|run| run.pages()) {
                if !pages.is_lost && !pages.replaced[which].contains_key(&page) {
                    pages.replace(which, page, files);
                }
            }
        }
    }
}

impl Pages {
    fn replace(&mut self, which: usize, page: usize, files: &mut Files) {
        let count: usize = self.replaced.iter().map(BTreeMap::len).sum();
        let room = Room::take(1).filter(|_| count < MOST_REPLACED);
        let mut bytes = vec![0; PAGE].into_boxed_slice();
        let read = files.of(which).read(page, &mut bytes);
        match (room, read) {
            (Some(room), Ok(())) => {
                self.room.add(room);
                self.replaced[which].insert(page, bytes);
            }
            _ => {
                // Whoever goes on with it is told.
                *self = Self {
                    runs: Default::default(),
                    bytes: Default::default(),
                    replaced: Default::default(),
                    room: Room(0),
                    is_lost: true,
                };
            }
        }
    }
}
