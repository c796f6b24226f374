use super::{HELD, Target};
use crate::fault::Cause;
use crate::filesystem::metadata::Metadata;
use crate::filesystem::owner::Owner;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

const OTHER: Owner = Owner {
    uid: 1234,
    gid: 4321,
};

fn open(path: &Path) -> Target {
    Target::open(path, OTHER, Metadata::new(), None).unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    let mut target = open(path);
    target.write(bytes).unwrap();
    target.finish().unwrap();
}

#[test]
fn a_new_file_is_its_owners_and_is_gone_if_it_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    write(&path, b"whole");
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    let made = std::fs::metadata(&path).unwrap();
    assert_eq!(made.mode() & 0o777, 0o644);
    if rustix::process::geteuid().is_root() {
        assert_eq!((made.uid(), made.gid()), (1234, 4321));
    }
    let other = folder.path().join("c");
    open(&other).write(b"half").unwrap();
    assert!(!other.exists());
}

#[test]
fn an_old_file_is_whole_until_more_comes_than_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, "old").unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    open(&path).write(&vec![b'x'; HELD]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    write(&path, b"n");
    assert_eq!(std::fs::read(&path).unwrap(), b"n");
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    let long = vec![b'y'; HELD + 1];
    write(&path, &long);
    assert_eq!(std::fs::read(&path).unwrap(), long);
}

#[test]
fn another_file_under_the_name_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let target = open(&path);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another").unwrap();
    // Nobody will find what was written.
    assert_eq!(target.finish().unwrap_err().cause, Cause::State);
    assert_eq!(std::fs::read(&path).unwrap(), b"another");
}

#[test]
fn a_planted_name_gives_nothing_away() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root could give files away");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["linked", "second", "own"] {
        std::fs::write(path(name), "old").unwrap();
    }
    symlink("linked", path("link")).unwrap();
    std::fs::hard_link(path("second"), path("hard")).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::write(path("folder/below"), "old").unwrap();
    symlink("folder", path("way")).unwrap();
    for (written, file, uid) in [
        ("link", "linked", 0),
        ("hard", "second", 0),
        ("way/below", "folder/below", 0),
        ("own", "own", 1234),
    ] {
        write(&path(written), b"new");
        assert_eq!(std::fs::read(path(file)).unwrap(), b"new");
        assert_eq!(
            std::fs::metadata(path(file)).unwrap().uid(),
            uid,
            "{written}"
        );
    }
}

#[test]
fn what_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("file"), "").unwrap();
    symlink("loop", path("loop")).unwrap();
    mkfifoat(CWD, path("pipe"), Mode::RWXU).unwrap();
    for (name, cause) in [
        ("", Cause::Invalid),
        ("pipe", Cause::Invalid),
        ("file/below", Cause::Invalid),
        ("loop", Cause::State),
    ] {
        let fault = Target::open(&path(name), OTHER, Metadata::new(), None)
            .err()
            .unwrap();
        assert_eq!(fault.cause, cause, "{name}: {fault:?}");
    }
    let fault = Target::open(&path("huge"), OTHER, Metadata::new(), Some(u64::MAX)).err();
    if let Some(fault) = fault {
        assert_eq!(fault.cause, Cause::Full);
        assert!(!path("huge").exists());
    } else {
        eprintln!("skipped: this file system doesn't count its space");
    }
    symlink("made", path("link")).unwrap();
    write(&path("link"), b"x");
    assert_eq!(std::fs::read(path("made")).unwrap(), b"x");
}
