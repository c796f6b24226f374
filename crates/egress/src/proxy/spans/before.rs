//! What is done for a connection before there is one: its program is identified while it waits in
//! connect(2), by threads that serve many.

use super::super::phases::Phase;
use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A part that has ended.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct Done {
    pub(super) name: &'static str,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Done {
    /// A phase that ended now. None for parts and sums of the others.
    pub(super) fn now(phase: Phase, time: Duration) -> Option<Self> {
        let name = match phase {
            Phase::PeerIdentity => "identify",
            Phase::Hashing => "hash",
            Phase::PolicyEvaluation => "decide",
            Phase::Dns => "dns",
            Phase::Connect => "dial",
            Phase::Tls => "tls",
            Phase::SocketToPid
            | Phase::VerifyOrCache
            | Phase::EvaluationTotal
            | Phase::Heartbeat => return None,
        };
        let end = now();
        Some(Self {
            name,
            start: end.saturating_sub(time.as_nanos() as u64),
            end,
        })
    }
}

pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos() as u64
}

thread_local! {
    static COLLECTED: RefCell<Option<Vec<Done>>> = const { RefCell::new(None) };
}

/// Runs something on this thread; with the parts that ended meanwhile.
pub(in crate::proxy) fn collected<T>(work: impl FnOnce() -> T) -> (T, Vec<Done>) {
    COLLECTED.set(Some(Vec::new()));
    let result = work();
    (result, COLLECTED.take().unwrap_or_default())
}

/// Keeps it, if this thread collects.
pub(super) fn keep(done: &Done) -> bool {
    COLLECTED.with_borrow_mut(|collected| match collected {
        Some(collected) => {
            collected.push(done.clone());
            true
        }
        None => false,
    })
}
