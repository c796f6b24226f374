//! Committed memory: a file without a name (memfd_create(2)) that only its maker can write.
//!
//! It is as long as it may ever get, and sparse: a page takes memory when it is first written, or
//! first read *through a mapping*, by whomever. Its length is sealed, so that no mapping of it ever
//! ends in SIGBUS. Others get a [`Reader`]: the file opened once more, for reading only. That is
//! another open file, not a copy of the descriptor, so it can be neither written to nor mapped
//! shared and writable, whoever has it. Where a reader could open `/proc/self/fd` itself, the file's
//! mode is the second lock: nobody but its owner may even read it, and its owner may only read it.

mod window;

pub use window::Mapped;

use super::{Error, PAGE, Run, Runs};
use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, SeekFrom};
use std::ops::Range;
use window::Window;

/// What no holder of a file may do: change its length, or unseal it.
const FIXED: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// A memory file of so many bytes, which are zero.
///
/// It can't be executed (MFD_NOEXEC_SEAL) where the kernel knows of that, which is since Linux 6.3.
pub(super) fn memory_file(name: &str, bytes: u64) -> Result<OwnedFd, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        made => made,
    }
    .map_err(Error::refused("making a memory file (memfd_create)"))?;
    rustix::fs::ftruncate(&file, bytes).map_err(Error::refused(
        "giving a memory file its length (ftruncate)",
    ))?;
    Ok(file)
}

/// Adds seals (fcntl(2), F_ADD_SEALS).
pub(super) fn seal(file: &OwnedFd, seals: SealFlags) -> Result<(), Error> {
    rustix::fs::fcntl_add_seals(file, seals).map_err(|errno| match errno {
        Errno::BUSY => Error::StillWritable,
        why => Error::Refused {
            tried: "sealing a memory file (F_ADD_SEALS)",
            why,
        },
    })
}

/// The canister's memory, as it was last committed.
pub struct Committed {
    file: OwnedFd,
    pages: usize,
    window: Option<Window>,
}

impl Committed {
    /// That many pages of zeros, which take no memory yet.
    ///
    /// # Errors
    /// The kernel refuses, for one because the process's files may not be that long
    /// (RLIMIT_FSIZE): it then gets SIGXFSZ as well.
    pub fn new(name: &str, pages: usize) -> Result<Self, Error> {
        let file = memory_file(name, bytes(pages))?;
        rustix::fs::fchmod(&file, Mode::RUSR).map_err(Error::refused(
            "making a memory file read-only to others (fchmod)",
        ))?;
        seal(&file, FIXED)?;
        Ok(Self {
            file,
            pages,
            window: None,
        })
    }

    /// How many pages it can have.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// All pages that hold something.
    ///
    /// # Errors
    /// As [`held`](Self::held).
    pub fn all_held(&self) -> Result<Runs, Error> {
        let (start, end) = (0, self.pages);
        self.held(&[Run { start, end }].into_iter().collect())
    }

    /// The file, opened anew for reading only: what a worker gets.
    ///
    /// # Errors
    /// [`Error::NoProc`] where there is no `/proc`, and what the kernel refuses.
    pub fn reader(&self) -> Result<Reader, Error> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => Error::NoProc,
            why => Error::Refused {
                tried: "opening a memory file for reading only (/proc/self/fd)",
                why,
            },
        })?;
        Ok(Reader {
            file,
            pages: self.pages,
        })
    }

    /// Shows at least the first `pages` in this process's memory. The window stays open, and is
    /// widened when it has to be; it takes addresses, of which a process has 128 TiB in all, and
    /// memory only for pages that hold something.
    ///
    /// # Errors
    /// There are fewer pages, or no addresses for them.
    pub fn map(&mut self, pages: usize) -> Result<Mapped<'_>, Error> {
        inside(&(0..pages), self.pages)?;
        Window::widen(&mut self.window, &self.file, pages)
    }

    /// Gives the window's addresses back.
    pub fn unmap(&mut self) {
        self.window = None;
    }

    /// Reads from a page on, without making pages of holes (pread(2)).
    ///
    /// # Errors
    /// There are fewer pages, or the kernel refuses.
    pub fn read(&self, page: usize, into: &mut [u8]) -> Result<(), Error> {
        read(self.file.as_fd(), self.pages, page, into)
    }

    /// Those of these pages that hold something: the others are holes (lseek(2), SEEK_DATA). As many
    /// questions as there are stretches of either, however many runs there are.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn held(&self, runs: &Runs) -> Result<Runs, Error> {
        let refused = Error::refused("looking for holes in a memory file (SEEK_DATA)");
        let seek = |to| rustix::fs::seek(&self.file, to).map(|at| at as usize / PAGE);
        let mut found = Runs::default();
        // The stretch that was found last; what is between the last question and it are holes.
        let mut data = 0..0;
        for run in runs.as_slice() {
            let mut at = run.start;
            while at < run.end {
                if at >= data.end {
                    data = match seek(SeekFrom::Data(bytes(at))) {
                        Ok(start) => start..seek(SeekFrom::Hole(bytes(start))).map_err(&refused)?,
                        Err(Errno::NXIO) => usize::MAX..usize::MAX,
                        Err(why) => return Err(refused(why)),
                    };
                }
                let (start, end) = (at.max(data.start), run.end.min(data.end));
                found.extend((start < end).then_some(Run { start, end }));
                at = end;
            }
        }
        Ok(found)
    }

    /// Makes these pages zero and gives their memory back (fallocate(2), FALLOC_FL_PUNCH_HOLE).
    /// Who has a private copy of one keeps it.
    ///
    /// # Errors
    /// There are fewer pages, or the kernel refuses.
    pub fn discard(&mut self, pages: Range<usize>) -> Result<(), Error> {
        inside(&pages, self.pages)?;
        if pages.is_empty() {
            return Ok(());
        }
        let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (at, length) = (bytes(pages.start) as i64, bytes(pages.len()) as i64);
        // SAFETY: it takes numbers. The window's bytes change, and its only user is kept out by the
        // exclusive reference.
        check(unsafe { libc::fallocate64(self.file.as_raw_fd(), hole, at, length) }.into())
            .map_err(Error::refused("discarding pages (FALLOC_FL_PUNCH_HOLE)"))?;
        Ok(())
    }

    /// The bytes of memory, or swap, that it takes (fstat(2)).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn resident(&self) -> Result<u64, Error> {
        const BLOCK: u64 = 512;
        let found = rustix::fs::fstat(&self.file)
            .map_err(Error::refused("asking for a memory file's size (fstat)"))?;
        Ok(found.st_blocks.unsigned_abs() * BLOCK)
    }
}

