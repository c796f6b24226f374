//! A keeper and its launcher, from the controller's side.
//!
//! One thread of the controller's starts the keeper, is told of deaths, and waits for the keeper's end:
//! the kernel kills a child when the *thread* that made it ends (PR_SET_PDEATHSIG in prctl(2)), so that
//! thread lives as long as the keeper does. It also reaps it.

use super::inside::{ENTRY, kind};
use super::ledger::Ledger;
use super::order::{Answer, LONGEST_CONFIG, Order, Report, decode_error};
use super::role::{self, EXE, MARK};
use super::{BuildId, Failure, Spec};
use crate::wire::{Broken, Connection, Descriptors, Hello};
use casemate_core::error::Error;
use casemate_sys::Errno;
use casemate_sys::cgroup::Cgroup;
use casemate_sys::channel::{Channel, Message};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const KEEPER: &str = "the keeper";
const LAUNCHER: &str = "the launcher";

/// A running tree. Dropping it ends the launcher and its pool; workers that were handed out live on,
/// and the keeper until the last of them is gone.
pub(super) struct Tree {
    channel: Mutex<Channel>,
    ledger: Arc<Ledger>,
    keeper: i32,
}

/// A process as it was handed out.
pub(super) struct Handed {
    /// `None` if it has died already, and its last words may wait in its socket.
    pid: Option<i32>,
    pub(super) pidfd: OwnedFd,
    pub(super) connection: Connection,
    pub(super) stderr: OwnedFd,
    pub(super) slot: Arc<super::ledger::Slot>,
}

impl Tree {
    /// Starts one and waits until it can hand out workers.
    pub(super) fn start(spec: &Spec, cgroup: Option<&Arc<Cgroup>>) -> Result<Self, Failure> {
        if role::arguments().is_some() {
            return Err(Failure::Forgotten(
                "this process is one of them, and doesn't know it",
            ));
        }
        if spec.program.is_none() && !role::was_asked() {
            return Err(Failure::Forgotten("this program never asks for its role"));
        }
        if spec.config.len() > LONGEST_CONFIG {
            let why = format!("it is longer than {LONGEST_CONFIG} bytes");
            return Err(Error::rule("hand on the runtime's configuration", why).into());
        }
        let fail = |errno| Failure::step("make a channel to the keeper", errno);
        let (ours, theirs) = Channel::pair().map_err(fail)?;
        ours.set_patience(spec.patience).map_err(fail)?;
        let (told, reports) = Channel::pair().map_err(fail)?;
        let ledger = Arc::new(Ledger::default());
        let (answer, answered) = sync_channel(1);
        let thread = Thread {
            spec: spec.clone(),
            cgroup: cgroup.cloned(),
            ledger: Arc::clone(&ledger),
        };
        std::thread::Builder::new()
            .name("wasm-keeper".to_owned())
            .spawn(move || thread.run(ours, theirs, &told, reports, &answer))
            .map_err(|error| Error::io("start a thread for the keeper", &error))?;
        let (channel, keeper) = answered.recv().map_err(|_| Failure::Ended(KEEPER))??;
        Ok(Self {
            channel: Mutex::new(channel),
            ledger,
            keeper,
        })
    }

    /// The keeper's process id.
    pub(super) fn keeper(&self) -> i32 {
        self.keeper
    }

    /// Ends the launcher and its pool, and waits for the keeper's end if nobody is left.
    pub(super) fn end(self, patience: Duration) {
        drop(self.channel);
        self.ledger.wait_for_end(patience);
    }

