//! Parts of an archive, written and read.

use super::super::StoreError;
use super::{LONGEST, MAGIC, VERSION, kind};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::path::Path;

/// Where an archive is written to.
pub(super) struct Target<'a, W> {
    writer: W,
    hash: Sha256,
    /// What it is called in errors.
    name: &'a Path,
}

impl<'a, W: Write> Target<'a, W> {
    /// Begins an archive.
    pub(super) fn begin(writer: W, name: &'a Path) -> Result<Self, StoreError> {
        let mut target = Self {
            writer,
            hash: Sha256::new(),
            name,
        };
        target.raw(MAGIC)?;
        target.raw(&VERSION.to_le_bytes())?;
        Ok(target)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        let written = self.writer.write_all(bytes);
        written.map_err(StoreError::io("write", self.name))
    }

    /// One part.
    pub(super) fn part(&mut self, kind: u32, body: &[u8]) -> Result<(), StoreError> {
        let length = body.len() as u32;
        for number in [kind, length, crc32fast::hash(body)] {
            self.raw(&number.to_le_bytes())?;
        }
        self.raw(body)
    }

    /// What ends it.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        let hash = std::mem::take(&mut self.hash).finalize();
        self.part(kind::END, &hash)?;
        self.writer
            .flush()
            .map_err(StoreError::io("write", self.name))
    }
}

/// Where an archive is read from.
pub(super) struct Source<'a, R> {
    reader: R,
    hash: Sha256,
    at: u64,
    name: &'a Path,
}

impl<'a, R: Read> Source<'a, R> {
    /// Reads what every archive begins with.
    pub(super) fn begin(reader: R, name: &'a Path) -> Result<Self, StoreError> {
        let mut source = Self {
            reader,
            hash: Sha256::new(),
            at: 0,
            name,
        };
        let (mut magic, mut version) = ([0; MAGIC.len()], [0; 4]);
        source.raw(&mut magic)?;
        if &magic != MAGIC {
            return Err(source.damaged("this is no archive of a canister"));
        }
        source.raw(&mut version)?;
        match u32::from_le_bytes(version) {
            VERSION => Ok(source),
            other => Err(source.damaged(format!("version {other} of archives isn't known"))),
        }
    }

    fn raw(&mut self, into: &mut [u8]) -> Result<(), StoreError> {
        match self.reader.read_exact(into) {
            Ok(()) => {}
            Err(why) if why.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("it ends too early"));
            }
            Err(why) => return Err(StoreError::io("read", self.name)(why)),
        }
        self.hash.update(&*into);
        self.at += into.len() as u64;
        Ok(())
    }

    /// The next part: its kind and its body. None when the archive has ended as it should.
    pub(super) fn part(&mut self) -> Result<Option<(u32, Vec<u8>)>, StoreError> {
        let before = self.hash.clone();
        let mut header = [0; 12];
        self.raw(&mut header)?;
        let [kind, length, sum] = [0, 4, 8].map(|from: usize| {
            u32::from_le_bytes([0, 1, 2, 3].map(|offset| header[from + offset]))
        });
        if length as usize > LONGEST {
            return Err(self.damaged(format!("a part of {length} bytes")));
        }
        let mut body = vec![0; length as usize];
        self.raw(&mut body)?;
        if crc32fast::hash(&body) != sum {
            return Err(self.damaged("a part with another checksum"));
        }
        if kind != kind::END {
            return Ok(Some((kind, body)));
        }
        if body != before.finalize().as_slice() {
            return Err(self.damaged("its hash is another"));
        }
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(None),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(why) => Err(StoreError::io("read", self.name)(why)),
        }
    }

    /// That something is wrong before where it was read to.
    pub(super) fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::damaged(self.name, self.at, what)
    }
}
