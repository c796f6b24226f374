//! Connections that programs have themselves, until the policy no longer allows them.
//!
//! No copy of such a socket is kept: the other side would be told of its end only when the last
//! copy is closed. It's known by its addresses and by its cookie, which no other socket ever has,
//! and ended in one of two ways:
//!
//! - by the kernel (`SOCK_DESTROY`), if this process may do that to the host's network;
//! - by shutdown(2) on a copy of the program's descriptor, taken for that moment. A descriptor
//!   that lies unread in a message between two of the sandbox's processes isn't found like that, so
//!   the search goes on until the connection is found or has ended.

use super::accept::refuse;
use super::decide::Permit;
use super::shared::Shared;
use casemate_sys::Errno;
use casemate_sys::inetdiag::InetDiag;
use casemate_sys::owners::Processes;
use casemate_sys::socket::cookie;
use rustix::fd::AsFd;
use rustix::fs::fstat;
use rustix::net::getsockname;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Connections at one time; those after them are relayed.
const MOST: usize = 4096;
/// So many more, at least, before it's asked which of them have ended.
const SOME: usize = 64;
/// Processes of a sandbox, and descriptors of all of them, that are looked at.
const MOST_PROCESSES: usize = 100_000;
const MOST_DESCRIPTORS: usize = 4_000_000;
/// Between two searches for the same connection, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// See the module.
pub(super) struct Handed {
    /// Asks the network of the host.
    diag: InetDiag,
    processes: Processes,
    init: i32,
    open: Mutex<Open>,
}

struct Open {
    connections: Vec<Connection>,
    /// When there are so many, it's asked which have ended.
    enough: usize,
    /// When that was done last.
    asked: Option<Instant>,
}

pub(super) struct Connection {
    permit: Permit,
    local: SocketAddr,
    remote: SocketAddr,
    cookie: u64,
    inode: u64,
}

impl Handed {
    /// Of the sandbox of this init.
    pub(super) fn new(init: i32) -> Result<Self, Errno> {
        let open = Open {
            connections: Vec::new(),
            enough: SOME,
            asked: None,
        };
        Ok(Self {
            diag: InetDiag::open()?,
            processes: Processes::own()?,
            init,
            open: Mutex::new(open),
        })
    }

    pub(super) fn has_room(&self) -> bool {
        let mut open = self.open();
        if open.connections.len() >= MOST && open.asked.is_none_or(|at| at.elapsed() > PAUSES.1) {
            self.forget_ended(&mut open);
        }
        open.connections.len() < MOST
    }

    /// How many there are; exactly, if that is more than a few less than this.
    pub(super) fn count(&self, room: usize) -> usize {
        let mut open = self.open();
        if open.connections.len() >= room && open.asked.is_none_or(|at| at.elapsed() > PAUSES.0) {
            self.forget_ended(&mut open);
        }
        open.connections.len()
    }

    fn forget_ended(&self, open: &mut Open) {
        open.connections.retain(|own| self.is_open(own));
        open.enough = (2 * open.connections.len()).clamp(SOME, MOST);
        open.asked = Some(Instant::now());
    }

    /// Remembers a connection that a program has now.
    pub(super) fn add(&self, connection: Connection) {
        let mut open = self.open();
        if open.connections.len() >= open.enough {
            self.forget_ended(&mut open);
        }
        open.connections.push(connection);
    }

    /// Ends the connections that the policy in force doesn't allow.
    pub(super) fn end_withdrawn(&self, shared: &Arc<Shared>) {
        let policy = shared.policy.load_full();
        let gone = |own: &mut Connection| own.permit.under(Arc::clone(&policy)).is_none();
        let withdrawn: Vec<_> = self.open().connections.extract_if(.., gone).collect();
        let open = withdrawn.into_iter().filter(|own| self.is_open(own));
        let open = open.inspect(|own| own.write_down(shared)).collect();
        let left = self.end(open);
        if left.is_empty() {
            return;
        }
        let shared = Arc::downgrade(shared);
        // A machine without a thread for this has none for the program either.
        let _ = thread::Builder::new()
            .name("withdraw".to_owned())
            .stack_size(256 << 10)
            .spawn(move || search_on(&shared, left));
    }

    /// Ends what it can; the others.
    fn end(&self, connections: Vec<Connection>) -> Vec<Connection> {
        let ended = |own: &Connection| {
            let ended = self.diag.destroy(own.local, own.remote, own.cookie);
            matches!(ended, Ok(()) | Err(Errno::NOENT))
        };
        let mut left: Vec<_> = connections.into_iter().filter(|own| !ended(own)).collect();
        left.retain(|own| self.is_open(own));
        if left.is_empty() {
            return left;
        }
        // An incomplete search is repeated, like one in vain.
        if let Ok(mut pids) = self.processes.below(self.init, MOST_PROCESSES) {
            // Init has none, and an ordinary user may not look into it.
            pids.retain(|pid| *pid != self.init);
            let wanted = |inode| left.iter().any(|own| own.inode == inode);
            let (shut, _) = self.processes.shut_down(&pids, wanted, MOST_DESCRIPTORS);
            left.retain(|own| !shut.contains(&own.inode));
        }
        left
    }

    fn is_open(&self, own: &Connection) -> bool {
        let found = self.diag.tcp(own.local, own.remote);
        // Where the kernel doesn't answer, it's not known to have ended.
        found.map_or(true, |found| {
            found.is_some_and(|found| found.cookie == own.cookie)
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn search_on(shared: &Weak<Shared>, mut left: Vec<Connection>) {
    let mut pause = PAUSES.0;
    while !left.is_empty() {
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let Some(fast) = &shared.fast else { return };
        left = fast.handed.end(left);
    }
}

impl Connection {
    /// What a socket is known by.
    pub(super) fn of(
        permit: &Permit,
        socket: impl AsFd,
        remote: SocketAddr,
    ) -> Result<Self, Errno> {
        Ok(Self {
            permit: permit.clone(),
            local: getsockname(&socket)?.try_into()?,
            remote,
            cookie: cookie(&socket)?,
            inode: fstat(&socket)?.st_ino,
        })
    }

    fn write_down(&self, shared: &Shared) {
        let permit = &self.permit;
        let to = (&*permit.host.to_string(), permit.port);
        let why = "the policy no longer allows it";
        refuse(shared, &permit.identity, to, "policy", why);
    }
}
