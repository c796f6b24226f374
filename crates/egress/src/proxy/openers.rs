//! Who opened the connections that are about to arrive.
//!
//! A connection is named by its two addresses, which no other one has at the same time. The
//! program's address is chosen by the kernel while it connects, so the entry is made just after,
//! and the listener may be faster: it waits a little. An entry that was made for a connection
//! that never arrived must not be taken for a later one with the same addresses, whose own entry
//! is still to come, so the socket's cookie is compared, too. Even a connection that its program
//! saw established may not arrive: where the listener's queue is full, the kernel drops the
//! program's last word of the handshake, and the program waits for seconds until it's said again.
//!
//! A program can connect faster than connections are served, so while enough of them wait to be
//! taken, the next ones wait in connect(2). That isn't for ever: those that wait may be of another
//! program, which has all places, or have ended on their way, which has to be asked of the kernel.

use super::shared::Shared;
use super::spans::{self, Done};
use casemate_identity::Identity;
use casemate_sys::{Errno, socket};
use rustix::fd::AsFd;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Entries that wait for their connection.
const MOST: usize = 8192;
/// Entries with which the next connection waits; far fewer than the listener's queue has room for.
const ENOUGH: usize = 64;
/// How long it waits.
const HOLD: Duration = Duration::from_millis(50);
/// Between two times that the kernel is asked which of them have ended.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a connection waits for its entry: the time between two lines of a thread that may be
/// put to sleep there.
const PATIENCE: Duration = Duration::from_secs(2);

type Key = (SocketAddr, SocketAddr);

/// See the module.
#[derive(Default)]
pub(super) struct Openers {
    waiting: Mutex<Waiting>,
    more: Notify,
    fewer: Condvar,
}

#[derive(Default)]
struct Waiting {
    openers: HashMap<Key, Opener>,
    /// In the order in which they came.
    turns: BTreeMap<u64, Key>,
    next: u64,
    /// Threads that wait for fewer.
    held: usize,
    /// When the kernel was asked last.
    asked: Option<Instant>,
}

struct Opener {
    identity: Arc<Identity>,
    cookie: u64,
    /// What was done for the connection already.
    done: Vec<Done>,
    turn: u64,
}

impl Openers {
    /// False if the next connection had better be [held back](Self::hold_back).
    pub(super) fn are_few(&self) -> bool {
        self.waiting().are_few()
    }

    pub(super) fn connect(
        &self,
        (identity, done): (Arc<Identity>, Vec<Done>),
        socket: impl AsFd,
        to: SocketAddr,
        connect: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let cookie = socket::cookie(&socket)?;
        let result = connect();
        if !matches!(result, Ok(()) | Err(Errno::INPROGRESS)) {
            return result;
        }
        let from = casemate_sys::fence::listen::destination(&socket)?;
        self.waiting().insert((from, to), (identity, cookie, done));
        self.more.notify_waiters();
        result
    }

    /// Waits until there are few, or for long enough.
    pub(super) fn hold_back(&self, shared: &Shared) {
        if !self.wait(HOLD) {
            let is_over = |key, own| cookie(key, shared).is_ok_and(|found| found != Some(own));
            self.forget_if(is_over);
        }
    }

    /// False if there still are many.
    fn wait(&self, most: Duration) -> bool {
        let mut waiting = self.waiting();
        if waiting.are_few() {
            return true;
        }
        waiting.held += 1;
        let many = |waiting: &mut Waiting| !waiting.are_few();
        let held = self.fewer.wait_timeout_while(waiting, most, many);
        let (mut waiting, held) = held.unwrap_or_else(PoisonError::into_inner);
        waiting.held -= 1;
        !held.timed_out()
    }

    /// Drops the entries of connections that are over, by their addresses and cookie; but not if
    /// that was done just now.
    fn forget_if(&self, is_over: impl Fn(Key, u64) -> bool) {
        let mut waiting = self.waiting();
        if waiting.asked.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        waiting.asked = Some(Instant::now());
        let openers = waiting.openers.iter().map(|(key, own)| (*key, own.cookie));
        let openers: Vec<_> = openers.collect();
        drop(waiting);
        for (key, own) in openers {
            if is_over(key, own) {
                self.remove_if(&key, |opener| opener.cookie == own);
            }
        }
    }

