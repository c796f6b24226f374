//! The gate: where the wall hands connections to whoever decides on them.
//!
//! With [`Network::Policy`](casemate_core::spec::Network::Policy) nothing leads out of the
//! sandbox's network namespace; every connection and every DNS query arrives at sockets that init
//! makes there, the [`Doors`]. The supervisor passes them on when the sandbox is up, and each
//! connect(2) of a program, as an [`Attempt`] that waits for its answer. The wall itself decides
//! nothing here.

use casemate_core::error::Result;
use casemate_core::report::Connection;
use casemate_sys::Errno;
use casemate_sys::fence::listen::Family;
use casemate_sys::net::{Address, connect};
use casemate_sys::seccomp::Listener;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::read;
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

    /// The program has ended; what it connected to.
    fn close(&mut self) -> Vec<Connection>;
}

/// A connect(2) on a TCP socket to an address that isn't loopback. Dropped, it is refused.
pub struct Attempt {
    listener: Arc<Listener>,
    id: Option<u64>,
    /// The thread that makes the call, by its id on the host. It is that thread's as long as
    /// [`Attempt::is_waiting`].
    pub thread: u32,
    /// The program's own socket.
    pub socket: OwnedFd,
    /// Its number in the program.
    pub number: i32,
    /// Where to.
    pub address: SocketAddr,
    raw: Address,
    /// Whether the call returns at once.
    pub nonblocking: bool,
}

impl Attempt {
    pub(crate) fn new(
        listener: Arc<Listener>,
        id: u64,
        thread: u32,
        (socket, number): (OwnedFd, i32),
        (address, raw): (SocketAddr, Address),
    ) -> Self {
        let nonblocking =
            rustix::fs::fcntl_getfl(&socket).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
        Self {
            listener,
            id: Some(id),
            thread,
            socket,
            number,
            address,
            raw,
            nonblocking,
        }
    }

    /// True as long as the very thread that called waits.
    pub fn is_waiting(&self) -> bool {
        self.id.is_some_and(|id| self.listener.is_valid(id))
    }

    /// Connects the program's own socket, which leads to the [`Doors`], as the call would have.
    /// It may wait if the socket is a blocking one. The result is still to be
    /// [answered](Attempt::answer).
    pub fn connect(&self) -> std::result::Result<(), Errno> {
        connect(&self.socket, &self.raw)
    }

    /// Ends the call with a result.
    pub fn answer(mut self, result: std::result::Result<(), Errno>) {
        if let Some(id) = self.id.take() {
            self.listener.answer(id, result.map(|()| 0));
        }
    }

    /// Puts a connected socket in the place of the program's own, and ends the call. The
    /// supervisor refuses every later connect(2) on it.
    ///
    /// # Errors
    /// The socket can't be put there; the attempt is refused.
    pub fn install(mut self, connected: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
        let Some(id) = self.id else {
            return Err(Errno::NOENT);
        };
        let close_on_exec = closes_on_exec(self.thread, self.number)?;
        self.listener
            .install(id, connected, self.number, close_on_exec)?;
        self.id = None;
        self.listener.answer(id, Ok(0));
        Ok(())
    }
}

/// What a thread's descriptor says of execve(2): `flags` in its fdinfo (proc(5)), in octal.
fn closes_on_exec(thread: u32, number: i32) -> std::result::Result<bool, Errno> {
    let file = open(
        format!("/proc/{thread}/fdinfo/{number}"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // It is among the first lines, which come at once.
    let mut text = [0; 256];
    let length = read(&file, &mut text)?;
    let text = std::str::from_utf8(&text[..length]).map_err(|_| Errno::BADF)?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    let flags = OFlags::from_bits_retain(flags.ok_or(Errno::BADF)?);
    Ok(flags.contains(OFlags::CLOEXEC))
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.listener.answer(id, Err(Errno::CONNREFUSED));
        }
    }
}
