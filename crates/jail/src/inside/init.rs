//! Process 1 of the sandbox.
//!
//! It builds the view, starts the program, and then only reaps, forwards signals and tells the
//! supervisor how it ended. If it dies, the kernel kills everything inside; and it dies with
//! its supervisor (PR_SET_PDEATHSIG in prctl(2)).
//!
//! It stays outside the Landlock domain of the program and can't be dumped, so the program can
//! neither trace it nor signal it nor look into it.

use super::view::{self, Pivoted};
use super::{fence, payload};
use crate::plan::Plan;
use crate::stay::Given;
use crate::supervisor::Processors;
use crate::wire::{Event, Exit, Order};
use casemate_core::error::{Error, Result};
use casemate_core::layer::Layer;
use casemate_core::spec::Network;
use casemate_sys::channel::Channel;
use casemate_sys::fence::listen::{self, Family};
use casemate_sys::mount::Rest;
use casemate_sys::process::early::Begun;
use casemate_sys::process::{self, Change, Clone, namespace};
use casemate_sys::seccomp::Instruction;
use casemate_sys::signal::{self, Signals};
use casemate_sys::{Errno, net, privilege, unixdiag::UnixDiag};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};

/// Sockets of each IP version that are made at one time: few enough for one message.
const SOCKETS: usize = 4;

/// What the supervisor prepared for the sandbox.
pub(crate) struct Handover<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) channel: Channel,
    /// The program's standard streams; `None` where the pseudo-terminal goes.
    pub(crate) streams: [Option<OwnedFd>; 3],
    /// The size of the pseudo-terminal.
    pub(crate) window: Option<Winsize>,
    /// Blocked signals and the mask from before.
    pub(crate) signals: &'a Signals,
    pub(crate) cgroup: Option<&'a casemate_sys::cgroup::Cgroup>,
    /// Where it may run, if that is how its processor time is limited.
    pub(crate) processors: Option<&'a Processors>,
    /// True if the supervisor writes the id maps, which it does before it sends an order.
    pub(crate) maps_from_outside: bool,
    /// The filter with a listener.
    pub(crate) filter: &'static [Instruction],
    pub(crate) landlock: Option<casemate_sys::landlock::Abi>,
    pub(crate) umask: Mode,
    /// The program itself, if it comes as a descriptor.
    pub(crate) given: Option<&'a Given>,
    /// True if it's an agent, in a sandbox that stays.
    pub(crate) stays: bool,
}

/// Runs the sandbox; the process ends here. What has begun already has mapped the ids and brought
/// the loopback interface up.
pub(crate) fn main(handover: Handover<'_>, begun: Option<Begun>) -> ! {
    let channel = &handover.channel;
    match prepare(&handover, begun) {
        Ok(child) => {
            leave_descriptors(channel);
            let exit = serve(channel, &child, handover.stays);
            let _ = channel.send(&Event::Exited(exit).encode(), &[]);
            process::exit_now(0);
        }
        Err(error) => {
            let _ = channel.send(&Event::Failed(error.into()).encode(), &[]);
            process::exit_now(1);
        }
    }
}

