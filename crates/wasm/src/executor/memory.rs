//! What is committed of a canister's memory: the controller's half.

use crate::guest::PER_WASM_PAGE;
use crate::module::Profile;
use casemate_sys::pages::{Committed, Error, PAGE, Runs};

/// Heap and stable memory, page for page.
pub struct CanisterMemory {
    /// The heap.
    pub heap: Committed,
    /// Stable memory.
    pub stable: Committed,
}

impl CanisterMemory {
    /// As much of both as a module may ever have, and nothing in it.
    pub fn new(profile: &Profile) -> Result<Self, Error> {
        let pages = |wasm: u64| usize::try_from(wasm).unwrap_or(usize::MAX / 2) * PER_WASM_PAGE;
        Ok(Self {
            heap: Committed::new("heap", pages(profile.heap.maximum).max(1))?,
            stable: Committed::new("stable", pages(profile.stable_maximum).max(1))?,
        })
    }

    /// The bytes of a page of one of the two: 0 is the heap, 1 stable memory.
    pub fn get(&self, which: usize, page: usize, into: &mut [u8]) -> Result<(), Error> {
        match which {
            0 => self.heap.read(page, into),
            _ => self.stable.read(page, into),
        }
    }

    /// Makes a page of one of the two what it was.
    pub fn put(&mut self, which: usize, page: usize, bytes: &[u8]) -> Result<(), Error> {
        let memory = match which {
            0 => &mut self.heap,
            _ => &mut self.stable,
        };
        memory.map(page.saturating_add(1))?.write(page, bytes)
    }

    /// Takes pages of both from where `copy` finds them.
    pub(super) fn take(
        memory: &mut Committed,
        runs: &Runs,
        mut bytes: impl FnMut(usize, usize) -> *const u8,
    ) -> Result<(), Error> {
        let Some(last) = runs.as_slice().last() else {
            return Ok(());
        };
        let mut window = memory.map(last.end)?;
        for run in runs.as_slice() {
            // SAFETY: the caller has that many pages there, and nothing writes to them now.
            let slice = unsafe {
                std::slice::from_raw_parts(bytes(run.start, run.len()), run.len() * PAGE)
            };
            window.write(run.start, slice)?;
        }
        Ok(())
    }
}