    /// The opener of a connection that arrived. None if nobody that waited in connect(2) opened
    /// it.
    pub(super) async fn take(&self, key: Key, shared: &Shared) -> Option<Arc<Identity>> {
        let found = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                match self.remove_if(&key, |_| true) {
                    Some(opener) if opener.is_of(key, shared) => {
                        spans::earlier(&opener.done);
                        return opener.identity;
                    }
                    Some(_) => {}
                    None => more.await,
                }
            }
        };
        timeout(PATIENCE, found).await.ok()
    }

    fn remove_if(&self, key: &Key, wanted: impl Fn(&Opener) -> bool) -> Option<Opener> {
        let mut waiting = self.waiting();
        waiting.openers.get(key).filter(|opener| wanted(opener))?;
        let opener = waiting.remove(key)?;
        // Not for those who wait for nothing: it's a system call.
        if waiting.held > 0 && waiting.are_few() {
            self.fewer.notify_one();
        }
        Some(opener)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn are_few(&self) -> bool {
        self.openers.len() < ENOUGH
    }

    /// In a flood of connections that don't arrive, the one that has waited longest loses its
    /// entry; should it arrive after all, nobody is known to have opened it, and it's refused.
    fn insert(&mut self, key: Key, (identity, cookie, done): (Arc<Identity>, u64, Vec<Done>)) {
        self.remove(&key);
        if self.openers.len() >= MOST
            && let Some((_, oldest)) = self.turns.pop_first()
        {
            self.openers.remove(&oldest);
        }
        let turn = self.next;
        self.next += 1;
        self.turns.insert(turn, key);
        let opener = Opener {
            identity,
            cookie,
            done,
            turn,
        };
        self.openers.insert(key, opener);
    }

    fn remove(&mut self, key: &Key) -> Option<Opener> {
        let opener = self.openers.remove(key)?;
        self.turns.remove(&opener.turn);
        Some(opener)
    }
}

impl Opener {
    fn is_of(&self, key: Key, shared: &Shared) -> bool {
        // If the kernel has forgotten it, the program reset it: nothing is lost by refusing it.
        cookie(key, shared) == Ok(Some(self.cookie))
    }
}

/// The cookie of the socket that has these addresses now.
fn cookie((from, to): Key, shared: &Shared) -> Result<Option<u64>, Errno> {
    let diag = shared.diag.lock().unwrap_or_else(PoisonError::into_inner);
    diag.tcp_cookie(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_identity::Executable;
    use casemate_identity::digest::Digest;

    fn key(number: u32) -> Key {
        let from = SocketAddr::from((number.to_be_bytes(), 1));
        (from, SocketAddr::from(([192, 0, 2, 1], 443)))
    }

    fn identity() -> Arc<Identity> {
        Arc::new(Identity {
            pid: 1,
            executable: Executable {
                path: b"/usr/bin/curl".as_slice().into(),
                digest: Digest([0; 32]),
                deleted: false,
            },
            ancestors: Box::default(),
            script: None,
            argv: Default::default(),
        })
    }

    fn with(count: usize) -> Openers {
        let (openers, identity) = (Openers::default(), identity());
        for number in 0..count as u32 {
            let opener = (Arc::clone(&identity), number.into(), Vec::new());
            openers.waiting().insert(key(number), opener);
        }
        openers
    }

    #[test]
    fn with_enough_the_next_one_waits_until_one_is_taken() {
        let long = Duration::from_secs(3600);
        assert!(with(ENOUGH - 1).wait(long));
        let openers = with(ENOUGH + 1);
        assert!(!openers.are_few());
        assert!(!openers.wait(Duration::ZERO));
        std::thread::scope(|scope| {
            let held = scope.spawn(|| openers.wait(long));
            while openers.waiting().held == 0 {
                std::thread::yield_now();
            }
            for number in 0..2 {
                assert!(!openers.are_few());
                assert!(openers.remove_if(&key(number), |_| true).is_some());
            }
            assert!(held.join().unwrap());
        });
        assert_eq!(openers.waiting().held, 0);
    }

    #[test]
    fn those_that_ended_on_their_way_are_forgotten() {
        let openers = with(ENOUGH);
        // Another one has the addresses by the time that the kernel has answered.
        let is_over = |own: Key, cookie: u64| {
            if cookie == 7 {
                openers
                    .waiting()
                    .insert(own, (identity(), 1007, Vec::new()));
            }
            cookie < 10
        };
        openers.forget_if(is_over);
        let waiting = openers.waiting();
        assert_eq!(waiting.openers.len(), ENOUGH - 9);
        assert_eq!(waiting.turns.len(), waiting.openers.len());
        assert_eq!(waiting.openers[&key(7)].cookie, 1007);
    }

    #[test]
    fn a_flood_drops_those_that_waited_longest_and_no_others() {
        let identity = identity();
        let mut waiting = Waiting::default();
        let opener = |cookie| (Arc::clone(&identity), cookie, Vec::new());
        for number in 0..MOST as u32 {
            waiting.insert(key(number), opener(1));
        }
        // One that arrived, and one whose addresses are another's now, make no room to waste.
        assert!(waiting.remove(&key(0)).is_some());
        waiting.insert(key(1), opener(2));
        waiting.insert(key(MOST as u32), opener(1));
        assert_eq!(waiting.openers.len(), MOST);
        for number in 1..=10 {
            waiting.insert(key(MOST as u32 + number), opener(1));
        }
        assert_eq!(waiting.openers.len(), MOST);
        assert_eq!(waiting.turns.len(), MOST);
        for gone in 2..12 {
            assert!(waiting.remove(&key(gone)).is_none(), "{gone}");
        }
        for kept in [1, 12, MOST as u32, MOST as u32 + 10] {
            assert!(waiting.remove(&key(kept)).is_some(), "{kept}");
        }
    }
}