    /// Orders a process, which has not said anything yet.
    pub(super) fn order(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<Handed, Failure> {
        let (ns_pid, fds) = {
            let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = channel.send(&order.encode(), fds);
            sent.map_err(|_| Failure::Gone)?;
            // An answer that comes too late would be taken for that to the next order.
            let answer = receive(&channel, LAUNCHER).map_err(|_| Failure::Gone);
            let Message { bytes, fds } = answer?;
            match Answer::decode(&bytes) {
                Ok(Answer::Handed(pid)) => (pid, fds),
                Ok(Answer::Failed(error)) => return Err(error.into()),
                Ok(_) => return Err(Failure::Gone),
                Err(malformed) => return Err(Failure::Nonsense(LAUNCHER, malformed.into())),
            }
        };
        let [pidfd, socket, stderr] = <[OwnedFd; 3]>::try_from(fds).map_err(|_| Failure::Gone)?;
        Ok(Handed {
            pid: pid_of(pidfd.as_fd()),
            pidfd,
            connection: Connection::new(socket, Descriptors::Refused),
            stderr,
            slot: self.ledger.enter(ns_pid),
        })
    }
}

impl Handed {
    /// Waits for its first words; it is killed if they aren't the right ones. Returns its process id.
    pub(super) fn greet(
        mut self,
        who: &'static str,
        patience: Duration,
    ) -> Result<(i32, Self), Failure> {
        let heard = self.hear(who, patience);
        match heard.and(self.pid.ok_or(Failure::Ended(who))) {
            Ok(pid) => Ok((pid, self)),
            Err(failure) => {
                let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
                Err(failure)
            }
        }
    }

    fn hear(&mut self, who: &'static str, patience: Duration) -> Result<(), Failure> {
        let nonsense = |malformed: crate::wire::Malformed| Failure::Nonsense(who, malformed.into());
        let deadline = Some(Instant::now() + patience);
        let received = self.connection.receive(deadline);
        let (frame, _) = received.map_err(|broken| Failure::at_start(who, broken))?;
        match frame.kind {
            kind::HELLO => {
                let hello = Hello::decode(&frame.payload).map_err(nonsense)?;
                same_build(hello, who)
            }
            kind::FAILED => Err(decode_error(&frame.payload).map_err(nonsense)?.into()),
            _ => Err(nonsense(crate::wire::Malformed::Meaningless)),
        }
    }
}

/// What the thread needs.
struct Thread {
    spec: Spec,
    cgroup: Option<Arc<Cgroup>>,
    ledger: Arc<Ledger>,
}

impl Thread {
    fn run(
        mut self,
        ours: Channel,
        theirs: Channel,
        told: &Channel,
        reports: Channel,
        answer: &SyncSender<Result<(Channel, i32), Failure>>,
    ) {
        let mut keeper: Option<OwnedFd> = None;
        let started = self.start(&ours, theirs, reports, &mut keeper);
        if started.is_err()
            && let Some(keeper) = &keeper
        {
            let _ = pidfd_send_signal(keeper, Signal::KILL);
        }
        let pid = keeper.as_ref().and_then(|keeper| pid_of(keeper.as_fd()));
        let started = started.and_then(|()| pid.ok_or(Failure::Ended(KEEPER)));
        // Whoever has the last of a cgroup removes it, which is for somebody who outlives its processes.
        drop(self.cgroup.take());
        let _ = answer.send(started.map(|pid| (ours, pid)));
        if let Some(keeper) = keeper {
            self.attend(told, &keeper);
        }
    }

    fn start(
        &self,
        ours: &Channel,
        theirs: Channel,
        reports: Channel,
        keeper: &mut Option<OwnedFd>,
    ) -> Result<(), Failure> {
        let mut entry = self.execute(theirs)?;
        let born = self.enter(ours, &entry, &reports);
        drop(reports);
        if born.is_err() {
            let _ = entry.kill();
        }
        // The entry is done, or dead.
        let _ = entry.wait();
        *keeper = Some(born?);
        let launch = Order::Launch {
            pool: self.spec.pool,
            data: self.spec.data,
            open_files: self.spec.open_files,
            config: self.spec.config.clone(),
        };
        // If nobody reads it any more, they have said why.
        let _ = ours.send(&launch.encode(), &[]);
        expect_hello(ours, LAUNCHER)?;
        expect(ours, LAUNCHER, |answer| matches!(answer, Answer::Ready)).map(drop)
    }

    fn execute(&self, control: Channel) -> Result<Child, Failure> {
        let program = self.spec.program.as_deref().unwrap_or(Path::new(EXE));
        let started = Command::new(program)
            .arg0(EXE)
            .args([MARK, ENTRY])
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(control))
            .stdout(Stdio::null())
            .spawn();
        started.map_err(|error| Error::io("execute", &error).on(program.display()).into())
    }

