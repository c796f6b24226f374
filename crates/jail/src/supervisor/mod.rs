//! The supervisor: the caller's process, which stays outside.
//!
//! It prepares what must exist before the sandbox does (limits, the terminal, a channel), makes
//! the sandbox, and then waits in one loop for whatever comes: the sandbox's own events, signals
//! to forward, system calls to decide, terminal traffic, new files at protected names, and the
//! clock. One thread, one process; a thread of its own is only given to a connect(2) that may
//! block.
//!
//! - [`terminal`]: streams, pseudo-terminal, raw mode
//! - [`notifier`]: system calls that the filter hands over
//! - [`watch`]: limits: who holds each, and whether one was reached
//! - [`late`]: a cgroup that is entered after the start
//! - [`guard`]: names that must not appear in a workspace
//! - [`account`]: the report

mod account;
mod guard;
mod late;
mod notifier;
mod terminal;
mod watch;

use crate::inside::{self, Handover};
use crate::plan::Plan;
use crate::wire::{Event, Exit, Order};
use account::Account;
use casemate_core::error::{Error, Result};
use casemate_core::exit::{Failure, Outcome};
use casemate_core::layer::Layer;
use casemate_core::limits::Reached;
use casemate_core::report::Report;
use casemate_core::spec::Network;
use casemate_sys::channel::{Channel, Message};
use casemate_sys::landlock::Abi;
use casemate_sys::process::{self, Child, Clone, namespace};
use casemate_sys::signal::{Arrival, Signals};
use casemate_sys::{Errno, cgroup, seccomp};
use guard::Guard;
use notifier::Notifier;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use std::time::{Duration, Instant};
use terminal::Terminal;
use watch::Watch;

