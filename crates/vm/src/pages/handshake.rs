//! The one message that the monitor sends: which memory it has, and the userfaultfd of it.

use super::regions::Regions;
use casemate_core::error::{Error, Result};
use casemate_sys::socket::peer::{Credentials, credentials};
use casemate_sys::uffd::Userfault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut, retry_on_intr};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// The longest message. Firecracker's has about 130 bytes for each region.
const LONGEST: usize = 16 << 10;

/// What a monitor has handed over.
#[derive(Debug)]
pub(super) struct Handed {
    /// It is closed when the monitor is gone; nothing else comes by it.
    pub(super) stream: UnixStream,
    pub(super) userfault: Userfault,
    pub(super) regions: Regions,
    pub(super) peer: Credentials,
}

/// Waits for a monitor, and for what it has to say of a guest of so many pages. Nobody else is
/// listened to afterwards.
pub(super) fn take(listener: UnixListener, pages: u64, patience: Duration) -> Result<Handed> {
    let deadline = Instant::now() + patience;
    let fail = |errno: Errno| Error::errno("wait for the monitor", errno.raw_os_error());
    // It may be gone again between being waited for and being accepted.
    let unblocked = listener.set_nonblocking(true);
    unblocked.map_err(|error| Error::io("listen for the monitor", &error))?;
    let stream = loop {
        wait(&listener, deadline, "no monitor has connected")?;
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Error::io("listen for the monitor", &error)),
        }
    };
    drop(listener);
    let peer = credentials(&stream).map_err(fail)?;
    wait(&stream, deadline, "the monitor has said nothing")?;
    let (message, descriptors) = receive(&stream)?;
    let regions = Regions::parse(&message, pages)?;
    let refuse = |why: String| Error::rule("take the monitor's memory", why);
    let count = descriptors.len();
    let Ok([descriptor]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return Err(refuse(format!("{count} descriptors came with it, not one")));
    };
    let userfault = Userfault::received(descriptor).map_err(|errno| match errno {
        Errno::INVAL => refuse("the descriptor isn't a userfaultfd".to_owned()),
        errno => Error::errno("take the monitor's memory", errno.raw_os_error()),
    })?;
    Ok(Handed {
        stream,
        userfault,
        regions,
        peer,
    })
}

fn wait(socket: impl AsFd, deadline: Instant, otherwise: &str) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut poll_for = [PollFd::new(&socket, PollFlags::IN)];
        match poll(&mut poll_for, left.as_ref()) {
            Ok(0) => return Err(Error::rule("wait for the monitor", otherwise)),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::errno("wait for the monitor", errno.raw_os_error())),
        }
    }
}

/// There is room for one descriptor more than there has to be: that is enough to see that there are
/// more, and the kernel doesn't make the others.
fn receive(stream: &UnixStream) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let fail = |why: &str| Error::rule("hear the monitor", why);
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = retry_on_intr(|| {
        recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            flags,
        )
    });
    let got = got.map_err(|errno| Error::errno("hear the monitor", errno.raw_os_error()))?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(fail("more descriptors came with its message than one"));
    }
    match got.bytes {
        0 => Err(fail("it has gone without a word")),
        LONGEST => Err(fail("its message is too long")),
        count => {
            bytes.truncate(count);
            Ok((bytes, descriptors))
        }
    }
}
