//! Messages with file descriptors between a supervisor and its sandbox (unix(7), SCM_RIGHTS).
//!
//! A pair of SOCK_SEQPACKET sockets keeps message boundaries and tells the end of the other
//! side. Messages are short; a longer one is an error, not a cut. Who isn't a relative of the other
//! side finds it by a name in a folder.

use crate::Errno;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::IoSliceMut;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, listen, recvmsg, sendmsg, socket_with, socketpair,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::time::Duration;

/// The descriptors that one message can carry.
pub const MAX_DESCRIPTORS: usize = 12;

/// The longest message, bytes.
pub const MAX: usize = 4096;

/// One end of a channel.
pub struct Channel(OwnedFd);

/// A message and the descriptors that came with it.
pub struct Message {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

impl Channel {
    /// Two connected ends, close-on-exec.
    pub fn pair() -> Result<(Self, Self), Errno> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(a), Self(b)))
    }

    /// Connects to what [`Listener::bind`] made.
    pub fn connect(folder: BorrowedFd<'_>, name: &str) -> Result<Self, Errno> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&socket, &address(folder, name)?)?;
        Ok(Self(socket))
    }

    /// Lets nobody wait longer than this for a message, or to send one: EAGAIN then.
    pub fn set_patience(&self, patience: Duration) -> Result<(), Errno> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(patience))?;
        set_socket_timeout(&self.0, Timeout::Send, Some(patience))
    }

    /// Sends one message with at most [`MAX_DESCRIPTORS`].
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::INVAL);
        }
        let sent = rustix::io::retry_on_intr(|| {
            sendmsg(
                &self.0,
                &[IoSlice::new(bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            )
        })?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(Errno::MSGSIZE)
        }
    }

    /// The next message, or `None` when the other end is gone.
    pub fn receive(&self) -> Result<Option<Message>, Errno> {
        let mut bytes = vec![0; MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut receive = || {
            rustix::io::retry_on_intr(|| {
                recvmsg(
                    &self.0,
                    &mut [IoSliceMut::new(&mut bytes)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )
            })
        };
        // An end that is closed with something unread resets the connection, and the kernel says
        // so once before it hands out what was sent earlier.
        let message = match receive() {
            Err(Errno::CONNRESET) => receive()?,
            result => result?,
        };
        if message
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(Errno::MSGSIZE);
        }
        if message.bytes == 0 {
            return Ok(None);
        }
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        bytes.truncate(message.bytes);
        Ok(Some(Message { bytes, fds }))
    }
}

impl From<OwnedFd> for Channel {
    /// A SOCK_SEQPACKET socket that was inherited.
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where channels are asked for.
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens at a name in a folder. Who may connect is the folder's matter.
    pub fn bind(folder: BorrowedFd<'_>, name: &str) -> Result<Self, Errno> {
        listen_in(folder, name, SocketType::SEQPACKET).map(Self)
    }

    /// The next channel that was asked for; waits for it.
    pub fn accept(&self) -> Result<Channel, Errno> {
        rustix::io::retry_on_intr(|| accept_with(&self.0, SocketFlags::CLOEXEC)).map(Channel)
    }
}

/// A listening Unix socket at a name in a folder, for streams.
pub fn listen_for_streams(folder: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    listen_in(folder, name, SocketType::STREAM)
}

/// A stream to what listens at a name in a folder; nothing is waited for, neither now nor when it is
/// read or written. EAGAIN if too many wait there already.
pub fn connect_stream(folder: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &address(folder, name)?)?;
    Ok(socket)
}

fn listen_in(folder: BorrowedFd<'_>, name: &str, kind: SocketType) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &address(folder, name)?)?;
    listen(&socket, 128)?;
    Ok(socket)
}

/// A name in a folder, by the folder's descriptor: an address holds 107 bytes (unix(7)), and the
/// folder's own path may be longer.
fn address(folder: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}