    /// Until the keeper is born.
    fn enter(&self, ours: &Channel, entry: &Child, reports: &Channel) -> Result<OwnedFd, Failure> {
        if let Some(cgroup) = &self.cgroup {
            let added = cgroup.add(entry.id() as i32);
            added.map_err(|errno| Failure::step("put the keeper into its cgroup", errno))?;
        }
        match expect_hello(ours, KEEPER) {
            Err(Failure::Ended(_)) => {
                return Err(Failure::Forgotten(
                    "the program that was started for it ended",
                ));
            }
            Err(Failure::Silent(_)) => {
                return Err(Failure::Forgotten(
                    "the program that was started for it said nothing",
                ));
            }
            heard => heard?,
        }
        let root = rustix::process::geteuid().is_root();
        let order = Order::Enter(root.then_some(self.spec.identity));
        let _ = ours.send(&order.encode(), &[reports.as_fd()]);
        let born = expect(ours, KEEPER, |answer| matches!(answer, Answer::Born))?;
        born.fds.into_iter().next().ok_or(Failure::Gone)
    }

    /// Notes who dies, until the keeper does.
    fn attend(&self, told: &Channel, keeper: &OwnedFd) {
        loop {
            let mut fds = [
                PollFd::new(told, PollFlags::IN),
                PollFd::new(keeper, PollFlags::IN),
            ];
            if poll(&mut fds, None).is_err_and(|errno| errno != Errno::INTR) {
                break;
            }
            let [told_of, ended] = fds.map(|fd| !fd.revents().is_empty());
            if told_of && let Ok(Some(message)) = told.receive() {
                if let Ok(report) = Report::decode(&message.bytes) {
                    self.ledger.report(report);
                }
            } else if ended {
                break;
            } else if told_of {
                // Nobody is left who could report; the keeper is just ending.
                let _ = poll(&mut [PollFd::new(keeper, PollFlags::IN)], None);
            }
        }
        let _ = rustix::io::retry_on_intr(|| {
            waitid(WaitId::PidFd(keeper.as_fd()), WaitIdOptions::EXITED)
        });
        self.ledger.close();
    }
}

/// The process that a pidfd is of (proc(5), fdinfo), as this one sees it; `None` if it has been reaped.
fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    use rustix::fd::AsRawFd;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let pid = info.ok().and_then(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
        line.trim().parse().ok()
    });
    pid.filter(|pid| *pid > 0)
}

fn same_build(hello: Hello, who: &'static str) -> Result<(), Failure> {
    if hello.build == BuildId::own()? {
        Ok(())
    } else {
        Err(Failure::Stale(who))
    }
}

fn expect_hello(channel: &Channel, who: &'static str) -> Result<(), Failure> {
    let message = receive(channel, who)?;
    match Answer::decode(&message.bytes) {
        Ok(Answer::Hello(hello)) => same_build(hello, who),
        Ok(Answer::Failed(error)) => Err(error.into()),
        Ok(_) => Err(Failure::Nonsense(
            who,
            crate::wire::Malformed::Meaningless.into(),
        )),
        Err(malformed) => Err(Failure::Nonsense(who, malformed.into())),
    }
}

fn expect(
    channel: &Channel,
    who: &'static str,
    is_it: impl Fn(&Answer) -> bool,
) -> Result<Message, Failure> {
    let message = receive(channel, who)?;
    match Answer::decode(&message.bytes) {
        Ok(Answer::Failed(error)) => Err(error.into()),
        Ok(answer) if is_it(&answer) => Ok(message),
        Ok(_) => Err(Failure::Nonsense(
            who,
            crate::wire::Malformed::Meaningless.into(),
        )),
        Err(malformed) => Err(Failure::Nonsense(who, malformed.into())),
    }
}

fn receive(channel: &Channel, who: &'static str) -> Result<Message, Failure> {
    match channel.receive() {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Failure::Ended(who)),
        Err(Errno::AGAIN) => Err(Failure::Silent(who)),
        Err(errno) => Err(Failure::at_start(who, Broken::from(errno))),
    }
}
