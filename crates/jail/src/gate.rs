//! The gate: where the wall hands connections to whoever decides on them.
//!
//! With [`Network::Policy`](casemate_core::spec::Network::Policy) nothing leads out of the
//! sandbox's network namespace; every connection and every DNS query arrives at sockets that init
//! makes there, the [`Doors`]. The supervisor passes them on when the sandbox is up, and each
//! connect(2) of a program, as an [`Attempt`] that waits for its answer. The wall itself decides
//! nothing here.

use crate::callers::Callers;
use casemate_core::error::Result;
use casemate_core::report::Connection;
use casemate_sys::Errno;
use casemate_sys::fence::listen::Family;
use casemate_sys::net::{Address, connect};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use std::net::SocketAddr;
use std::sync::Arc;

/// The port of the listeners: one that no program inside may take.
pub const PORT: u16 = 1;

/// The sockets of a fenced namespace.
pub struct Doors {
    /// By IP version: IPv4, and IPv6 if the kernel has it.
    pub families: Vec<Door>,
    /// A sock_diag socket of the namespace.
    pub diag: OwnedFd,
    /// The sandbox's init, by its id on the host.
    pub init: i32,
}

/// The sockets of one IP version.
pub struct Door {
    /// Which.
    pub family: Family,
    /// Gets every TCP connection.
    pub connections: OwnedFd,
    /// Gets every DNS query over TCP.
    pub dns_streams: OwnedFd,
    /// Gets every DNS query over UDP.
    pub dns: OwnedFd,
    /// A TCP socket as a program gets it, on which nothing was set.
    pub fresh: OwnedFd,
}

/// Whoever decides on connections.
pub trait Gate {
    /// Whether it may [`install`](Attempt::install) sockets of the host's network. The system
    /// calls that would show that network, or leave the connection that was allowed, are refused
    /// then.
    fn lends(&self) -> bool;

    /// The sandbox is up and its program is about to start.
    fn open(&mut self, doors: Doors) -> Result<()>;

    /// A thread inside wants a connection, and waits. Must not block.
    fn attempt(&mut self, attempt: Attempt);

    /// A program inside is about to do something that tells sockets apart. Told only to a gate
    /// that lends. Must not block.
    fn note(&mut self, rare: Rare);

    /// The program has ended; what it connected to.
    fn close(&mut self) -> Vec<Connection>;
}

/// What few programs do, and what is to be known of a program before its socket is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rare {
    /// It sets an option of some socket (setsockopt(2)), by level and name: one that isn't common.
    Option(i32, i32),
    /// It makes an epoll instance.
    Epoll,
}

/// A connect(2) on a TCP socket to an address that isn't loopback. Dropped, it is refused.
pub struct Attempt {
    call: Call,
    /// The thread that makes the call, by its id on the host. It is that thread's as long as
    /// [`Attempt::is_waiting`].
    pub thread: u32,
    /// The program's own socket.
    pub socket: OwnedFd,
    /// Its number in the program.
    pub number: i32,
    /// The network namespace that it belongs to (`SO_NETNS_COOKIE`), if the gate lends.
    pub network: Option<u64>,
    /// Where to.
    pub address: SocketAddr,
    raw: Address,
    /// Whether the call returns at once.
    pub nonblocking: bool,
}

/// Waits for its answer; dropped without one, it is refused.
struct Call {
    callers: Arc<Callers>,
    id: Option<u64>,
}

impl Call {
    fn answer(&mut self, result: std::result::Result<(), Errno>) {
        if let Some(id) = self.id.take() {
            self.callers.listener().answer(id, result.map(|()| 0));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.answer(Err(Errno::CONNREFUSED));
    }
}

impl Attempt {
    pub(crate) fn new(
        callers: Arc<Callers>,
        (id, thread): (u64, u32),
        (socket, number, network): (OwnedFd, i32, Option<u64>),
        (address, raw): (SocketAddr, Address),
    ) -> Self {
        let nonblocking =
            rustix::fs::fcntl_getfl(&socket).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
        let id = Some(id);
        Self {
            call: Call { callers, id },
            thread,
            socket,
            number,
            network,
            address,
            raw,
            nonblocking,
        }
    }

    /// True as long as the very thread that called waits.
    pub fn is_waiting(&self) -> bool {
        let listener = self.call.callers.listener();
        self.call.id.is_some_and(|id| listener.is_valid(id))
    }

    /// Connects the program's own socket, which leads to the [`Doors`], as the call would have.
    /// It may wait if the socket is a blocking one. The result is still to be
    /// [answered](Attempt::answer).
    pub fn connect(&self) -> std::result::Result<(), Errno> {
        connect(&self.socket, &self.raw)
    }

    /// Ends the call with a result.
    pub fn answer(mut self, result: std::result::Result<(), Errno>) {
        self.call.answer(result);
    }

    /// Puts a connected socket in the place of the program's own, and ends the call. The
    /// supervisor refuses every later connect(2) on it. What comes back is the program's own
    /// socket, for whoever has the time to close it.
    ///
    /// # Errors
    /// The socket can't be put there; the attempt is refused.
    pub fn install(mut self, connected: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
        let (callers, number) = (&self.call.callers, self.number);
        let id = self.call.id.ok_or(Errno::NOENT)?;
        let close_on_exec = callers.closes_on_exec(self.thread, number)?;
        callers
            .listener()
            .install(id, connected, number, close_on_exec)?;
        self.call.answer(Ok(()));
        Ok(self.socket)
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
