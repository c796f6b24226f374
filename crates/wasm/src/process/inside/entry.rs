//! From the controller into the namespaces.
//!
//! A controller has threads and much memory, so it executes this program anew, which has neither, and
//! this makes the keeper: as a sibling (CLONE_PARENT), so that the controller is the keeper's parent
//! and this process can go. The keeper executes the program once more, in its user namespace: memory
//! belongs to the user namespace that it was executed in, and the controller, who owns that one, may
//! read a process's memory there though the process can't be dumped (ptrace(2)).

use super::{CONTROL, INSIDE, REPORTS, die_with_controller, failed, give_up};
use crate::process::BuildId;
use crate::process::order::{Answer, Order};
use crate::process::role::{EXE, MARK};
use crate::wire::Hello;
use casemate_core::error::{Error, Result};
use casemate_sys::channel::Channel;
use casemate_sys::process::{self, Child, Clone, Exec, namespace};
use casemate_sys::{Errno, descriptor, privilege, probe};
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::CString;

/// All of them; that of time is the keeper's matter, as its clocks are set before anybody enters.
const NAMESPACES: u64 = namespace::USER
    | namespace::MOUNT
    | namespace::NET
    | namespace::IPC
    | namespace::UTS
    | namespace::CGROUP
    | namespace::PID;

pub(super) fn main() -> ! {
    let Ok(control) = take_control() else {
        process::exit_now(super::UNREADY);
    };
    match enter(&control) {
        Ok(()) => process::exit_now(0),
        Err(error) => give_up(&control, error),
    }
}

/// The control socket is this process's standard input, which costs the controller no code between
/// fork and exec; it goes where every role has it.
fn take_control() -> Result<Channel, Errno> {
    process::close_from(CONTROL)?;
    let stdin = rustix::io::dup(rustix::stdio::stdin())?;
    let control = descriptor::place(stdin, CONTROL, false)?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(Channel::from(control))
}

fn enter(control: &Channel) -> Result<()> {
    die_with_controller(control)?;
    let fail = |errno| failed("talk to the controller", errno);
    let hello = Answer::Hello(Hello::own(BuildId::own()?));
    control.send(&hello.encode(), &[]).map_err(fail)?;
    let message = control.receive().map_err(fail)?;
    let Some(message) = message else {
        process::exit_now(0);
    };
    let fds = <[OwnedFd; 1]>::try_from(message.fds);
    let (Ok(Order::Enter(user)), Ok([reports])) = (Order::decode(&message.bytes), fds) else {
        return Err(Error::rule("start the keeper", "the order makes no sense"));
    };
    let reports = descriptor::place(reports, REPORTS, false).map_err(fail)?;
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(fail)?;
    match process::clone_sibling(NAMESPACES).map_err(|errno| no_namespaces(&errno))? {
        Clone::Child => {
            drop(go);
            become_keeper(control, wait, user)
        }
        Clone::Parent(child) => {
            drop((wait, reports));
            // First, so that whatever comes of it, the controller has it to wait for.
            control
                .send(&Answer::Born.encode(), &[child.pidfd.as_fd()])
                .map_err(fail)?;
            map_ids(&child, user)?;
            rustix::io::write(&go, &[1]).map(drop).map_err(fail)
        }
    }
}

fn no_namespaces(errno: &Errno) -> Error {
    let error = failed("make the namespaces of the workers", *errno);
    match probe::userns::blocker() {
        Some(blocker) => error.on(format!("({blocker})")).hint(blocker.remedy()),
        None => {
            error.hint("user, mount, network, IPC, host name, cgroup and pid namespaces are needed")
        }
    }
}

/// One user inside, who is the same outside. Root maps another one, and its tree has none of root's.
fn map_ids(child: &Child, user: Option<(u32, u32)>) -> Result<()> {
    let write = |name: &str, text: String| {
        let path = format!("/proc/{}/{name}", child.pid);
        std::fs::write(&path, text).map_err(|error| Error::io("write", &error).on(path))
    };
    let own = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let (uid, gid) = user.unwrap_or(own);
    if user.is_none() {
        write("setgroups", "deny".to_owned())?;
    }
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))
}

/// In the namespaces: executes the program, with the rights over them.
fn become_keeper(control: &Channel, wait: OwnedFd, user: Option<(u32, u32)>) -> ! {
    // Nothing is there to be read if the maps weren't written.
    if rustix::io::read(&wait, &mut [0]) != Ok(1) {
        process::exit_now(super::UNREADY);
    }
    let error = match privilege::hand_on_capabilities() {
        Ok(()) => execute(user).on(EXE),
        Err(errno) => failed("keep the rights over the namespaces", errno),
    };
    give_up(control, error)
}

fn execute(user: Option<(u32, u32)>) -> Error {
    let mut args = vec![EXE.to_owned(), MARK.to_owned(), INSIDE.to_owned()];
    args.extend(user.map(|(uid, gid)| format!("{uid}:{gid}")));
    let args: Result<Vec<_>, _> = args.into_iter().map(CString::new).collect();
    match (CString::new(EXE), args) {
        (Ok(path), Ok(args)) => failed("execute", Exec::new(path, args, Vec::new()).exec()),
        _ => Error::rule("execute", "its path holds a zero byte"),
    }
}
