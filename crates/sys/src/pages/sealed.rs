//! What is written once, and then can't change any more: modules and messages.
//!
//! ```text
//!   Draft ── writer() ──► another process fills it, up to the length that it was made with
//!     └───── seal() ────► Sealed: nobody can write, shorten or lengthen it, its maker included
//! ```
//!
//! Who reads sealed bytes can look twice and sees the same, also if their writer is hostile and
//! still has the descriptor.

use super::file::{Reader, memory_file, seal, sealed_length};
use super::{Error, PAGE};
use crate::Errno;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::SealFlags;
use std::ops::Deref;
use std::{ptr, slice};

/// What makes a file immutable.
const IMMUTABLE: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// A memory file of a fixed length that is being filled.
pub struct Draft {
    file: OwnedFd,
    bytes: u64,
}

impl Draft {
    /// That many bytes of zeros, which take no memory yet: the most that its writer can fill.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(name: &str, bytes: u64) -> Result<Self, Error> {
        let file = memory_file(name, bytes)?;
        seal(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(Self { file, bytes })
    }

    /// Its descriptor, with which another process can write too, until it is sealed.
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes at a byte (pwrite(2)).
    ///
    /// # Errors
    /// It would be too long, or the kernel refuses.
    pub fn write(&mut self, mut at: u64, mut content: &[u8]) -> Result<(), Error> {
        let end = at.saturating_add(content.len() as u64);
        if end > self.bytes {
            return Err(Error::TooLong {
                bytes: end,
                limit: self.bytes,
            });
        }
        let refused = Error::refused("writing to a memory file (pwrite)");
        while !content.is_empty() {
            match rustix::io::pwrite(&self.file, content, at) {
                Ok(0) => return Err(refused(Errno::IO)),
                Ok(count) => (at, content) = (at + count as u64, &content[count..]),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(refused(errno)),
            }
        }
        Ok(())
    }

    /// Takes the right to write from everybody.
    ///
    /// # Errors
    /// [`Error::StillWritable`] while somebody has a writable mapping of it, or is being read into;
    /// the draft comes back to be sealed later.
    pub fn seal(self) -> Result<Sealed, (Self, Error)> {
        match seal(&self.file, IMMUTABLE | SealFlags::SEAL) {
            Ok(()) => Ok(Sealed {
                file: self.file,
                bytes: self.bytes,
            }),
            Err(error) => Err((self, error)),
        }
    }
}

/// A memory file that can't change any more.
pub struct Sealed {
    file: OwnedFd,
    bytes: u64,
}

impl Sealed {
    /// These bytes.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn of(name: &str, content: &[u8]) -> Result<Self, Error> {
        let mut draft = Draft::new(name, content.len() as u64)?;
        draft.write(0, content)?;
        draft.seal().map_err(|(_, error)| error)
    }

    /// The first bytes of a file, as they are now. The kernel copies them, and nobody else.
    ///
    /// # Errors
    /// It is shorter than that, or the kernel refuses.
    pub fn copy(name: &str, from: impl AsFd, bytes: u64) -> Result<Self, Error> {
        let draft = Draft::new(name, bytes)?;
        let refused = Error::refused("copying into a memory file (sendfile)");
        let mut at = 0;
        while at < bytes {
            let rest = usize::try_from(bytes - at).unwrap_or(usize::MAX);
            match rustix::fs::sendfile(&draft.file, &from, Some(&mut at), rest) {
                Ok(0) => return Err(refused(Errno::IO)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(refused(errno)),
            }
        }
        draft.seal().map_err(|(_, error)| error)
    }

    /// Takes over a descriptor that somebody sent.
    ///
    /// # Errors
    /// [`Error::NotSealed`] unless nobody can change it any more, and [`Error::TooLong`].
    pub fn adopt(file: OwnedFd, limit: u64) -> Result<Self, Error> {
        let bytes = sealed_length(&file, IMMUTABLE)?;
        if bytes > limit {
            return Err(Error::TooLong { bytes, limit });
        }
        Ok(Self { file, bytes })
    }

    /// How long it is, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The same as a file for [`Region`](super::Region): its whole pages.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn reader(&self) -> Result<Reader, Error> {
        let file = rustix::io::fcntl_dupfd_cloexec(&self.file, 0)
            .map_err(Error::refused("copying a descriptor (F_DUPFD_CLOEXEC)"))?;
        Reader::adopt(file)
    }

    /// Its bytes, in memory that all who map it share.
    ///
    /// # Errors
    /// There are no addresses for it.
    pub fn map(&self) -> Result<SealedBytes, Error> {
        SealedBytes::over(&self.file, self.bytes)
    }
}

impl AsFd for Sealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<Sealed> for OwnedFd {
    fn from(sealed: Sealed) -> Self {
        sealed.file
    }
}

/// The bytes of a sealed file, mapped.
pub struct SealedBytes {
    start: *const u8,
    length: usize,
    size: usize,
}

impl SealedBytes {
    /// Those of a file that stays somebody else's.
    ///
    /// # Errors
    /// As those of [`Sealed::adopt`] and [`Sealed::map`].
    pub fn of(file: &OwnedFd, limit: u64) -> Result<Self, Error> {
        let bytes = sealed_length(file, IMMUTABLE)?;
        match bytes > limit {
            true => Err(Error::TooLong { bytes, limit }),
            false => Self::over(file, bytes),
        }
    }

