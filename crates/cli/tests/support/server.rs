//! A TCP server on an address of this machine that isn't loopback, which no sandbox may reach.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What it says first.
pub(crate) const GREETING: &str = "ready";

/// Greets, takes everything until the other side has said all, and gives it back.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// Its threads end with the test's process. None if this machine has no such address.
    pub(crate) fn start() -> Option<Self> {
        Self::at(own_address((
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(192, 0, 2, 99),
        ))?)
    }

    pub(crate) fn start_ipv6() -> Option<Self> {
        let elsewhere = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 99);
        Self::at(own_address((Ipv6Addr::UNSPECIFIED, elsewhere))?)
    }

    fn at(address: IpAddr) -> Option<Self> {
        let listener = TcpListener::bind((address, 0)).ok()?;
        let server = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::default(),
            accepted: Arc::default(),
        };
        let (open, accepted) = (Arc::clone(&server.open), Arc::clone(&server.accepted));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let open = Arc::clone(&open);
                open.fetch_add(1, Ordering::SeqCst);
                accepted.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    let _ = session(stream);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Some(server)
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections at this moment.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn session(mut stream: TcpStream) -> std::io::Result<()> {
    writeln!(stream, "{GREETING}")?;
    let (mut said, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = stream.read(&mut bytes)?;
        said.extend_from_slice(&bytes[..count]);
        // A client of HTTP waits for the answer before it says that this was all.
        if count == 0 || said.starts_with(b"GET ") && said.ends_with(b"\r\n\r\n") {
            return stream.write_all(&said);
        }
    }
}

/// The address that this machine would have for another one; nothing is sent for that.
fn own_address<A: Into<IpAddr>, B: Into<IpAddr>>((any, other): (A, B)) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any.into(), 0)).ok()?;
    socket.connect((other.into(), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
