//! Changing what is outside the workspace or was shared read-only.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::attempt::Setting::Shared;
use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, c, open, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(create_outside, "create a file outside the workspace"),
    attempt!(append_outside, "append to a file outside the workspace"),
    attempt!(
        create_through_symlink,
        "create a file through a link that leaves the workspace"
    ),
    attempt!(write_usr, "create a file in /usr").root(),
    attempt!(write_etc, "create a file in /etc").root(),
    attempt!(write_program, "open a program of the system for writing").root(),
    attempt!(write_read_only, "write to a file shared read-only").with(Shared),
    attempt!(truncate_read_only, "truncate a file shared read-only").with(Shared),
    attempt!(remove_read_only, "remove a file shared read-only").with(Shared),
    attempt!(rename_read_only, "rename a file shared read-only").with(Shared),
    attempt!(
        link_read_only,
        "hard-link a read-only file into the workspace"
    )
    .with(Shared),
    attempt!(chmod_read_only, "chmod a file shared read-only").with(Shared),
    attempt!(
        fchmod_read_only,
        "fchmod a descriptor of a file shared read-only"
    )
    .with(Shared),
    attempt!(fchmodat2_read_only, "fchmodat2 a file shared read-only")
        .with(Shared)
        .kernel("fchmodat2"),
    attempt!(chown_read_only, "chown a file shared read-only").with(Shared),
    attempt!(utime_read_only, "set the times of a file shared read-only").with(Shared),
    attempt!(
        futimens_read_only,
        "set the times of a read-only descriptor"
    )
    .with(Shared),
    attempt!(
        xattr_read_only,
        "set an attribute of a file shared read-only"
    )
    .with(Shared),
    attempt!(
        setxattrat_read_only,
        "set an attribute of a read-only file with setxattrat"
    )
    .with(Shared)
    .kernel("setxattrat"),
    attempt!(
        flags_read_only,
        "set inode flags of a file shared read-only"
    )
    .with(Shared)
    .kernel("inode flags"),
    attempt!(
        file_setattr_read_only,
        "set inode flags of a read-only file with file_setattr"
    )
    .with(Shared)
    .kernel("file_setattr"),
];

/// Not in libc yet: asm-generic/unistd.h.
const SETXATTRAT: i64 = 463;
const FILE_GETATTR: i64 = 468;
const FILE_SETATTR: i64 = 469;
/// linux/fs.h: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, and "do not dump", which harms nothing.
const GET_FLAGS: libc::c_ulong = 0x8008_6601;
const SET_FLAGS: libc::c_ulong = 0x4008_6602;
const NO_DUMP: i32 = 0x40;

fn create(path: impl AsRef<Path>) -> Verdict {
    let path = path.as_ref();
    fs::File::create_new(path).attack(&format!("create {}", path.display()))?;
    let found = fs::metadata(path).prepare("stat")?;
    fs::remove_file(path).prepare("unlink")?;
    Ok(format!(
        "{} was created (inode {})",
        path.display(),
        found.ino()
    ))
}

/// What ransomware needs first.
fn create_outside() -> Verdict {
    create(stage::outside("planted")?)
}

/// An append passes a check that looks at O_TRUNC or O_CREAT only.
fn append_outside() -> Verdict {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(stage::outside("plain")?)
        .attack("open")?;
    file.write_all(b"planted").attack("write")?;
    Ok("the file grew".to_owned())
}

/// path_resolution(7): a directory link made before the run.
fn create_through_symlink() -> Verdict {
    create(stage::workspace("way-out-directory")?.join("planted"))
}

fn create_in(directory: &str) -> Verdict {
    create(format!("{directory}/planted-{}", std::process::id()))
}

/// Programs that every user of the host runs.
fn write_usr() -> Verdict {
    create_in("/usr")
}

/// Settings that every user of the host obeys.
fn write_etc() -> Verdict {
    create_in("/etc")
}

/// Opened only: nothing is written.
fn write_program() -> Verdict {
    open("/usr/bin/true", libc::O_WRONLY).attack("open /usr/bin/true")?;
    Ok("/usr/bin/true is open for writing".to_owned())
}

/// open(2), O_WRONLY.
fn write_read_only() -> Verdict {
    fs::write(stage::shared("plain")?, "planted").attack("open")?;
    Ok("the file was replaced".to_owned())
}

/// truncate(2) opens nothing: Landlock has a right for it only since its third ABI.
fn truncate_read_only() -> Verdict {
    sys!(libc::truncate(c(stage::shared("plain")?).as_ptr(), 1)).attack("truncate")?;
    Ok("the file has one byte left".to_owned())
}

/// unlink(2) asks the directory, not the file.
fn remove_read_only() -> Verdict {
    fs::remove_file(stage::shared("plain")?).attack("unlink")?;
    Ok("the file is gone".to_owned())
}

