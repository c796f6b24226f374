//! The sockets of the guest's "host": stream sockets tell everyone the token, datagram
//! sockets note what they hear as a file.

use std::fs;
use std::io::{PipeWriter, Write, pipe};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};

/// Paths that the host listens at.
pub(crate) struct Places {
    pub(crate) streams: Vec<String>,
    pub(crate) datagrams: String,
    /// The folder for what datagrams say.
    pub(crate) receipts: String,
}

/// A thread that serves until this is dropped.
pub(crate) struct Host {
    pub(crate) abstract_name: String,
    pub(crate) port: u16,
    pub(crate) udp_port: u16,
    /// The thread ends when the other end of its pipe is closed.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

struct Sockets {
    streams: Vec<UnixListener>,
    tcp: TcpListener,
    datagrams: UnixDatagram,
    udp: UdpSocket,
    receipts: String,
    token: &'static str,
}

impl Host {
    /// Binds everything and starts to serve.
    pub(crate) fn open(places: Places, token: &'static str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let abstract_name = format!("casemate-host-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let sockets = Sockets::bind(places, &abstract_name, token)?;
        let (port, udp_port) = (
            sockets.tcp.local_addr()?.port(),
            sockets.udp.local_addr()?.port(),
        );
        let (stopped, stop) = pipe()?;
        let thread = std::thread::Builder::new().spawn(move || sockets.serve(stopped.as_fd()))?;
        Ok(Host {
            abstract_name,
            port,
            udp_port,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Sockets {
    fn bind(places: Places, abstract_name: &str, token: &'static str) -> Result<Self> {
        let mut streams = Vec::new();
        for path in &places.streams {
            streams.push(UnixListener::bind(path)?);
            open_to_all(path)?;
        }
        let address = SocketAddr::from_abstract_name(abstract_name)?;
        streams.push(UnixListener::bind_addr(&address)?);
        let datagrams = UnixDatagram::bind(&places.datagrams)?;
        open_to_all(&places.datagrams)?;
        let (tcp, udp) = (
            TcpListener::bind("127.0.0.1:0")?,
            UdpSocket::bind("127.0.0.1:0")?,
        );
        Ok(Sockets {
            streams,
            tcp,
            datagrams,
            udp,
            receipts: places.receipts,
            token,
        })
    }

    /// One at a time, whichever is ready, until the pipe is closed.
    fn serve(self, stopped: BorrowedFd<'_>) {
        loop {
            let mut ready = vec![self.tcp.as_fd(), self.datagrams.as_fd(), self.udp.as_fd()];
            ready.extend(self.streams.iter().map(AsFd::as_fd));
            ready.push(stopped);
            let mut ready: Vec<PollFd<'_>> = ready
                .into_iter()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            if poll(&mut ready, None).is_err() {
                continue;
            }
            let ready: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready.last() == Some(&true) {
                return;
            }
            self.answer(&ready);
        }
    }

    /// A socket that fails has failed for its client, not for the host.
    fn answer(&self, ready: &[bool]) {
        let mut message = [0; 64];
        if ready[0] {
            let _ = self
                .tcp
                .accept()
                .map(|(mut to, _)| to.write_all(self.token.as_bytes()));
        }
        if ready[1] {
            let _ = self
                .datagrams
                .recv(&mut message)
                .map(|length| self.note(&message[..length]));
        }
        if ready[2] {
            let _ = self
                .udp
                .recv(&mut message)
                .map(|length| self.note(&message[..length]));
        }
        for (stream, _) in self
            .streams
            .iter()
            .zip(&ready[3..])
            .filter(|(_, ready)| **ready)
        {
            let _ = stream
                .accept()
                .map(|(mut to, _)| to.write_all(self.token.as_bytes()));
        }
    }

    /// Only plain words become files.
    fn note(&self, message: &[u8]) {
        let word = String::from_utf8_lossy(message);
        if word
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '-')
        {
            let _ = fs::write(Path::new(&self.receipts).join(word.as_ref()), "");
        }
    }
}

fn open_to_all(path: &str) -> Result<()> {
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o777),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_host_tells_its_token_and_notes_what_it_hears() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let places = Places {
            streams: vec![path("a.sock")],
            datagrams: path("d.sock"),
            receipts: folder.path().display().to_string(),
        };
        let host = Host::open(places, "token").expect("a host");
        let mut said = String::new();
        UnixStream::connect(path("a.sock"))
            .and_then(|mut stream| stream.read_to_string(&mut said))
            .expect("an answer");
        assert_eq!(said, "token");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket
            .send_to(b"heard", ("127.0.0.1", host.udp_port))
            .expect("a way");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !folder.path().join("heard").exists() {
            assert!(std::time::Instant::now() < end, "no receipt");
            std::thread::yield_now();
        }
    }
}