/// A file whose length is fixed, and that can be read: what [`Committed`] or
/// [`Sealed`](super::Sealed) memory looks like from elsewhere. Its bytes may still change.
pub struct Reader {
    file: OwnedFd,
    pages: usize,
}

impl Reader {
    /// Takes over a descriptor that somebody sent.
    ///
    /// # Errors
    /// [`Error::NotSealed`] unless it is a memory file (of small pages) whose length is sealed:
    /// reading a mapping of anything else can end in SIGBUS.
    pub fn adopt(file: OwnedFd) -> Result<Self, Error> {
        let bytes = sealed_length(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        let pages = usize::try_from(bytes).map_err(|_| Error::NotSealed)? / PAGE;
        Ok(Self { file, pages })
    }

    /// How many whole pages it has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Reads from a page on (pread(2)).
    ///
    /// # Errors
    /// There are fewer pages, or the kernel refuses.
    pub fn read(&self, page: usize, into: &mut [u8]) -> Result<(), Error> {
        read(self.file.as_fd(), self.pages, page, into)
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<Reader> for OwnedFd {
    fn from(reader: Reader) -> Self {
        reader.file
    }
}

/// The length of a memory file that has these seals.
pub(super) fn sealed_length(file: &OwnedFd, seals: SealFlags) -> Result<u64, Error> {
    let refused = Error::refused("looking at a memory file (fstatfs, fstat)");
    // Files of huge pages can be sealed too, but may have none left for what was never written.
    let kind = rustix::fs::fstatfs(file).map_err(&refused)?.f_type;
    let has = rustix::fs::fcntl_get_seals(file);
    if kind as libc::c_long != libc::TMPFS_MAGIC || !has.is_ok_and(|has| has.contains(seals)) {
        return Err(Error::NotSealed);
    }
    let found = rustix::fs::fstat(file).map_err(&refused)?;
    Ok(found.st_size.unsigned_abs())
}

/// Pages in bytes, for the kernel. What can be mapped doesn't overflow; the rest becomes a length
/// that is refused.
pub(super) fn bytes(pages: usize) -> u64 {
    (pages as u64)
        .saturating_mul(PAGE as u64)
        .min(i64::MAX as u64)
}

/// Refuses a range that isn't within so many pages.
pub(super) fn inside(range: &Range<usize>, pages: usize) -> Result<(), Error> {
    let end = range.end.max(range.start);
    if end > pages {
        return Err(Error::Outside { end, pages });
    }
    Ok(())
}

/// The page after the last that so many bytes from a page on lie in.
pub(super) fn end(page: usize, bytes: usize) -> usize {
    page.saturating_add(bytes.div_ceil(PAGE))
}

fn read(file: BorrowedFd<'_>, pages: usize, page: usize, into: &mut [u8]) -> Result<(), Error> {
    inside(&(page..end(page, into.len())), pages)?;
    let refused = Error::refused("reading a memory file (pread)");
    let (mut at, mut left) = (bytes(page), into);
    while !left.is_empty() {
        match rustix::io::pread(file, &mut *left, at) {
            Ok(0) => return Err(refused(Errno::IO)),
            Ok(count) => (at, left) = (at + count as u64, &mut left[count..]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
