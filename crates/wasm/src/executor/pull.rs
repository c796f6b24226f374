//! How pages come out of a worker: all of them, or none.
//!
//! A worker can end at any moment, and can unmap what it says it wrote. What is committed then has to
//! be what it was, in both memories. So few pages are read to one side first, and only copied when the
//! last of them is there. Many are read in place, which saves that copy, after what they replace was
//! kept: for pages that are written for the first time, that is nothing.
//!
//! A worker is read by its process id. One that ended meanwhile may have been reaped, and its id and
//! its addresses may be another worker's by now, with another canister in it: what was read counts
//! only if the worker still runs afterwards.

use super::Crash;
use crate::process::Worker;
use casemate_sys::pages::remote::Source;
use casemate_sys::pages::{Committed as File, Error, PAGE, Runs};

/// Up to so many pages of a commit are read to one side.
const STAGED: usize = 4096;

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
    let undo = [Undo::of(&one)?, Undo::of(&other)?];
    let read = one.pull(worker).and_then(|()| other.pull(worker));
    let Err(why) = read.and_then(|()| still_there(worker)) else {
        return Ok(());
    };
    let torn = |error: Error| Crash::Torn(format!("{why}; then {error}"));
    for (memory, undo) in [&mut one, &mut other].into_iter().zip(undo) {
        undo.restore(memory).map_err(torn)?;
    }
    Err(why)
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

/// What pages held before they were replaced.
struct Undo {
    held: Runs,
    bytes: Vec<u8>,
}

impl Undo {
    fn of(memory: &Pages<'_>) -> Result<Self, Crash> {
        let held = memory.file.held(memory.runs)?;
        let length = held.pages() * PAGE;
        let mut bytes = Vec::new();
        // A worker says how much it is, so there may not be enough.
        let room = bytes.try_reserve_exact(length);
        room.map_err(|why| Crash::Gone(format!("keeping what {length} bytes replace: {why}")))?;
        bytes.resize(length, 0);
        let mut left = &mut bytes[..];
        for run in held.as_slice() {
            let (here, rest) = left.split_at_mut(run.len() * PAGE);
            memory.file.read(run.start, here)?;
            left = rest;
        }
        Ok(Self { held, bytes })
    }

    fn restore(self, memory: &mut Pages<'_>) -> Result<(), Error> {
        for run in memory.runs.as_slice() {
            memory.file.discard(run.pages())?;
        }
        let mut window = memory.file.map(end(memory.runs))?;
        window.write_staged(&self.held, &self.bytes)
    }
}

/// The page after the last.
fn end(runs: &Runs) -> usize {
    runs.as_slice().last().map_or(0, |run| run.end)
}
