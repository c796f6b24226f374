//! The start: everything that must exist before the sandbox does, and the clone that makes it.

use super::guard::Guard;
use super::terminal::Terminal;
use super::watch::Watch;
use super::{Finished, Supervisor};
use crate::gate::Gate;
use crate::inside::{self, Handover};
use crate::plan::Plan;
use crate::stay::{Given, Stay};
use casemate_core::error::{Error, Result};
use casemate_core::exit::Failure;
use casemate_core::layer::Layer;
use casemate_core::spec::Network;
use casemate_sys::channel::Channel;
use casemate_sys::landlock::Abi;
use casemate_sys::process::early::{self, Begun, HeadStart};
use casemate_sys::process::{self, Child, Clone, namespace};
use casemate_sys::seccomp::{self, Profile};
use casemate_sys::signal::Signals;
use casemate_sys::{Errno, cgroup};
use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::collections::VecDeque;
use std::time::Instant;

/// Signals that are passed on to the program.
const FORWARDED: [Signal; 11] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TSTP,
    Signal::CONT,
    Signal::WINCH,
    Signal::PIPE,
];

/// Runs a plan to its end.
pub fn run<'a>(plan: &'a Plan, gate: Option<&'a mut dyn Gate>) -> Result<Finished, Failure> {
    start(plan, gate, None, None)
}

/// The same for a program that is given by descriptor.
pub fn run_given(plan: &Plan, given: &Given) -> Result<Finished, Failure> {
    start(plan, None, Some(given), None)
}

/// The same for one that waits for orders, and a sandbox of which things are asked.
pub fn run_staying<'a>(
    plan: &'a Plan,
    gate: Option<&'a mut dyn Gate>,
    stay: Stay,
) -> Result<Finished, Failure> {
    start(plan, gate, None, Some(stay))
}

/// The gate's connections are descriptors of this process, and without one to spare nothing inside
/// could be counted. The program's own limit is set when it starts.
fn take_all_descriptors() {
    let own = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: own.maximum,
        maximum: own.maximum,
    };
    // The limit stays as it was.
    let _ = setrlimit(Resource::Nofile, all);
}

fn start<'a>(
    plan: &'a Plan,
    gate: Option<&'a mut dyn Gate>,
    given: Option<&Given>,
    stay: Option<Stay>,
) -> Result<Finished, Failure> {
    let identity = plan.spec.identity.unwrap_or((plan.host.uid, plan.host.gid));
    let fits = plan.spec.network != Network::Host && identity == (plan.host.uid, plan.host.gid);
    let head_start = HeadStart::take().filter(|_| fits);
    if let Some(head_start) = &head_start {
        head_start.soon();
    }
    let filter = seccomp::assemble(Profile {
        listener: true,
        lends: gate.as_ref().is_some_and(|gate| gate.lends()),
        nests: plan.nests(),
    });
    casemate_sys::signal::wait_for_children();
    if gate.is_some() {
        take_all_descriptors();
    }
    let landlock = landlock(plan)?;
    let watch = Watch::prepare(plan, stay.is_some())?;
    // SIGIO is the guard's. SIGTTOU would stop whoever sets a terminal's foreground group or
    // settings from the background, which both this process and the program's do.
    let taken: Vec<i32> = FORWARDED
        .iter()
        .chain([&Signal::IO, &Signal::TTOU])
        .map(|signal| signal.as_raw())
        .collect();
    let signals = Signals::block(&taken)
        .map_err(|errno| Error::errno("block signals", errno.raw_os_error()))?;
    let (terminal, streams) = Terminal::prepare(plan.spec.terminal)?;
    let guard = Guard::watch(plan)?;
    let (ours, theirs) =
        Channel::pair().map_err(|errno| Error::errno("make a channel", errno.raw_os_error()))?;
    let umask = rustix::process::umask(Mode::empty());
    rustix::process::umask(umask);

    let maps_from_outside = plan.host.uid == 0 && identity != (plan.host.uid, plan.host.gid);
    let started = Instant::now();
    let mut ours = Some(ours);
    let init = {
        let mut handover = Some(Handover {
            plan,
            channel: theirs,
            window: Terminal::size().filter(|_| streams.iter().any(Option::is_none)),
            streams,
            signals: &signals,
            cgroup: watch.cgroup(),
            processors: watch.processors(),
            maps_from_outside,
            filter,
            landlock,
            umask,
            given: given.or(stay.as_ref().map(|stay| &stay.agent)),
            stays: stay.is_some(),
        });
        let mut inside = |begun| {
            // Init's copy of this end: with it, the channel would outlive the supervisor.
            drop(ours.take());
            match handover.take() {
                Some(handover) => inside::main(handover, begun),
                None => process::exit_now(1),
            }
        };
        make_init(plan, head_start.as_ref(), watch.clone_into(), &mut inside)?
    };
    let Some(channel) = ours else {
        process::exit_now(1)
    };
    // While the caller's terminal is raw, the next program of a pipeline must not learn of this
    // one's end: what it writes would lack its carriage returns.
    if !plan.spec.report && !terminal.takes_input() {
        leave_streams();
    }
    // While init builds the view: what an earlier supervisor that was killed has left. Where there
    // are many, whoever starts them does that once.
    if stay.is_none() {
        cgroup::sweep();
    }
    let mut supervisor = Supervisor {
        plan,
        channel,
        init,
        head_start,
        signals,
        terminal,
        watch,
        guard,
        gate,
        notifier: None,
        diag: None,
        root: None,
        private: Vec::new(),
        look: false,
        checks: 0,
        told_to_end: false,
        stopped: None,
        ended: None,
        started,
        stay,
        asked: VecDeque::new(),
    };
    if maps_from_outside {
        supervisor.write_maps(identity, plan.spec.outside.unwrap_or(identity))?;
    }
    let end = supervisor.serve();
    supervisor.finish(end, landlock)
}

