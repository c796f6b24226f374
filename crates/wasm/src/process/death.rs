//! How a process ended, and what it did last.

use casemate_sys::process::Change;
use std::collections::VecDeque;
use std::fmt;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it (signal(7)).
    Killed(i32),
    /// Its keeper died, and it with it.
    WithKeeper,
}

impl Death {
    /// From what wait(2) says; `None` if the process only stopped.
    pub(super) fn of(change: Change) -> Option<Self> {
        match change {
            Change::Exited(status) => Some(Self::Exited(status)),
            Change::Signaled(signal) => Some(Self::Killed(signal)),
            Change::Stopped(_) => None,
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "it exited with status {status}"),
            Self::Killed(signal) => write!(f, "signal {signal} ended it"),
            Self::WithKeeper => write!(f, "it died with its keeper"),
        }
    }
}

/// How many requests are remembered of a worker.
pub const REMEMBERED: usize = 20;

/// The longest text of one, bytes.
const LONGEST: usize = 160;

/// What a worker was asked last.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<String>);

impl History {
    pub(super) fn note(&mut self, request: &str) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0
            .push_back(request[..request.floor_char_boundary(LONGEST)].to_owned());
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

/// What is told of a dead worker or compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obituary {
    /// Its process id, as this process saw it, if it lived long enough.
    pub pid: Option<i32>,
    /// How it died, if it has, and somebody knows.
    pub death: Option<Death>,
    /// Its last requests, oldest first; at most [`REMEMBERED`].
    pub requests: Vec<String>,
    /// The first of what it wrote to standard error. It is the worker's text, escaped here.
    pub stderr: String,
}

impl fmt::Display for Obituary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}: ")?,
            None => write!(f, "a process that was gone at once: ")?,
        }
        match self.death {
            Some(death) => write!(f, "{death}")?,
            None => write!(f, "how it ended isn't known")?,
        }
        for request in &self.requests {
            write!(f, "\n  was asked: {request}")?;
        }
        for line in self.stderr.lines() {
            write!(f, "\n  it said: {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_twenty_requests_are_kept_short() {
        let mut history = History::default();
        for number in 0..25 {
            history.note(&format!("call {number} {}", "ä".repeat(LONGEST)));
        }
        let requests = history.requests();
        assert_eq!(requests.len(), REMEMBERED);
        assert!(requests[0].starts_with("call 5 "));
        assert!(requests.iter().all(|request| request.len() <= LONGEST));
    }
}
