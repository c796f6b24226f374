//! A guest's pages.

use super::pages::Served;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub(super) const PAGE: usize = 4096;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) size: u64,
    /// Each is of one byte throughout. Those that aren't here are zero.
    pages: BTreeMap<u64, u8>,
    dirty: BTreeSet<u64>,
    /// Whose the others are.
    served: Option<Served>,
}

impl Memory {
    pub(super) fn of(size: u64) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    pub(super) fn served(size: u64, served: Served) -> Self {
        Self {
            served: Some(served),
            ..Self::of(size)
        }
    }

    pub(super) fn load(file: &File, size: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        if length != size {
            return Err(io::Error::other(format!("{length} bytes are not {size}")));
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let firsts = bytes.iter().step_by(PAGE).copied();
        let pages = (0..).zip(firsts).filter(|(_, byte)| *byte != 0);
        Ok(Self {
            pages: pages.collect(),
            ..Self::of(size)
        })
    }

    pub(super) fn peek(&self, page: u64) -> u8 {
        match (self.pages.get(&page), &self.served) {
            (Some(byte), _) => *byte,
            (None, Some(served)) => (served.peek)(page),
            (None, None) => 0,
        }
    }

    pub(super) fn poke(&mut self, page: u64, byte: u8) {
        assert!(page < self.size / PAGE as u64, "there is no page {page}");
        self.pages.insert(page, byte);
        self.dirty.insert(page);
    }

    /// As Firecracker does: what is written is written, zeros included.
    pub(super) fn save(&mut self, file: &File, all: bool) -> io::Result<()> {
        file.set_len(self.size)?;
        if all {
            file.write_all_at(&vec![0; self.size as usize], 0)?;
        }
        let pages = match all {
            true if self.served.is_some() => (0..self.size / PAGE as u64).collect(),
            true => self.pages.keys().copied().collect(),
            false => self.dirty.clone(),
        };
        for page in pages {
            file.write_all_at(&[self.peek(page); PAGE], page * PAGE as u64)?;
        }
        self.dirty.clear();
        Ok(())
    }
}
