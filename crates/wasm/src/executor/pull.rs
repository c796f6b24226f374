//! How pages come out of a worker: all of them, or none.
//!
//! A worker can end at any moment, and can unmap what it says it wrote. So few pages are read to one
//! side first, and only copied when the last of them is there. Many are read in place, which saves that
//! copy; if that goes wrong the files are of two versions ([`Crash::Torn`]), and the canister is made
//! again from what is stored.
//!
//! A worker is read by its process id. One that ended meanwhile may have been reaped, and its id and
//! its addresses may be another worker's by now, with another canister in it: what was read counts
//! only if the worker still runs afterwards.

use super::Crash;
use super::copy::in_two;
use super::staged::{Files, Origin, end};
use crate::process::Worker;
use casemate_sys::pages::remote::Source;
use casemate_sys::pages::{PAGE, Runs};

/// Up to so many pages of a commit are read to one side.
const STAGED: usize = 64;

/// Pages of both memories, in a worker.
pub(super) struct Pages<'a> {
    pub(super) worker: &'a Worker,
    /// Where page 0 of each is.
    pub(super) addresses: [u64; 2],
    pub(super) runs: [&'a Runs; 2],
}

impl Origin for Pages<'_> {
    fn runs(&self) -> [&Runs; 2] {
        self.runs
    }

    fn take(&self, files: &mut Files) -> Result<(), Crash> {
        // Each is bounded by its memory's size, as reviewed.
        match self.runs.iter().map(|runs| runs.pages()).sum() {
            0 => Ok(()),
            few if few <= STAGED => self.take_few(files),
            _ => self.replace(files),
        }
    }

    fn stage(&self, into: [&mut [u8]; 2]) -> Result<(), Crash> {
        for (which, staged) in into.into_iter().enumerate() {
            self.source(which).stage(self.runs[which], staged)?;
        }
        self.still_there()
    }
}

impl Pages<'_> {
    fn take_few(&self, files: &mut Files) -> Result<(), Crash> {
        let mut staged = vec![0; (self.runs[0].pages() + self.runs[1].pages()) * PAGE];
        let (heap, stable) = staged.split_at_mut(self.runs[0].pages() * PAGE);
        self.stage([&mut *heap, &mut *stable])?;
        // What can fail comes before what changes something.
        let mut window = files.heap.map(end(self.runs[0]))?;
        let mut other = files.stable.map(end(self.runs[1]))?;
        window.write_staged(self.runs[0], heap)?;
        Ok(other.write_staged(self.runs[1], stable)?)
    }

    fn replace(&self, files: &mut Files) -> Result<(), Crash> {
        let read = self.pull(0, files).and_then(|()| self.pull(1, files));
        let read = read.and_then(|()| self.still_there());
        read.map_err(|why| Crash::Torn(why.to_string()))
    }

    fn pull(&self, which: usize, files: &mut Files) -> Result<(), Crash> {
        let runs = self.runs[which];
        let (window, source) = (files.of(which).map(end(runs))?, self.source(which));
        Ok(in_two(runs, window, |runs, to| source.pull(runs, to))?)
    }

    fn source(&self, which: usize) -> Source {
        Source {
            process: self.worker.pid(),
            address: self.addresses[which],
        }
    }

    fn still_there(&self) -> Result<(), Crash> {
        match self.worker.has_ended() {
            false => Ok(()),
            true => Err(Crash::Gone("it ended while its pages were read".to_owned())),
        }
    }
}
