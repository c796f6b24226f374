//! The fence, in namespaces of its own, seen by programs inside.

use super::dns::DnsSocket;
use super::listen::{Family, connections, destination, dns};
use super::*;
use crate::testing::in_network;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketType, connect, getsockname, socket, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const PORT: u16 = 700;

struct Inside {
    v4: TcpListener,
    v6: TcpListener,
}

fn fenced() -> Inside {
    let fence = Fence {
        port: PORT,
        ipv6: true,
    };
    fence.raise().unwrap();
    let listener = |family| {
        let listener = TcpListener::from(connections(family, PORT).unwrap());
        listener.set_nonblocking(false).unwrap();
        listener
    };
    Inside {
        v4: listener(Family::V4),
        v6: listener(Family::V6),
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Accepts one connection; it has to carry, exchanged, the addresses of the program's socket.
fn arrives(listener: &TcpListener, program: &TcpStream, to: SocketAddr) {
    let (mut connection, peer) = listener.accept().unwrap();
    assert_eq!(destination(&connection).unwrap(), to);
    let own = crate::socket::address(getsockname(program).unwrap()).unwrap();
    assert_eq!(
        (peer.ip().to_canonical(), peer.port()),
        (own.ip(), own.port())
    );
    connection.write_all(b"hello").unwrap();
    drop(connection);
    let mut text = String::new();
    let mut program = program;
    program.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn every_connection_arrives_with_its_destination() {
    in_network(|| {
        let inside = fenced();
        for to in ["93.184.215.14:443", "169.254.169.254:80", "10.0.0.1:65535"] {
            let to = at(to);
            arrives(&inside.v4, &TcpStream::connect(to).unwrap(), to);
        }
        let to = at("[2606:2800:21f::1]:443");
        arrives(&inside.v6, &TcpStream::connect(to).unwrap(), to);
        let mapped = at("[::ffff:9.9.9.9]:8080");
        let program = TcpStream::connect(mapped).unwrap();
        arrives(&inside.v4, &program, at("9.9.9.9:8080"));
    });
}

/// The case in which a redirect would have changed the port of one.
#[test]
fn two_connections_of_one_port_keep_it() {
    in_network(|| {
        let inside = fenced();
        let from = SocketAddr::new(ADDRESS.into(), 40000);
        for to in ["1.1.1.1:443", "8.8.8.8:443"] {
            let program = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            sockopt::set_socket_reuseaddr(&program, true).unwrap();
            rustix::net::bind(&program, &from).unwrap();
            connect(&program, &at(to)).unwrap();
            let (connection, peer) = inside.v4.accept().unwrap();
            assert_eq!((peer, destination(&connection).unwrap()), (from, at(to)));
            std::mem::forget((program, connection));
        }
    });
}

#[test]
fn servers_inside_are_reached_without_the_listener() {
    in_network(|| {
        let inside = fenced();
        let server = TcpListener::bind("0.0.0.0:8000").unwrap();
        let server6 = TcpListener::bind("[::]:8001").unwrap();
        for (server, to) in [
            (&server, "127.0.0.1:8000"),
            (&server, "127.200.3.4:8000"),
            (&server, "192.0.2.1:8000"),
            (&server6, "[::1]:8001"),
            (&server6, "[fd63:6173:656d::1]:8001"),
            (&server6, "127.0.0.1:8001"),
        ] {
            let program = TcpStream::connect(to).unwrap();
            arrives(server, &program, at(to));
        }
        // Where nobody listens, that is told at once, also by the system's own address.
        for to in ["127.0.0.1:9", "192.0.2.1:700", "[::1]:9"] {
            let refused = TcpStream::connect(to).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{to}");
        }
        for listener in [&inside.v4, &inside.v6] {
            listener.set_nonblocking(true).unwrap();
            let idle = listener.accept().unwrap_err();
            assert_eq!(idle.kind(), ErrorKind::WouldBlock);
        }
    });
}

#[test]
fn a_connection_straight_to_the_listener_is_told_apart() {
    in_network(|| {
        let inside = fenced();
        for (listener, to) in [(&inside.v4, "127.0.0.1:700"), (&inside.v6, "[::1]:700")] {
            let program = TcpStream::connect(to).unwrap();
            arrives(listener, &program, at(to));
        }
    });
}

#[test]
fn nobody_inside_takes_the_listeners_port_or_that_of_dns() {
    in_network(|| {
        let _inside = fenced();
        let _queries = DnsSocket::open(Family::V4).unwrap();
        let _dns = dns(Family::V4).unwrap();
        for taken in ["127.0.0.1:700", "0.0.0.0:700"] {
            let thief = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            sockopt::set_socket_reuseaddr(&thief, true).unwrap();
            sockopt::set_socket_reuseport(&thief, true).unwrap();
            let taken =
                rustix::net::bind(&thief, &at(taken)).and_then(|()| rustix::net::listen(&thief, 1));
            assert_eq!(taken, Err(Errno::ADDRINUSE));
        }
        crate::privilege::drop_capabilities_for_good().unwrap();
        for taken in ["8.8.8.8:53", "127.0.0.53:53"] {
            let refused = UdpSocket::bind(taken).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        }
    });
}

#[test]
fn queries_are_answered_in_the_name_of_the_server_that_was_asked() {
    in_network(|| {
        fenced();
        for (family, any, servers) in [
            (
                Family::V4,
                "0.0.0.0:0",
                ["8.8.8.8", "127.0.0.53", "192.0.2.1"],
            ),
            (
                Family::V6,
                "[::]:0",
                ["2001:4860:4860::8888", "::1", "fd63:6173:656d::1"],
            ),
        ] {
            let dns = DnsSocket::open(family).unwrap();
            assert_eq!(
                dns.receive(&mut [0; 512]).map(|_| ()),
                Err(Errno::AGAIN),
                "it does not block"
            );
            // One unconnected socket for all, and a connected one for each.
            let program = UdpSocket::bind(any).unwrap();
            for server in servers {
                let server: IpAddr = server.parse().unwrap();
                let to = SocketAddr::new(server, 53);
                let connected = UdpSocket::bind(any).unwrap();
                connected.connect(to).unwrap();
                for socket in [&program, &connected] {
                    socket
                        .set_read_timeout(Some(Duration::from_secs(20)))
                        .unwrap();
                    if socket.peer_addr().is_ok() {
                        socket.send(b"query").unwrap();
                    } else {
                        socket.send_to(b"query", to).unwrap();
                    }
                    let mut buffer = [0; 512];
                    let (length, query) = dns.receive(&mut buffer).unwrap();
                    assert_eq!(&buffer[..length], b"query");
                    assert_eq!(query.server, server);
                    assert_eq!(query.from.port(), socket.local_addr().unwrap().port());
                    dns.answer(b"answer", &query).unwrap();
                    let (length, from) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!((&buffer[..length], from), (&b"answer"[..], to));
                }
            }
        }
    });
}

#[test]
fn dns_over_tcp_has_its_own_listener() {
    in_network(|| {
        fenced();
        for (family, servers) in [
            (Family::V4, ["8.8.8.8:53", "127.0.0.53:53"]),
            (Family::V6, ["[2001:4860:4860::8888]:53", "[::1]:53"]),
        ] {
            let listener = TcpListener::from(dns(family).unwrap());
            listener.set_nonblocking(false).unwrap();
            for server in servers {
                arrives(&listener, &TcpStream::connect(server).unwrap(), at(server));
            }
        }
    });
}

#[test]
fn everything_else_is_refused_at_once() {
    in_network(|| {
        fenced();
        // Also where a server inside would take it, and where nobody serves DNS.
        let _server = UdpSocket::bind("0.0.0.0:443").unwrap();
        for (any, to) in [
            ("0.0.0.0:0", "8.8.8.8:443"),
            ("0.0.0.0:0", "8.8.8.8:123"),
            ("0.0.0.0:0", "8.8.8.8:53"),
            ("[::]:0", "[2606:2800:21f::1]:443"),
        ] {
            let program = UdpSocket::bind(any).unwrap();
            program.connect(to).unwrap();
            program
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            program.send(b"x").unwrap();
            let refused = program.recv(&mut [0; 16]).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{to}");
        }
        // Echo requests, which the machine would answer to itself.
        let raw = socket(
            AddressFamily::INET,
            SocketType::RAW,
            Some(rustix::net::ipproto::ICMP),
        )
        .unwrap();
        connect(&raw, &at("8.8.8.8:0")).unwrap();
        let raw = UdpSocket::from(raw);
        raw.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        raw.send(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0]).unwrap();
        let refused = raw.recv(&mut [0; 128]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // UDP between programs inside works.
        let server = UdpSocket::bind("127.0.0.1:4433").unwrap();
        let program = UdpSocket::bind("127.0.0.1:0").unwrap();
        program.send_to(b"x", "127.0.0.1:4433").unwrap();
        assert_eq!(server.recv(&mut [0; 4]).unwrap(), 1);
    });
}

#[test]
fn without_a_listener_connections_are_refused() {
    in_network(|| {
        drop(fenced());
        for to in ["8.8.8.8:443", "[2606:2800:21f::1]:443"] {
            let refused = TcpStream::connect(to).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn without_ipv6_the_step_says_so_and_ipv4_stands() {
    in_network(|| {
        let fence = Fence {
            port: PORT,
            ipv6: true,
        };
        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let refused = fence.raise().unwrap_err();
        assert!(refused.step.is_ipv6(), "{refused}");
        Fence {
            ipv6: false,
            ..fence
        }
        .raise()
        .unwrap();
        let listener = TcpListener::from(connections(Family::V4, PORT).unwrap());
        listener.set_nonblocking(false).unwrap();
        let to = at("1.1.1.1:443");
        arrives(&listener, &TcpStream::connect(to).unwrap(), to);
        assert!(TcpStream::connect("[2606:2800:21f::1]:443").is_err());
    });
}

#[test]
fn without_capabilities_the_first_step_is_refused() {
    in_network(|| {
        crate::privilege::drop_capabilities().unwrap();
        let fence = Fence {
            port: PORT,
            ipv6: true,
        };
        let refused = fence.raise().unwrap_err();
        assert_eq!((refused.step, refused.errno), (Step::Loopback, Errno::PERM));
    });
}

/// Prints what a fence costs; run it with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn time_it_takes() {
    in_network(|| {
        let begun = std::time::Instant::now();
        settle(ROUTE, &links::requests(true).concat()).unwrap();
        let links = begun.elapsed();
        settle(Some(netlink::NETFILTER), &rules::batch(PORT)).unwrap();
        let rules = begun.elapsed() - links;
        let made: Vec<OwnedFd> = vec![
            connections(Family::V4, PORT).unwrap(),
            connections(Family::V6, PORT).unwrap(),
        ];
        let all = begun.elapsed();
        println!(
            "links {links:?} rules {rules:?} listeners {:?}",
            all - links - rules
        );
        drop(made);
    });
}
