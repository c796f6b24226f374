//! How much there is in a skeleton, by which it is seen whether something was lost: caches are where
//! people and programs tidy up.

use super::FOLDER;
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, openat, statat};
use rustix::io::Errno;
use std::fs;
use std::path::Path;

/// The file that it is written to, which is no part of it.
const FILE: &str = "census";

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    folders: u64,
    files: u64,
    /// Of all files.
    bytes: u64,
    /// Of all names.
    sum: u64,
}

impl Census {
    /// Counts.
    pub(super) fn of(path: &Path) -> Result<Self, Errno> {
        let mut census = Self::default();
        let folder = Dir::new(openat(CWD, path, FOLDER, Mode::empty())?)?;
        census.count(folder, true)?;
        Ok(census)
    }

    fn count(&mut self, folder: Dir, is_top: bool) -> Result<(), Errno> {
        // The iterator and the descriptor are the same file: names are taken first.
        let (mut inner, mut files) = (Vec::new(), Vec::new());
        let mut folder = folder;
        while let Some(entry) = folder.read() {
            let entry = entry?;
            let name = entry.file_name();
            match entry.file_type() {
                _ if name == c"." || name == c".." => {}
                _ if is_top && name.to_bytes() == FILE.as_bytes() => {}
                FileType::Directory => inner.push(name.to_owned()),
                _ => files.push(name.to_owned()),
            }
        }
        let fd: BorrowedFd<'_> = folder.fd()?;
        for name in &files {
            self.files += 1;
            self.bytes += statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?.st_size as u64;
            self.add(name.to_bytes());
        }
        for name in &inner {
            self.folders += 1;
            self.add(name.to_bytes());
            self.count(Dir::new(openat(fd, name, FOLDER, Mode::empty())?)?, false)?;
        }
        Ok(())
    }

    /// In whatever order.
    fn add(&mut self, name: &[u8]) {
        let sum = mixed(name.iter().map(|byte| u64::from(*byte)));
        self.sum = self.sum.wrapping_add(sum);
    }

    /// Reads what was written down.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path.join(FILE)).ok()?;
        let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            folders: next()?,
            files: next()?,
            bytes: next()?,
            sum: next()?,
        })
    }

    /// Writes it down.
    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        let Self {
            folders,
            files,
            bytes,
            sum,
        } = self;
        fs::write(
            path.join(FILE),
            format!("{folders} {files} {bytes} {sum}\n"),
        )
    }
}

/// One number for many (FNV-1a); nobody is to be deceived by it.
pub(super) fn mixed(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word).wrapping_mul(0x100_0000_01b3)
    })
}
