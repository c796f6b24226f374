//! Connections to a port. They are made with sockets that init made inside, so no interface, no
//! address translation and no relay is between this process and a program that listens on
//! loopback.

use super::line::Line;
use crate::keeper::wire::Ask;
use casemate_core::error::Error;
use casemate_core::node::Refusal;
use rustix::fd::OwnedFd;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpSocket;

/// How long a program may let somebody wait in its queue.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sockets of a sandbox's network that were not used yet.
#[derive(Default)]
pub(super) struct Stock(Mutex<Vec<OwnedFd>>);

impl Stock {
    /// A stream to a port of the sandbox's loopback interface.
    pub(super) async fn dial(&self, line: &Arc<Line>, port: u16) -> Result<OwnedFd, Refusal> {
        let loopback = [
            (
                AddressFamily::INET,
                SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            ),
            (
                AddressFamily::INET6,
                SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
            ),
        ];
        for (family, address) in loopback {
            let Some(socket) = self.socket(line, family).await? else {
                continue;
            };
            match tokio::time::timeout(PATIENCE, reach(socket, address)).await {
                Err(_) => return Err(Refusal::Slow(PATIENCE)),
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {}
                Ok(Err(error)) => {
                    let error = Error::io("connect to a port of a sandbox", &error);
                    return Err(error.on(format!("port {port}")).into());
                }
            }
        }
        Err(Refusal::Closed(port))
    }

    /// A socket, if the network has this IP version.
    async fn socket(
        &self,
        line: &Arc<Line>,
        family: AddressFamily,
    ) -> Result<Option<OwnedFd>, Refusal> {
        if let Some(socket) = self.take(family) {
            return Ok(Some(socket));
        }
        let (_, sockets) = line.ask(Ask::Sockets).await?;
        self.sockets().extend(sockets);
        Ok(self.take(family))
    }

    fn take(&self, family: AddressFamily) -> Option<OwnedFd> {
        let mut sockets = self.sockets();
        let fits = |socket: &OwnedFd| socket_domain(socket) == Ok(family);
        let at = sockets.iter().position(fits)?;
        Some(sockets.swap_remove(at))
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects without blocking.
async fn reach(socket: OwnedFd, address: SocketAddr) -> std::io::Result<OwnedFd> {
    // Not connected yet, but a stream by its type.
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    let stream = TcpSocket::from_std_stream(stream).connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream.into_std()?.into())
}
