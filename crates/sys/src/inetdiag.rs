//! Whose socket a TCP connection or a UDP sender is (sock_diag(7), linux/inet_diag.h).
//!
//! The kernel is asked for one socket by its exact addresses, which takes microseconds however
//! many there are. The answer names it by inode, which `/proc/<pid>/fd` shows, and by cookie,
//! which no other socket ever has (`SO_COOKIE`).

use crate::Errno;
use crate::netlink::{Message, exchange};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A sock_diag socket; it asks the namespace that it was made in, wherever it is used.
pub struct InetDiag(OwnedFd);

/// What the kernel knows of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its inode on the kernel's socket file system.
    pub inode: u64,
    /// The user that made it, in the user namespace of the process that opened the [`InetDiag`].
    pub uid: u32,
    /// Its cookie.
    pub cookie: u64,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// Any state; for an exact question the kernel doesn't look at it.
const ANY_STATE: u32 = u32::MAX;
/// `INET_DIAG_NOCOOKIE`: whichever has the addresses.
const ANY_COOKIE: [u8; 8] = [0xff; 8];
const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;

impl InetDiag {
    /// Opens it in the current network namespace.
    pub fn open() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::SOCK_DIAG);
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol).map(Self)
    }

    /// The descriptor, to be passed to another process.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// The socket that is connected from `local` to `remote`. `None` also for one that is being
    /// closed and belongs to no process any more.
    ///
    /// Seen from the proxy's end, `local` is the peer and `remote` the local address.
    pub fn tcp(&self, local: SocketAddr, remote: SocketAddr) -> Result<Option<Found>, Errno> {
        let answer = self.ask(TCP, local, remote)?;
        // A listener is the answer where no connection is.
        Ok(answer
            .filter(|answer| answer.is_between(local, remote))
            .and_then(Answer::found))
    }

    /// The socket that would get a new connection to `address`.
    pub fn listener(&self, address: SocketAddr) -> Result<Option<Found>, Errno> {
        // Nobody is connected from port 0, so that a listener is all there can be.
        let answer = self.ask(TCP, address, SocketAddr::new(address.ip(), 0))?;
        Ok(answer
            .filter(|answer| answer.remote.port() == 0)
            .and_then(Answer::found))
    }

    /// The cookie of the socket that is, or was until it was closed, connected from `local` to
    /// `remote`. `None` if the kernel has forgotten it.
    pub fn tcp_cookie(&self, local: SocketAddr, remote: SocketAddr) -> Result<Option<u64>, Errno> {
        let answer = self.ask(TCP, local, remote)?;
        Ok(answer
            .filter(|answer| answer.is_between(local, remote))
            .map(|answer| answer.cookie))
    }

    /// The socket that a datagram from `local` to `remote` came from: the one that would get an
    /// answer. Connected sockets come first, then those bound to the address, then the others.
    /// Where several share a port (`SO_REUSEPORT`), which all have to ask for, it is any of them.
    pub fn udp(&self, local: SocketAddr, remote: SocketAddr) -> Result<Option<Found>, Errno> {
        // For UDP the kernel wants the addresses as in the answer's packet.
        let answer = self.ask(UDP, remote, local)?;
        Ok(answer
            .filter(|answer| answer.local.port() == local.port())
            .and_then(Answer::found))
    }

    /// Resets the connection from `local` to `remote` if its socket has this cookie, whoever holds
    /// it: its programs see ECONNABORTED. ENOENT if there is none; EPERM without CAP_NET_ADMIN over
    /// the network; EOPNOTSUPP on a kernel without `CONFIG_INET_DIAG_DESTROY`.
    pub fn destroy(&self, local: SocketAddr, remote: SocketAddr, cookie: u64) -> Result<(), Errno> {
        let body = request(TCP, local, remote, cookie.to_ne_bytes()).ok_or(Errno::AFNOSUPPORT)?;
        let flags = libc::NLM_F_ACK as u16;
        let request = Message::new(SOCK_DESTROY, flags, 1, &body).finish();
        let answers = exchange(&self.0, &request)?;
        let outcome = answers.iter().find_map(|answer| answer.outcome());
        outcome.unwrap_or(Err(Errno::BADMSG))
    }

    fn ask(&self, protocol: u8, from: SocketAddr, to: SocketAddr) -> Result<Option<Answer>, Errno> {
        let body = request(protocol, from, to, ANY_COOKIE).ok_or(Errno::AFNOSUPPORT)?;
        let request = Message::new(SOCK_DIAG_BY_FAMILY, 0, 1, &body).finish();
        let answers = exchange(&self.0, &request)?;
        for answer in &answers {
            match answer.outcome() {
                Some(Err(Errno::NOENT)) => return Ok(None),
                Some(Err(errno)) => return Err(errno),
                Some(Ok(())) => {}
                None => return Answer::parse(&answer.body).map(Some).ok_or(Errno::BADMSG),
            }
        }
        Err(Errno::BADMSG)
    }
}

