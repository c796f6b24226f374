//! The little of netlink that this crate speaks (netlink(7)).
//!
//! The kernel works a request off before `send` returns, so several requests can go in one
//! message and their answers are there at once: setting up a network costs a socket, a send and a
//! receive, whatever the number of requests.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Marks an attribute that holds attributes.
const NESTED: u16 = 1 << 15;
/// A message's header: length, type, flags, sequence, port.
const HEADER: usize = 16;

/// A message in the making; numbers are in the machine's byte order, as netlink wants them.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A request with `body` as the family's fixed part.
    pub(crate) fn new(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        Message(bytes)
    }

    /// Appends an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(attribute(kind, value));
        self
    }

    /// The finished message.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// An attribute, padded to four bytes.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that holds others.
pub(crate) fn nest(kind: u16, inner: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &inner.concat())
}

/// One answer of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The message's type.
    pub(crate) kind: u16,
    /// Which request it answers.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// For an acknowledgement or an error: what the request came to.
    pub(crate) fn outcome(&self) -> Option<Result<(), Errno>> {
        if self.kind != libc::NLMSG_ERROR as u16 {
            return None;
        }
        let code = i32::from_ne_bytes(self.body.first_chunk().copied()?);
        Some(match code {
            0 => Ok(()),
            code => Err(Errno::from_raw_os_error(code.saturating_neg())),
        })
    }
}

/// Opens a socket, sends `request` and takes every answer that is there.
pub(crate) fn ask(protocol: Protocol, request: &[u8]) -> Result<Vec<Answer>, Errno> {
    exchange(&open(Some(protocol))?, request)
}

/// The same on a socket that is there; it has nothing else to say.
pub(crate) fn exchange(socket: &OwnedFd, request: &[u8]) -> Result<Vec<Answer>, Errno> {
    send(socket, request, SendFlags::empty())?;
    let mut answers = Vec::new();
    while let Some(more) = take(socket)? {
        answers.extend(more);
    }
    Ok(answers)
}

/// `NETLINK_ROUTE`, which is number 0.
pub(crate) const ROUTE: Option<Protocol> = None;

/// Opens a socket and sends requests of which the last alone asks to be acknowledged: a failure
/// is always answered, so the first answer tells how all of them went.
pub(crate) fn settle(protocol: Option<Protocol>, requests: &[u8]) -> Result<(), Failure> {
    let unsent = |errno| Failure {
        sequence: None,
        errno,
    };
    let socket = open(protocol).map_err(unsent)?;
    send(&socket, requests, SendFlags::empty()).map_err(unsent)?;
    let answers = take(&socket).map_err(unsent)?.unwrap_or_default();
    let first = answers.first().ok_or(unsent(Errno::BADMSG))?;
    match first.outcome() {
        Some(Ok(())) => Ok(()),
        Some(Err(errno)) => Err(Failure {
            sequence: Some(first.sequence),
            errno,
        }),
        None => Err(unsent(Errno::BADMSG)),
    }
}

/// Why a row of requests failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The request that was refused; `None` where nothing could be asked.
    pub(crate) sequence: Option<u32>,
    pub(crate) errno: Errno,
}

fn open(protocol: Option<Protocol>) -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )
}

fn take(socket: &OwnedFd) -> Result<Option<Vec<Answer>>, Errno> {
    let mut buffer = vec![0_u8; 16 << 10];
    match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
        Ok((length, _)) => Ok(Some(split(&buffer[..length]))),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn split(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(length) = bytes
        .first_chunk()
        .map(|at| u32::from_ne_bytes(*at) as usize)
    {
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER) else {
            break;
        };
        answers.push(Answer {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            sequence: u32::from_ne_bytes([message[8], message[9], message[10], message[11]]),
            body: message[HEADER..].to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        assert_eq!(attribute(1, b"ab\0").len(), 8);
        assert_eq!(attribute(1, b"abcd").len(), 8);
        let outer = nest(4, &[attribute(1, &[0; 4]), attribute(2, &[])]);
        assert_eq!(outer.len(), 4 + 8 + 4);
        assert_eq!(u16::from_ne_bytes([outer[2], outer[3]]), 4 | NESTED);
    }

    #[test]
    fn messages_are_split_where_they_end() {
        let first = Message::new(2, 0, 7, &(-1_i32).to_ne_bytes()).finish();
        let second = Message::new(20, 0, 8, b"body").finish();
        let answers = split(&[first, second].concat());
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0].sequence, 7);
        assert_eq!(answers[0].outcome(), Some(Err(Errno::PERM)));
        assert_eq!(answers[1].outcome(), None);
        assert_eq!(answers[1].body, b"body");
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        assert_eq!(split(&[1, 0, 0, 0]), []);
        assert_eq!(split(&[255, 0, 0, 0, 0, 0, 0, 0]), []);
        assert_eq!(split(&[0; 64]), []);
    }
}
