//! The archive that a kernel unpacks as its first root: cpio in the "newc" form.
//!
//! Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::{self, Write};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
/// Bytes before the name; name and contents are padded to four.
const HEADER: usize = 110;
const END: &str = "TRAILER!!!";

/// An archive that is being written. Everything in it belongs to root and is of no date, so that
/// equal contents are equal archives.
pub(super) struct Archive<W> {
    out: W,
    inode: u32,
}

struct Entry<'a> {
    path: &'a str,
    mode: u32,
    device: (u32, u32),
    contents: &'a [u8],
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// A folder; the ones above it come first.
    pub(super) fn folder(&mut self, path: &str, permissions: u32) -> io::Result<()> {
        self.put(&Entry {
            path,
            mode: FOLDER | permissions,
            device: (0, 0),
            contents: &[],
        })
    }

    pub(super) fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) -> io::Result<()> {
        self.put(&Entry {
            path,
            mode: FILE | permissions,
            device: (0, 0),
            contents,
        })
    }

    pub(super) fn character_device(
        &mut self,
        path: &str,
        permissions: u32,
        device: (u32, u32),
    ) -> io::Result<()> {
        self.put(&Entry {
            path,
            mode: CHARACTER_DEVICE | permissions,
            device,
            contents: &[],
        })
    }

    /// Writes the end and hands the output back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.put(&Entry {
            path: END,
            mode: 0,
            device: (0, 0),
            contents: &[],
        })?;
        Ok(self.out)
    }

    fn put(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let Entry { path, contents, .. } = entry;
        let too_large = |_| io::Error::other(format!("{path} is too large for an archive"));
        let size = u32::try_from(contents.len()).map_err(too_large)?;
        let name = u32::try_from(path.len() + 1).map_err(too_large)?;
        self.inode += 1;
        let (major, minor) = entry.device;
        // Inode, mode, user, group, links, time, size, two of the device that it would be on, two
        // of the device that it is, size of the name, checksum.
        #[rustfmt::skip]
        let fields = [self.inode, entry.mode, 0, 0, 1, 0, size, 0, 0, major, minor, name, 0];
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(path.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(HEADER + path.len() + 1)?;
        self.out.write_all(contents)?;
        self.pad(contents.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let missing = written.next_multiple_of(4) - written;
        self.out.write_all(&[0; 3][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_header_name_and_contents_in_fours() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a", 0o644, b"hello").unwrap();
        let bytes = &archive.out;
        assert_eq!(bytes.len(), 112 + 8);
        assert!(bytes.starts_with(b"07070100000001000081a4"));
        assert_eq!(&bytes[54..62], b"00000005", "the size");
        assert_eq!(&bytes[94..102], b"00000002", "the size of the name");
        assert_eq!(&bytes[110..], b"a\0hello\0\0\0");
    }

    #[test]
    fn a_device_has_its_numbers() {
        let mut archive = Archive::new(Vec::new());
        archive.character_device("console", 0o600, (5, 1)).unwrap();
        assert_eq!(&archive.out[14..22], b"00002180", "the mode");
        assert_eq!(&archive.out[78..94], b"0000000500000001", "the numbers");
    }

    #[test]
    fn the_end_is_an_entry() {
        let bytes = Archive::new(Vec::new()).finish().unwrap();
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert!(bytes.len().is_multiple_of(4));
    }
}
