//! The processes that run, and those that ended a moment ago.

use super::input::Input;
use super::output::Output;
use casemate_proto::connectrpc::ConnectError;
use casemate_proto::oneof::Selector;
use casemate_proto::process::{ProcessConfig, ProcessInfo, ProcessSelector};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

/// Processes at a time.
const RUNNING: usize = 1024;
/// Ended ones that are kept for a late client; more, and the oldest goes early.
const ENDED: usize = 128;
/// Bytes of output that are kept of all that ended.
const OUTPUT: usize = 8 << 20;

/// A process, running or ended.
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) tag: Option<String>,
    pub(super) config: ProcessConfig,
    pub(super) output: Arc<Output>,
    pub(super) input: Input,
    pub(super) pidfd: AsyncFd<OwnedFd>,
    /// Our side of its terminal, if it has one.
    pub(super) terminal: Option<Arc<AsyncFd<OwnedFd>>>,
}

/// All of them, by order of their start.
#[derive(Default)]
pub(super) struct Table {
    state: Mutex<State>,
    lives: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    started: u64,
    running: BTreeMap<u64, Arc<Process>>,
    ended: BTreeMap<u64, Arc<Process>>,
}

impl Table {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the task of a process. It ends with the table.
    pub(super) fn live(&self, life: impl Future<Output = ()> + Send + 'static) {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        while lives.try_join_next().is_some() {}
        lives.spawn(life);
    }

    /// Whether there may be another one.
    pub(super) fn is_full(&self) -> bool {
        self.state().running.len() >= RUNNING
    }

    /// Adds a process; the key is for the other calls.
    pub(super) fn add(&self, process: Arc<Process>) -> u64 {
        let mut state = self.state();
        // A number that is used again is no longer the old one's.
        state.ended.retain(|_, old| old.pid != process.pid);
        state.started += 1;
        let key = state.started;
        state.running.insert(key, process);
        key
    }

    /// It ended.
    pub(super) fn end(&self, key: u64) {
        let mut state = self.state();
        if let Some(process) = state.running.remove(&key) {
            state.ended.insert(key, process);
        }
        while state.ended.len() > ENDED {
            state.ended.pop_first();
        }
        let mut bytes = 0;
        for process in state.ended.values().rev() {
            bytes += process.output.bytes();
            if bytes > OUTPUT {
                process.output.shed();
            }
        }
    }

    /// Nobody can ask for it any more.
    pub(super) fn forget(&self, key: u64) {
        self.state().ended.remove(&key);
    }

    /// What runs, oldest first.
    pub(super) fn list(&self) -> Vec<ProcessInfo> {
        let info = |process: &Arc<Process>| ProcessInfo {
            config: process.config.clone().into(),
            pid: process.pid,
            tag: process.tag.clone(),
            ..ProcessInfo::default()
        };
        self.state().running.values().map(info).collect()
    }

    /// The running process that is meant; the latest of a tag.
    pub(super) fn running(&self, which: &ProcessSelector) -> Result<Arc<Process>, ConnectError> {
        let state = self.state();
        find(&state.running, which)?.ok_or_else(|| unknown(which))
    }

    /// The same, or else one that ended a moment ago.
    pub(super) fn known(&self, which: &ProcessSelector) -> Result<Arc<Process>, ConnectError> {
        let state = self.state();
        match find(&state.running, which)? {
            Some(process) => Ok(process),
            None => find(&state.ended, which)?.ok_or_else(|| unknown(which)),
        }
    }
}

fn find(
    among: &BTreeMap<u64, Arc<Process>>,
    which: &ProcessSelector,
) -> Result<Option<Arc<Process>>, ConnectError> {
    let mut latest = among.values().rev();
    let found = match &which.selector {
        Some(Selector::Pid(pid)) => latest.find(|process| process.pid == *pid),
        Some(Selector::Tag(tag)) => latest.find(|process| process.tag.as_ref() == Some(tag)),
        None => {
            return Err(ConnectError::invalid_argument(
                "no process: neither pid nor tag",
            ));
        }
    };
    Ok(found.cloned())
}

fn unknown(which: &ProcessSelector) -> ConnectError {
    ConnectError::not_found(match &which.selector {
        Some(Selector::Pid(pid)) => format!("process with pid {pid} not found"),
        Some(Selector::Tag(tag)) => format!("process with tag '{tag}' not found"),
        None => "process not found".to_owned(),
    })
}
