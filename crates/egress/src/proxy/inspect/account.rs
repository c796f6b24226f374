//! Bytes on the way to servers and back, counted against the limits of entries.

use crate::proxy::quota::Meter;
use crate::proxy::relay::Traffic;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What one inspected connection moved.
pub(super) struct Account {
    meter: Meter,
    pub(super) traffic: Traffic,
    dialled: Mutex<Option<SocketAddr>>,
}

impl Account {
    pub(super) fn new(meter: Meter) -> Self {
        Self {
            meter,
            traffic: Traffic::default(),
            dialled: Mutex::default(),
        }
    }

    pub(super) fn dialled(&self, address: Option<SocketAddr>) {
        *self.dialled.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// The server that was dialled last.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        *self.dialled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket to a server.
pub(super) struct Counted {
    socket: TcpStream,
    account: Arc<Account>,
}

impl Counted {
    pub(super) fn new(socket: TcpStream, account: Arc<Account>) -> Self {
        Self { socket, account }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, into);
        let count = (into.filled().len() - before) as u64;
        if count > 0 {
            self.account.meter.take(count)?;
            let received = &self.account.traffic.received;
            received.fetch_add(count, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            self.account.meter.take(count as u64)?;
            let sent = &self.account.traffic.sent;
            sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
