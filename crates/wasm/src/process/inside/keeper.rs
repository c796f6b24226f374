//! Process 1: with it, the kernel ends everything in its pid namespace.
//!
//! It makes the empty root that all others share, forks the launcher, and from then on only reaps: the
//! launcher, and the workers of a launcher that died. It ends when nobody is left. It dies with the
//! controller (PR_SET_PDEATHSIG in prctl(2)), whatever the workers do about signals.

use super::launcher::{self, Ways};
use super::{CONTROL, REPORTS, confine, die_with_controller, failed, give_up};
use crate::process::order::Report;
use crate::process::{BuildId, Death, Runtime};
use casemate_core::error::{Error, Result};
use casemate_sys::channel::Channel;
use casemate_sys::process::{self, Clone, namespace};
use casemate_sys::wasm::root::{self, Kept};
use casemate_sys::{Errno, descriptor, privilege, signal};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::time::{ClockId, clock_gettime};

pub(super) fn main<R: Runtime>(runtime: &R, rest: &[String]) -> ! {
    // The entry put them there, and nothing else was opened yet.
    let (Ok(control), Ok(reports)) = (own(CONTROL), own(REPORTS)) else {
        process::exit_now(super::UNREADY);
    };
    match get_ready(&control, rest) {
        Ok(kept) => fork(runtime, control, reports, kept),
        Err(error) => give_up(&control, error),
    }
}

/// Takes over what the entry put at a number.
fn own(number: i32) -> Result<Channel, Errno> {
    descriptor::placed(number).map(Channel::from)
}

fn get_ready(control: &Channel, rest: &[String]) -> Result<Kept> {
    // Before the program's file is out of reach.
    BuildId::own()?;
    if let [user, ..] = rest {
        let (uid, gid) = parse(user)
            .ok_or_else(|| Error::rule("start the keeper", "its arguments make no sense"))?;
        privilege::become_user(uid, gid)
            .map_err(|errno| failed("become the user of the workers", errno))?;
    }
    die_with_controller(control)?;
    // A controller that ignores the ends of its children hands that on to what it executes.
    signal::wait_for_children();
    privilege::dumpable().map_err(|errno| failed("write to own files in /proc", errno))?;
    rustix::system::sethostname(b"wasm").map_err(|errno| failed("set the host name", errno))?;
    start_clocks_at_zero()?;
    let kept = root::leave().map_err(|errno| failed("make an empty root", errno))?;
    let quiet = || -> Result<(), Errno> {
        rustix::stdio::dup2_stdin(&kept.null)?;
        rustix::stdio::dup2_stdout(&kept.null)
    };
    quiet().map_err(|errno| failed("leave the standard streams", errno))?;
    privilege::no_new_privileges().map_err(|errno| failed("set no_new_privs", errno))?;
    Ok(kept)
}

fn parse(user: &str) -> Option<(u32, u32)> {
    let (uid, gid) = user.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Lets the clocks of boot start near zero for all that is forked, so that they don't tell which
/// machine this is (time_namespaces(7)). They may not become negative, hence the second.
fn start_clocks_at_zero() -> Result<()> {
    process::unshare(namespace::TIME).map_err(|errno| {
        failed("make a time namespace", errno).hint("it needs a kernel with CONFIG_TIME_NS")
    })?;
    let offset = |clock| 1 - clock_gettime(clock).tv_sec;
    let text = format!(
        "monotonic {} 0\nboottime {} 0\n",
        offset(ClockId::Monotonic),
        offset(ClockId::Boottime)
    );
    let path = "/proc/self/timens_offsets";
    std::fs::write(path, text).map_err(|error| Error::io("set the clocks", &error).on(path))
}

fn fork<R: Runtime>(runtime: &R, control: Channel, reports: Channel, kept: Kept) -> ! {
    let clone = process::clone(0, None);
    match clone {
        Ok(Clone::Child) => launcher::main(
            runtime,
            Ways {
                control,
                reports,
                kept,
            },
        ),
        Ok(Clone::Parent(child)) => {
            let launcher = child.pid;
            // The controller learns from the launcher's end of it that the launcher is gone.
            drop((child, control, kept));
            let shut = confine::keeper(&[reports.as_fd()]);
            if shut.is_err() {
                process::exit_now(super::UNREADY);
            }
            reap(&reports, launcher)
        }
        Err(errno) => give_up(&control, failed("fork the launcher", errno)),
    }
}

/// Until nobody is left.
fn reap(reports: &Channel, launcher: i32) -> ! {
    loop {
        match process::wait_any(true, false) {
            Ok(Some((pid, change))) if pid != launcher => {
                if let Some(death) = Death::of(change) {
                    let report = Report { pid, death }.encode();
                    let _ = reports.send(&report, &[] as &[BorrowedFd<'_>]);
                }
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => process::exit_now(0),
        }
    }
}