    /// Of a file that is sealed, and so long.
    fn over(file: &OwnedFd, bytes: u64) -> Result<Self, Error> {
        let refused = Error::refused("mapping a sealed file (mmap)");
        let length = usize::try_from(bytes).map_err(|_| refused(Errno::NOMEM))?;
        let size = (length.div_ceil(PAGE).max(1)) * PAGE;
        let (access, file) = (libc::PROT_READ, file.as_raw_fd());
        // SAFETY: a new mapping, at an address that the kernel chooses. Pages after the file's end
        // are never read.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, libc::MAP_SHARED, file, 0) };
        if start == libc::MAP_FAILED {
            return Err(refused(Errno::NOMEM));
        }
        Ok(Self {
            start: start.cast(),
            length,
            size,
        })
    }
}

// SAFETY: the mapping belongs to this value, and nobody can change its bytes.
unsafe impl Send for SealedBytes {}
// SAFETY: as above.
unsafe impl Sync for SealedBytes {}

impl Deref for SealedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as this value. Its file is sealed against writing and
        // shortening, so the bytes are there and stay what they are.
        unsafe { slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for SealedBytes {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and this is its end.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::{Draft, Error, PAGE, Sealed};
    use crate::Errno;
    use crate::pages::file::memory_file;
    use rustix::fd::{AsFd, AsRawFd, OwnedFd};
    use rustix::fs::SealFlags;
    use std::ptr;

    #[test]
    fn sealed_bytes_stay_what_they_are() {
        for content in [&b""[..], b"message", &[7; 3 * PAGE + 1]] {
            let sealed = Sealed::of("message", content).unwrap();
            assert_eq!(sealed.bytes(), content.len() as u64);
            assert_eq!(&*sealed.map().unwrap(), content);
            let file = sealed.as_fd();
            if !content.is_empty() {
                assert_eq!(rustix::io::pwrite(file, b"x", 0), Err(Errno::PERM));
                assert_eq!(rustix::fs::ftruncate(file, 0), Err(Errno::PERM));
            }
            assert_eq!(rustix::fs::ftruncate(file, 1 << 20), Err(Errno::PERM));
            assert_eq!(sealed.reader().unwrap().pages(), content.len() / PAGE);
            let again = Sealed::adopt(sealed.into(), content.len() as u64).unwrap();
            assert_eq!(&*again.map().unwrap(), content);
        }
    }

    #[test]
    fn a_copy_of_a_file_is_what_the_file_was() {
        for length in [0, 1, PAGE, 300 * PAGE + 7] {
            let mut content: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
            let file = memory_file("file", length as u64 + 5).unwrap();
            let mut rest = &content[..];
            while !rest.is_empty() {
                let at = (length - rest.len()) as u64;
                rest = &rest[rustix::io::pwrite(&file, rest, at).unwrap()..];
            }
            let sealed = Sealed::copy("copy", &file, length as u64).unwrap();
            rustix::io::pwrite(&file, b"later", 0).unwrap();
            assert_eq!(&*sealed.map().unwrap(), &content[..]);
            content.extend([0; 5]);
            let short = Sealed::copy("copy", &file, length as u64 + 6).err();
            assert!(matches!(short, Some(Error::Refused { .. })), "{short:?}");
        }
    }

    #[test]
    fn another_writer_fills_it_no_further_than_agreed() {
        let mut draft = Draft::new("module", 10_000).unwrap();
        let writer = rustix::io::dup(draft.writer()).unwrap();
        assert_eq!(rustix::io::pwrite(&writer, b"code", 9_996), Ok(4));
        assert_eq!(rustix::io::pwrite(&writer, b"x", 1 << 30), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&writer, 1 << 30), Err(Errno::PERM));
        assert_eq!(
            draft.write(9_999, b"xy"),
            Err(Error::TooLong {
                bytes: 10_001,
                limit: 10_000
            })
        );
        let sealed = draft.seal().map_err(|(_, error)| error).unwrap();
        assert_eq!(rustix::io::pwrite(&writer, b"evil", 0), Err(Errno::PERM));
        let content = sealed.map().unwrap();
        assert_eq!((content.len(), &content[9_996..]), (10_000, &b"code"[..]));
    }

    #[test]
    fn a_writable_mapping_stands_in_the_way() {
        let draft = Draft::new("module", PAGE as u64).unwrap();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let raw = draft.writer().as_raw_fd();
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let mapping =
            unsafe { libc::mmap(ptr::null_mut(), PAGE, access, libc::MAP_SHARED, raw, 0) };
        assert_ne!(mapping, libc::MAP_FAILED);
        let Err((draft, error)) = draft.seal() else {
            panic!("it was sealed under a writable mapping");
        };
        assert_eq!(error, Error::StillWritable);
        // SAFETY: the mapping just made, which nobody uses.
        unsafe { libc::munmap(mapping, PAGE) };
        assert!(draft.seal().is_ok());
    }

    #[test]
    fn only_what_cannot_change_is_taken_over() {
        let adopt = |file| Sealed::adopt(file, 100).err();
        let file = memory_file("message", 100).unwrap();
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        assert_eq!(adopt(file), Some(Error::NotSealed));
        let long = Sealed::of("message", &[0; 101]).unwrap();
        let too_long = Error::TooLong {
            bytes: 101,
            limit: 100,
        };
        assert_eq!(adopt(long.into()), Some(too_long));
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert_eq!(adopt(null), Some(Error::NotSealed));
    }
}
