//! SHA-256 of a file, in a buffer of fixed size.

use rustix::fd::BorrowedFd;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, pread};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Read at once. Larger ones are not faster, and fall out of the second-level cache.
pub(crate) const BLOCK: usize = 64 << 10;

/// A SHA-256 digest (FIPS 180-4). Its text is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// Why a file has no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unhashed {
    /// A read failed.
    Errno(Errno),
    /// The file was shorter or longer than it said.
    Resized,
    /// The caller no longer wants it.
    Stopped,
}

impl Digest {
    /// Of the first `size` bytes of a file, which must be all of it. `stop` is asked between
    /// blocks. The file's own offset is neither used nor moved.
    ///
    /// # Errors
    /// See [`Unhashed`].
    pub fn of(file: BorrowedFd<'_>, size: u64, stop: &dyn Fn() -> bool) -> Result<Self, Unhashed> {
        // Read ahead further; what can't be advised (a pipe, an odd file system) still reads.
        let _ = fadvise(file, 0, None, Advice::Sequential);
        let mut hash = Sha256::new();
        let mut block = [0; BLOCK];
        let mut at = 0;
        loop {
            if stop() {
                return Err(Unhashed::Stopped);
            }
            let count = match pread(file, &mut block[..], at) {
                Err(Errno::INTR) => continue,
                result => result.map_err(Unhashed::Errno)?,
            };
            if count == 0 {
                break;
            }
            at += count as u64;
            if at > size {
                return Err(Unhashed::Resized);
            }
            hash.update(&block[..count]);
        }
        match at == size {
            true => Ok(Self(hash.finalize().into())),
            false => Err(Unhashed::Resized),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "a SHA-256 digest is 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|letter| letter.is_ascii_hexdigit()) {
            return Err(WANTED);
        }
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| WANTED)?;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use std::cell::Cell;
    use std::io::{Seek as _, Write as _};

    fn file(size: usize) -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'a'; size]).unwrap();
        file
    }

    #[test]
    fn a_million_letters() {
        // FIPS 180-2, B.3.
        let mut file = file(1_000_000);
        let digest = Digest::of(file.as_fd(), 1_000_000, &|| false).unwrap();
        let text = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(file.stream_position().unwrap(), 1_000_000);
    }

    #[test]
    fn another_size_than_said() {
        let file = file(BLOCK + 1);
        for said in [0, 1, BLOCK as u64, BLOCK as u64 + 2] {
            let result = Digest::of(file.as_fd(), said, &|| false);
            assert_eq!(result, Err(Unhashed::Resized), "{said}");
        }
    }

    #[test]
    fn it_stops_between_blocks() {
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == 2;
        let result = Digest::of(file(5 * BLOCK).as_fd(), 5 * BLOCK as u64, &stop);
        assert_eq!((result, asked.get()), (Err(Unhashed::Stopped), 3));
    }

    #[test]
    fn texts_that_are_no_digest() {
        for text in [
            "",
            "12",
            &"g".repeat(64),
            &"é".repeat(32),
            &"a".repeat(65),
            &"+1".repeat(32),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
