//! The loop: whatever comes while the program runs.

use super::notifier::Notifier;
use super::{Supervisor, terminal};
use crate::gate::{Door, Doors};
use crate::wire::{Event, Exit, Order};
use casemate_core::error::{Error, Result};
use casemate_core::exit::Failure;
use casemate_core::limits::Reached;
use casemate_core::spec::USERS;
use casemate_sys::channel::Message;
use casemate_sys::fence::listen::Family;
use casemate_sys::mount::Detached;
use casemate_sys::signal::Arrival;
use casemate_sys::{Errno, seccomp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The checks at which the code that was needed so far is let go: when the start is over, and when
/// what the first checks do once, such as entering a cgroup, is over too.
const RELEASES: [u32; 2] = [1, 16];

/// What the loop ends with.
pub(super) enum End {
    Exited(Exit),
    Failed(Failure),
    /// Init died without a word.
    Vanished,
}

struct Ready {
    channel: bool,
    signals: bool,
    requests: bool,
    notifier: PollFlags,
}

impl Supervisor<'_> {
    pub(super) fn write_maps(&self, inside: (u32, u32), outside: (u32, u32)) -> Result<()> {
        // As root, an identity that was asked for is a real one: nobody else's outside.
        let (inside, count) = match self.plan.spec.rooted {
            true => ((0, 0), USERS),
            false => (inside, 1),
        };
        let ids = [
            ("uid_map", inside.0, outside.0),
            ("gid_map", inside.1, outside.1),
        ];
        for (file, inside, outside) in ids {
            let path = format!("/proc/{}/{file}", self.init.pid);
            std::fs::write(&path, format!("{inside} {outside} {count}"))
                .map_err(|error| Error::io("write", &error).on(path))?;
        }
        // Where the file system can't show other owners, these folders are only read.
        let mapped = self.mapped_folders().unwrap_or_default();
        let mapped: Vec<BorrowedFd<'_>> = mapped.iter().map(Detached::as_fd).collect();
        self.channel
            .send(&Order::Signal(0).encode(), &mapped)
            .map_err(|errno| Error::errno("tell init", errno.raw_os_error()))
    }

    /// The host's folders with the sandbox's owners: only this process may make such mounts.
    fn mapped_folders(&self) -> std::result::Result<Vec<Detached>, Errno> {
        let path = format!("/proc/{}/ns/user", self.init.pid);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::open(&path, flags, Mode::empty())?;
        let folders = self.plan.layered();
        folders
            .map(|layered| Detached::mapped_copy(&layered.path, namespace.as_fd()))
            .collect()
    }

    /// The loop.
    pub(super) fn serve(&mut self) -> End {
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
                notifier.serve(ready.notifier, &mut self.gate);
                self.watch.wake();
            }
            if ready.requests {
                self.take_requests();
            }
            self.terminal.relay();
            if self.watch.is_due() {
                // A program that lives for a while: from now on, this process mostly waits.
                self.checks = self.checks.saturating_add(1);
                if RELEASES.contains(&self.checks) {
                    casemate_sys::memory::release_code();
                }
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
        let requests = fds.len();
        if let Some(stay) = &self.stay {
            fds.push(PollFd::new(&stay.requests, PollFlags::IN));
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
            requests: self.stay.is_some() && is_ready(requests),
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
                self.head_start = None;
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
                let started = self.stay.as_mut().and_then(|stay| stay.started.take());
                if let Some(Err(error)) = started.map(|started| started()) {
                    return Some(End::Failed(error.into()));
                }
            }
            Event::Doors => {
                if let Err(error) = self.open(fds) {
                    return Some(End::Failed(error.into()));
                }
            }
            Event::Stopped => self.suspend(),
            Event::Sockets => self.answer_sockets(fds.collect()),
            Event::Obeyed => self.answer_order(),
            Event::Segments(bytes) => self.watch.see_segments(bytes),
            Event::Failed(failure) => return Some(End::Failed(failure)),
            Event::Exited(exit) => return Some(End::Exited(exit)),
        }
        None
    }

    /// Hands the sandbox's sockets to the gate.
    fn open(&mut self, mut fds: impl Iterator<Item = OwnedFd>) -> Result<()> {
        let missing = || Error::rule("take the sandbox's network", "a socket is missing");
        let diag = fds.next().ok_or_else(missing)?;
        let mut families = Vec::new();
        for family in [Family::V4, Family::V6] {
            let Some(connections) = fds.next() else { break };
            families.push(Door {
                family,
                connections,
                dns_streams: fds.next().ok_or_else(missing)?,
                dns: fds.next().ok_or_else(missing)?,
                fresh: fds.next().ok_or_else(missing)?,
            });
        }
        let init = self.init.pid;
        match &mut self.gate {
            Some(gate) => gate.open(Doors {
                families,
                diag,
                init,
            }),
            None => Err(Error::rule(
                "open the sandbox's network",
                "nobody decides on connections",
            )),
        }
    }

    pub(super) fn order(&self, order: Order) {
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
}

fn device(fd: &OwnedFd) -> Option<u64> {
    rustix::fs::fstat(fd).ok().map(|stat| stat.st_dev)
}
