//! Forks workers and compilers from a process in which the runtime is ready.
//!
//! It has one thread and does one thing at a time: an order of the controller's if there is one,
//! otherwise one more worker for the pool. Nothing of a guest ever gets here.

use super::confine::{self, Limits};
use super::fork::{Forked, fork};
use super::{compiler, failed, give_up, worker};
use crate::process::order::{Answer, Order, Report};
use crate::process::{BuildId, Death, Job, Runtime};
use crate::wire::Hello;
use casemate_core::error::{Error, Result};
use casemate_sys::Errno;
use casemate_sys::channel::{Channel, Message};
use casemate_sys::process;
use casemate_sys::seccomp::{Instruction, guest};
use casemate_sys::signal::Signals;
use casemate_sys::wasm::root::Kept;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, OFlags, statat};
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::{BTreeSet, VecDeque};

/// SIGCHLD (signal(7)).
const CHILD: i32 = 17;

/// How long nobody has asked for anything when the pool is refilled: whoever was just answered is woken
/// on this processor, and would wait for the end of a fork.
const QUIET: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What the launcher inherited.
pub(super) struct Ways {
    pub(super) control: Channel,
    pub(super) reports: Channel,
    pub(super) kept: Kept,
}

/// What a child gets of the launcher.
pub(super) struct Cradle<'a, R: Runtime> {
    pub(super) runtime: &'a R,
    pub(super) shared: &'a R::Shared,
    pub(super) kept: &'a Kept,
    pub(super) signals: &'a Signals,
    pub(super) build: &'a BuildId,
    pub(super) filters: &'a Filters,
    pub(super) data: u64,
    pub(super) open_files: u64,
}

/// They are put together once.
pub(super) struct Filters {
    pub(super) worker: Vec<Instruction>,
    pub(super) sealed: Vec<Instruction>,
    pub(super) compiler: Vec<Instruction>,
}

struct Launcher<'a, R: Runtime> {
    ways: &'a Ways,
    cradle: Cradle<'a, R>,
    wanted: usize,
    pool: VecDeque<Forked>,
    /// Those whose end the controller wants to know of.
    handed: BTreeSet<i32>,
    /// A worker died or couldn't be made before anybody asked for it: no more until somebody does.
    discouraged: bool,
    /// Somebody was just answered.
    answered: bool,
}

pub(super) fn main<R: Runtime>(runtime: &R, ways: Ways) -> ! {
    process::wipe_start_strings("wasm-launcher");
    let _ = rustix::thread::set_name(c"wasm-launcher");
    let Ok(Some(message)) = ways.control.receive() else {
        process::exit_now(0);
    };
    match serve(runtime, &ways, &message) {
        Ok(()) => process::exit_now(0),
        Err(error) => give_up(&ways.control, error),
    }
}

fn serve<R: Runtime>(runtime: &R, ways: &Ways, message: &Message) -> Result<()> {
    let order = Order::decode(&message.bytes);
    let Ok(Order::Launch {
        pool,
        data,
        open_files,
        config,
    }) = order
    else {
        return Err(Error::rule(
            "start the launcher",
            "the order makes no sense",
        ));
    };
    let shared = runtime.prepare(&config)?;
    alone(ways)?;
    confine::launcher()?;
    let signals =
        Signals::block(&[CHILD]).map_err(|errno| failed("wait for workers' ends", errno))?;
    let build = BuildId::own()?;
    let filters = Filters {
        worker: guest::worker(),
        sealed: guest::sealed(),
        compiler: guest::compiler(),
    };
    let mut launcher = Launcher {
        ways,
        cradle: Cradle {
            runtime,
            shared: &shared,
            kept: &ways.kept,
            signals: &signals,
            build: &build,
            filters: &filters,
            data,
            open_files,
        },
        wanted: pool as usize,
        pool: VecDeque::new(),
        handed: BTreeSet::new(),
        discouraged: false,
        answered: false,
    };
    let fail = |errno| failed("talk to the controller", errno);
    let hello = Answer::Hello(Hello::own(build)).encode();
    ways.control.send(&hello, &[]).map_err(fail)?;
    ways.control
        .send(&Answer::Ready.encode(), &[])
        .map_err(fail)?;
    launcher.serve().map_err(fail)
}

/// A copy of a process has one thread, and the locks that the others held stay locked in it.
fn alone(ways: &Ways) -> Result<()> {
    let tasks = statat(&ways.kept.proc, "self/task", AtFlags::empty())
        .map_err(|errno| failed("count the launcher's threads", errno))?;
    // A folder has a link from itself, one from above, and one from each folder in it.
    match tasks.st_nlink.saturating_sub(2) {
        1 => Ok(()),
        threads => Err(Error::rule(
            "prepare the runtime",
            format!("it left {threads} threads, and workers are forked from one"),
        )),
    }
}

