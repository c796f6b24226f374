//! Descriptors that were open in the caller: rights that no path leads to.

use std::fs;

use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, blocked, c, open, read, sys};
use crate::{sockets, stage};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(
        inherited_directory,
        "open a file below an inherited directory"
    ),
    attempt!(
        inherited_directory_dotdot,
        "climb from an inherited directory to the key"
    ),
    attempt!(
        inherited_path,
        "open a file below an inherited O_PATH descriptor"
    ),
    attempt!(
        inherited_working_directory,
        "enter an inherited directory with fchdir"
    ),
    attempt!(inherited_file, "read an inherited file"),
    attempt!(inherited_socket, "use an inherited connection to the host"),
    attempt!(any_inherited, "have any descriptor above standard error"),
    attempt!(
        reopen_input,
        "open the caller's input file again, for writing"
    ),
];

fn read_below(directory: &str, name: &str) -> Verdict {
    let fd = stage::number(directory)?;
    let file = sys!(libc::openat(fd, c(name).as_ptr(), libc::O_RDONLY)).attack("openat")?;
    stage::reveals(
        &read(file as i32).attack("read")?,
        "below an inherited descriptor",
    )
}

/// openat(2): CVE-2024-21626 began with such a descriptor.
fn inherited_directory() -> Verdict {
    read_below("ATTEMPT_FD_DIRECTORY", "token")
}

/// `..` of a directory outside the root knows no root.
fn inherited_directory_dotdot() -> Verdict {
    read_below("ATTEMPT_FD_DIRECTORY", "../home/.ssh/id_ed25519")
}

/// O_PATH descriptors are overlooked, since they read nothing by themselves.
fn inherited_path() -> Verdict {
    read_below("ATTEMPT_FD_PATH", "token")
}

/// fchdir(2).
fn inherited_working_directory() -> Verdict {
    let fd = stage::number("ATTEMPT_FD_DIRECTORY")?;
    sys!(libc::fchdir(fd)).attack("fchdir")?;
    stage::reveals(
        &fs::read("token").attack("open")?,
        "the inherited directory",
    )
}

/// pread(2).
fn inherited_file() -> Verdict {
    let fd = stage::number("ATTEMPT_FD_FILE")?;
    let mut bytes = vec![0u8; 256];
    let length = sys!(libc::pread(fd, bytes.as_mut_ptr().cast(), 256, 0)).attack("pread")?;
    stage::reveals(&bytes[..length as usize], "an inherited file")
}

/// A connection that was made before the wall stood.
fn inherited_socket() -> Verdict {
    let fd = stage::number("ATTEMPT_FD_SOCKET")?;
    sys!(libc::fcntl(fd, libc::F_GETFD)).attack("fcntl")?;
    sockets::greeting(fd, "an inherited socket")
}

/// Whatever it is, nobody meant to pass it.
fn any_inherited() -> Verdict {
    let open = (3..4096).find(|fd| sys!(libc::fcntl(*fd, libc::F_GETFD)).is_ok());
    match open {
        Some(fd) => {
            let target = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            Ok(format!("descriptor {fd} is open: {}", target.display()))
        }
        None => blocked("fcntl: EBADF from 3 to 4095"),
    }
}

/// `sandbox program < file` lends the file for reading; /proc opens it anew with any flags.
fn reopen_input() -> Verdict {
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    sys!(libc::fstat(0, &mut found)).prepare("fstat")?;
    if found.st_mode & libc::S_IFMT != libc::S_IFREG {
        return blocked("the input is not the caller's file");
    }
    open("/proc/self/fd/0", libc::O_WRONLY).attack("open /proc/self/fd/0")?;
    Ok("the caller's input is open for writing".to_owned())
}
