//! What is still to be done about a connection that its program has already.
//!
//! The thread that answers connect(2) shares a processor with the program that waits: whatever it
//! does after the answer, the program waits for, too. So it only says what is to be written down,
//! and a thread of its own does that. To wake one takes a while as well; therefore it looks by
//! itself for as long as more is likely to come, and only then sleeps until it is woken.

use super::decide::Permit;
use super::handed::Connection;
use super::shared::Shared;
use super::spans::{self, Done};
use casemate_identity::Shown;
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Connections that wait to be written down; whoever brings one more than this does it himself.
const MOST: usize = 64;
/// Between two looks, and how many in vain before it sleeps.
const PAUSE: Duration = Duration::from_millis(1);
const LOOKS: u32 = 20;

/// See the module.
#[derive(Default)]
pub(super) struct Afterwards {
    queue: Mutex<Queue>,
    more: Condvar,
    /// Held while something is written down.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Installed>,
    /// There is a thread, and whether it waits to be woken.
    runs: bool,
    sleeps: bool,
    over: bool,
}

/// A connection that a program has.
pub(super) struct Installed {
    pub(super) permit: Permit,
    pub(super) to: SocketAddr,
    /// By what it's found again. None if something is wrong with the socket: then the program can't
    /// use it either.
    pub(super) connection: Option<Connection>,
    /// Milliseconds since 1970.
    pub(super) since: u64,
    pub(super) done: Vec<Done>,
    /// The socket that the program had before: to close the last copy takes a while.
    pub(super) replaced: OwnedFd,
}

impl Afterwards {
    /// Sees to it that it is written down soon. The thread is started for the first one.
    pub(super) fn add(self: &Arc<Self>, installed: Installed, shared: &Arc<Shared>) {
        let mut queue = self.queue();
        queue.waiting.push_back(installed);
        let sleeps = std::mem::take(&mut queue.sleeps);
        let starts = !std::mem::replace(&mut queue.runs, true);
        let full = queue.waiting.len() > MOST || queue.over;
        drop(queue);
        if starts && self.start(Arc::downgrade(shared)).is_err() {
            self.queue().runs = false;
            self.write_down(shared);
        } else if full {
            self.write_down(shared);
        } else if sleeps {
            self.more.notify_one();
        }
    }

    /// The thread ends with what is shared, or when it is [over](Self::finish).
    fn start(self: &Arc<Self>, shared: Weak<Shared>) -> std::io::Result<()> {
        let own = Arc::clone(self);
        thread::Builder::new()
            .name("afterwards".to_owned())
            .stack_size(256 << 10)
            .spawn(move || own.work(&shared))
            .map(drop)
    }

    /// Nothing comes any more; all that came is written down.
    pub(super) fn finish(&self, shared: &Arc<Shared>) {
        self.queue().over = true;
        self.more.notify_one();
        self.write_down(shared);
    }

    fn work(&self, shared: &Weak<Shared>) {
        let mut vain = 0;
        loop {
            if vain >= LOOKS {
                self.sleep();
                vain = 0;
            }
            let Some(shared) = shared.upgrade() else {
                return;
            };
            vain = if self.write_down(&shared) {
                0
            } else {
                vain + 1
            };
            drop(shared);
            if self.queue().over {
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    fn sleep(&self) {
        let mut queue = self.queue();
        while queue.waiting.is_empty() && !queue.over {
            queue.sleeps = true;
            queue = self
                .more
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.sleeps = false;
    }

    /// True if there was something.
    fn write_down(&self, shared: &Arc<Shared>) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut any = false;
        loop {
            let Some(installed) = self.queue().waiting.pop_front() else {
                return any;
            };
            any = true;
            installed.write_down(shared);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Installed {
    fn write_down(self, shared: &Arc<Shared>) {
        let permit = &self.permit;
        if let (Some(fast), Some(connection)) = (&shared.fast, self.connection) {
            fast.handed.add(connection);
            // Another policy may have come before it was there to be seen.
            if permit.under(shared.policy.load_full()).is_none() {
                fast.handed.end_withdrawn(shared);
            }
        }
        drop(self.replaced);
        let binary = Shown(&permit.identity.executable.path).to_string();
        let host = permit.host.to_string();
        shared
            .ledger
            .direct(&binary, &host, permit.port, &permit.entry);
        spans::whole(&shared.phases, &self.done, || {
            shared.journal.direct(permit, self.to, self.since);
        });
    }
}