impl From<OwnedFd> for InetDiag {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// `struct inet_diag_req_v2`; `None` for addresses of two families.
fn request(protocol: u8, from: SocketAddr, to: SocketAddr, cookie: [u8; 8]) -> Option<Vec<u8>> {
    let (from_ip, to_ip) = (from.ip().to_canonical(), to.ip().to_canonical());
    let family = match (from_ip, to_ip) {
        (IpAddr::V4(_), IpAddr::V4(_)) => libc::AF_INET,
        (IpAddr::V6(_), IpAddr::V6(_)) => libc::AF_INET6,
        _ => return None,
    };
    let mut body = vec![family as u8, protocol, 0, 0];
    body.extend(ANY_STATE.to_ne_bytes());
    body.extend(from.port().to_be_bytes());
    body.extend(to.port().to_be_bytes());
    body.extend(sixteen(from_ip));
    body.extend(sixteen(to_ip));
    // No interface.
    body.extend([0; 4]);
    body.extend(cookie);
    Some(body)
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    bytes
}

/// `struct inet_diag_msg`.
struct Answer {
    local: SocketAddr,
    remote: SocketAddr,
    cookie: u64,
    uid: u32,
    inode: u32,
}

impl Answer {
    fn parse(body: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*body.get(at..)?.first_chunk()?));
        let address = |port: usize, ip: usize| {
            let port = u16::from_be_bytes(*body.get(port..)?.first_chunk()?);
            let ip: [u8; 16] = *body.get(ip..)?.first_chunk()?;
            let ip = match i32::from(*body.first()?) {
                libc::AF_INET => Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]).into(),
                libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(ip)).to_canonical(),
                _ => return None,
            };
            Some(SocketAddr::new(ip, port))
        };
        Some(Self {
            local: address(4, 8)?,
            remote: address(6, 24)?,
            cookie: u64::from(word(44)?) | u64::from(word(48)?) << 32,
            uid: word(64)?,
            inode: word(68)?,
        })
    }

    fn is_between(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        plain(self.local) == plain(local) && plain(self.remote) == plain(remote)
    }

    /// A socket without inode has been let go by its processes.
    fn found(self) -> Option<Found> {
        (self.inode != 0).then_some(Found {
            inode: self.inode.into(),
            uid: self.uid,
            cookie: self.cookie,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_network;
    use rustix::fd::AsFd;
    use rustix::net::sockopt;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::Duration;

    fn is(found: Option<Found>, socket: &impl AsFd) {
        let found = found.unwrap();
        assert_eq!(found.inode, rustix::fs::fstat(socket).unwrap().st_ino);
        assert_eq!(found.cookie, sockopt::socket_cookie(socket).unwrap());
        assert_eq!(found.uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn finds_both_ends_of_a_connection_and_nothing_else() {
        in_network(|| {
            crate::net::loopback_up().unwrap();
            let diag = InetDiag::open().unwrap();
            for (bind, connect) in [
                ("127.0.0.1:0", "127.0.0.1"),
                ("[::1]:0", "::1"),
                ("[::]:0", "127.0.0.1"),
                ("127.0.0.1:0", "::ffff:127.0.0.1"),
            ] {
                let server = TcpListener::bind(bind).unwrap();
                let port = server.local_addr().unwrap().port();
                let to = SocketAddr::new(connect.parse().unwrap(), port);
                let program = TcpStream::connect(to).unwrap();
                let (proxy, peer) = server.accept().unwrap();
                let here = proxy.local_addr().unwrap();
                is(diag.tcp(peer, here).unwrap(), &program);
                is(diag.tcp(here, peer).unwrap(), &proxy);
                is(diag.listener(here).unwrap(), &server);
                // Where there is a listener but no such connection, nothing is found.
                let other = SocketAddr::new(peer.ip(), peer.port() ^ 1);
                assert_eq!(diag.tcp(here, other).unwrap(), None);
                assert_eq!(diag.tcp(other, here).unwrap(), None);
                // Nor is a socket that was let go, which keeps its cookie until it is forgotten.
                let cookie = sockopt::socket_cookie(&program).unwrap();
                assert_eq!(diag.tcp_cookie(peer, here), Ok(Some(cookie)));
                program.shutdown(std::net::Shutdown::Write).unwrap();
                drop(program);
                assert_eq!(diag.tcp(peer, here).unwrap(), None);
                assert_eq!(diag.tcp_cookie(peer, here), Ok(Some(cookie)));
                rustix::net::sockopt::set_socket_linger(&proxy, Some(Duration::ZERO)).unwrap();
                drop(proxy);
                assert_eq!(diag.tcp_cookie(peer, here), Ok(None));
            }
        });
    }

    #[test]
    fn resets_a_connection_and_no_other() {
        in_network(|| {
            crate::net::loopback_up().unwrap();
            let diag = InetDiag::open().unwrap();
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut program = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            let (proxy, peer) = server.accept().unwrap();
            let here = proxy.local_addr().unwrap();
            let cookie = sockopt::socket_cookie(&program).unwrap();
            assert!(diag.destroy(peer, here, cookie + 1).is_err());
            assert!(diag.tcp(peer, here).unwrap().is_some());
            match diag.destroy(peer, here, cookie) {
                Err(Errno::OPNOTSUPP) => return println!("skipped: this kernel can't"),
                result => result.unwrap(),
            }
            let read = std::io::Read::read(&mut program, &mut [0; 1]);
            assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::ECONNABORTED));
            assert_eq!(diag.destroy(peer, here, cookie), Err(Errno::NOENT));
        });
    }

    #[test]
    fn finds_the_sender_of_a_datagram_however_it_is_bound() {
        in_network(|| {
            crate::net::loopback_up().unwrap();
            let diag = InetDiag::open().unwrap();
            for (any, server) in [
                ("0.0.0.0:0", "127.0.0.1:0"),
                ("[::]:0", "[::1]:0"),
                ("[::]:0", "127.0.0.1:0"),
            ] {
                let server = UdpSocket::bind(server).unwrap();
                let here = server.local_addr().unwrap();
                let mut to = here;
                if let (IpAddr::V4(ip), true) = (here.ip(), any.starts_with('[')) {
                    to.set_ip(ip.to_ipv6_mapped().into());
                }
                let loose = UdpSocket::bind(any).unwrap();
                let tied = UdpSocket::bind(any).unwrap();
                tied.connect(to).unwrap();
                for program in [&loose, &tied] {
                    program
                        .send_to(b"x", to)
                        .or_else(|_| program.send(b"x"))
                        .unwrap();
                    let (_, from) = server.recv_from(&mut [0; 4]).unwrap();
                    is(diag.udp(from, here).unwrap(), program);
                }
                let nobody = SocketAddr::new(here.ip(), 1);
                assert_eq!(diag.udp(nobody, here).unwrap(), None);
            }
        });
    }

    #[test]
    fn asks_the_namespace_that_it_was_opened_in() {
        let outside = InetDiag::open().unwrap();
        in_network(|| {
            crate::net::loopback_up().unwrap();
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let program = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            let (local, remote) = (program.local_addr().unwrap(), program.peer_addr().unwrap());
            assert!(
                InetDiag::open()
                    .unwrap()
                    .tcp(local, remote)
                    .unwrap()
                    .is_some()
            );
            let found = outside.tcp(local, remote).unwrap();
            assert_ne!(
                found.map(|found| found.cookie),
                sockopt::socket_cookie(&program).ok()
            );
        });
    }

    #[test]
    fn short_answers_are_none() {
        assert!(Answer::parse(&[libc::AF_INET as u8; 71]).is_none());
        assert!(Answer::parse(&[libc::AF_INET as u8; 72]).is_some());
        assert!(Answer::parse(&[1; 72]).is_none());
        let (v4, v6) = ("127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
        assert!(request(TCP, v4, v6, ANY_COOKIE).is_none());
    }
}
