//! The children of process 1: the agent, and every process that lost its parent.

use super::{Settings, power};
use crate::FORGET;
use crate::{Error, Result};
use casemate_sys::process::wait_any;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, kill_process};
use std::convert::Infallible;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An agent that ends sooner than this is started again after this at the earliest.
const SHORT: Duration = Duration::from_secs(1);
/// Agents in a row that ended so soon: the machine is of no use then.
const TRIES: u32 = 20;

/// The agent, as process 1 knows it.
pub(super) struct Children {
    settings: Settings,
    /// Where it listens; a connection that comes while there is no agent waits for the next one.
    socket: OwnedFd,
    starts: AtomicU64,
    /// The agent's id, or 0.
    agent: AtomicI32,
}

impl Children {
    pub(super) fn new(settings: Settings, socket: OwnedFd) -> Self {
        Self {
            settings,
            socket,
            starts: AtomicU64::new(0),
            agent: AtomicI32::new(0),
        }
    }

    /// Has the agent forget who may use it. One that is about to be started knows nobody anyway.
    pub(super) fn release(&self) -> Result<()> {
        let agent = Pid::from_raw(self.agent.load(Ordering::Relaxed));
        let Some(agent) = agent else {
            return Ok(());
        };
        match kill_process(agent, FORGET) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::errno("tell the agent", errno.raw_os_error())),
        }
    }

    /// How often the agent has been started.
    pub(super) fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.settings.program);
        command.args(&self.settings.arguments);
        command.args(["--listener-fd", &self.socket.as_raw_fd().to_string()]);
        command.arg("--forgetful");
        command.args(&self.settings.agent);
        command.env_clear().env("PATH", PATH).stdin(Stdio::null());
        command
    }

    /// The id of a new agent.
    fn start(&self) -> Result<i32> {
        // Waited for with all the others.
        #[allow(clippy::zombie_processes)]
        let agent = self
            .command()
            .spawn()
            .map_err(|e| Error::io("start the agent", &e).on(self.settings.program.display()))?;
        self.starts.fetch_add(1, Ordering::Relaxed);
        Ok(agent.id().cast_signed())
    }

    /// Never ends unless the agent can't be kept.
    fn attend(&self) -> Result<Infallible> {
        let mut failures = 0;
        loop {
            let begin = Instant::now();
            let how = self.one()?;
            while power::is_ending() {
                std::thread::park();
            }
            power::say(&how);
            failures = match begin.elapsed() < SHORT {
                true => failures + 1,
                false => 0,
            };
            if failures >= TRIES {
                let why = format!("it ended {TRIES} times in a row as soon as it was started");
                return Err(Error::rule("keep the agent", why));
            }
            std::thread::sleep(SHORT.saturating_sub(begin.elapsed()));
        }
    }

    /// One agent, from its start to its end. That there can be none now is nothing to give up for:
    /// somebody inside may have made as many processes as there can be.
    fn one(&self) -> Result<String> {
        match self.start() {
            Ok(agent) => {
                self.agent.store(agent, Ordering::Relaxed);
                let how = reap_until(agent);
                self.agent.store(0, Ordering::Relaxed);
                Ok(format!("the agent has ended: {}", how?))
            }
            Err(error) => Ok(error.to_string()),
        }
    }
}

/// As login(1) would set it for root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Waits for every child until this one has ended, and says how it did.
fn reap_until(child: i32) -> Result<String> {
    loop {
        match wait_any(true, false) {
            Ok(Some((pid, change))) if pid == child => return Ok(format!("{change:?}")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::errno("wait for children", errno.raw_os_error())),
        }
    }
}

/// Keeps the agent and reaps orphans, in a thread of its own.
pub(super) fn keep(children: &Arc<Children>) -> Result<()> {
    let children = Arc::clone(children);
    let thread = std::thread::Builder::new().name("children".to_owned());
    let started = thread.spawn(move || {
        let Err(error) = children.attend();
        power::say(&error.to_string());
        power::off()
    });
    started
        .map(drop)
        .map_err(|e| Error::io("start a thread", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_reaped_on_the_way_to_the_one() {
        // Each test is a process of its own where all children are the test's; where it is not,
        // the two below are still the only ones that end.
        let start = |script: &str| {
            let mut shell = Command::new("sh");
            #[allow(clippy::zombie_processes)]
            let child = shell.args(["-c", script]).spawn().unwrap();
            child.id().cast_signed()
        };
        let other = start("exit 3");
        let one = start("sleep 0.1; exit 4");
        assert_eq!(reap_until(one).unwrap(), "Exited(4)");
        assert_eq!(
            wait_any(false, false),
            Err(Errno::CHILD),
            "{other} is gone too"
        );
    }

    #[test]
    fn an_agent_that_cant_be_started_is_no_reason_to_give_up() {
        let settings = Settings {
            program: "/none".into(),
            arguments: Vec::new(),
            agent: Vec::new(),
        };
        let children = Children::new(settings, std::fs::File::open("/dev/null").unwrap().into());
        let why = children.one().unwrap();
        assert!(
            why.starts_with("start the agent /none: No such file"),
            "{why}"
        );
        assert_eq!(children.starts(), 0);
    }

    #[test]
    fn the_agent_is_told_its_listener_and_what_else_was_said() {
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            None,
        );
        let socket = socket.unwrap();
        let number = socket.as_raw_fd().to_string();
        let settings = Settings {
            program: "/proc/self/exe".into(),
            arguments: vec!["agent".to_owned()],
            agent: vec!["--user".to_owned(), "root".to_owned()],
        };
        let command = Children::new(settings, socket).command();
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(
            arguments,
            [
                "agent",
                "--listener-fd",
                &number,
                "--forgetful",
                "--user",
                "root"
            ]
        );
    }
}
