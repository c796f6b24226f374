//! The process that becomes the program.
//!
//! The order is the wall: each step takes away what the steps after it don't need.
//!
//! 1. a process group, the standard streams: nothing of the caller's terminal is left
//! 2. resource limits; no core dumps
//! 3. a fresh session keyring, before the calls for keys are refused
//! 4. all capabilities and the bounding set, while there is still one to do it with
//! 5. no new privileges, which Landlock and seccomp want from an unprivileged process
//! 6. Landlock: opening rule paths is still allowed, so seccomp comes after it
//! 7. seccomp, last, since it refuses much of the above
//! 8. what init does meanwhile is done: /proc is covered, and the host's root is gone
//! 9. every descriptor above 2 becomes close-on-exec
//! 10. execve

use super::init::{Handover, failed, send};
use crate::wire::Event;
use casemate_core::error::{Error, Result};
use casemate_core::exit::{self, Failure};
use casemate_core::layer::Layer;
use casemate_sys::landlock::{FileRights, Ports, Ruleset};
use casemate_sys::mount::Rest;
use casemate_sys::seccomp::{self, Profile};
use casemate_sys::{Errno, privilege, process, signal};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::path::Path;

/// Becomes the program, or says why not.
pub(super) fn main(handover: &Handover<'_>, terminal: Option<OwnedFd>, rest: &Rest) -> ! {
    let failure = match confine(handover, terminal, rest) {
        Err(error) => error.into(),
        Ok(()) => exec(handover),
    };
    let _ = handover.channel.send(&Event::Failed(failure).encode(), &[]);
    process::exit_now(exit::FAILED.into());
}

fn confine(handover: &Handover<'_>, terminal: Option<OwnedFd>, rest: &Rest) -> Result<()> {
    let plan = handover.plan;
    streams(handover, terminal)?;
    rustix::process::umask(handover.umask);
    let workdir = &plan.workdir;
    rustix::process::chdir(workdir)
        .map_err(|errno| failed("enter the working folder", errno).on(workdir.display()))?;
    limits(handover)?;
    privilege::fresh_session_keyring()
        .map_err(|errno| failed("join a fresh session keyring", errno))?;
    if plan.has_real_root() {
        privilege::keep_roots_capabilities().map_err(|errno| {
            failed(
                "drop all capabilities but those over files and users",
                errno,
            )
        })?;
    } else {
        privilege::drop_capabilities_for_good()
            .map_err(|errno| failed("drop all capabilities", errno))?;
    }
    privilege::no_new_privileges().map_err(|errno| failed("set no_new_privs", errno))?;
    // exec makes a process dumpable again, but not before: until then it looks like init.
    landlock(handover)?;
    signal::reset_broken_pipe();
    filter(handover)?;
    rest.wait().map_err(|(covered, errno)| match covered {
        Some(name) => failed("cover", errno).on(format!("/proc/{}", name.to_string_lossy())),
        None => failed("finish the view and let go of the host's root", errno),
    })?;
    handover.signals.restore_mask();
    let fail = |errno| failed("close inherited descriptors", errno);
    process::close_on_exec_from(3).map_err(fail)?;
    match handover.given {
        Some(given) => fcntl_setfd(&given.kept, FdFlags::empty()).map_err(fail),
        None => Ok(()),
    }
}

/// A process group of its own, in the foreground of the terminal if there is one.
fn streams(handover: &Handover<'_>, terminal: Option<OwnedFd>) -> Result<()> {
    let fail = |errno| failed("set up the standard streams", errno);
    rustix::process::setpgid(None, None).map_err(fail)?;
    if let Some(terminal) = &terminal {
        rustix::termios::tcsetpgrp(terminal, rustix::process::getpid()).map_err(fail)?;
    }
    for (index, stream) in handover.streams.iter().enumerate() {
        let Some(source) = stream.as_ref().or(terminal.as_ref()) else {
            continue;
        };
        let placed = match index {
            0 => rustix::stdio::dup2_stdin(source),
            1 => rustix::stdio::dup2_stdout(source),
            _ => rustix::stdio::dup2_stderr(source),
        };
        placed.map_err(fail)?;
    }
    Ok(())
}

