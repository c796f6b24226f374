//! Changing the view itself: new mounts, moved mounts, lifted covers, another root.

use std::fs;

use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, blocked, c, open, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(mount_tmpfs, "mount a fresh file system"),
    attempt!(mount_bind, "bind one directory over another"),
    attempt!(mount_proc, "mount another /proc").root(),
    attempt!(
        remount_writable,
        "remount the root without its restrictions"
    )
    .root(),
    attempt!(
        clear_read_only,
        "clear the restrictions of every mount with mount_setattr"
    )
    .root(),
    attempt!(make_shared, "make mounts propagate to the host").root(),
    attempt!(lift_cover, "unmount what covers the host's files").root(),
    attempt!(open_new_filesystem, "prepare a file system with fsopen"),
    attempt!(clone_tree, "clone a tree of mounts with open_tree"),
    attempt!(move_tree, "attach a cloned tree with move_mount"),
    attempt!(
        open_tree_attr,
        "clone a tree and change its restrictions with open_tree_attr"
    )
    .kernel("open_tree_attr"),
    attempt!(switch_root, "change the root of all with pivot_root"),
    attempt!(
        change_root,
        "change one's root with chroot and climb out of it"
    ),
];

/// Not in libc yet: asm-generic/unistd.h.
const OPEN_TREE_ATTR: i64 = 467;
const OPEN_TREE_CLONE: u64 = 1;

/// A copy of the mounts that only this process sees, so that nothing of the host's changes. Where
/// it cannot be had, the calls below are made as they are: the sandbox's own mounts are the aim.
fn private_mounts() {
    if sys!(libc::unshare(libc::CLONE_NEWNS)).is_err()
        && sys!(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)).is_err()
    {
        return;
    }
    let _ = mount("none", "/", "none", libc::MS_REC | libc::MS_PRIVATE);
}

fn mount(source: &str, at: &str, kind: &str, flags: libc::c_ulong) -> std::io::Result<i64> {
    let (source, at, kind) = (c(source), c(at), c(kind));
    sys!(libc::mount(
        source.as_ptr(),
        at.as_ptr(),
        kind.as_ptr(),
        flags,
        std::ptr::null()
    ))
}

fn workspace() -> Result<String, crate::attempt::Stop> {
    stage::text("ATTEMPT_WORKSPACE")
}

/// mount(2).
fn mount_tmpfs() -> Verdict {
    private_mounts();
    mount("tmpfs", &workspace()?, "tmpfs", 0).attack("mount")?;
    Ok("a file system covers the workspace".to_owned())
}

/// mount(2), MS_BIND: shows one place in another.
fn mount_bind() -> Verdict {
    private_mounts();
    mount("/usr", &workspace()?, "none", libc::MS_BIND | libc::MS_REC).attack("mount")?;
    Ok("the workspace shows /usr".to_owned())
}

/// A second /proc has none of the covers of the first.
fn mount_proc() -> Verdict {
    private_mounts();
    mount("proc", &workspace()?, "proc", 0).attack("mount")?;
    Ok("the workspace shows /proc".to_owned())
}

/// mount(2), MS_REMOUNT: flags that are not locked can be dropped.
fn remount_writable() -> Verdict {
    private_mounts();
    mount("none", "/", "none", libc::MS_REMOUNT | libc::MS_BIND).attack("mount")?;
    Ok("the root was remounted".to_owned())
}

/// mount_setattr(2), which takes its flags from memory.
fn clear_read_only() -> Verdict {
    const READ_ONLY: u64 = 1;
    private_mounts();
    let attributes = [0, READ_ONLY, 0, 0];
    let (call, at, path) = (libc::SYS_mount_setattr, libc::AT_FDCWD, c("/"));
    sys!(libc::syscall(
        call,
        at,
        path.as_ptr(),
        libc::AT_RECURSIVE,
        &attributes,
        32
    ))
    .attack("mount_setattr")?;
    Ok("the mounts are writable".to_owned())
}

/// mount_namespaces(7): a shared mount carries later ones to its peers.
fn make_shared() -> Verdict {
    private_mounts();
    mount("none", "/", "none", libc::MS_SHARED | libc::MS_REC).attack("mount")?;
    Ok("the mounts are shared".to_owned())
}

