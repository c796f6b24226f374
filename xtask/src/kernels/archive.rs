//! The archive that a kernel unpacks as its first root: cpio in the "newc" form.
//!
//! Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
/// Bytes before the name; name and contents are padded to four.
const HEADER: usize = 110;

/// An archive that is being written; everything in it belongs to root.
pub(crate) struct Archive<W> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    /// An empty one.
    pub(crate) fn new(out: W) -> Self {
        Archive { out, inode: 0 }
    }

    /// A folder; the ones above it have to come first.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.entry(path, DIRECTORY | mode, (0, 0), &[])
    }

    /// A file with its contents.
    pub(crate) fn file(&mut self, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | mode, (0, 0), contents)
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes())
    }

    /// A character device.
    pub(crate) fn device(&mut self, path: &str, mode: u32, numbers: (u32, u32)) -> io::Result<()> {
        self.entry(path, CHARACTER_DEVICE | mode, numbers, &[])
    }

    /// Writes the end and hands the output back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.out)
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
        contents: &[u8],
    ) -> io::Result<()> {
        let size = u32::try_from(contents.len())
            .map_err(|_| io::Error::other(format!("{path} is too large for an archive")))?;
        let name_size = u32::try_from(path.len() + 1)
            .map_err(|_| io::Error::other(format!("{path} is too long for an archive")))?;
        self.inode += 1;
        // inode, mode, uid, gid, links, time, size, device, special device, name size, check
        let fields = [
            self.inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0,
        ];
        write!(self.out, "070701")?;
        fields
            .iter()
            .try_for_each(|field| write!(self.out, "{field:08x}"))?;
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
        archive.file("a", 0o644, b"hello").expect("a file");
        let bytes = &archive.out;
        assert_eq!(bytes.len(), 112 + 8);
        assert!(bytes.starts_with(b"07070100000001000081a4"));
        assert_eq!(&bytes[54..62], b"00000005", "the size");
        assert_eq!(&bytes[94..102], b"00000002", "the size of the name");
        assert_eq!(&bytes[110..], b"a\0hello\0\0\0");
    }

    #[test]
    fn the_end_is_an_entry() {
        let bytes = Archive::new(Vec::new()).finish().expect("an archive");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert!(bytes.len().is_multiple_of(4));
    }
}
