//! New namespaces, whose owner has every capability in them: the way to most kernel surface.

use std::fs;

use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, blocked, c, fork, open, sys, wait};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(unshare_user, "unshare the user namespace"),
    attempt!(unshare_mount, "unshare the mount namespace").root(),
    attempt!(unshare_pid, "unshare the pid namespace").root(),
    attempt!(unshare_net, "unshare the network namespace").root(),
    attempt!(unshare_ipc, "unshare the IPC namespace").root(),
    attempt!(unshare_uts, "unshare the host name namespace").root(),
    attempt!(unshare_cgroup, "unshare the cgroup namespace").root(),
    attempt!(unshare_time, "unshare the time namespace").root(),
    attempt!(
        unshare_everything,
        "unshare the user namespace together with all others"
    ),
    attempt!(
        unshare_then_mount,
        "become root of a user namespace and mount in it"
    ),
    attempt!(clone_user, "clone a child into a new user namespace"),
    attempt!(clone_mount, "clone a child into a new mount namespace").root(),
    attempt!(clone_net, "clone a child into a new network namespace").root(),
    attempt!(clone3_user, "clone3 a child into a new user namespace"),
    attempt!(
        clone3_everything,
        "clone3 a child into all namespaces at once"
    ),
    attempt!(setns_files, "enter the namespaces of init through /proc"),
    attempt!(setns_pidfd, "enter the namespaces of init through a pidfd"),
];

const OTHERS: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// unshare(2); the link in /proc shows whether the namespace really is another.
fn unshare(flags: i32, link: &str) -> Verdict {
    let path = format!("/proc/self/ns/{link}");
    let before = fs::read_link(&path).ok();
    sys!(libc::unshare(flags)).attack("unshare")?;
    let after = fs::read_link(&path).ok();
    if before.is_some() && before == after {
        return blocked("unshare did nothing");
    }
    Ok(format!("unshare gave {after:?} in place of {before:?}"))
}

/// user_namespaces(7): needs no privilege.
fn unshare_user() -> Verdict {
    unshare(libc::CLONE_NEWUSER, "user")
}

/// mount_namespaces(7).
fn unshare_mount() -> Verdict {
    unshare(libc::CLONE_NEWNS, "mnt")
}

/// pid_namespaces(7): only children enter it.
fn unshare_pid() -> Verdict {
    unshare(libc::CLONE_NEWPID, "pid_for_children")
}

/// network_namespaces(7).
fn unshare_net() -> Verdict {
    unshare(libc::CLONE_NEWNET, "net")
}

/// ipc_namespaces(7).
fn unshare_ipc() -> Verdict {
    unshare(libc::CLONE_NEWIPC, "ipc")
}

/// uts_namespaces(7).
fn unshare_uts() -> Verdict {
    unshare(libc::CLONE_NEWUTS, "uts")
}

/// cgroup_namespaces(7).
fn unshare_cgroup() -> Verdict {
    unshare(libc::CLONE_NEWCGROUP, "cgroup")
}

/// time_namespaces(7): only children enter it.
fn unshare_time() -> Verdict {
    const CLONE_NEWTIME: i32 = 0x80;
    unshare(CLONE_NEWTIME, "time_for_children")
}

/// A filter that compares with one flag misses a combination.
fn unshare_everything() -> Verdict {
    unshare(libc::CLONE_NEWUSER | OTHERS, "user")
}

/// The whole chain of an unprivileged attacker.
fn unshare_then_mount() -> Verdict {
    sys!(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)).attack("unshare")?;
    let (kind, at) = (c("tmpfs"), c("/tmp"));
    sys!(libc::mount(
        kind.as_ptr(),
        at.as_ptr(),
        kind.as_ptr(),
        0,
        std::ptr::null()
    ))
    .attack("mount")?;
    Ok("a file system was mounted over /tmp".to_owned())
}

/// clone(2) by its raw number, which libc's fork uses too.
fn clone(flags: i32) -> Verdict {
    let flags = flags | libc::SIGCHLD;
    let pid = sys!(libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0)).attack("clone")?;
    finish(pid, "clone")
}

fn finish(pid: i64, call: &str) -> Verdict {
    if pid == 0 {
        unsafe { libc::_exit(0) };
    }
    wait(pid as i32).prepare("waitpid")?;
    Ok(format!("{call} gave process {pid} in new namespaces"))
}

/// A filter of unshare(2) alone misses clone(2).
fn clone_user() -> Verdict {
    clone(libc::CLONE_NEWUSER)
}

/// See mount_namespaces(7).
fn clone_mount() -> Verdict {
    clone(libc::CLONE_NEWNS)
}

/// See network_namespaces(7).
fn clone_net() -> Verdict {
    clone(libc::CLONE_NEWNET)
}

/// clone3(2): its flags lie in memory, where a filter cannot look.
fn clone3(flags: i32) -> Verdict {
    let mut arguments = [0u64; 8];
    arguments[0] = flags as u64;
    arguments[4] = libc::SIGCHLD as u64;
    let pid = sys!(libc::syscall(libc::SYS_clone3, &arguments, 64)).attack("clone3")?;
    finish(pid, "clone3")
}

/// The first word of clone3's argument, with one flag.
fn clone3_user() -> Verdict {
    clone3(libc::CLONE_NEWUSER)
}

/// The same with all of them.
fn clone3_everything() -> Verdict {
    clone3(libc::CLONE_NEWUSER | OTHERS)
}

/// Where there is no wall, one's own child has namespaces that can be entered.
fn namespaced_child() -> i32 {
    fork(|| {
        let _ = sys!(libc::unshare(
            libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWUTS
        ));
        std::thread::sleep(std::time::Duration::from_secs(4));
        0
    })
    .unwrap_or(-1)
}

/// setns(2) on what init shows, and on a child that could make namespaces of its own.
fn setns_files() -> Verdict {
    let child = namespaced_child();
    crate::call::sleep(50);
    let mut last = "no namespace file could be opened".to_owned();
    for pid in [stage::init(), child] {
        for name in ["user", "net", "uts", "mnt", "ipc", "cgroup", "pid"] {
            let Ok(fd) = open(format!("/proc/{pid}/ns/{name}"), libc::O_RDONLY) else {
                continue;
            };
            match sys!(libc::setns(fd, 0)) {
                Ok(_) => return Ok(format!("entered the {name} namespace of {pid}")),
                Err(error) => last = format!("setns: {}", crate::call::errno_name(&error)),
            }
        }
    }
    blocked(last)
}

/// setns(2) takes a pidfd since Linux 5.8.
fn setns_pidfd() -> Verdict {
    let child = namespaced_child();
    crate::call::sleep(50);
    let mut last = "no process could be opened".to_owned();
    for pid in [stage::init(), child] {
        let Ok(pidfd) = sys!(libc::syscall(libc::SYS_pidfd_open, pid, 0)) else {
            continue;
        };
        for flag in [
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWNS,
        ] {
            match sys!(libc::setns(pidfd as i32, flag)) {
                Ok(_) => return Ok(format!("entered namespace {flag:#x} of {pid}")),
                Err(error) => last = format!("setns: {}", crate::call::errno_name(&error)),
            }
        }
    }
    blocked(last)
}