fn limits(handover: &Handover<'_>) -> Result<()> {
    let wanted = &handover.plan.spec.limits;
    let held = handover
        .cgroup
        .map(casemate_sys::cgroup::Cgroup::held)
        .unwrap_or_default();
    let mut limits = vec![(Resource::Core, 0), (Resource::Nofile, wanted.open_files)];
    if !held.pids {
        // Init counts as one, and one more lets the supervisor see that the limit was reached, if
        // that is to end the program.
        let more = if handover.stays { 1 } else { 2 };
        limits.push((Resource::Nproc, u64::from(wanted.pids.value) + more));
    }
    if !held.memory {
        // The supervisor counts, and says so when the limit is reached; this is for a process
        // that is faster than it counts.
        limits.push((Resource::Data, wanted.memory.value.0.saturating_mul(2)));
    }
    for (resource, most) in limits {
        let allowed = rustix::process::getrlimit(resource)
            .maximum
            .map_or(most, |hard| hard.min(most));
        setrlimit(
            resource,
            Rlimit {
                current: Some(allowed),
                maximum: Some(allowed),
            },
        )
        .map_err(|errno| failed("set a resource limit", errno).on(format!("{resource:?}")))?;
    }
    Ok(())
}

fn landlock(handover: &Handover<'_>) -> Result<()> {
    let Some(abi) = handover.landlock else {
        return Ok(());
    };
    let spec = &handover.plan.spec;
    let fail = |errno| failed("restrict by Landlock", errno);
    let ports = Ports {
        bind: spec.tcp_bind.as_deref(),
        connect: spec.tcp_connect.as_deref(),
    };
    let ruleset = Ruleset::new(abi, ports, true).map_err(|errno| match errno {
        Errno::OPNOTSUPP => Error::rule(
            "restrict TCP ports",
            format!("this kernel's Landlock is ABI {}, and ports need 4", abi.0),
        )
        .hint("ports can be restricted from Linux 6.7 on"),
        errno => fail(errno),
    })?;
    let allow = |path: &Path, rights: FileRights| -> Result<()> {
        match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => ruleset
                .allow(fd.as_fd(), rights)
                .map_err(|errno| fail(errno).on(path.display())),
            Err(errno) => Err(fail(errno).on(path.display())),
        }
    };
    allow(Path::new("/"), FileRights::READ)?;
    if handover.plan.has_own_root() || spec.rooted {
        allow(Path::new("/"), FileRights::WRITE)?;
    }
    if let Some(given) = handover.given {
        // It isn't in the view, so no rule of a folder is about it.
        let rights = FileRights::READ.for_file();
        ruleset.allow(given.program.as_fd(), rights).map_err(fail)?;
    }
    for (path, rights) in &handover.plan.rules {
        allow(path, *rights)?;
    }
    ruleset.restrict_self().map_err(fail)
}

fn filter(handover: &Handover<'_>) -> Result<()> {
    let fail = |errno| failed("install the system call filter", errno);
    if handover
        .processors
        .is_some_and(|processors| processors.are_chosen())
    {
        seccomp::install(&seccomp::STAY, false).map_err(fail)?;
    }
    match seccomp::install(handover.filter, true) {
        Ok(Some(listener)) => {
            return send(&handover.channel, &Event::Listener, &[listener.as_fd()]);
        }
        Ok(None) => {}
        Err(_)
            if handover
                .plan
                .spec
                .allow_missing
                .contains(&Layer::SeccompNotify) => {}
        Err(errno) => {
            return Err(fail(errno).hint(
                "another filter of this process may already have a listener (containers do that); \
                 --allow-missing seccomp-notify accepts running without Unix sockets",
            ));
        }
    }
    let profile = Profile {
        listener: false,
        lends: false,
        nests: handover.plan.nests(),
    };
    seccomp::install(seccomp::assemble(profile), false).map_err(fail)?;
    Ok(())
}

/// Tries the places of the program; says why the last one that exists failed.
fn exec(handover: &Handover<'_>) -> Failure {
    let mut last = Errno::NOENT;
    let mut tried = String::new();
    for program in &handover.plan.programs {
        let errno = match handover.given {
            Some(given) => program.exec_file(given.program.as_fd()),
            None => program.exec(),
        };
        if tried.is_empty() || !matches!(errno, Errno::NOENT | Errno::NOTDIR) {
            last = errno;
            tried = program.path().to_string_lossy().into_owned();
        }
    }
    let code = match last {
        Errno::NOENT => exit::NOT_FOUND,
        _ => exit::NOT_EXECUTABLE,
    };
    let error = Error::errno("run", last.raw_os_error()).on(tried);
    let error = match last {
        Errno::NOENT => error.hint(
            "the program or its interpreter is not in the view; bring its folder in with --ro PATH",
        ),
        Errno::NOEXEC => {
            error.hint("it is neither a binary of this machine nor a script with a #! line")
        }
        _ => error,
    };
    Failure { code, error }
}
