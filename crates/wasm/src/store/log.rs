//! Calls in a file, one after the other: [frames](super::frames), each of them
//!
//! ```text
//!  digest of what came of it · its cause · the call
//! ```

use super::StoreError;
use super::frames::{BEGINNING, Frames};
use super::group::{Group, Kept, Written};
use crate::call::{Call, Cause, Ran};
use crate::replay::Digest;
use crate::wire::{Malformed, Reader, Writer};
use std::path::Path;
use std::sync::Arc;

/// When a call counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When its record is written: it survives the end of every process.
    #[default]
    Process,
    /// When its record is on the disk: it survives a power cut.
    Power,
    /// When it has run: it is lost if anything dies before the next checkpoint.
    Checkpoint,
}

/// A turn of a canister.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it was for.
    pub cause: Cause,
    /// As it went in.
    pub call: Call,
    /// What came of it, in short: to see that it comes again.
    pub digest: Digest,
}

impl Record {
    /// Of a call and what came of it, its cleanup included.
    #[must_use]
    pub fn of<'a>(cause: Cause, call: Call, ran: impl IntoIterator<Item = &'a Ran>) -> Self {
        Self {
            cause,
            call,
            digest: Digest::of(ran),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.digest.write(&mut writer);
        self.cause.write(&mut writer);
        writer.bytes(&self.call.to_bytes()).finish()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(bytes);
        let digest = Digest::read(reader)?;
        let cause = Cause::read(reader)?;
        let call = Call::from_bytes(&reader.bytes("a call")?)?;
        reader.end().map(|()| Self {
            cause,
            call,
            digest,
        })
    }
}

/// The calls since a checkpoint.
#[derive(Debug)]
pub struct Journal {
    frames: Frames,
    group: Arc<Group>,
}

impl Journal {
    /// Begins one.
    pub fn begin(path: &Path, is_synced: bool) -> Result<Self, StoreError> {
        Ok(Self::of(Frames::begin(path, is_synced)?))
    }

    fn of(frames: Frames) -> Self {
        // What was there when it was opened is as safe as it will ever be: nobody waits for it.
        let group = Group::new(frames.file().clone(), frames.length());
        Self {
            group: Arc::new(group),
            frames,
        }
    }

    /// Reads one, and cuts off what a crash left of records that nobody was told of.
    pub fn recover(path: &Path) -> Result<(Self, Vec<Record>), StoreError> {
        let (frames, bodies) = Frames::recover(path)?;
        Ok((Self::of(frames), records(path, &bodies)?))
    }

    /// Reads one that can't be gone on with, and leaves it as it is.
    pub fn look(path: &Path) -> Result<(Self, Vec<Record>), StoreError> {
        let (frames, bodies) = Frames::look(path)?;
        Ok((Self::of(frames), records(path, &bodies)?))
    }

    /// Whether there may be a record in one, without reading any.
    #[must_use]
    pub fn has_calls(path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|found| found.len() > BEGINNING)
    }

    /// Whether there is no record in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.length() <= BEGINNING
    }

    /// Writes a record: all of it, or nothing. When it counts as done, [`Written::wait`] says.
    pub fn append(
        &mut self,
        record: &Record,
        durability: Durability,
    ) -> Result<Written, StoreError> {
        let done = match durability {
            Durability::Checkpoint => return Ok(Written::at_once(Kept::Unwritten)),
            Durability::Process => self.frames.length(),
            Durability::Power => self.group.synced()?,
        };
        self.frames.append(&record.to_bytes(), done)?;
        let length = self.frames.length();
        self.group.wrote(length);
        Ok(match durability {
            Durability::Power => Written::on_disk(self.group.clone(), length),
            _ => Written::at_once(Kept::Written),
        })
    }

    /// What a query that runs now must wait for, so that it tells nobody of what may yet be lost.
    pub fn seen(&self, durability: Durability) -> Written {
        match durability {
            Durability::Power => Written::on_disk(self.group.clone(), self.frames.length()),
            Durability::Process => Written::at_once(Kept::Written),
            Durability::Checkpoint => Written::at_once(Kept::Unwritten),
        }
    }

    /// A checkpoint on the disk has all of it: nobody need wait any longer.
    pub(crate) fn retire(&self) {
        self.group.retire();
    }

    /// Its length, bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.frames.length()
    }

    /// How often the disk was asked to write it.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.group.syncs()
    }
}

fn records(path: &Path, bodies: &[Vec<u8>]) -> Result<Vec<Record>, StoreError> {
    let record = |(number, body): (usize, &Vec<u8>)| {
        Record::from_bytes(body).map_err(|why| {
            StoreError::damaged(path, number as u64, format!("record {number}: {why}"))
        })
    };
    bodies.iter().enumerate().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Entry, Principal, Statics};

    fn record(number: u64) -> Record {
        let statics = Statics::of(Principal::of_canister(number));
        let mut call = Call::new(Entry::Update(format!("m{number}")), statics);
        call.argument = vec![number as u8; number as usize * 7];
        Record {
            cause: Cause::Answers(number),
            call,
            digest: Digest {
                instructions: number,
                ..Digest::default()
            },
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut journal = Journal::begin(&path, false).unwrap();
        assert!(journal.is_empty() && !Journal::has_calls(&path));
        let records: Vec<Record> = (1..4).map(record).collect();
        for record in &records {
            let written = journal.append(record, Durability::Process).unwrap();
            assert_eq!(written.wait().unwrap(), Kept::Written);
        }
        assert!(!journal.is_empty() && Journal::has_calls(&path));
        assert_eq!(journal.length(), std::fs::metadata(&path).unwrap().len());
        let (mut journal, found) = Journal::recover(&path).unwrap();
        assert_eq!(found, records);
        let written = journal.append(&record(8), Durability::Checkpoint).unwrap();
        assert_eq!(written.wait().unwrap(), Kept::Unwritten);
        let written = journal.append(&record(9), Durability::Power).unwrap();
        assert_eq!(written.wait().unwrap(), Kept::OnDisk);
        assert_eq!(journal.syncs(), 1);
        let found = Journal::look(&path).unwrap().1;
        assert_eq!(found, [&records[..], &[record(9)]].concat());
    }
}
