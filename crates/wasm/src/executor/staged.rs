//! Pages that an update wrote, on their way into the files.

use super::Crash;
use crate::guest::State;
use casemate_sys::pages::{Committed, Error, PAGE, Runs};
use std::sync::Arc;

/// The files themselves.
pub(super) struct Files {
    pub(super) heap: Committed,
    pub(super) stable: Committed,
}

impl Files {
    /// One of the two: 0 is the heap, 1 stable memory.
    pub(super) fn of(&mut self, which: usize) -> &mut Committed {
        match which {
            0 => &mut self.heap,
            _ => &mut self.stable,
        }
    }
}

/// Where pages are that an update wrote.
pub(super) trait Origin {
    /// Which ones, of the heap and of stable memory.
    fn runs(&self) -> [&Runs; 2];

    /// Copies them into the files: all, or none.
    fn take(&self, files: &mut Files) -> Result<(), Crash>;

    /// Copies them to one side. There is room for exactly so many.
    fn stage(&self, into: [&mut [u8]; 2]) -> Result<(), Crash>;
}

/// Pages that wait until nobody reads what they replace.
pub(super) struct Staged {
    runs: [Runs; 2],
    bytes: [Vec<u8>; 2],
    /// Of their version.
    pub(super) state: Arc<State>,
}

impl Staged {
    pub(super) fn of(
        origin: &dyn Origin,
        state: Arc<State>,
        files: &mut Files,
    ) -> Result<Self, Crash> {
        let runs = origin.runs().map(Clone::clone);
        let mut bytes = [&runs[0], &runs[1]].map(|runs| vec![0; runs.pages() * PAGE]);
        let [heap, stable] = &mut bytes;
        origin.stage([heap, stable])?;
        // What can fail comes before what changes something.
        files.heap.map(end(&runs[0]))?;
        files.stable.map(end(&runs[1]))?;
        Ok(Self { runs, bytes, state })
    }

    /// Which ones they are, of the heap and of stable memory.
    pub(super) fn runs(&self) -> [&Runs; 2] {
        [&self.runs[0], &self.runs[1]]
    }

    pub(super) fn write(&self, files: &mut Files) -> Result<(), Error> {
        for (which, (runs, bytes)) in self.runs.iter().zip(&self.bytes).enumerate() {
            files.of(which).map(end(runs))?.write_staged(runs, bytes)?;
        }
        Ok(())
    }
}

/// The page after the last.
pub(super) fn end(runs: &Runs) -> usize {
    runs.as_slice().last().map_or(0, |run| run.end)
}
