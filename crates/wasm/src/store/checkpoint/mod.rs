//! From one document to the next.
//!
//! ```text
//!  1  16.pages  16.calls             made beside the others
//!  1  16.milestone                   if the history is kept
//!  2  canister.json                  in the place of the one before: this is the step
//!  3  15.calls, replaced overlays    removed; what newer ones cover is given back
//!     3.milestone, and its files     removed instead, if so much of the history isn't kept
//! ```
//!
//! Whatever ends it before the second step leaves the canister as it was, and files that nobody
//! mentions, which the next one to open it [sweeps](sweep) away; after it, the same with older files.
//! With `is_synced`, 1 is on the disk before 2, and 2 before 3.

use super::overlay::layers::{punch, replaced, taken, whole};
use super::{
    Base, Document, History, Journal, Milestone, Overlay, StoreError, disk, write_overlay,
};
use casemate_sys::pages::{Committed, PAGE, Runs};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a checkpoint has to hold of a canister's memory.
#[derive(Debug, Clone, Copy)]
pub enum Pages<'a> {
    /// What may have changed since the one before, of heap and stable memory.
    Since([&'a Runs; 2]),
    /// All there is, without what was there before: another module's memory.
    All,
}

/// A step from a document to the next.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    /// The canister's folder.
    pub home: &'a Path,
    /// What counts until then.
    pub before: &'a Document,
    /// The calls since then.
    pub journal: &'a Journal,
    /// It survives a power cut.
    pub is_synced: bool,
    /// From now on, checkpoints stay as [milestones](Milestone). What was begun goes on without being
    /// asked for, until it is [forgotten](Milestone::forget).
    pub history: History,
    /// What memory holds came of the calls since the one before, and of nothing else: there is no
    /// other code.
    pub follows: bool,
}

impl Checkpoint<'_> {
    /// Takes the step. `next` is what is to count, but for the files, which it is given here.
    ///
    /// # Errors
    /// It wasn't taken; or, with `is_synced`, it isn't known whether it was, and before another call
    /// is written down the canister has to be opened anew.
    pub fn write(
        &self,
        mut next: Document,
        pages: Pages<'_>,
        memories: [&Committed; 2],
    ) -> Result<(Document, Journal), StoreError> {
        let (home, is_synced) = (self.home, self.is_synced);
        // One that failed at its very end may count already: its files are not to be touched.
        let counts = Document::read(home).map_or(0, |document| document.journal);
        let number = self.before.journal.max(counts) + 1;
        let (path, calls) = (
            Document::overlay(home, number),
            Document::calls(home, number),
        );
        // Left by one that didn't come to its end.
        disk::remove(&path)?;
        disk::remove(&calls)?;
        let (below, runs) = self.layers(pages, memories)?;
        let base = match below.is_empty() {
            true => Base::Lowest,
            false => Base::OnTop,
        };
        let runs = [&runs[0], &runs[1]];
        write_overlay(&path, runs, memories, base, is_synced)?;
        let journal = Journal::begin(&calls, is_synced)?;
        next.overlays = below.clone();
        next.overlays.push(number);
        next.journal = number;
        let keeps_history = self.history.begins() || !Milestone::list(home)?.is_empty();
        if keeps_history {
            Milestone::of(home, &next, memories, self.follows)?.write(home, is_synced)?;
        }
        if is_synced {
            disk::sync_folder(home)?;
        }
        next.write(home, is_synced)?;
        if is_synced {
            self.journal.retire();
        }
        // The step is taken; what can't be removed now is removed by the next step, or swept away by
        // the next to open it.
        if keeps_history {
            let _ = self.history.trim(home, is_synced);
            return Ok((next, journal));
        }
        let _ = clear(home, &mentioned(home, &next));
        for number in below {
            let _ = punch(&Document::overlay(home, number), runs);
        }
        Ok((next, journal))
    }

    /// The files that stay, and the pages that the new one has: its own, and those of the files that
    /// it takes the place of.
    fn layers(
        &self,
        pages: Pages<'_>,
        memories: [&Committed; 2],
    ) -> Result<(Vec<u64>, [Runs; 2]), StoreError> {
        let Pages::Since(since) = pages else {
            return Ok((Vec::new(), memories.map(whole)));
        };
        let mut runs = since.map(Runs::clone);
        let new = since.iter().map(|runs| runs.pages() * PAGE).sum::<usize>();
        let mut below = self.before.overlays.clone();
        let path = |number: &u64| Document::overlay(self.home, *number);
        let sizes: Vec<u64> = below.iter().map(|number| taken(&path(number))).collect();
        let stay = below.len() - replaced(&sizes, new as u64);
        for number in below.drain(stay..) {
            let overlay = Overlay::open(&path(&number))?;
            for (memory, runs) in runs.iter_mut().enumerate() {
                runs.extend(overlay.runs(memory).as_slice().iter().copied());
            }
        }
        Ok((below, runs))
    }
}

/// Removes what neither a canister's document nor one of its milestones mentions: what a checkpoint
/// left that didn't come to its end.
pub fn sweep(home: &Path, document: &Document) -> Result<(), StoreError> {
    let mut kept = mentioned(home, document);
    for number in Milestone::list(home)? {
        // A later one was to be, and never was.
        if number <= document.journal {
            kept.insert(Milestone::path(home, number));
            kept.extend(mentioned(home, &Milestone::read(home, number)?.document));
        }
    }
    clear(home, &kept)
}

/// The files that a document mentions.
fn mentioned(home: &Path, document: &Document) -> BTreeSet<PathBuf> {
    let overlays = document.overlays.iter();
    overlays
        .map(|number| Document::overlay(home, *number))
        .chain([Document::calls(home, document.journal)])
        .collect()
}

/// Removes all others of a canister's files of pages, calls and milestones, and drafts.
fn clear(home: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
    let entries = std::fs::read_dir(home).map_err(StoreError::io("list", home))?;
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", home))?.path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        let is_ours = matches!(kind, Some("pages" | "calls" | "milestone" | "new"));
        if is_ours && !kept.contains(&path) {
            disk::remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
