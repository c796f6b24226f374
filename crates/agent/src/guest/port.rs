//! The port to the host: a character device that carries bytes both ways (the kernel's
//! drivers/char/virtio_console.c).
//!
//! It outlives its other end. While nobody has the host's end open, reading gives nothing and
//! writing has no room; both are waited out here, so that whoever reads sees one stream that never
//! ends, and the mux finds its place in it again.
//!
//! Waiting needs a detour. The device says "hung up" for as long as nobody is there, and the
//! runtime would take that for the end and never wait again. So each direction has an epoll
//! instance of its own, which tells of changes alone (EPOLLET in epoll(7)), and the runtime watches
//! that one: it becomes readable when anything at the port has changed.

use crate::process::watched;
use crate::{Error, Result};
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// What the host calls it.
const NAME: &str = "casemate.agent";
const CLASS: &str = "/sys/class/virtio-ports";

/// The device of the port that has our name.
pub(super) fn find() -> Result<PathBuf> {
    named(Path::new(CLASS), NAME)
}

fn named(class: &Path, name: &str) -> Result<PathBuf> {
    let failed = |error: io::Error| {
        let hint = "a machine needs a virtio-serial port, and its kernel virtio_console";
        Error::io("look for the port to the host in", &error)
            .on(class.display())
            .hint(hint)
    };
    for entry in std::fs::read_dir(class).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let said = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if said.trim_end() == name {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(Error::rule(
        "look for the port to the host",
        format!("none is called {name}"),
    ))
}

/// The open port.
pub(super) struct Port {
    device: OwnedFd,
    incoming: Changes,
    outgoing: Changes,
}

/// Becomes readable when one direction of the port has changed.
struct Changes(AsyncFd<OwnedFd>);

impl Port {
    /// Opens the device; belongs in the runtime.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |errno: Errno| {
            Error::errno("open the port to the host", errno.raw_os_error()).on(path.display())
        };
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Self::new(open(path, flags, Mode::empty()).map_err(failed)?)
            .map_err(|e| Error::io("watch the port to the host", &e))
    }

    fn new(device: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            incoming: Changes::of(&device, epoll::EventFlags::IN)?,
            outgoing: Changes::of(&device, epoll::EventFlags::OUT)?,
            device,
        })
    }
}

impl Changes {
    fn of(device: &OwnedFd, what: epoll::EventFlags) -> io::Result<Self> {
        let changes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&changes, device.as_fd(), data, what | epoll::EventFlags::ET)?;
        watched(changes, Interest::READABLE).map(Self)
    }

    /// Tries again after each change until something could be done.
    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut() -> rustix::io::Result<Option<T>>,
    ) -> Poll<io::Result<T>> {
        loop {
            match attempt() {
                Ok(Some(done)) => return Poll::Ready(Ok(done)),
                Ok(None) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
            let mut changed = ready!(self.0.poll_read_ready(context))?;
            // What changed is of no interest. A change after this makes it readable again, and one
            // before this is seen by the attempt that follows.
            let mut event = [const { std::mem::MaybeUninit::uninit() }; 1];
            let now = Timespec::default();
            let _ = epoll::wait(&self.0, &mut event, Some(&now));
            changed.clear_ready();
        }
    }
}

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Self {
            device, incoming, ..
        } = &*self;
        incoming.poll(context, || {
            let room = buffer.initialize_unfilled();
            let read = rustix::io::read(device, room)?;
            buffer.advance(read);
            // Nothing at all is how a port says that nobody is there.
            Ok((read > 0).then_some(()))
        })
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self {
            device, outgoing, ..
        } = &*self;
        outgoing.poll(context, || {
            let written = rustix::io::write(device, bytes)?;
            Ok((written > 0 || bytes.is_empty()).then_some(written))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn a_port_is_found_by_its_name() {
        let class = tempfile::tempdir().unwrap();
        for (device, name) in [("vport1p1", "other\n"), ("vport1p2", "casemate.agent\n")] {
            fs::create_dir(class.path().join(device)).unwrap();
            fs::write(class.path().join(device).join("name"), name).unwrap();
        }
        assert_eq!(
            named(class.path(), NAME).unwrap(),
            Path::new("/dev/vport1p2")
        );
        assert!(named(class.path(), "casemate").is_err());
        assert!(named(&class.path().join("absent"), NAME).is_err());
    }

    /// A FIFO that this process has open both ways behaves as the port does, up to its hanging up.
    fn fifo() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        (folder, path)
    }

    #[tokio::test]
    async fn each_way_waits_for_the_other_side() {
        let (_folder, path) = fifo();
        let (mut incoming, mut outgoing) = tokio::io::split(Port::open(&path).unwrap());
        // More than a pipe holds: the writer has to wait, and so has the reader at times.
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let write = async {
            for part in sent.chunks(70_001) {
                outgoing.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut received = vec![0; sent.len()];
        let (_, read) = tokio::join!(write, incoming.read_exact(&mut received));
        read.unwrap();
        assert!(received == sent);
    }

    #[tokio::test]
    async fn nobody_there_is_no_end() {
        use std::time::Duration;
        let (_folder, path) = fifo();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let device = open(&path, flags, Mode::empty()).unwrap();
        let mut incoming = Port::new(device).unwrap();
        for word in [b"one", b"two"] {
            let mut heard = [0; 3];
            let wait = incoming.read_exact(&mut heard);
            assert!(
                tokio::time::timeout(Duration::from_millis(20), wait)
                    .await
                    .is_err()
            );
            // It comes, speaks and goes: what is left is "hung up".
            let path = path.clone();
            let speaker = std::thread::spawn(move || fs::write(path, word).unwrap());
            incoming.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, word);
            speaker.join().unwrap();
        }
    }
}
