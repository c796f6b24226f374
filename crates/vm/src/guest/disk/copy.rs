//! Copies of files that cost no more than what is in them: disks, and memory.

use casemate_core::error::{Error, Result};
use rustix::fs::{ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes `to` a copy of the file `from`; only its owner may open it. It must not be there yet, and
/// is gone again if this fails. It shares its blocks until one side writes (FICLONE in
/// ioctl_ficlonerange(2)) where the file system can; else what holds data is copied, and holes are
/// holes. Nothing is synced.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = |what, path: &Path, error| Error::io(what, &error).on(path.display());
    let source = File::open(from).map_err(|e| failed("open", from, e))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let target = options.open(to).map_err(|e| failed("make", to, e))?;
    contents(&source, &target).map_err(|error| {
        let _ = std::fs::remove_file(to);
        failed("copy to", to, error)
    })
}

fn contents(source: &File, target: &File) -> io::Result<()> {
    match ioctl_ficlone(target, source) {
        Ok(()) => Ok(()),
        // The file system can't, or there are two of them.
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS) => {
            sparse(source, target)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Copies each run of data (SEEK_DATA and SEEK_HOLE in lseek(2)). A file system that knows no holes
/// calls all of it data.
fn sparse(mut source: &File, mut target: &File) -> io::Result<()> {
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    while at < length {
        let start = match seek(source, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            // The rest is a hole.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(source, rustix::fs::SeekFrom::Hole(start))?.min(length);
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        // copy_file_range(2), where both can.
        let copied = io::copy(&mut source.take(end - start), &mut target)?;
        if copied < end - start {
            return Err(io::Error::other("it became shorter while it was copied"));
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileExt, MetadataExt};

    const LENGTH: u64 = 64 << 20;

    fn image(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("image");
        let file = File::create(&path).unwrap();
        file.set_len(LENGTH).unwrap();
        for (at, byte) in [(0, 1), (8 << 20, 2), (LENGTH - 4096, 3)] {
            file.write_all_at(&[byte; 4096], at).unwrap();
        }
        path
    }

    fn same(one: &Path, other: &Path) -> bool {
        fs::read(one).unwrap() == fs::read(other).unwrap()
    }

    #[test]
    fn a_copy_has_the_same_bytes_and_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (image(folder.path()), folder.path().join("copy"));
        copy(&from, &to).unwrap();
        assert!(same(&from, &to));
        OpenOptions::new()
            .write(true)
            .open(&to)
            .unwrap()
            .write_all_at(b"x", 5)
            .unwrap();
        assert!(!same(&from, &to));
        assert_eq!(fs::read(&from).unwrap()[5], 1);
    }

    #[test]
    fn holes_stay_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (image(folder.path()), folder.path().join("copy"));
        sparse(&File::open(&from).unwrap(), &File::create(&to).unwrap()).unwrap();
        assert!(same(&from, &to));
        let taken = fs::metadata(&to).unwrap().blocks() * 512;
        assert!(taken < LENGTH / 4, "{taken} bytes");
    }

    #[test]
    fn a_hole_at_the_end_and_an_empty_file_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        for (number, (data, length)) in [(0, 0), (0, 9000), (5000, 20_000)].into_iter().enumerate()
        {
            let file = File::create(&from).unwrap();
            file.write_all_at(&vec![7; data], 0).unwrap();
            file.set_len(length).unwrap();
            let to = folder.path().join(format!("to{number}"));
            sparse(&File::open(&from).unwrap(), &File::create(&to).unwrap()).unwrap();
            assert!(same(&from, &to), "{data} of {length}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (image(folder.path()), folder.path().join("copy"));
        fs::write(&to, "mine").unwrap();
        assert_eq!(copy(&from, &to).unwrap_err().raw_errno(), Some(17));
        assert_eq!(fs::read(&to).unwrap(), b"mine");
    }

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
