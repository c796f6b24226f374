//! A stream socket that carries frames and their descriptors (unix(7)).

use super::{Decoder, Frame, MAX_DESCRIPTORS, Malformed};
use casemate_sys::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::IoSliceMut;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::time::Instant;

/// What is read at a time.
const CHUNK: usize = 16 << 10;

/// Whether descriptors are taken from the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptors {
    /// They are: it is the controller.
    Taken,
    /// They never are: it is a worker. The kernel drops them before they are anybody's.
    Refused,
}

/// Why a connection can't be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The other side is gone.
    #[error("the other side is gone")]
    Gone,
    /// The deadline passed.
    #[error("it took too long")]
    Late,
    /// What came is no message.
    #[error("the other side sent what is no message: {0}")]
    Malformed(#[from] Malformed),
    /// The kernel refused.
    #[error("the socket failed: {0}")]
    Socket(Errno),
}

impl From<Errno> for Broken {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Gone,
            errno => Self::Socket(errno),
        }
    }
}

/// One end.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    descriptors: Descriptors,
    /// Received, and not yet handed out with the frame that they belong to.
    fds: VecDeque<OwnedFd>,
}

impl Connection {
    /// Two connected sockets, close-on-exec.
    pub fn sockets() -> Result<(OwnedFd, OwnedFd), Errno> {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
    }

    /// Talks over one of them.
    pub fn new(socket: OwnedFd, descriptors: Descriptors) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
            descriptors,
            fds: VecDeque::new(),
        }
    }

    /// Sends a frame; without a deadline, waits as long as it takes.
    ///
    /// # Errors
    /// It is too long, or the other side doesn't read. Part of it may have been sent, so the
    /// connection is of no use then.
    pub fn send(
        &mut self,
        kind: u16,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), Broken> {
        let bytes = Frame::encode(kind, fds.len(), payload)?;
        let mut rest = &bytes[..];
        // They travel with the first byte.
        let mut fds = fds;
        while !rest.is_empty() {
            match send(self.socket.as_fd(), rest, fds) {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    fds = &[];
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// The next frame with its descriptors; without a deadline, waits as long as it takes.
    ///
    /// # Errors
    /// There will be none, or not in time. Only after [`Broken::Late`] it may be tried again.
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<(Frame, Vec<OwnedFd>), Broken> {
        loop {
            if let Some(frame) = self.decoder.take()? {
                if frame.descriptors > self.fds.len() {
                    return Err(Malformed::Descriptors.into());
                }
                let fds = self.fds.drain(..frame.descriptors).collect();
                return Ok((frame, fds));
            }
            match self.read() {
                Ok(()) => {}
                Err(Broken::Socket(Errno::AGAIN)) => self.wait(PollFlags::IN, deadline)?,
                Err(broken) => return Err(broken),
            }
        }
    }

    /// Reads what is there, once.
    fn read(&mut self) -> Result<(), Broken> {
        let mut bytes = [0; CHUNK];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = match self.descriptors {
            Descriptors::Taken => RecvAncillaryBuffer::new(&mut space),
            Descriptors::Refused => RecvAncillaryBuffer::default(),
        };
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message = rustix::io::retry_on_intr(|| {
            let buffer = &mut [IoSliceMut::new(&mut bytes)];
            recvmsg(&self.socket, buffer, &mut control, flags)
        })?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                self.fds.extend(rights);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) || self.fds.len() > 2 * MAX_DESCRIPTORS {
            return Err(Malformed::Descriptors.into());
        }
        match message.bytes {
            0 => Err(Broken::Gone),
            count => {
                self.decoder.push(&bytes[..count]);
                Ok(())
            }
        }
    }

    fn wait(&self, flags: PollFlags, deadline: Option<Instant>) -> Result<(), Broken> {
        let mut fds = [PollFd::new(&self.socket, flags)];
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Err(Broken::Late),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;
    use std::time::Duration;

    fn pair(descriptors: Descriptors) -> (Connection, Connection) {
        let (a, b) = Connection::sockets().unwrap();
        (
            Connection::new(a, Descriptors::Taken),
            Connection::new(b, descriptors),
        )
    }

    #[test]
    fn frames_and_descriptors_arrive_together() {
        let (mut a, mut b) = pair(Descriptors::Taken);
        let (read, write) = pipe().unwrap();
        a.send(1, b"none", &[], None).unwrap();
        a.send(2, b"both", &[read.as_fd(), write.as_fd()], None)
            .unwrap();
        let (frame, fds) = b.receive(None).unwrap();
        assert_eq!((frame.kind, fds.len()), (1, 0));
        let (frame, fds) = b.receive(None).unwrap();
        assert_eq!(
            (frame.kind, fds.len(), &frame.payload[..]),
            (2, 2, &b"both"[..])
        );
    }

    #[test]
    fn a_long_frame_arrives_in_pieces() {
        let (mut a, mut b) = pair(Descriptors::Taken);
        let payload = vec![5; super::super::LIMIT];
        let sent = payload.clone();
        let sender = std::thread::spawn(move || a.send(3, &sent, &[], None));
        assert_eq!(b.receive(None).unwrap().0.payload, payload);
        sender.join().unwrap().unwrap();
    }

    #[test]
    fn descriptors_of_a_worker_are_never_taken() {
        let (mut a, mut b) = pair(Descriptors::Refused);
        let (read, write) = pipe().unwrap();
        a.send(1, b"", &[write.as_fd()], None).unwrap();
        let refused = b.receive(None).unwrap_err();
        assert_eq!(refused, Broken::Malformed(Malformed::Descriptors));
        drop(write);
        // Nobody has the pipe's other end any more.
        assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0));
    }

    #[test]
    fn announced_descriptors_must_come() {
        let (a, mut b) = pair(Descriptors::Taken);
        let bytes = Frame::encode(1, 2, b"").unwrap();
        rustix::io::write(&a, &bytes).unwrap();
        let refused = b.receive(None).unwrap_err();
        assert_eq!(refused, Broken::Malformed(Malformed::Descriptors));
    }

    #[test]
    fn silence_ends_at_the_deadline_and_death_at_once() {
        let (a, mut b) = pair(Descriptors::Taken);
        let soon = Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(b.receive(soon).unwrap_err(), Broken::Late);
        drop(a);
        assert_eq!(b.receive(None).unwrap_err(), Broken::Gone);
        assert_eq!(b.send(1, b"", &[], None).unwrap_err(), Broken::Gone);
    }

    #[test]
    fn who_doesnt_read_is_not_waited_for() {
        let (mut a, _b) = pair(Descriptors::Taken);
        let payload = vec![0; super::super::LIMIT];
        let soon = Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(a.send(1, &payload, &[], soon).unwrap_err(), Broken::Late);
    }
}