/// rename(2) asks the directory, not the file.
fn rename_read_only() -> Verdict {
    fs::rename(stage::shared("plain")?, stage::shared("renamed")?).attack("rename")?;
    Ok("the file has another name".to_owned())
}

/// link(2) would make a writable name for the same inode.
fn link_read_only() -> Verdict {
    let alias = stage::workspace("alias")?;
    fs::hard_link(stage::shared("plain")?, &alias).attack("link")?;
    fs::write(alias, "planted").attack("open")?;
    Ok("the file was written through another name".to_owned())
}

/// Landlock has no right for chmod(2): only the mount can refuse it.
fn chmod_read_only() -> Verdict {
    let path = stage::shared("plain")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).attack("chmod")?;
    Ok("the file is writable for everyone".to_owned())
}

/// fchmod(2) takes a descriptor that was opened for reading.
fn fchmod_read_only() -> Verdict {
    let fd = open(stage::shared("plain")?, libc::O_RDONLY).prepare("open")?;
    sys!(libc::fchmod(fd, 0o666)).attack("fchmod")?;
    Ok("the file is writable for everyone".to_owned())
}

/// The call of 2023 that lists of forbidden calls forget.
fn fchmodat2_read_only() -> Verdict {
    let path = c(stage::shared("plain")?);
    sys!(libc::syscall(
        libc::SYS_fchmodat2,
        libc::AT_FDCWD,
        path.as_ptr(),
        0o666,
        0
    ))
    .attack("fchmodat2")?;
    Ok("the file is writable for everyone".to_owned())
}

/// Giving a file to oneself still moves its ctime.
fn chown_read_only() -> Verdict {
    chown(
        stage::shared("plain")?,
        None,
        Some(unsafe { libc::getegid() }),
    )
    .attack("chown")?;
    Ok("the owner was set".to_owned())
}

fn old() -> [libc::timespec; 2] {
    [libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    }; 2]
}

/// Build tools trust times; Landlock has no right for utimensat(2).
fn utime_read_only() -> Verdict {
    let path = c(stage::shared("plain")?);
    sys!(libc::utimensat(
        libc::AT_FDCWD,
        path.as_ptr(),
        old().as_ptr(),
        0
    ))
    .attack("utimensat")?;
    Ok("the file dates from 1970".to_owned())
}

/// The same through a descriptor that was opened for reading.
fn futimens_read_only() -> Verdict {
    let fd = open(stage::shared("plain")?, libc::O_RDONLY).prepare("open")?;
    sys!(libc::futimens(fd, old().as_ptr())).attack("futimens")?;
    Ok("the file dates from 1970".to_owned())
}

/// xattr(7): Landlock has no right for it.
fn xattr_read_only() -> Verdict {
    let (path, name) = (c(stage::shared("plain")?), c("user.planted"));
    sys!(libc::setxattr(
        path.as_ptr(),
        name.as_ptr(),
        b"x".as_ptr().cast(),
        1,
        0
    ))
    .attack("setxattr")?;
    Ok("the file has a new attribute".to_owned())
}

/// The call of 2025 with its arguments in memory.
fn setxattrat_read_only() -> Verdict {
    let (path, name, value) = (c(stage::shared("plain")?), c("user.planted"), b"x");
    let arguments = [value.as_ptr() as u64, 1];
    let (path, name) = (path.as_ptr(), name.as_ptr());
    sys!(libc::syscall(
        SETXATTRAT,
        libc::AT_FDCWD,
        path,
        0,
        name,
        &arguments,
        16usize
    ))
    .attack("setxattrat")?;
    Ok("the file has a new attribute".to_owned())
}

/// ioctl_iflags(2) takes a descriptor that was opened for reading.
fn flags_read_only() -> Verdict {
    let fd = open(stage::shared("plain")?, libc::O_RDONLY).prepare("open")?;
    let mut flags: libc::c_long = 0;
    sys!(libc::ioctl(fd, GET_FLAGS, &mut flags)).attack("FS_IOC_GETFLAGS")?;
    flags |= libc::c_long::from(NO_DUMP);
    sys!(libc::ioctl(fd, SET_FLAGS, &flags)).attack("FS_IOC_SETFLAGS")?;
    Ok("the file has a new flag".to_owned())
}

/// The call of 2025 that needs no descriptor.
fn file_setattr_read_only() -> Verdict {
    let path = c(stage::shared("plain")?);
    // struct file_attr: xflags, extent size, next extents, project, copy-on-write extent size.
    let mut attributes = [0u64; 3];
    let (at, path) = (libc::AT_FDCWD, path.as_ptr());
    sys!(libc::syscall(
        FILE_GETATTR,
        at,
        path,
        &mut attributes,
        24,
        0
    ))
    .attack("file_getattr")?;
    sys!(libc::syscall(FILE_SETATTR, at, path, &attributes, 24, 0)).attack("file_setattr")?;
    Ok("the flags were set".to_owned())
}