/// Whoever reads what the program writes learns of its end when the program closes its side, and
/// not only when this process ends; likewise for what the program reads. Terminals stay.
fn leave_streams() {
    use rustix::stdio;
    let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    else {
        return;
    };
    if !rustix::termios::isatty(stdio::stdin()) {
        let _ = stdio::dup2_stdin(&null);
    }
    if !rustix::termios::isatty(stdio::stdout()) {
        let _ = stdio::dup2_stdout(&null);
    }
}

/// Makes process 1 of the sandbox, which runs `inside`. In namespaces that are there already if
/// they are the right ones; whatever fails with those is tried again by the plain way.
fn make_init(
    plan: &Plan,
    head_start: Option<&HeadStart>,
    cgroup: Option<BorrowedFd<'_>>,
    inside: &mut dyn FnMut(Option<Begun>),
) -> Result<Child> {
    if let Some(head_start) = head_start
        && let Ok(child) = head_start.clone(cgroup, &mut |begun| inside(Some(begun)))
    {
        return Ok(child);
    }
    let flags = namespace::PID
        | match plan.spec.network {
            Network::None | Network::Policy => early::NAMESPACES,
            Network::Host => early::NAMESPACES & !namespace::NET,
        };
    match process::clone(flags, cgroup).map_err(no_namespaces)? {
        Clone::Parent(child) => Ok(child),
        Clone::Child => {
            inside(None);
            process::exit_now(1)
        }
    }
}

fn no_namespaces(errno: Errno) -> Error {
    let error = Error::errno("make the namespaces", errno.raw_os_error());
    match casemate_sys::probe::userns::blocker() {
        Some(blocker) => error.hint(format!("{blocker}; {}", blocker.remedy())),
        None => error.hint("`casemate doctor` says what this machine lacks"),
    }
}

fn landlock(plan: &Plan) -> Result<Option<Abi>> {
    match Abi::current() {
        Ok(abi) => Ok(Some(abi)),
        Err(_) if plan.spec.allow_missing.contains(&Layer::Landlock) => Ok(None),
        Err(errno) => Err(
            Error::errno("find Landlock in this kernel", errno.raw_os_error()).hint(
                "boot with `landlock` in the lsm= list (CONFIG_SECURITY_LANDLOCK, Linux 5.13); \
             --allow-missing landlock accepts running without it",
            ),
        ),
    }
}
