//! A file of what memory holds.

use super::super::StoreError;
use super::super::disk::File;
use super::{AT_ONCE, ENTRY, Entry, MAGIC, VERSION};
use casemate_sys::pages::{Committed, PAGE, Run, Runs};
use std::path::Path;

/// What is written at once, bytes.
const BUFFER: usize = 1 << 20;

/// Whether there is anything below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Nothing: pages of zeros need not be mentioned.
    Lowest,
    /// Another file, in which they may be something else.
    OnTop,
}

/// Writes the pages of these sets of two memories, heap and stable, into a new file.
pub fn write_overlay(
    path: &Path,
    runs: [&Runs; 2],
    memories: [&Committed; 2],
    base: Base,
    is_synced: bool,
) -> Result<(), StoreError> {
    let mut draft = Draft::begin(path, base)?;
    for (memory, (runs, committed)) in runs.into_iter().zip(memories).enumerate() {
        draft.take(memory, runs, committed)?;
    }
    draft.finish(is_synced)
}

/// A file that is being written.
pub(in crate::store) struct Draft {
    file: File,
    /// What is in the file; the buffer comes next.
    at: u64,
    buffer: Vec<u8>,
    base: Base,
    index: Vec<Entry>,
    sums: Vec<u32>,
}

impl Draft {
    /// Begins a new one.
    pub(in crate::store) fn begin(path: &Path, base: Base) -> Result<Self, StoreError> {
        Ok(Self {
            file: File::make(path)?,
            at: 0,
            buffer: Vec::with_capacity(BUFFER + AT_ONCE * PAGE),
            base,
            index: Vec::new(),
            sums: Vec::new(),
        })
    }

    /// Pages of a memory: its holes are zeros, and needn't be read.
    fn take(
        &mut self,
        memory: usize,
        runs: &Runs,
        committed: &Committed,
    ) -> Result<(), StoreError> {
        let path = self.file.path().to_path_buf();
        let unread = |why: casemate_sys::pages::Error| {
            StoreError::io("read the memory for", &path)(std::io::Error::other(why.to_string()))
        };
        let held = committed.held(runs).map_err(unread)?;
        let mut holes = runs
            .without(&held)
            .as_slice()
            .to_vec()
            .into_iter()
            .peekable();
        let mut bytes = vec![0; AT_ONCE * PAGE];
        for run in held.as_slice() {
            while let Some(hole) = holes.next_if(|hole| hole.start < run.start) {
                self.zeros(memory, hole);
            }
            for first in run.pages().step_by(AT_ONCE) {
                let bytes = &mut bytes[..AT_ONCE.min(run.end - first) * PAGE];
                committed.read(first, bytes).map_err(unread)?;
                self.put(memory, first, bytes)?;
            }
        }
        holes.for_each(|hole| self.zeros(memory, hole));
        Ok(())
    }

    /// Pages of a memory from one on; each call goes on behind the last.
    pub(in crate::store) fn put(
        &mut self,
        memory: usize,
        first: usize,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        for (start, bytes) in (first..).zip(bytes.chunks_exact(PAGE)) {
            let run = Run {
                start,
                end: start + 1,
            };
            match is_zero(bytes) {
                true => self.zeros(memory, run),
                false => self.page(memory, run, bytes)?,
            }
        }
        Ok(())
    }

    fn zeros(&mut self, memory: usize, run: Run) {
        if self.base == Base::OnTop {
            self.mention(memory, true, run);
        }
    }

    fn page(&mut self, memory: usize, run: Run, bytes: &[u8]) -> Result<(), StoreError> {
        self.mention(memory, false, run);
        self.sums.push(crc32fast::hash(bytes));
        self.buffer.extend(bytes);
        match self.buffer.len() >= BUFFER {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn mention(&mut self, memory: usize, is_zero: bool, run: Run) {
        match self.index.last_mut() {
            Some(last)
                if (last.memory, last.is_zero, last.run.end) == (memory, is_zero, run.start) =>
            {
                last.run.end = run.end;
            }
            _ => self.index.push(Entry {
                memory,
                is_zero,
                run,
            }),
        }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the index.
    pub(in crate::store) fn finish(mut self, is_synced: bool) -> Result<(), StoreError> {
        let mut tail = Vec::with_capacity(self.index.len() * ENTRY as usize);
        for entry in &self.index {
            let kind = entry.memory | usize::from(entry.is_zero) << 1;
            for number in [kind, entry.run.start, entry.run.len()] {
                tail.extend((number as u64).to_le_bytes());
            }
        }
        for sum in &self.sums {
            tail.extend(sum.to_le_bytes());
        }
        let sum = crc32fast::hash(&tail);
        tail.extend((self.index.len() as u64).to_le_bytes());
        tail.extend((self.sums.len() as u64).to_le_bytes());
        tail.extend(sum.to_le_bytes());
        tail.extend(VERSION.to_le_bytes());
        tail.extend(MAGIC);
        self.buffer.extend(tail);
        self.flush()?;
        match is_synced {
            true => self.file.sync(),
            false => Ok(()),
        }
    }
}

/// Whether there is nothing but zeros.
pub(in crate::store) fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(64)
        .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}
