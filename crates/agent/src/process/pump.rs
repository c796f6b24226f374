//! From a pipe or terminal into the ring.

use super::output::{Added, Output};
use super::ring::{CHUNK, Chunk, Source};
use bytes::Bytes;
use rustix::io::Errno;
use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Reads until there is nothing more to come.
pub(super) async fn pump(from: &AsyncFd<OwnedFd>, source: Source, output: &Output) {
    loop {
        output.room().await;
        let Ok(mut guard) = from.readable().await else {
            return;
        };
        match output.add(|| read(from, source)) {
            Some(Ok(Added::Chunk)) => {
                // A program that prints all the time shares the thread with everything else.
                tokio::task::coop::consume_budget().await;
            }
            Some(Ok(Added::Nothing)) => return,
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
            Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
            Some(Err(_)) => return,
            None => {}
        }
    }
}

fn read(from: &AsyncFd<OwnedFd>, source: Source) -> Result<Option<Chunk>, Error> {
    let mut buffer = [0u8; CHUNK];
    match rustix::io::read(from, &mut buffer) {
        // The last program has let go of its side of the terminal.
        Ok(0) | Err(Errno::IO) => Ok(None),
        Ok(count) => Ok(Some(Chunk {
            source,
            bytes: Bytes::copy_from_slice(&buffer[..count]),
        })),
        Err(errno) => Err(errno.into()),
    }
}
