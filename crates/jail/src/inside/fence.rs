//! The fence of a sandbox whose connections are decided on: nothing leads out, and everything
//! arrives at sockets that go to the supervisor.

use super::init::{failed, send};
use crate::gate::PORT;
use crate::wire::Event;
use casemate_core::error::{Error, Result};
use casemate_sys::channel::Channel;
use casemate_sys::fence::Fence;
use casemate_sys::fence::dns::DnsSocket;
use casemate_sys::fence::listen::{self, Family};
use casemate_sys::inetdiag::InetDiag;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Puts it up, and sends the sockets.
pub(super) fn raise(channel: &Channel) -> Result<()> {
    let ipv6 = match up(true) {
        Ok(()) => true,
        // Without IPv6, nothing leads out by it either.
        Err(error) if error.step.is_ipv6() => up(false).map(|()| false).map_err(refused)?,
        Err(error) => return Err(refused(error)),
    };
    let diag = InetDiag::open()
        .map_err(|errno| failed("open a sock_diag socket for TCP and UDP", errno))?
        .into_fd();
    let mut sockets = Vec::from(doors(Family::V4)?);
    if ipv6 {
        sockets.extend(doors(Family::V6)?);
    }
    let fds: Vec<BorrowedFd<'_>> = [&diag]
        .into_iter()
        .chain(&sockets)
        .map(AsFd::as_fd)
        .collect();
    send(channel, &Event::Doors, &fds)
}

fn up(ipv6: bool) -> std::result::Result<(), casemate_sys::fence::Error> {
    Fence { port: PORT, ipv6 }.raise()
}

fn doors(family: Family) -> Result<[OwnedFd; 4]> {
    let fail = |errno| failed("listen in the sandbox's network", errno);
    Ok([
        listen::connections(family, PORT).map_err(fail)?,
        listen::dns(family).map_err(fail)?,
        DnsSocket::open(family).map_err(fail)?.into_fd(),
        listen::fresh(family).map_err(fail)?,
    ])
}

fn refused(error: casemate_sys::fence::Error) -> Error {
    let text = error.to_string();
    let (why, hint) = text
        .split_once("\nhint: ")
        .unwrap_or((&text, "--net none runs without a network"));
    Error::rule("fence the sandbox's network", why).hint(hint)
}
