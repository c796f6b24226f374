//! How a keeper is started and attended, in one thread of the controller's.
//!
//! The kernel kills a child when the *thread* that made it ends (PR_SET_PDEATHSIG in prctl(2)), so this
//! thread lives as long as the keeper does. It is also told of deaths, and reaps the keeper.

use super::inside::ENTRY;
use super::ledger::Ledger;
use super::order::{Answer, Order, Report};
use super::role::{EXE, MARK};
use super::tree::{KEEPER, LAUNCHER, pid_of, receive, same_build};
use super::{Failure, Spec};
use crate::wire::Malformed;
use casemate_core::error::Error;
use casemate_sys::Errno;
use casemate_sys::cgroup::Cgroup;
use casemate_sys::channel::{Channel, Message};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// What the thread needs.
pub(super) struct Starter {
    pub(super) spec: Spec,
    pub(super) cgroup: Option<Arc<Cgroup>>,
    pub(super) ledger: Arc<Ledger>,
}

impl Starter {
    /// Starts a keeper, says so, and stays with it.
    pub(super) fn run(
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

fn expect_hello(channel: &Channel, who: &'static str) -> Result<(), Failure> {
    let message = receive(channel, who)?;
    match Answer::decode(&message.bytes) {
        Ok(Answer::Hello(hello)) => same_build(hello, who),
        Ok(Answer::Failed(error)) => Err(error.into()),
        Ok(_) => Err(Failure::Nonsense(who, Malformed::Meaningless.into())),
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
        Ok(_) => Err(Failure::Nonsense(who, Malformed::Meaningless.into())),
        Err(malformed) => Err(Failure::Nonsense(who, malformed.into())),
    }
}
