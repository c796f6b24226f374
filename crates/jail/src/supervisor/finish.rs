//! The end: what is left is looked at, and what happened is said.

use super::Supervisor;
use super::account::Account;
use super::serve::End;
use crate::wire::Exit;
use casemate_core::error::{Error, Result};
use casemate_core::exit::{Failure, Outcome};
use casemate_core::report::Report;
use casemate_sys::landlock::Abi;
use casemate_sys::process::Child;
use rustix::fd::AsFd;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};

/// The end of a run.
pub struct Finished {
    /// How the program ended.
    pub outcome: Outcome,
    /// What the caller should be told on standard error.
    pub remarks: Vec<String>,
    /// The report, if the specification asked for one.
    pub report: Option<Report>,
}

impl Supervisor<'_> {
    /// Waits for init, and with it for the end of every namespace; then says what happened.
    pub(super) fn finish(mut self, end: End, landlock: Option<Abi>) -> Result<Finished, Failure> {
        let wall = self.started.elapsed();
        let wait = |init: &Child| waitid(WaitId::PidFd(init.pidfd.as_fd()), WaitIdOptions::EXITED);
        let regular = matches!(end, End::Exited(_));
        // An init that said how the program ended has reaped everybody, and ends by itself while
        // this process looks at what they left.
        let mut status = None;
        if !regular {
            let _ = rustix::process::pidfd_send_signal(&self.init.pidfd, Signal::KILL);
            status = wait(&self.init).ok().flatten();
        }
        let patient = !self.told_to_end && regular;
        self.terminal.drain(&self.signals, patient);
        self.terminal.restore();
        let kept_on = self.guard.sweep_all();
        self.watch.leave_late();
        let events = self.watch.events();
        if regular {
            let _ = wait(&self.init);
        }
        let ended = match &end {
            End::Exited(exit) => Some(exit),
            _ => None,
        };
        let reached = self.stopped.take().or(kept_on).or_else(|| {
            match self.stay.is_some() && self.told_to_end {
                // It ended because it was told to.
                true => None,
                false => self.watch.reached_at_end(&events, ended),
            }
        });
        let exit = match end {
            End::Failed(failure) => return Err(failure),
            End::Exited(exit) => exit,
            End::Vanished if reached.is_some() => Exit {
                status: 9,
                signaled: true,
                ..Exit::default()
            },
            End::Vanished => {
                let how = status.and_then(|status| status.terminating_signal());
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
        let connections = self
            .gate
            .as_mut()
            .map(|gate| gate.close())
            .unwrap_or_default();
        let report = self.plan.spec.report.then(|| {
            let account = Account {
                plan: self.plan,
                exit,
                wall,
                outcome: &outcome,
                landlock,
                connections,
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
