//! What a socket is, and what a program has set on it.
//!
//! A supervisor that puts a connected socket in the place of a program's own has to know that the
//! program can't tell the difference: that its socket is [fresh](State::Fresh) and bound to
//! nothing ([`Facts`]), that everything set on it can be set on the other
//! ([`Defaults::changes`]), and that nothing else leads to it ([`crate::sole`]).
//!
//! The other socket belongs to the supervisor's network namespace, and the program then has it.
//! It must be connected, not connecting: a socket whose connect(2) fails can be made a listener,
//! and this one would listen outside. For the same reason connect(2) on it must be refused, which
//! would dissolve the connection (AF_UNSPEC) and let it be made anew; [`network`] tells such a
//! socket. A UDP socket must never be given away, since sendto(2) needs no connect(2). And through
//! ioctl(2) it shows the interfaces of its namespace (netdevice(7)).

use crate::Errno;
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::{SocketAddrAny, getpeername, getsockname};
use std::net::SocketAddr;

mod changes;
pub(crate) mod option;
pub mod peer;

pub use changes::{Changes, Defaults};

/// Lets the kernel hold at most about this many bytes of a TCP connection that it can't send yet
/// (tcp(7), `TCP_NOTSENT_LOWAT`): what is written later waits for no more than that.
pub fn keep_unsent(socket: impl AsFd, most: u32) -> Result<(), Errno> {
    let most = i32::try_from(most).unwrap_or(i32::MAX);
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT);
    option::set_number(socket.as_fd(), level, name, most)
}

/// What a socket is. Options are [`Changes`]; close-on-exec is not the socket's but the
/// descriptor's, and differs between copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// `AF_INET` or `AF_INET6`.
    pub domain: i32,
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: i32,
    /// How far it is.
    pub state: State,
    /// The local address, unless it is the wildcard and no port.
    pub bound: Option<SocketAddr>,
    /// `O_NONBLOCK`.
    pub nonblocking: bool,
    /// `O_ASYNC`, or somebody to whom to send SIGURG (`F_SETOWN`): it sends signals, which a copy
    /// would not.
    pub signals: bool,
}

/// How far a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Neither connected nor listening. One whose connection is over looks the same, but is
    /// still bound.
    Fresh,
    /// It waits for the other side.
    Connecting,
    /// It is connected, or the connection is being closed.
    Connected,
    /// It listens.
    Listening,
}

impl Facts {
    /// Looks at a TCP or UDP socket; another is EAFNOSUPPORT or EPROTONOSUPPORT.
    pub fn of(socket: impl AsFd) -> Result<Self, Errno> {
        let socket = socket.as_fd();
        let name = getsockname(socket)?;
        // The name of an IPv6 socket is one of IPv6, also if it stands for one of IPv4.
        let domain = name.address_family().as_raw().into();
        let local = address(name)?;
        let protocol = option::number(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
        let flags = fcntl_getfl(socket)?;
        Ok(Self {
            domain,
            protocol,
            state: state(socket, protocol)?,
            bound: (!local.ip().is_unspecified() || local.port() != 0).then_some(local),
            nonblocking: flags.contains(OFlags::NONBLOCK),
            signals: flags.contains(OFlags::from_bits_retain(libc::O_ASYNC as u32))
                || has_owner(socket),
        })
    }
}

fn has_owner(socket: BorrowedFd<'_>) -> bool {
    // SAFETY: asks for a number, and takes none.
    let owner = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETOWN) };
    // A process, or a group as a negative number; an error is none of them.
    owner != 0
}

fn state(socket: BorrowedFd<'_>, protocol: i32) -> Result<State, Errno> {
    match protocol {
        libc::IPPROTO_UDP => Ok(match getpeername(socket) {
            Ok(Some(_)) => State::Connected,
            _ => State::Fresh,
        }),
        libc::IPPROTO_TCP => {
            // The first byte of struct tcp_info is the state of RFC 9293, by Linux's numbers.
            let mut info = [0];
            option::bytes(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
            Ok(match info[0] {
                2 | 3 | 12 => State::Connecting,
                7 => State::Fresh,
                10 => State::Listening,
                _ => State::Connected,
            })
        }
        _ => Err(Errno::PROTONOSUPPORT),
    }
}

/// Which network namespace a socket belongs to (`SO_NETNS_COOKIE`, Linux 5.14): a number that no
/// other namespace ever has.
pub fn network(socket: impl AsFd) -> Result<u64, Errno> {
    const NETNS_COOKIE: i32 = 71;
    let mut cookie = [0; 8];
    option::bytes(socket.as_fd(), libc::SOL_SOCKET, NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// The network namespace of the calling thread, as [`network`] tells it.
pub fn own_network() -> Result<u64, Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    network(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// The number that no other socket ever has (`SO_COOKIE`).
pub fn cookie(socket: impl AsFd) -> Result<u64, Errno> {
    rustix::net::sockopt::socket_cookie(socket)
}

/// An Internet address, with IPv4 as such also where it came mapped into IPv6.
pub(crate) fn address(any: SocketAddrAny) -> Result<SocketAddr, Errno> {
    let address = SocketAddr::try_from(any).map_err(|_| Errno::AFNOSUPPORT)?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_network;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn facts_follow_the_life_of_a_socket() {
        let socket = |domain| {
            let kind = rustix::net::SocketType::STREAM;
            rustix::net::socket(domain, kind, None).unwrap()
        };
        for domain in [
            rustix::net::AddressFamily::INET,
            rustix::net::AddressFamily::INET6,
        ] {
            let fresh = Facts::of(socket(domain)).unwrap();
            let expected = Facts {
                domain: domain.as_raw().into(),
                protocol: libc::IPPROTO_TCP,
                state: State::Fresh,
                bound: None,
                nonblocking: false,
                signals: false,
            };
            assert_eq!(fresh, expected);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let facts = Facts::of(&listener).unwrap();
        assert_eq!((facts.state, facts.bound), (State::Listening, Some(here)));
        let program = TcpStream::connect(here).unwrap();
        program.set_nonblocking(true).unwrap();
        let facts = Facts::of(&program).unwrap();
        assert_eq!(facts.state, State::Connected);
        assert!(facts.nonblocking && facts.bound.is_some());
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let facts = Facts::of(&udp).unwrap();
        assert_eq!(facts.state, State::Fresh);
        assert_eq!(facts.bound, udp.local_addr().ok());
        udp.connect(here).unwrap();
        assert_eq!(Facts::of(&udp).unwrap().state, State::Connected);
        let unix = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Facts::of(&unix.0).is_err());
    }

    #[test]
    fn a_connection_that_was_reset_is_told_from_a_fresh_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let program = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        rustix::net::sockopt::set_socket_linger(&server, Some(std::time::Duration::ZERO)).unwrap();
        drop(server);
        let facts = Facts::of(&program).unwrap();
        assert_eq!(facts.state, State::Fresh);
        assert!(facts.bound.is_some());
    }

    #[test]
    fn sockets_of_another_namespace_are_told() {
        let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
        let same = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(network(&outside), network(&same));
        assert_ne!(cookie(&outside), cookie(&same));
        in_network(|| {
            let inside = UdpSocket::bind("0.0.0.0:0").unwrap();
            assert_ne!(network(&outside), network(&inside));
            assert_eq!(own_network(), network(&inside));
        });
    }
}
