//! What a command prints, on its way to standard output and standard error.
//!
//! It is written by a thread, since whoever reads it may take their time, and signals and input
//! must go on meanwhile.

use casemate_core::error::{Error, Result};
use std::io::{self, Write as _};
use tokio::sync::{mpsc, oneshot};

/// Pieces that wait to be written; the command is held up beyond that.
const PIECES: usize = 16;

/// Where a piece goes.
#[derive(Clone, Copy)]
pub(super) enum To {
    Output,
    Error,
}

/// See the module.
pub(super) struct Output {
    pieces: mpsc::Sender<(To, Vec<u8>)>,
    written: oneshot::Receiver<bool>,
}

impl Output {
    pub(super) fn new() -> Result<Self> {
        let (pieces, mut waiting) = mpsc::channel::<(To, Vec<u8>)>(PIECES);
        let (all, written) = oneshot::channel();
        let write = move || {
            let mut fine = true;
            while let Some((to, bytes)) = fine.then(|| waiting.blocking_recv()).flatten() {
                fine = put(to, &bytes).is_ok();
            }
            // Nobody may be waiting.
            let _ = all.send(fine);
        };
        let thread = std::thread::Builder::new().name("output".into());
        thread
            .spawn(write)
            .map_err(|error| Error::io("start a thread", &error))?;
        Ok(Self { pieces, written })
    }

    /// Passes a piece on; false if nobody reads any more.
    pub(super) async fn write(&self, to: To, bytes: Vec<u8>) -> bool {
        self.pieces.send((to, bytes)).await.is_ok()
    }

    /// Waits until all is written; false if nobody read it.
    pub(super) async fn finish(self) -> bool {
        drop(self.pieces);
        self.written.await.unwrap_or(false)
    }
}

fn put(to: To, bytes: &[u8]) -> io::Result<()> {
    match to {
        To::Output => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        To::Error => io::stderr().lock().write_all(bytes),
    }
}