fn prepare(handover: &Handover<'_>, begun: Option<Begun>) -> Result<process::Child> {
    let plan = handover.plan;
    // In this order: becoming another user clears the signal.
    let mapped = match begun {
        Some(_) => Vec::new(),
        None => map_ids(handover)?,
    };
    die_with_supervisor(handover)?;
    if let Some(cgroup) = handover.cgroup {
        cgroup
            .enter()
            .map_err(|errno| failed("enter the cgroup", errno))?;
    }
    if let Some(processors) = handover.processors {
        processors
            .take()
            .map_err(|errno| failed("stay on the processors of --cpus", errno))?;
    }
    late_namespaces(plan, begun.as_ref().is_some_and(|begun| begun.clocks))?;
    rustix::system::sethostname(plan.spec.hostname.as_bytes())
        .map_err(|errno| failed("set the host name", errno))?;
    if plan.spec.network == Network::None && begun.is_none() {
        net::loopback_up().map_err(|errno| failed("bring the loopback interface up", errno))?;
    }
    if plan.spec.network == Network::Policy {
        fence::raise(&handover.channel)?;
    }
    let diag = UnixDiag::open()
        .map_err(|errno| failed("open a sock_diag socket", errno))?
        .into_fd();
    // Modes are exact while the view is made; the program gets the caller's mask.
    rustix::process::umask(Mode::empty());
    let parts = begun.map(|begun| begun.parts).unwrap_or_default();
    let Pivoted { view, rest } = view::build(plan, parts, mapped, &handover.channel)?;
    let fds = [
        view.root.as_fd(),
        view.proc.as_fd(),
        view.disk.as_fd(),
        diag.as_fd(),
    ];
    send(&handover.channel, &Event::View, &fds)?;
    drop((view, diag));
    rustix::process::setsid().map_err(|errno| failed("start a session", errno))?;
    let terminal = if handover.streams.iter().any(Option::is_none) {
        Some(open_terminal(handover)?)
    } else {
        None
    };
    process::wipe_start_strings("casemate-init");
    privilege::undumpable().map_err(|errno| failed("hide init", errno))?;
    let child = start_program(handover, terminal, &rest)
        .map_err(|errno| failed("start the program's process", errno))?;
    // Init stops and ends everybody, whoever they are.
    let kept = match handover.plan.spec.rooted {
        true => privilege::keep_kill(),
        false => privilege::drop_capabilities(),
    };
    kept.map_err(|errno| failed("drop init's capabilities", errno))?;
    Ok(child)
}

fn die_with_supervisor(handover: &Handover<'_>) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failed("tie init to its supervisor", errno))?;
    // The supervisor may have died just before; then its end of the channel is closed.
    let mut fds = [PollFd::new(&handover.channel, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
        && fds[0].revents().contains(PollFlags::HUP)
    {
        process::exit_now(1);
    }
    Ok(())
}

/// One id inside for the one id outside, or a range (user_namespaces(7)). A process may write its
/// own map if it maps itself; another map has to come from the supervisor, and with it the host's
/// folders that are layered.
fn map_ids(handover: &Handover<'_>) -> Result<Vec<OwnedFd>> {
    if handover.maps_from_outside {
        let message = handover
            .channel
            .receive()
            .map_err(|errno| failed("wait for the id maps", errno))?;
        let Some(message) = message else {
            process::exit_now(1);
        };
        if let Some((uid, gid)) = handover.plan.who_starts() {
            privilege::become_user(uid, gid)
                .map_err(|errno| failed("become the sandbox's user", errno))?;
        }
        Ok(message.fds)
    } else {
        let host = &handover.plan.host;
        let (uid, gid) = handover.plan.spec.identity.unwrap_or((host.uid, host.gid));
        write_file("/proc/self/setgroups", "deny")?;
        write_file("/proc/self/uid_map", &format!("{uid} {} 1", host.uid))?;
        write_file("/proc/self/gid_map", &format!("{gid} {} 1", host.gid))?;
        Ok(Vec::new())
    }
}

/// The namespace that is made after the cgroup was entered, and, unless it is there, the one
/// that only children enter.
fn late_namespaces(plan: &Plan, has_clocks: bool) -> Result<()> {
    let parts = [
        (Layer::CgroupNamespace, namespace::CGROUP, "CONFIG_CGROUPS"),
        (Layer::TimeNamespace, namespace::TIME, "CONFIG_TIME_NS"),
    ];
    let missing = if has_clocks { &parts[..1] } else { &parts };
    for &(layer, flag, config) in missing {
        match process::unshare(flag) {
            Ok(()) if layer == Layer::TimeNamespace => start_clocks_at_zero(),
            Ok(()) => {}
            Err(_) if plan.spec.allow_missing.contains(&layer) => {}
            Err(errno) => {
                return Err(failed(&format!("make a {layer}"), errno)
                    .hint(format!("it needs a kernel with {config}; --allow-missing {layer} accepts running without it")));
            }
        }
    }
    Ok(())
}

/// Lets the boot and monotonic clocks start near zero inside, so that they don't tell which
/// machine this is (time_namespaces(7)). They may not become negative, hence the second.
fn start_clocks_at_zero() {
    use rustix::time::{ClockId, clock_gettime};
    let offset = |clock| 1 - clock_gettime(clock).tv_sec;
    let text = format!(
        "monotonic {} 0\nboottime {} 0\n",
        offset(ClockId::Monotonic),
        offset(ClockId::Boottime)
    );
    // A kernel that has the namespace has the file; failing to hide the uptime harms nobody.
    let _ = write_file("/proc/self/timens_offsets", &text);
}

/// A pseudo-terminal of the sandbox's own devpts, whose master goes to the supervisor.
fn open_terminal(handover: &Handover<'_>) -> Result<OwnedFd> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    let fail = |errno| failed("open a pseudo-terminal", errno);
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).map_err(fail)?;
    unlockpt(&master).map_err(fail)?;
    let peer_flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, peer_flags).map_err(fail)?;
    rustix::process::ioctl_tiocsctty(&slave).map_err(fail)?;
    if let Some(size) = handover.window {
        tcsetwinsize(&slave, size).map_err(fail)?;
    }
    send(&handover.channel, &Event::Terminal, &[master.as_fd()])?;
    Ok(slave)
}

