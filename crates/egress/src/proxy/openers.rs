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
use casemate_identity::Identity;
use casemate_sys::{Errno, socket};
use rustix::fd::AsFd;
use std::collections::HashMap;
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
    waiting: Mutex<HashMap<Key, Opener>>,
    more: Notify,
}

struct Opener {
    identity: Arc<Identity>,
    cookie: u64,
}

impl Openers {
    pub(super) fn connect(
        &self,
        identity: Arc<Identity>,
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
        let opener = Opener { identity, cookie };
        let mut waiting = self.waiting();
        if waiting.len() >= MOST {
            // A flood of connections that don't arrive; those that do lose their entry, and are
            // refused.
            waiting.clear();
        }
        waiting.insert((from, to), opener);
        drop(waiting);
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
                    Some(opener) if opener.is_of(key, shared) => return opener.identity,
                    Some(_) => {}
                    None => more.await,
                }
            }
        };
        timeout(PATIENCE, found).await.ok()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Opener>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opener {
    fn is_of(&self, (from, to): Key, shared: &Shared) -> bool {
        let diag = shared.diag.lock().unwrap_or_else(PoisonError::into_inner);
        // If the kernel has forgotten it, the program reset it: nothing is lost by refusing it.
        diag.tcp_cookie(from, to) == Ok(Some(self.cookie))
    }
}
