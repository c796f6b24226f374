//! Leaving a set-user-ID program in the workspace: on the host it runs with the caller's rights,
//! whoever starts it. Every call that can set the bit is a way.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, c, open, open_mode, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(setid_chmod, "set the set-user-ID bit with chmod"),
    attempt!(setid_fchmod, "set the set-user-ID bit with fchmod"),
    attempt!(setid_fchmodat, "set the set-user-ID bit with fchmodat"),
    attempt!(setid_fchmodat2, "set the set-user-ID bit with fchmodat2").kernel("fchmodat2"),
    attempt!(
        setid_group,
        "set the set-group-ID bit of a program with chmod"
    ),
    attempt!(setid_open, "create a set-user-ID file with open"),
    attempt!(setid_openat2, "create a set-user-ID file with openat2"),
    attempt!(setid_creat, "create a set-user-ID file with creat"),
    attempt!(setid_mknod, "create a set-user-ID file with mknod"),
    attempt!(
        setid_nameless,
        "create a nameless set-user-ID file and link it"
    ),
];

const MODE: u32 = 0o4755;

fn fresh() -> Result<PathBuf, Stop> {
    let path = stage::workspace("program-made-inside")?;
    fs::write(&path, "#!/bin/sh\n").prepare("create")?;
    Ok(path)
}

/// Looks at the file itself: a call that succeeds may still have dropped the bit.
fn survives(path: &Path) -> Verdict {
    let mode = fs::metadata(path).prepare("stat")?.mode();
    fs::remove_file(path).prepare("unlink")?;
    if mode & 0o6000 == 0 {
        return blocked(format!("the bit was dropped, the mode is {mode:o}"));
    }
    Ok(format!("the mode is {mode:o}"))
}

/// chmod(2).
fn setid_chmod() -> Verdict {
    let path = fresh()?;
    sys!(libc::syscall(libc::SYS_chmod, c(&path).as_ptr(), MODE)).attack("chmod")?;
    survives(&path)
}

/// fchmod(2), on a descriptor opened for reading.
fn setid_fchmod() -> Verdict {
    let path = fresh()?;
    let fd = open(&path, libc::O_RDONLY).prepare("open")?;
    sys!(libc::fchmod(fd, MODE)).attack("fchmod")?;
    survives(&path)
}

/// fchmodat(2), the raw call of three arguments.
fn setid_fchmodat() -> Verdict {
    let path = fresh()?;
    sys!(libc::syscall(
        libc::SYS_fchmodat,
        libc::AT_FDCWD,
        c(&path).as_ptr(),
        MODE
    ))
    .attack("fchmodat")?;
    survives(&path)
}

/// fchmodat2, the call of 2023.
fn setid_fchmodat2() -> Verdict {
    let path = fresh()?;
    sys!(libc::syscall(
        libc::SYS_fchmodat2,
        libc::AT_FDCWD,
        c(&path).as_ptr(),
        MODE,
        0
    ))
    .attack("fchmodat2")?;
    survives(&path)
}

/// The set-group-ID bit gives away the caller's group.
fn setid_group() -> Verdict {
    let path = fresh()?;
    sys!(libc::chmod(c(&path).as_ptr(), 0o2755)).attack("chmod")?;
    survives(&path)
}

/// open(2) keeps the bit of its mode argument.
fn setid_open() -> Verdict {
    let path = stage::workspace("program-made-inside")?;
    open_mode(&path, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, MODE).attack("open")?;
    survives(&path)
}

/// openat2(2) carries the mode in memory, where a filter cannot look.
fn setid_openat2() -> Verdict {
    let path = stage::workspace("program-made-inside")?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    let how = [flags as u64, MODE.into(), 0];
    sys!(libc::syscall(
        libc::SYS_openat2,
        libc::AT_FDCWD,
        c(&path).as_ptr(),
        &how,
        24
    ))
    .attack("openat2")?;
    survives(&path)
}

/// creat(2), a call of its own.
fn setid_creat() -> Verdict {
    let path = stage::workspace("program-made-inside")?;
    sys!(libc::syscall(libc::SYS_creat, c(&path).as_ptr(), MODE)).attack("creat")?;
    survives(&path)
}

/// mknod(2) makes regular files too.
fn setid_mknod() -> Verdict {
    let path = stage::workspace("program-made-inside")?;
    sys!(libc::mknod(c(&path).as_ptr(), libc::S_IFREG | MODE, 0)).attack("mknod")?;
    survives(&path)
}

/// open(2), O_TMPFILE: no name to check until linkat(2) gives it one.
fn setid_nameless() -> Verdict {
    let path = stage::workspace("program-made-inside")?;
    let flags = libc::O_TMPFILE | libc::O_WRONLY;
    let fd = open_mode(stage::workspace("")?, flags, MODE).attack("open O_TMPFILE")?;
    let (from, to) = (c(format!("/proc/self/fd/{fd}")), c(&path));
    let (at, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
    sys!(libc::linkat(at, from.as_ptr(), at, to.as_ptr(), follow)).attack("linkat")?;
    survives(&path)
}