impl<R: Runtime> Launcher<'_, R> {
    /// Until the controller lets go; workers that it has live on, those of the pool don't.
    fn serve(&mut self) -> Result<(), Errno> {
        loop {
            let idle = self.pool.len() >= self.wanted || self.discouraged;
            let (ordered, ended) = self.look(idle)?;
            if ended {
                self.reap();
            }
            if ordered {
                match self.ways.control.receive()? {
                    Some(message) => self.obey(message)?,
                    None => break,
                }
            } else if !ended && !idle {
                self.answered = false;
                match self.fork_worker() {
                    Ok(forked) => self.pool.push_back(forked),
                    Err(_) => self.discouraged = true,
                }
            }
        }
        for forked in &self.pool {
            let _ = pidfd_send_signal(&forked.pidfd, Signal::KILL);
        }
        Ok(())
    }

    /// Whether there is an order, and whether somebody died; waits for either, and not for long if
    /// there is something else to do.
    fn look(&self, wait: bool) -> Result<(bool, bool), Errno> {
        let mut fds = [
            PollFd::new(&self.ways.control, PollFlags::IN),
            PollFd::new(self.cradle.signals, PollFlags::IN),
        ];
        let pause = if self.answered { &QUIET } else { &NOW };
        match poll(&mut fds, (!wait).then_some(pause)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let [control, signals] = fds.map(|fd| !fd.revents().is_empty());
        Ok((control, signals))
    }

    fn reap(&mut self) {
        while self.cradle.signals.next().is_some() {}
        while let Ok(Some((pid, change))) = process::wait_any(false, false) {
            let Some(death) = Death::of(change) else {
                continue;
            };
            if self.handed.remove(&pid) {
                let report = Report { pid, death };
                let _ = self.ways.reports.send(&report.encode(), &[]);
            } else {
                self.pool.retain(|forked| forked.pid != pid);
                self.discouraged = true;
            }
        }
    }

    fn obey(&mut self, message: Message) -> Result<(), Errno> {
        (self.discouraged, self.answered) = (false, true);
        let forked = match Order::decode(&message.bytes) {
            Ok(Order::Worker) => match self.pool.pop_front() {
                Some(ready) => Ok(ready),
                None => self.fork_worker(),
            },
            Ok(Order::Compile {
                memory,
                output,
                seconds,
            }) => self.fork_compiler(message.fds, memory, output, seconds),
            _ => Err(Error::rule("obey", "the order makes no sense")),
        };
        match forked {
            Ok(forked) => {
                self.handed.insert(forked.pid);
                let fds = [&forked.pidfd, &forked.socket, &forked.stderr].map(AsFd::as_fd);
                let answer = Answer::Handed(forked.pid).encode();
                self.ways.control.send(&answer, &fds)
            }
            Err(error) => self.ways.control.send(&Answer::Failed(error).encode(), &[]),
        }
    }

    fn fork_worker(&self) -> Result<Forked> {
        fork(|ends| worker::live(&self.cradle, ends))
            .map_err(|errno| failed("fork a worker", errno))
    }

    fn fork_compiler(
        &self,
        fds: Vec<OwnedFd>,
        memory: u64,
        output: u64,
        seconds: u64,
    ) -> Result<Forked> {
        let Ok([input, result]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(Error::rule("compile", "the files are missing"));
        };
        let limits = Limits {
            data: memory,
            open_files: 16,
            file_size: output,
            address_space: Some(memory.saturating_add(self.size()?)),
            seconds: Some(seconds),
        };
        let job = Job {
            input,
            output: result,
        };
        fork(|ends| compiler::live(&self.cradle, ends, &job, &limits))
            .map_err(|errno| failed("fork a compiler", errno))
    }

    /// The address space that a child starts with, bytes (/proc/self/statm in proc(5)).
    fn size(&self) -> Result<u64> {
        let fail = |errno| failed("read the launcher's size", errno);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mode = rustix::fs::Mode::empty();
        let statm =
            rustix::fs::openat(&self.ways.kept.proc, "self/statm", flags, mode).map_err(fail)?;
        let mut text = [0; 128];
        let length = rustix::io::read(&statm, &mut text).map_err(fail)?;
        let pages = std::str::from_utf8(&text[..length])
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        pages
            .map(|pages| pages * rustix::param::page_size() as u64)
            .ok_or_else(|| fail(Errno::INVAL))
    }
}
