//! Bytes from one socket to the other, without a copy in this process.

use super::quota::Meter;
use casemate_core::flow::Flow;
use casemate_sys::Errno;
use casemate_sys::splice::Pipe;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What fits into a pipe between two sockets: enough for a full rate on loopback.
const PIPE: usize = 256 << 10;

/// Bytes that went each way.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

/// Writes all of it.
pub(super) async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Relays one way until that side has said all; the other side is told.
pub(super) async fn one_way(
    from: &TcpStream,
    to: &TcpStream,
    (count, flow): (&AtomicU64, Option<&Flow>),
    meter: &Meter,
) -> io::Result<()> {
    let mut pipe = Pipe::new(flow.map_or(PIPE, Flow::piece))?;
    loop {
        let filled = from
            .async_io(Interest::READABLE, || pipe.fill(from).map_err(io_error))
            .await?;
        if filled == 0 {
            break;
        }
        meter.take(filled as u64)?;
        count.fetch_add(filled as u64, Ordering::Relaxed);
        while pipe.held() > 0 {
            to.async_io(Interest::WRITABLE, || {
                pipe.drain(to, false).map_err(io_error)
            })
            .await?;
        }
        let wait = flow.map_or(Duration::ZERO, |flow| flow.take(filled as u64));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
    match rustix::net::shutdown(to, rustix::net::Shutdown::Write) {
        // The other side has gone altogether.
        Err(Errno::NOTCONN) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn io_error(errno: Errno) -> io::Error {
    // EAGAIN becomes WouldBlock, for which the reactor waits.
    errno.into()
}
