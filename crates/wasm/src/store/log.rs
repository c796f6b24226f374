//! Calls in a file, one after the other.
//!
//! ```text
//!  length u32 · CRC-32 u32 · digest of what came of it u64 · its cause · the call
//! ```

use super::StoreError;
use crate::call::{Call, Cause, Ran};
use crate::wire::{Malformed, Reader, Writer};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const HEADER: usize = 16;
/// The longest record: the longest argument, and something.
const LONGEST: u32 = 64 << 20;

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
    pub digest: u64,
}

impl Record {
    /// Of a call and what came of it, its cleanup included.
    #[must_use]
    pub fn of<'a>(cause: Cause, call: Call, ran: impl IntoIterator<Item = &'a Ran>) -> Self {
        Self {
            cause,
            call,
            digest: digest(ran),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.cause.write(&mut writer);
        writer.bytes(&self.call.to_bytes()).finish()
    }

    fn from_bytes(bytes: &[u8], digest: u64) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(bytes);
        let cause = Cause::read(reader)?;
        let call = Call::from_bytes(&reader.bytes("a call")?)?;
        reader.end().map(|()| Self {
            cause,
            call,
            digest,
        })
    }
}

/// What came of a call, in 64 bits.
#[must_use]
fn digest<'a>(ran: impl IntoIterator<Item = &'a Ran>) -> u64 {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for ran in ran {
        hasher.update(ran.to_bytes());
    }
    let hash = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first)
}

/// The calls since a checkpoint.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Its whole records end here.
    length: u64,
}

impl Journal {
    /// Begins one.
    pub fn begin(path: &Path, is_synced: bool) -> Result<Self, StoreError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path);
        let file = file.map_err(StoreError::io("make", path))?;
        if is_synced {
            file.sync_all().map_err(StoreError::io("sync", path))?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length: 0,
        })
    }

    /// Reads one, and cuts off what a crash left of a last record that nobody was told of.
    pub fn recover(path: &Path) -> Result<(Self, Vec<Record>), StoreError> {
        let io = |tried| StoreError::io(tried, path);
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(io("open"))?;
        let size = file.metadata().map_err(io("look at"))?.len();
        let mut records = Vec::new();
        let mut at = 0;
        while let Some((record, next)) = read(&file, path, at, size)? {
            records.push(record);
            at = next;
        }
        if at < size {
            file.set_len(at).map_err(io("cut"))?;
        }
        let journal = Self {
            path: path.to_path_buf(),
            file,
            length: at,
        };
        Ok((journal, records))
    }

    /// Writes a record: all of it, or nothing.
    pub fn append(&mut self, record: &Record, durability: Durability) -> Result<(), StoreError> {
        let body = record.to_bytes();
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(record.digest.to_le_bytes());
        bytes.extend(body);
        let sum = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        let path = &self.path;
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(&bytes));
        let written = written.and_then(|()| match durability {
            Durability::Power => self.file.sync_data(),
            Durability::Process | Durability::Checkpoint => Ok(()),
        });
        if let Err(why) = written {
            // A part of it may be there, which the next one overwrites or recovery cuts off.
            let _ = self.file.set_len(self.length);
            return Err(StoreError::io("write", path)(why));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Its length, bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// The record at a place and where the next one is; none if nothing whole follows.
fn read(file: &File, path: &Path, at: u64, size: u64) -> Result<Option<(Record, u64)>, StoreError> {
    let io = |tried| StoreError::io(tried, path);
    if size - at < HEADER as u64 {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, at).map_err(io("read"))?;
    let word = |from: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[from + i]));
    let (length, sum) = (word(0), word(4));
    let body = at + HEADER as u64;
    if length > LONGEST || size - body < u64::from(length) {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, body).map_err(io("read"))?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[8..]);
    hasher.update(&bytes);
    let end = body + u64::from(length);
    if hasher.finalize() != sum {
        return match end == size {
            true => Ok(None),
            // With more behind it, it was whole once.
            false => Err(StoreError::damaged(
                path,
                at,
                "a record with another checksum",
            )),
        };
    }
    let digest = u64::from(word(8)) | u64::from(word(12)) << 32;
    let record = Record::from_bytes(&bytes, digest);
    let record = record.map_err(|why| StoreError::damaged(path, body, why.to_string()))?;
    Ok(Some((record, end)))
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
            digest: number * 0x0101_0101_0101_0101,
        }
    }

    fn three(path: &Path) -> Vec<Record> {
        let mut journal = Journal::begin(path, false).unwrap();
        let records: Vec<Record> = (1..4).map(record).collect();
        for record in &records {
            journal.append(record, Durability::Process).unwrap();
        }
        assert_eq!(journal.length(), std::fs::metadata(path).unwrap().len());
        records
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let records = three(&path);
        let (mut journal, found) = Journal::recover(&path).unwrap();
        assert_eq!(found, records);
        journal.append(&record(9), Durability::Power).unwrap();
        let (_, found) = Journal::recover(&path).unwrap();
        assert_eq!(found.last(), Some(&record(9)));
    }

    /// Whatever a crash leaves of the file, its whole records come back, and only they.
    #[test]
    fn every_prefix_is_some_whole_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let records = three(&path);
        let whole = std::fs::read(&path).unwrap();
        let mut ends = vec![0];
        for record in &records {
            ends.push(ends.last().unwrap() + HEADER + record.to_bytes().len());
        }
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut journal, found) = Journal::recover(&path).unwrap();
            let expected = ends.iter().filter(|end| **end <= length).count() - 1;
            assert_eq!(found, records[..expected], "{length}");
            assert_eq!(
                std::fs::metadata(&path).unwrap().len(),
                ends[expected] as u64
            );
            journal.append(&record(5), Durability::Process).unwrap();
            let (_, found) = Journal::recover(&path).unwrap();
            assert_eq!(found.len(), expected + 1);
        }
    }

    #[test]
    fn what_was_changed_in_the_middle_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        three(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let said = Journal::recover(&path).unwrap_err().to_string();
        assert!(said.contains("another checksum at byte 0"), "{said}");
    }
}
