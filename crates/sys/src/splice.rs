//! Bytes from one socket to another that never come into this process's memory (splice(2)).
//!
//! ```text
//!   socket ── fill ──► Pipe ── drain ──► socket
//! ```
//!
//! Neither half ever waits: what would is `EAGAIN`, and a reactor says when to go on. A pipe that
//! has bytes in it tells by [`Pipe::held`] which half is to be waited for.

use crate::Errno;
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// The largest pipe that an ordinary user may have (`/proc/sys/fs/pipe-max-size`).
pub const LARGEST: usize = 1 << 20;

/// A pipe between two sockets, and how many bytes are in it.
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
    room: usize,
}

impl Pipe {
    /// A pipe of `size` bytes if the user may have it (each user's pipes have a bound together,
    /// `pipe-user-pages-soft`), or else a smaller one.
    pub fn new(size: usize) -> Result<Self, Errno> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let room = match fcntl_setpipe_size(&writer, size.min(LARGEST)) {
            Ok(room) => room,
            Err(_) => fcntl_getpipe_size(&writer)?,
        };
        Ok(Self {
            reader,
            writer,
            held: 0,
            room,
        })
    }

    /// How many bytes are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// How many bytes it has been made for; fewer fit if they come in small packets.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Takes what a socket has: how many bytes, 0 at its end.
    ///
    /// EAGAIN says that the socket has nothing, or that the pipe is full: if it [holds](Self::held)
    /// something, drain it first. The socket is non-blocking.
    pub fn fill(&mut self, from: impl AsFd) -> Result<usize, Errno> {
        let count = transfer(from, &self.writer, self.room, SpliceFlags::empty())?;
        self.held += count;
        Ok(count)
    }

    /// Gives a socket what it takes. EAGAIN says that it takes nothing now, or that the pipe is
    /// empty. `more` tells the kernel that more will follow, so it may wait for a full packet.
    pub fn drain(&mut self, to: impl AsFd, more: bool) -> Result<usize, Errno> {
        if self.held == 0 {
            return Err(Errno::AGAIN);
        }
        let flags = if more {
            SpliceFlags::MORE
        } else {
            SpliceFlags::empty()
        };
        let count = transfer(&self.reader, to, self.held, flags)?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}

fn transfer(
    from: impl AsFd,
    to: impl AsFd,
    most: usize,
    flags: SpliceFlags,
) -> Result<usize, Errno> {
    let flags = flags | SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    rustix::io::retry_on_intr(|| splice(&from, None, &to, None, most, flags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{read, write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        for socket in [&one, &other] {
            socket.set_nonblocking(true).unwrap();
            socket.set_nodelay(true).unwrap();
        }
        (one, other)
    }

    #[test]
    fn megabytes_arrive_as_they_were_sent() {
        const TOTAL: usize = 8 << 20;
        let ((program, near), (far, server)) = (pair(), pair());
        let byte = |at: usize| (at % 251) as u8;
        let data: Vec<u8> = (0..TOTAL).map(byte).collect();
        let mut pipe = Pipe::new(LARGEST).unwrap();
        let (mut sent, mut got) = (0, Vec::new());
        let mut buffer = vec![0; 64 << 10];
        let mut over = false;
        while got.len() < TOTAL {
            if sent < TOTAL {
                sent += write(&program, &data[sent..]).unwrap_or(0);
            } else if !over {
                program.shutdown(std::net::Shutdown::Write).unwrap();
                over = true;
            }
            let _ = pipe.fill(&near);
            let _ = pipe.drain(&far, false);
            let count = read(&server, &mut buffer).unwrap_or(0);
            got.extend_from_slice(&buffer[..count]);
        }
        assert!(got == data);
        assert_eq!(pipe.held(), 0);
        assert_eq!(pipe.fill(&near), Ok(0), "the end");
    }

    #[test]
    fn nothing_waits() {
        let ((program, near), (far, _server)) = (pair(), pair());
        let mut pipe = Pipe::new(4096).unwrap();
        assert_eq!(pipe.fill(&near), Err(Errno::AGAIN));
        assert_eq!(pipe.drain(&far, false), Err(Errno::AGAIN));
        // Nobody drains: the pipe fills and says so.
        let chunk = vec![0; pipe.room()];
        let mut held = 0;
        loop {
            let _ = write(&program, &chunk);
            match pipe.fill(&near) {
                Ok(count) => held += count,
                Err(errno) if held > 0 => break assert_eq!(errno, Errno::AGAIN),
                Err(_) => {}
            }
        }
        assert_eq!(pipe.held(), held);
    }

    #[test]
    fn a_broken_connection_is_an_error_and_no_signal() {
        let ((program, near), (far, server)) = (pair(), pair());
        let mut pipe = Pipe::new(LARGEST).unwrap();
        drop(server);
        let mut failed = None;
        while failed.is_none() {
            let _ = write(&program, b"x");
            let _ = pipe.fill(&near);
            failed = match pipe.drain(&far, false) {
                Ok(_) | Err(Errno::AGAIN) => None,
                Err(errno) => Some(errno),
            };
        }
        assert!(matches!(failed, Some(Errno::PIPE | Errno::CONNRESET)));
    }
}
