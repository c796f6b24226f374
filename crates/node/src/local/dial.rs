//! Connections into a sandbox. To a port they are made with sockets that init made inside, so no
//! interface, no address translation and no relay is between this process and a program that
//! listens on loopback.

use super::kept::Kept;
use crate::folder::AGENT;
use crate::keeper::wire::Ask;
use casemate_core::error::Error;
use casemate_core::node::{Door, Refusal};
use casemate_sys::channel::connect_stream;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::TcpSocket;

/// How long a program may let somebody wait in its queue.
const PATIENCE: Duration = Duration::from_secs(10);

impl Kept {
    /// A stream to the agent, or to a port of the sandbox's loopback interface.
    pub(super) async fn dial(self: &Arc<Self>, to: Door) -> Result<OwnedFd, Refusal> {
        let port = match to {
            Door::Port(port) => port,
            Door::Agent => {
                return connect_stream(self.place.as_fd(), AGENT).map_err(|errno| {
                    Error::errno("reach a sandbox's agent", errno.raw_os_error())
                        .on(&self.id)
                        .into()
                });
            }
        };
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
            let Some(socket) = self.socket(family).await? else {
                continue;
            };
            match tokio::time::timeout(PATIENCE, reach(socket, address)).await {
                Err(_) => return Err(Refusal::Slow(PATIENCE)),
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {}
                Ok(Err(error)) => {
                    let error = Error::io("connect to a port of a sandbox", &error);
                    return Err(error.on(format!("{}, port {port}", self.id)).into());
                }
            }
        }
        Err(Refusal::Closed(port))
    }

    /// A socket of the sandbox's network, if it has this IP version.
    async fn socket(self: &Arc<Self>, family: AddressFamily) -> Result<Option<OwnedFd>, Refusal> {
        if let Some(socket) = self.stocked(family) {
            return Ok(Some(socket));
        }
        let (_, sockets) = self.ask(Ask::Sockets).await?;
        self.stock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(sockets);
        Ok(self.stocked(family))
    }

    fn stocked(&self, family: AddressFamily) -> Option<OwnedFd> {
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |socket: &OwnedFd| socket_domain(socket) == Ok(family);
        let at = stock.iter().position(fits)?;
        Some(stock.swap_remove(at))
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