/// Init keeps its channel and nothing else: an end of the program's pipes that is open here would
/// hide the end of what flows through it.
fn leave_descriptors(channel: &Channel) {
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    process::close_all_but(channel.as_fd());
}

/// Starts the process that becomes the program. It shares init's memory until it executes, unless
/// it is the first in a new time namespace, which the kernel doesn't let share.
fn start_program(
    handover: &Handover<'_>,
    mut terminal: Option<OwnedFd>,
    rest: &Rest,
) -> Result<process::Child, Errno> {
    let mut program = || payload::main(handover, terminal.take(), rest);
    match process::spawn_sharing_memory(&mut program, rest) {
        Err(Errno::INVAL) => {}
        result => return result,
    }
    rest.finish();
    match process::clone(0, None)? {
        Clone::Child => payload::main(handover, terminal, rest),
        Clone::Parent(child) => Ok(child),
    }
}

/// Reaps and forwards until the program ends, then ends everything else.
fn serve(channel: &Channel, child: &process::Child, stays: bool) -> Exit {
    let Ok(signals) = Signals::block(&[Signal::CHILD.as_raw()]) else {
        process::exit_now(1)
    };
    let mut patience = Some(Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    });
    let end = loop {
        if let Some(end) = reap(channel, child.pid, stays) {
            break end;
        }
        let mut fds = [
            PollFd::new(channel, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        match poll(&mut fds, patience.as_ref()) {
            Err(_) => continue,
            // A program that lives for a while: from now on, this process mostly waits.
            Ok(0) => {
                casemate_sys::memory::release_code();
                patience = None;
                continue;
            }
            Ok(_) => {}
        }
        let (orders, children) = (fds[0].revents(), fds[1].revents());
        if !children.is_empty() {
            while signals.next().is_some() {}
        }
        if !orders.is_empty() {
            match channel.receive() {
                Ok(Some(message)) => match Order::decode(&message.bytes) {
                    Some(Order::Count) => {
                        let _ = channel.send(&Event::Segments(segments()).encode(), &[]);
                    }
                    Some(Order::Sockets) => sockets(channel),
                    // One call reaches everybody but init: a fork(2) that is under way sees the
                    // signal first.
                    Some(Order::Halt) => obey(channel, Signal::STOP),
                    Some(Order::Continue) => obey(channel, Signal::CONT),
                    Some(Order::Wake(pid)) => signal::send(pid, Signal::CONT.as_raw()),
                    Some(Order::End) => {
                        break Exit {
                            status: 9,
                            signaled: true,
                            ..Exit::default()
                        };
                    }
                    Some(Order::Signal(number)) => signal::send(child.pid, number),
                    Some(Order::SignalGroup(number)) => signal::send(-child.pid, number),
                    None => {}
                },
                // The supervisor is gone, and so is everything.
                _ => process::exit_now(1),
            }
        }
    };
    let left = if end.status == 0 { 0 } else { processes() };
    // A process that was just being forked may have missed the first signal.
    loop {
        process::kill_all();
        if process::wait_any(true, false).is_err() {
            break;
        }
    }
    let usage = process::children_usage();
    Exit {
        user_micros: usage.user_micros,
        system_micros: usage.system_micros,
        max_rss: usage.max_rss,
        last_pid: last_pid(),
        left,
        ..end
    }
}

/// Waits for all that can be waited for; the program's end ends the loop.
fn reap(channel: &Channel, program: i32, stays: bool) -> Option<Exit> {
    let mut end = None;
    while let Ok(Some((pid, change))) = process::wait_any(false, true) {
        match change {
            _ if pid != program => {}
            Change::Exited(status) => {
                end = Some(Exit {
                    status,
                    ..Exit::default()
                })
            }
            Change::Signaled(status) => {
                end = Some(Exit {
                    status,
                    signaled: true,
                    ..Exit::default()
                })
            }
            // Nobody's terminal waits for it.
            Change::Stopped(_) if stays => {}
            Change::Stopped(_) => {
                let _ = channel.send(&Event::Stopped.encode(), &[]);
            }
        }
    }
    end
}

/// Sends a signal to every process but this one, and says so.
fn obey(channel: &Channel, signal: Signal) {
    signal::send(-1, signal.as_raw());
    let _ = channel.send(&Event::Obeyed.encode(), &[]);
}

/// Makes sockets of this network, and sends them. What can't be made isn't sent, and is missed.
fn sockets(channel: &Channel) {
    let mut made = Vec::new();
    for _ in 0..SOCKETS {
        for family in [Family::V4, Family::V6] {
            made.extend(listen::fresh(family));
        }
    }
    let fds: Vec<BorrowedFd<'_>> = made.iter().map(AsFd::as_fd).collect();
    let _ = channel.send(&Event::Sockets.encode(), &fds);
}

/// Processes of this pid namespace besides init, those included that wait to be reaped.
fn processes() -> u64 {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let is_number = |name: &std::ffi::OsString| name.as_encoded_bytes()[0].is_ascii_digit();
    (names.filter(is_number).count() as u64).saturating_sub(1)
}

/// Resident and swapped bytes of all System V segments of this IPC namespace (proc(5),
/// /proc/sysvipc/shm, its last two columns).
fn segments() -> u64 {
    let text = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let number = |field: Option<&str>| {
        field
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let of_line = |line: &str| {
        let mut columns = line.split_whitespace().rev();
        number(columns.next()).saturating_add(number(columns.next()))
    };
    text.lines().skip(1).map(of_line).sum()
}

/// The last field of /proc/loadavg: the last id that this pid namespace gave out (proc(5)).
fn last_pid() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .last()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

pub(super) fn send(channel: &Channel, event: &Event, fds: &[BorrowedFd<'_>]) -> Result<()> {
    channel
        .send(&event.encode(), fds)
        .map_err(|errno| failed("tell the supervisor", errno))
}

fn write_file(path: &str, text: &str) -> Result<()> {
    let fail = |errno| failed("write", errno).on(path);
    let file =
        rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    rustix::io::write(&file, text.as_bytes()).map_err(fail)?;
    Ok(())
}

pub(super) fn failed(step: &str, errno: Errno) -> Error {
    Error::errno(step, errno.raw_os_error())
}