/// umount2(2), MNT_DETACH, of one mount after another.
fn lift_cover() -> Verdict {
    private_mounts();
    let mounts = fs::read_to_string("/proc/self/mountinfo").prepare("open mountinfo")?;
    let mut last = "umount2: there is nothing to unmount".to_owned();
    for at in mounts
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(4))
    {
        match sys!(libc::umount2(c(at).as_ptr(), libc::MNT_DETACH)) {
            Ok(_) => return Ok(format!("{at} was unmounted")),
            Err(error) => last = format!("umount2 {at}: {}", crate::call::errno_name(&error)),
        }
    }
    blocked(last)
}

/// fsopen(2), the newer calls beside mount(2).
fn open_new_filesystem() -> Verdict {
    private_mounts();
    let fd = sys!(libc::syscall(libc::SYS_fsopen, c("tmpfs").as_ptr(), 0)).attack("fsopen")?;
    Ok(format!("descriptor {fd} is a new file system"))
}

fn cloned_tree(path: &str) -> std::io::Result<i64> {
    let (at, path) = (libc::AT_FDCWD, c(path));
    sys!(libc::syscall(
        libc::SYS_open_tree,
        at,
        path.as_ptr(),
        OPEN_TREE_CLONE
    ))
}

/// open_tree(2).
fn clone_tree() -> Verdict {
    private_mounts();
    // The workspace holds no mounts of another owner, which a user namespace may not clone.
    let fd = cloned_tree(&workspace()?).attack("open_tree")?;
    Ok(format!("descriptor {fd} is a tree of mounts"))
}

/// move_mount(2).
fn move_tree() -> Verdict {
    const FROM_EMPTY_PATH: i32 = 4;
    private_mounts();
    let tree = cloned_tree(&workspace()?).attack("open_tree")?;
    let (empty, at, to) = (c(""), libc::AT_FDCWD, c("/tmp"));
    let (empty, to) = (empty.as_ptr(), to.as_ptr());
    sys!(libc::syscall(
        libc::SYS_move_mount,
        tree,
        empty,
        at,
        to,
        FROM_EMPTY_PATH
    ))
    .attack("move_mount")?;
    Ok("the tree is attached at /tmp".to_owned())
}

/// The call of 2025 that does the work of open_tree and mount_setattr at once.
fn open_tree_attr() -> Verdict {
    private_mounts();
    let (at, path, attributes) = (libc::AT_FDCWD, c(workspace()?), [0u64; 4]);
    let path = path.as_ptr();
    let fd = sys!(libc::syscall(
        OPEN_TREE_ATTR,
        at,
        path,
        OPEN_TREE_CLONE,
        &attributes,
        32
    ))
    .attack("open_tree_attr")?;
    Ok(format!("descriptor {fd} is a tree of mounts"))
}

/// pivot_root(2) onto a mount of one's own. Where even that mount is refused, the call is made on
/// the workspace itself, which is a mount of its own inside.
fn switch_root() -> Verdict {
    private_mounts();
    let workspace = workspace()?;
    let _ = mount(&workspace, &workspace, "none", libc::MS_BIND);
    std::env::set_current_dir(&workspace).prepare("chdir")?;
    let here = c(".");
    sys!(libc::syscall(
        libc::SYS_pivot_root,
        here.as_ptr(),
        here.as_ptr()
    ))
    .attack("pivot_root")?;
    Ok("the workspace is the root".to_owned())
}

/// chroot(2): a root below the working directory stops nobody from climbing above it.
fn change_root() -> Verdict {
    let above = open("/", libc::O_RDONLY | libc::O_DIRECTORY).prepare("open /")?;
    private_mounts();
    sys!(libc::chroot(c(stage::workspace("receipts")?).as_ptr())).attack("chroot")?;
    sys!(libc::fchdir(above)).attack("fchdir")?;
    sys!(libc::chroot(c(".").as_ptr())).attack("chroot")?;
    let secret = fs::read(stage::secret()?).attack("open")?;
    stage::reveals(&secret, "the root above")
}
