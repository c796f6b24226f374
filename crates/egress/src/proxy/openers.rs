//! Who opened the connections that are about to arrive.
//!
//! A connection is named by its two addresses, which no other one has at the same time. The
//! program's address is chosen by the kernel while it connects, so the entry is made just after,
//! and the listener may be faster: it waits a little. An entry that was made for a connection
//! that never arrived must not be taken for a later one with the same addresses, whose own entry
//! is still to come, so the socket's cookie is compared, too. Even a connection that its program
//! saw established may not arrive: where the listener's queue is full, the kernel drops the
//! program's last word of the handshake.

use super::shared::Shared;
use super::spans::{self, Done};
use casemate_identity::Identity;
use casemate_sys::{Errno, socket};
use rustix::fd::AsFd;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Entries that wait for their connection.
const MOST: usize = 8192;
/// How long a connection waits for its entry: the time between two lines of a thread that may be
/// put to sleep there.
const PATIENCE: Duration = Duration::from_secs(2);

type Key = (SocketAddr, SocketAddr);

/// See the module.
#[derive(Default)]
pub(super) struct Openers {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    openers: HashMap<Key, Opener>,
    /// In the order in which they came.
    turns: BTreeMap<u64, Key>,
    next: u64,
}

struct Opener {
    identity: Arc<Identity>,
    cookie: u64,
    /// What was done for the connection already.
    done: Vec<Done>,
    turn: u64,
}

impl Openers {
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

    /// The opener of a connection that arrived. None if nobody that waited in connect(2) opened
    /// it.
    pub(super) async fn take(&self, key: Key, shared: &Shared) -> Option<Arc<Identity>> {
        let found = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                let taken = self.waiting().remove(&key);
                match taken {
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

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
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
    fn is_of(&self, (from, to): Key, shared: &Shared) -> bool {
        let diag = shared.diag.lock().unwrap_or_else(PoisonError::into_inner);
        // If the kernel has forgotten it, the program reset it: nothing is lost by refusing it.
        diag.tcp_cookie(from, to) == Ok(Some(self.cookie))
    }
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

    #[test]
    fn a_flood_drops_those_that_waited_longest_and_no_others() {
        let identity = Arc::new(Identity {
            pid: 1,
            executable: Executable {
                path: b"/usr/bin/curl".as_slice().into(),
                digest: Digest([0; 32]),
                deleted: false,
            },
            ancestors: Box::default(),
            script: None,
            argv: Default::default(),
        });
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
