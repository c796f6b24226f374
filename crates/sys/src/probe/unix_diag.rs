//! Asking the kernel about one Unix socket by its inode. `sock_diag(7)`.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, netlink, socket_with,
};

use super::{Attempt, child};
use crate::netlink::{Message, ask};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `UDIAG_SHOW_NAME` of linux/unix_diag.h.
const SHOW_NAME: u32 = 1;

/// Binds a Unix socket in a child and finds it, with its name, by its inode.
pub fn probe() -> Attempt {
    let steps = child::attempt::<1>(child::LIMIT, |slots| {
        slots.note(0, bound().and_then(|socket| find(&socket)));
    });
    steps.at(0)
}

/// A socket with an abstract name that the kernel chose; it goes with the socket.
fn bound() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new_unnamed())?;
    Ok(socket)
}

fn find(socket: &OwnedFd) -> Result<(), Errno> {
    let inode = rustix::fs::fstat(socket)?.st_ino as u32;
    let request = Message::new(BY_FAMILY, 0, 1, &question(inode)).finish();
    let answers = ask(netlink::SOCK_DIAG, &request)?;
    if let Some(Err(errno)) = answers.iter().find_map(|answer| answer.outcome()) {
        return Err(errno);
    }
    let named = answers.iter().any(|answer| names(&answer.body, inode));
    named.then_some(()).ok_or(Errno::NOENT)
}

/// `struct unix_diag_req`: family, protocol, pad, states, inode, what to show, no cookie.
fn question(inode: u32) -> Vec<u8> {
    let mut bytes = vec![libc::AF_UNIX as u8, 0, 0, 0];
    for word in [u32::MAX, inode, SHOW_NAME, u32::MAX, u32::MAX] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// True if this `struct unix_diag_msg` is about `inode` and an attribute (its name) follows.
fn names(body: &[u8], inode: u32) -> bool {
    body.get(4..8) == Some(&inode.to_ne_bytes()[..]) && body.len() > 16
}
