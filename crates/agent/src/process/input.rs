//! What is typed: a queue for each process, written in order.
//!
//! A caller waits until its piece is written, so that a program which doesn't read holds its
//! client up and nothing piles up here. A piece that is in the queue is written in full, even
//! if the caller leaves.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// Pieces that wait; each is one message of a client.
const PIECES: usize = 4;

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Stdin,
    Terminal,
}

enum Piece {
    Bytes(Vec<u8>),
    Close,
}

struct Queued {
    piece: Piece,
    written: oneshot::Sender<Result<(), Refused>>,
}

/// Why input isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The process has a terminal: input goes there.
    HasTerminal,
    /// The process has none.
    NoTerminal,
    /// Standard input is closed, by a client or by the program.
    Closed,
    /// A terminal's input has no end but the one that is typed.
    NoEnd,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HasTerminal => "the process has a terminal: send input to its pty",
            Self::NoTerminal => "the process has no terminal",
            Self::Closed => "stdin is closed",
            Self::NoEnd => "a terminal's input can't be closed: send Ctrl+D (0x04)",
        })
    }
}

/// The clients' side of a queue.
pub(super) struct Input {
    kind: Kind,
    queue: mpsc::Sender<Queued>,
}

/// The other side.
pub(super) struct Writer {
    queue: mpsc::Receiver<Queued>,
    to: Option<Arc<AsyncFd<OwnedFd>>>,
}

/// A queue for what `to` is, if anything: a process may have no standard input.
pub(super) fn queue(kind: Kind, to: Option<Arc<AsyncFd<OwnedFd>>>) -> (Input, Writer) {
    let (sender, queue) = mpsc::channel(PIECES);
    let input = Input {
        kind,
        queue: sender,
    };
    (input, Writer { queue, to })
}

impl Input {
    /// Writes a piece.
    pub(super) async fn write(&self, kind: Kind, bytes: Vec<u8>) -> Result<(), Refused> {
        match (self.kind, kind) {
            (Kind::Terminal, Kind::Stdin) => Err(Refused::HasTerminal),
            (Kind::Stdin, Kind::Terminal) => Err(Refused::NoTerminal),
            _ => self.send(Piece::Bytes(bytes)).await,
        }
    }

    /// Ends standard input, after all that waits; once more is no mistake.
    pub(super) async fn close(&self) -> Result<(), Refused> {
        match self.kind {
            Kind::Terminal => Err(Refused::NoEnd),
            Kind::Stdin => match self.send(Piece::Close).await {
                Err(Refused::Closed) => Ok(()),
                other => other,
            },
        }
    }

    async fn send(&self, piece: Piece) -> Result<(), Refused> {
        let (written, answer) = oneshot::channel();
        let queued = Queued { piece, written };
        // Both fail if the process ended meanwhile.
        self.queue.send(queued).await.map_err(|_| Refused::Closed)?;
        answer.await.unwrap_or(Err(Refused::Closed))
    }
}

impl Writer {
    /// Writes what arrives, until it is dropped with its process.
    pub(super) async fn run(mut self) {
        while let Some(Queued { piece, written }) = self.queue.recv().await {
            let result = match piece {
                Piece::Bytes(bytes) => self.write(&bytes).await,
                Piece::Close => {
                    self.to = None;
                    Ok(())
                }
            };
            // The caller may have left.
            let _ = written.send(result);
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            let to = self.to.as_ref().ok_or(Refused::Closed)?;
            let write = |to: &OwnedFd| Ok(rustix::io::write(to, bytes)?);
            match to.async_io(tokio::io::Interest::WRITABLE, write).await {
                Ok(count) => bytes = &bytes[count..],
                // The program closed its side, or ended.
                Err(_) => self.to = None,
            }
        }
        self.to.as_ref().map(|_| ()).ok_or(Refused::Closed)
    }
}
