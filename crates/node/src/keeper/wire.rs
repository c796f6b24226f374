//! What a daemon asks of a keeper, and the answers: one JSON message each, with descriptors where
//! there are some.

use casemate_core::error::{Error, Result};
use casemate_core::sandbox::{Outward, Usage};
use casemate_sys::channel::{Channel, Message};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Unconnected sockets of the sandbox's network.
    Sockets,
    /// Stop everything.
    Halt,
    /// Continue it.
    Continue,
    /// Whether everything is stopped.
    Halted,
    /// What is used now.
    Usage,
    /// Replace where it may connect to.
    Restrict(Outward),
    /// End everything.
    End,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It is done; with the sockets, if those were asked for.
    Done,
    /// It is done but for a process that hangs in the kernel.
    Partly,
    /// Whether everything is stopped.
    Halted(bool),
    /// What is used.
    Usage(Usage),
    /// It isn't done.
    Failed(String),
}

/// Sends either.
pub(crate) fn send<T: Serialize>(
    channel: &Channel,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    let step = "send to the other side of a keeper's socket";
    let bytes =
        serde_json::to_vec(message).map_err(|error| Error::rule(step, error.to_string()))?;
    channel
        .send(&bytes, fds)
        .map_err(|errno| Error::errno(step, errno.raw_os_error()))
}

/// Receives either; `None` at the end.
pub(crate) fn receive<T: for<'a> Deserialize<'a>>(
    channel: &Channel,
) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let step = "receive from the other side of a keeper's socket";
    let message = channel
        .receive()
        .map_err(|errno| Error::errno(step, errno.raw_os_error()))?;
    let Some(Message { bytes, fds }) = message else {
        return Ok(None);
    };
    let message =
        serde_json::from_slice(&bytes).map_err(|error| Error::rule(step, error.to_string()))?;
    Ok(Some((message, fds)))
}

/// Asks, and waits for the answer.
pub(crate) fn ask(channel: &Channel, ask: &Ask) -> Result<(Answer, Vec<OwnedFd>)> {
    send(channel, ask, &[])?;
    receive(channel)?.ok_or_else(|| Error::rule("ask a keeper", "it has ended"))
}

/// Borrows a list of descriptors.
pub(crate) fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}