/// The end of a run.
pub struct Finished {
    /// How the program ended.
    pub outcome: Outcome,
    /// What the caller should be told on standard error.
    pub remarks: Vec<String>,
    /// The report, if the specification asked for one.
    pub report: Option<Report>,
}

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
pub fn run(plan: &Plan) -> Result<Finished, Failure> {
    casemate_sys::signal::wait_for_children();
    cgroup::sweep();
    let landlock = landlock(plan)?;
    let watch = Watch::prepare(plan)?;
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

    let identity = plan.spec.identity.unwrap_or((plan.host.uid, plan.host.gid));
    let maps_from_outside = plan.host.uid == 0 && identity != (plan.host.uid, plan.host.gid);
    let started = Instant::now();
    let init = match process::clone(namespaces(plan), watch.clone_into()) {
        Err(errno) => return Err(no_namespaces(errno).into()),
        Ok(Clone::Child) => {
            drop(ours);
            inside::main(Handover {
                plan,
                channel: theirs,
                streams,
                signals: &signals,
                cgroup: watch.cgroup(),
                maps_from_outside,
                landlock,
                umask,
            })
        }
        Ok(Clone::Parent(child)) => child,
    };
    drop((theirs, streams));
    // While the caller's terminal is raw, the next program of a pipeline must not learn of this
    // one's end: what it writes would lack its carriage returns.
    if !plan.spec.report && !terminal.takes_input() {
        leave_streams();
    }
    let mut supervisor = Supervisor {
        plan,
        channel: ours,
        init,
        signals,
        terminal,
        watch,
        guard,
        notifier: None,
        diag: None,
        root: None,
        private: Vec::new(),
        look: false,
        rests: false,
        told_to_end: false,
        stopped: None,
        ended: None,
        started,
    };
    if maps_from_outside {
        supervisor.write_maps(identity)?;
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

fn namespaces(plan: &Plan) -> u64 {
    let own = namespace::USER | namespace::MOUNT | namespace::PID | namespace::IPC | namespace::UTS;
    match plan.spec.network {
        Network::None => own | namespace::NET,
        Network::Host => own,
    }
}

fn no_namespaces(errno: Errno) -> Error {
    let error = Error::errno("make the namespaces", errno.raw_os_error());
    match casemate_sys::probe::userns::blocker() {
        Some(blocker) => error.hint(format!("{blocker}; {}", blocker.remedy())),
        None => error.hint("`casemate doctor` says what this machine lacks"),
    }
}

fn device(fd: &OwnedFd) -> Option<u64> {
    rustix::fs::fstat(fd).ok().map(|stat| stat.st_dev)
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

struct Supervisor<'a> {
    plan: &'a Plan,
    channel: Channel,
    init: Child,
    signals: Signals,
    terminal: Terminal,
    watch: Watch,
    guard: Guard,
    notifier: Option<Notifier>,
    /// The sandbox's sock_diag socket and root, which the notifier needs.
    diag: Option<OwnedFd>,
    root: Option<OwnedFd>,
    /// Devices that nobody outside can reach: the new root's, and the private disk's.
    private: Vec<u64>,
    /// The guard's signal arrived.
    look: bool,
    /// The code of the start was given back.
    rests: bool,
    /// A limit was reached, or the caller sent a signal that ends programs: what the program
    /// still has to say isn't waited for.
    told_to_end: bool,
    stopped: Option<Reached>,
    ended: Option<Instant>,
    started: Instant,
}

/// What the loop ends with.
enum End {
    Exited(Exit),
    Failed(Failure),
    /// Init died without a word.
    Vanished,
}

impl Supervisor<'_> {
    fn write_maps(&self, (uid, gid): (u32, u32)) -> Result<()> {
        // As root, an identity that was asked for is a real one: the same id inside and outside.
        for (file, id) in [("uid_map", uid), ("gid_map", gid)] {
            let path = format!("/proc/{}/{file}", self.init.pid);
            std::fs::write(&path, format!("{id} {id} 1"))
                .map_err(|error| Error::io("write", &error).on(path))?;
        }
        self.channel
            .send(&Order::Signal(0).encode(), &[])
            .map_err(|errno| Error::errno("tell init", errno.raw_os_error()))
    }

    /// The loop.
    fn serve(&mut self) -> End {
        loop {
            let wait = self.next_wait();
            let ready = self.poll(wait);
            if ready.signals {
                while let Some(arrival) = self.signals.next() {
                    self.forward(arrival);
                }
            }
            if !ready.notifier.is_empty()
                && let Some(notifier) = &mut self.notifier
            {
                notifier.serve(ready.notifier);
            }
            self.terminal.relay();
            if self.watch.is_due() && !self.rests {
                // A program that lives for a while: from now on, this process mostly waits.
                self.rests = true;
                casemate_sys::memory::release_code();
            }
            if self.watch.is_due() || self.look {
                self.look = false;
                let reached = self.guard.sweep();
                self.stop_if(reached);
            }
            self.watch.enter_late(self.started, self.init.pid);
            if self.watch.wants_segments() {
                self.order(Order::Count);
            }
            let reached = self.watch.check(self.started);
            self.stop_if(reached);
            if ready.channel
                && let Some(end) = self.event()
            {
                return end;
            }
        }
    }

    fn poll(&self, wait: Option<Duration>) -> Ready {
        let mut fds = vec![
            PollFd::new(&self.channel, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        if let Some(notifier) = self
            .notifier
            .as_ref()
            .filter(|notifier| !notifier.is_over())
        {
            fds.push(PollFd::new(notifier, PollFlags::IN));
        }
        fds.extend(self.terminal.poll_fds());
        let wait = wait.map(|wait| Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: wait.subsec_nanos().into(),
        });
        // An interrupted wait is a wait that found nothing.
        let _ = poll(&mut fds, wait.as_ref());
        let is_ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ready {
            channel: is_ready(0),
            signals: is_ready(1),
            notifier: match &self.notifier {
                Some(notifier) if !notifier.is_over() => fds[2].revents(),
                _ => PollFlags::empty(),
            },
        }
    }

    fn next_wait(&mut self) -> Option<Duration> {
        let overdue = self
            .ended
            .map(|ended| Duration::from_secs(2).saturating_sub(ended.elapsed()));
        if overdue == Some(Duration::ZERO) {
            // Init did not answer; the kernel ends what it is init of.
            let _ = rustix::process::pidfd_send_signal(&self.init.pidfd, Signal::KILL);
        }
        [
            self.watch.next_check(self.started),
            overdue.filter(|wait| !wait.is_zero()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// One event of the sandbox.
    fn event(&mut self) -> Option<End> {
        let Ok(Some(Message { bytes, fds })) = self.channel.receive() else {
            return Some(End::Vanished);
        };
        let mut fds = fds.into_iter();
        match Event::decode(&bytes)? {
            Event::View => {
                self.root = fds.next();
                let (proc, disk) = (fds.next(), fds.next());
                self.private = [&self.root, &disk]
                    .into_iter()
                    .flatten()
                    .filter_map(device)
                    .collect();
                self.watch.see(proc, disk);
                self.diag = fds.next();
            }
            Event::Terminal => {
                if let Some(master) = fds.next() {
                    self.terminal.attach(master);
                }
            }
            Event::Listener => {
                if let (Some(fd), Some(root), Some(diag)) =
                    (fds.next(), self.root.take(), self.diag.take())
                {
                    self.notifier = Some(Notifier::new(
                        seccomp::Listener::from(fd),
                        root,
                        diag.into(),
                        std::mem::take(&mut self.private),
                        &self.plan.spec,
                    ));
                }
            }
            Event::Stopped => self.suspend(),
            Event::Segments(bytes) => self.watch.see_segments(bytes),
            Event::Failed(failure) => return Some(End::Failed(failure)),
            Event::Exited(exit) => return Some(End::Exited(exit)),
        }
        None
    }

    fn order(&self, order: Order) {
        // If init is gone, the loop hears of it by itself.
        let _ = self.channel.send(&order.encode(), &[]);
    }

    fn forward(&mut self, arrival: Arrival) {
        self.told_to_end |= terminal::ends(arrival.number);
        match arrival.number {
            number if number == Signal::WINCH.as_raw() => {
                if !self.terminal.resize() {
                    self.order(Order::SignalGroup(number));
                }
            }
            // What a terminal sends goes to the whole foreground group, as it would without us.
            number if number == Signal::IO.as_raw() => self.look = true,
            number if number == Signal::TTOU.as_raw() => {}
            number if arrival.from_kernel => self.order(Order::SignalGroup(number)),
            number => self.order(Order::Signal(number)),
        }
    }

    /// The program was stopped: so is this process, until the caller's shell continues it.
    fn suspend(&mut self) {
        // Ctrl-Z in raw mode was a key to the terminal; it would have stopped the caller's whole
        // job.
        if self.terminal.restore() {
            casemate_sys::signal::send(0, Signal::TSTP.as_raw());
        }
        casemate_sys::signal::stop_self();
        // Its own copy of the stop is done with; whatever else came meanwhile is not.
        let arrivals: Vec<Arrival> = std::iter::from_fn(|| self.signals.next()).collect();
        self.terminal.relay();
        self.terminal.make_raw();
        self.terminal.resize();
        self.order(Order::SignalGroup(Signal::CONT.as_raw()));
        let others = arrivals
            .into_iter()
            .filter(|arrival| arrival.number != Signal::TSTP.as_raw());
        others.for_each(|arrival| self.forward(arrival));
    }

    fn stop_if(&mut self, reached: Option<Reached>) {
        if self.stopped.is_none() && reached.is_some() {
            self.stopped = reached;
            self.told_to_end = true;
            self.ended = Some(Instant::now());
            self.order(Order::End);
        }
    }

    /// Waits for init, and with it for the end of every namespace; then says what happened.
    fn finish(mut self, end: End, landlock: Option<Abi>) -> Result<Finished, Failure> {
        let wall = self.started.elapsed();
        if !matches!(end, End::Exited(_)) {
            let _ = rustix::process::pidfd_send_signal(&self.init.pidfd, Signal::KILL);
        }
        let status = waitid(
            WaitId::PidFd(self.init.pidfd.as_fd()),
            WaitIdOptions::EXITED,
        );
        let patient = !self.told_to_end && matches!(end, End::Exited(_));
        self.terminal.drain(&self.signals, patient);
        self.terminal.restore();
        let kept_on = self.guard.sweep_all();
        self.watch.leave_late();
        let events = self.watch.events();
        let ended = match &end {
            End::Exited(exit) => Some(exit),
            _ => None,
        };
        let reached = self
            .stopped
            .take()
            .or(kept_on)
            .or_else(|| self.watch.reached_at_end(&events, ended));
        let exit = match end {
            End::Failed(failure) => return Err(failure),
            End::Exited(exit) => exit,
            End::Vanished if reached.is_some() => Exit {
                status: 9,
                signaled: true,
                ..Exit::default()
            },
            End::Vanished => {
                let how = status
                    .ok()
                    .flatten()
                    .and_then(|status| status.terminating_signal());
                let why = how.map_or("it exited early".to_owned(), |signal| {
                    format!("signal {signal} ended it")
                });
                return Err(Error::rule("keep the sandbox's init alive", why)
                    .hint("if --memory is very small, the sandbox itself may not fit in it")
                    .into());
            }
        };
        let outcome = match (reached, exit.signaled) {
            (Some(limit), _) => Outcome::Stopped { limit },
            (None, true) => Outcome::Signaled {
                signal: exit.status,
            },
            (None, false) => Outcome::Exited {
                status: exit.status as u8,
            },
        };
        let mut remarks = self.guard.remarks();
        if let Outcome::Stopped { limit } = &outcome {
            remarks.push(format!("stopped: {limit}"));
        }
        let report = self.plan.spec.report.then(|| {
            let account = Account {
                plan: self.plan,
                exit,
                wall,
                outcome: &outcome,
                landlock,
                peak: events.peak_memory,
            };
            account.report(&self.watch, &self.guard, self.notifier.as_ref())
        });
        Ok(Finished {
            outcome,
            remarks,
            report,
        })
    }
}

struct Ready {
    channel: bool,
    signals: bool,
    notifier: PollFlags,
}
