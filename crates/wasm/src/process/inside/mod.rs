//! What runs on the other side: the roles of this program.
//!
//! - [`entry`]: executed by the controller; makes the namespaces and, in them, the keeper
//! - [`keeper`]: process 1 of the pid namespace: an empty root, one fork, then it reaps
//! - [`launcher`]: gets the runtime ready and forks workers and compilers from it ([`fork`])
//! - [`confine`]: what a process gives up, in order
//! - [`worker`], [`compiler`]: the processes that meet a guest

mod compiler;
mod confine;
mod entry;
mod fork;
mod keeper;
mod launcher;
mod worker;

pub(super) use compiler::LONGEST_REFUSAL;
pub use worker::{Confined, Sealed};

use super::Runtime;
use super::order::Answer;
use casemate_core::error::{Error, Result};
use casemate_sys::channel::Channel;
use casemate_sys::{Errno, process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::RawFd;
use rustix::process::Signal;

/// Where each role's control socket is.
const CONTROL: RawFd = 3;

/// Where keeper and launcher report deaths.
const REPORTS: RawFd = 4;

/// Kinds of frames of these processes; a runtime's own are below.
pub mod kind {
    /// A hello.
    pub const HELLO: u16 = 0xff00;
    /// A step failed before the process was ready.
    pub const FAILED: u16 = 0xff01;
    /// A compiler has written its result.
    pub const COMPILED: u16 = 0xff02;
    /// A compiler says what is wrong with the guest.
    pub const REFUSED: u16 = 0xff03;
}

/// The status of a process that could not get ready.
const UNREADY: i32 = 70;

/// The status of a process whose code panicked, as of any Rust program.
const PANICKED: i32 = 101;

/// The entry's place in an argument list.
pub(super) const ENTRY: &str = "keeper";

/// The same program's, after it was executed in its namespaces.
const INSIDE: &str = "keeper-inside";

/// Becomes the role of this name.
pub(super) fn main<R: Runtime>(runtime: &R, role: &str, rest: &[String]) -> ! {
    match role {
        ENTRY => entry::main(),
        INSIDE => keeper::main(runtime, rest),
        role => {
            eprintln!("there is no role {role:?} in the Wasm wall");
            process::exit_now(2)
        }
    }
}

fn failed(step: &str, errno: Errno) -> Error {
    Error::errno(step, errno.raw_os_error())
}

/// Says why this process can't go on, and ends it.
fn give_up(control: &Channel, error: Error) -> ! {
    let _ = control.send(&Answer::Failed(error).encode(), &[]);
    process::exit_now(UNREADY)
}

/// Ends this process with the controller's thread that started it. Becoming another user clears it.
fn die_with_controller(control: &Channel) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failed("tie the process to its controller", errno))?;
    // It may have died just before; then its end of the channel is closed.
    let mut fds = [PollFd::new(control, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP) {
        process::exit_now(UNREADY);
    }
    Ok(())
}
