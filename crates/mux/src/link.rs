//! Between a session and the wire: what came and isn't understood yet, and the loop that writes.
//!
//! Reading never waits for writing, nor for anybody who has a stream: so a slow one costs nobody
//! else anything, and two sides that both write much don't stop each other.

use crate::ended::Ended;
use crate::frame::FRAME;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// The most that is read at a time, bytes; it must hold the longest frame.
const ROOM: usize = 64 << 10;
const _: () = assert!(ROOM >= 2 * FRAME);

/// What came and isn't understood yet.
pub(crate) struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; ROOM].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    pub(crate) fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// So much of it is done with.
    pub(crate) fn done(&mut self, count: usize) {
        self.start += count;
    }

    /// Waits for more. What is held must be less than a frame.
    pub(crate) async fn more(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<(), Ended> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match from.read(&mut self.bytes[self.end..]).await {
            Ok(0) => Err(Ended::Gone(io::ErrorKind::UnexpectedEof)),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(error) => Err(Ended::Gone(error.kind())),
        }
    }
}

/// Writes what there is, whenever there is some, until that fails.
pub(crate) async fn write(
    mut to: impl AsyncWrite + Unpin,
    wake: &Notify,
    fill: impl Fn(&mut Vec<u8>),
) -> Ended {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        fill(&mut batch);
        if batch.is_empty() {
            wake.notified().await;
        } else if let Err(ended) = say(&mut to, &batch).await {
            return ended;
        }
    }
}

/// Writes this.
pub(crate) async fn say(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Ended> {
    let gone = |error: io::Error| Ended::Gone(error.kind());
    to.write_all(bytes).await.map_err(gone)?;
    to.flush().await.map_err(gone)
}
