//! Files that cost no more than what is in them.

use casemate_core::error::{Error, Result};
use rustix::fs::{SeekFrom, copy_file_range, fstat, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a new file with the same contents, which shares its blocks with the old one where the file
/// system can, and else has the same holes. It is for this user alone, and on disk after [`sync`].
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let fail = |error: &std::io::Error| Error::io("copy", error).on(from.display());
    let source = File::open(from).map_err(|error| fail(&error))?;
    let target = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|error| Error::io("make", &error).on(to.display()))?;
    contents(&source, &target).map_err(|errno| fail(&errno.into()))
}

/// Waits until a file or folder is on disk.
pub(super) fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::io("write", &error).on(path.display()))
}

fn contents(source: &File, target: &File) -> Result<(), Errno> {
    match ioctl_ficlone(target, source) {
        Ok(()) => return Ok(()),
        // Another file system, or one that can't.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {}
        Err(errno) => return Err(errno),
    }
    let length = fstat(source)?.st_size as u64;
    ftruncate(target, length)?;
    let mut at = 0;
    while at < length {
        let start = match seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole.
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let end = seek(source, SeekFrom::Hole(start))?.min(length);
        extent(source, target, start, end)?;
        at = end.max(start + 1);
    }
    Ok(())
}

fn extent(source: &File, target: &File, start: u64, end: u64) -> Result<(), Errno> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let count = usize::try_from(end - from).unwrap_or(1 << 30);
        match copy_file_range(source, Some(&mut from), target, Some(&mut to), count) {
            // It has become shorter.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Two file systems, of which the kernel knows no way between.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return by_hand(source, target, from, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn by_hand(source: &File, target: &File, mut at: u64, end: u64) -> Result<(), Errno> {
    use std::os::unix::fs::FileExt;
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let mut block = vec![0; 1 << 20];
    while at < end {
        let most = usize::try_from(end - at).map_or(block.len(), |left| left.min(block.len()));
        let count = source.read_at(&mut block[..most], at).map_err(errno)?;
        if count == 0 {
            return Ok(());
        }
        target.write_all_at(&block[..count], at).map_err(errno)?;
        at += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn a_copy_has_the_same_bytes_and_holes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let file = File::create(&from).expect("a file");
        file.set_len(64 << 20).expect("it is long");
        for at in [0, 1 << 20, (40 << 20) + 5, (64 << 20) - 3] {
            file.write_all_at(b"abc", at).expect("it is written");
        }
        copy(&from, &to).expect("it is copied");
        let same = std::fs::read(&from).expect("a file") == std::fs::read(&to).expect("a file");
        assert!(same);
        let taken = to.metadata().expect("a file").blocks() * 512;
        assert!(taken <= 1 << 20, "{taken}");
        copy(&from, &to).expect_err("there is one already");
    }

    #[test]
    fn a_copy_between_file_systems_is_one_too() {
        let (there, here) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir());
        let (Ok(there), Ok(here)) = (there, here) else {
            return;
        };
        let (from, to) = (there.path().join("from"), here.path().join("to"));
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n >> 3) as u8).collect();
        std::fs::write(&from, &bytes).expect("it is written");
        copy(&from, &to).expect("it is copied");
        assert!(std::fs::read(&to).expect("a file") == bytes);
    }
}
