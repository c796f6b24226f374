//! What a process gives up, in order. Each step takes away what the steps after it don't need.
//!
//! Where the order doesn't force a step into the worker, it is done in the launcher, once: no_new_privs
//! and the rest of this list are inherited by a fork, and a worker is ready sooner.
//!
//! The entry and the keeper, before any of this: user, mount, network, IPC, host name, cgroup, pid and
//! time namespaces; the program executed anew in them, with an empty environment; one user, who isn't
//! root; an empty read-only root and nothing mounted below; no_new_privs.
//!
//! The launcher ([`launcher()`]), after the runtime was prepared, which may still need all of it:
//!
//! 1. a fresh session keyring, shared by workers, none of which can make the calls for keys
//! 2. capabilities: securebits locked and the bounding set emptied, as long as there is the capability
//!    to do it with; what is left is the right to make the pid namespaces of its workers
//! 3. no core dumps; no huge pages, since what is written is counted by the page; no memory that is
//!    written and executed, or executable after it was not (PR_SET_MDWE): it is after the preparation,
//!    which may load libraries, and before the worker, which maps its module as code from a file
//! 4. undumpable: its memory is what all workers start with
//!
//! A worker, in a pid namespace of its own:
//!
//! 1. its own control socket and standard error take the places of the launcher's; the launcher's other
//!    descriptors are closed, but for the way to /proc
//! 2. dumpable, for as long as it opens its own files in /proc, which are root's otherwise; the kernel
//!    is to take it first when memory runs out (oom_score_adj)
//! 3. the runtime opens what can only be opened here: a page map from before the fork would be the
//!    launcher's, and after this there is no /proc
//! 4. undumpable, for good: the filter refuses the call that would change it
//! 5. the way to /proc is closed, and all else that was opened and isn't needed
//! 6. resource limits, after the opening, which they could stop
//! 7. all capabilities, after the pid namespace was made
//! 8. Landlock to nothing: after the opening, and before the filter, which refuses its calls. The
//!    domain is this worker's own: no signal leaves it
//! 9. the filter, last, since it refuses nearly all of the above
//!
//! Then it says hello and waits for its guest's module, which is mapped from a file that nobody can
//! write. Before the guest's first instruction it is sealed ([`super::Sealed`]): no further process or
//! thread, no limit, no filter, no code.

use super::failed;
use crate::process::Doors;
use casemate_core::error::{Error, Result};
use casemate_sys::landlock::{Abi, Ports, Ruleset};
use casemate_sys::seccomp::{self, Instruction};
use casemate_sys::wasm::memory;
use casemate_sys::{Errno, privilege, process};
use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Resource limits of one process (setrlimit(2)).
pub(super) struct Limits {
    pub(super) data: u64,
    pub(super) open_files: u64,
    pub(super) file_size: u64,
    pub(super) address_space: Option<u64>,
    pub(super) seconds: Option<u64>,
}

/// The keeper, which only reaps from here on.
pub(super) fn keeper(keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    process::wipe_start_strings("wasm-keeper");
    rustix::thread::set_name(c"wasm-keeper")?;
    process::close_all_but_these(keep);
    privilege::drop_capabilities_for_good()?;
    privilege::undumpable()
}

/// The launcher, whose children inherit it.
pub(super) fn launcher() -> Result<()> {
    privilege::fresh_session_keyring()
        .map_err(|errno| failed("join a fresh session keyring", errno))?;
    privilege::keep_namespaces_for_good().map_err(|errno| failed("drop capabilities", errno))?;
    limit(Resource::Core, 0)?;
    memory::no_huge_pages().map_err(|errno| failed("turn huge pages off", errno))?;
    memory::refuse_exec_gain().map_err(|errno| {
        failed("refuse memory that becomes executable (PR_SET_MDWE)", errno)
            .hint("it needs Linux 6.3 or later")
    })?;
    privilege::undumpable().map_err(|errno| failed("hide the launcher", errno))
}

/// The first half: until the runtime has opened what it needs.
pub(super) fn before_opening(doors: &Doors<'_>) -> Result<()> {
    privilege::dumpable().map_err(|errno| failed("open own files in /proc", errno))?;
    let score = doors.own("oom_score_adj", OFlags::WRONLY)?;
    rustix::io::write(&score, b"1000")
        .map_err(|errno| failed("be the first when memory runs out", errno))?;
    Ok(())
}

/// The second half.
pub(super) fn after_opening(
    keep: &[BorrowedFd<'_>],
    limits: &Limits,
    filter: &[Instruction],
) -> Result<()> {
    privilege::undumpable().map_err(|errno| failed("hide the process", errno))?;
    process::close_all_but_these(keep);
    limit(Resource::Nofile, limits.open_files)?;
    limit(Resource::Fsize, limits.file_size)?;
    limit(Resource::Memlock, 0)?;
    limit(Resource::Msgqueue, 0)?;
    limit(Resource::Data, limits.data)?;
    if let Some(bytes) = limits.address_space {
        limit(Resource::As, bytes)?;
    }
    if let Some(seconds) = limits.seconds {
        limit(Resource::Cpu, seconds)?;
    }
    privilege::drop_capabilities().map_err(|errno| failed("drop all capabilities", errno))?;
    landlock()?;
    seccomp::install(filter, false)
        .map_err(|errno| failed("install the system call filter", errno))?;
    Ok(())
}

/// No file, no port, and, from ABI 6 on, no abstract socket and no signal to anybody else.
fn landlock() -> Result<()> {
    let fail = |errno| {
        failed("restrict by Landlock", errno).hint(
            "it needs Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK, and landlock in the list of lsm=",
        )
    };
    let abi = Abi::current().map_err(fail)?;
    // Before ABI 4 there are no rules for ports; the filter refuses sockets anyhow.
    let none: Option<&[u16]> = (abi >= Abi(4)).then_some(&[]);
    let ports = Ports {
        bind: none,
        connect: none,
    };
    Ruleset::new(abi, ports, true)
        .and_then(Ruleset::restrict_self)
        .map_err(fail)
}

pub(super) fn limit(resource: Resource, most: u64) -> Result<()> {
    let allowed = rustix::process::getrlimit(resource)
        .maximum
        .map_or(most, |hard| hard.min(most));
    let both = Rlimit {
        current: Some(allowed),
        maximum: Some(allowed),
    };
    setrlimit(resource, both).map_err(|errno| {
        Error::errno("set a resource limit", errno.raw_os_error()).on(format!("{resource:?}"))
    })
}
