//! How pages come out of a worker.
//!
//! A worker can end at any moment, and can unmap what it says it wrote. Few pages are read to one side
//! first, and only copied when the last of them is there. Many are read in place, once: if that fails
//! half-way, what is committed is of two versions, and its owner makes it anew from what is stored
//! ([`Crash::Torn`]). To keep what they replace for that case would cost each large commit more than
//! the commit itself.
//!
//! A worker is read by its process id. One that ended meanwhile may have been reaped, and its id and
//! its addresses may be another worker's by now, with another canister in it: what was read counts
//! only if the worker still runs afterwards.

use super::Crash;
use crate::process::Worker;
use casemate_sys::pages::remote::Source;
use casemate_sys::pages::{Committed as File, PAGE, Runs};

/// Up to so many pages of a commit are read to one side.
const STAGED: usize = 64;

/// Pages of one of the two memories.
pub(super) struct Pages<'a> {
    /// Where its page 0 is in the worker.
    pub(super) address: u64,
    pub(super) runs: &'a Runs,
    pub(super) file: &'a mut File,
}

/// Takes pages of both memories.
///
/// # Errors
/// Nothing was taken, but after [`Crash::Torn`].
pub(super) fn pull(worker: &Worker, memories: [Pages<'_>; 2]) -> Result<(), Crash> {
    // Each is bounded by its memory's size, as reviewed.
    let pages: usize = memories.iter().map(|memory| memory.runs.pages()).sum();
    match pages {
        0 => Ok(()),
        few if few <= STAGED => stage(worker, memories, few),
        _ => replace(worker, memories),
    }
}

fn stage(worker: &Worker, memories: [Pages<'_>; 2], pages: usize) -> Result<(), Crash> {
    let mut staged = vec![0; pages * PAGE];
    let (heap, stable) = staged.split_at_mut(memories[0].runs.pages() * PAGE);
    for (memory, staged) in memories.iter().zip([&mut *heap, &mut *stable]) {
        memory.source(worker).stage(memory.runs, staged)?;
    }
    still_there(worker)?;
    let [one, other] = memories;
    // What can fail comes before what changes something.
    let (mut one_window, mut other_window) = (
        one.file.map(end(one.runs))?,
        other.file.map(end(other.runs))?,
    );
    one_window.write_staged(one.runs, heap)?;
    Ok(other_window.write_staged(other.runs, stable)?)
}

fn replace(worker: &Worker, memories: [Pages<'_>; 2]) -> Result<(), Crash> {
    let [mut one, mut other] = memories;
    let read = one.pull(worker).and_then(|()| other.pull(worker));
    let read = read.and_then(|()| still_there(worker));
    read.map_err(|why| Crash::Torn(why.to_string()))
}

fn still_there(worker: &Worker) -> Result<(), Crash> {
    match worker.has_ended() {
        false => Ok(()),
        true => Err(Crash::Gone("it ended while its pages were read".to_owned())),
    }
}

impl Pages<'_> {
    fn source(&self, worker: &Worker) -> Source {
        Source {
            process: worker.pid(),
            address: self.address,
        }
    }

    fn pull(&mut self, worker: &Worker) -> Result<(), Crash> {
        let source = self.source(worker);
        Ok(source.pull(self.runs, &mut self.file.map(end(self.runs))?)?)
    }
}

/// The page after the last.
fn end(runs: &Runs) -> usize {
    runs.as_slice().last().map_or(0, |run| run.end)
}
