//! Bytes on the way to servers and back, counted against the limits of entries.

use crate::proxy::quota::Meter;
use crate::proxy::relay::Traffic;
use arc_swap::ArcSwapOption;
use casemate_core::flow::{Flow, Flows};
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What one inspected connection moved.
pub(super) struct Account {
    meter: Meter,
    flows: Option<Arc<Flows>>,
    pub(super) traffic: Traffic,
    dialled: Mutex<Option<SocketAddr>>,
}

impl Account {
    pub(super) fn new(meter: Meter, flows: Option<Arc<Flows>>) -> Self {
        Self {
            meter,
            flows,
            traffic: Traffic::default(),
            dialled: Mutex::default(),
        }
    }

    /// The server that was dialled last.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        *self.dialled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a connection to a server while TLS or HTTP has it.
pub(super) struct Line {
    peer: Option<SocketAddr>,
    /// Whose it is; nobody's while it waits to be used again.
    account: ArcSwapOption<Account>,
    /// The kernel is asked, and not what the executor has been told already.
    asking: AtomicBool,
    /// Bytes that the kernel has taken.
    written: AtomicU64,
}

impl Line {
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// From now on its bytes are this connection's.
    pub(super) fn charge(&self, account: &Arc<Account>) {
        let dialled = &account.dialled;
        *dialled.lock().unwrap_or_else(PoisonError::into_inner) = self.peer;
        self.account.store(Some(Arc::clone(account)));
    }

    /// From now on they are nobody's.
    pub(super) fn discharge(&self) {
        self.account.store(None);
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Reads without waiting while `read` runs: what arrived is seen even if the executor hasn't
    /// been told of it yet.
    pub(super) fn asking<T>(&self, read: impl FnOnce() -> T) -> T {
        self.asking.store(true, Ordering::Relaxed);
        let result = read();
        self.asking.store(false, Ordering::Relaxed);
        result
    }
}

/// A socket to a server.
pub(super) struct Counted {
    socket: TcpStream,
    line: Arc<Line>,
    /// Until bytes may go again, out and in.
    waits: (Wait, Wait),
}

/// Until something may go on.
type Wait = Option<Pin<Box<Sleep>>>;

/// Waits for it.
fn poll_wait(wait: &mut Wait, context: &mut Context<'_>) -> Poll<()> {
    if let Some(sleep) = wait {
        ready!(sleep.as_mut().poll(context));
        *wait = None;
    }
    Poll::Ready(())
}

/// Bytes have gone; what there is to wait for.
fn pause(flow: Option<&Flow>, count: u64) -> Wait {
    let wait = flow.map_or(Duration::ZERO, |flow| flow.take(count));
    (!wait.is_zero()).then(|| Box::pin(sleep(wait)))
}

impl Counted {
    pub(super) fn new(socket: TcpStream, account: &Arc<Account>) -> Self {
        let line = Line {
            peer: socket.peer_addr().ok(),
            account: ArcSwapOption::empty(),
            asking: AtomicBool::new(false),
            written: AtomicU64::new(0),
        };
        line.charge(account);
        let line = Arc::new(line);
        Self {
            socket,
            line,
            waits: (None, None),
        }
    }

    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    fn poll_socket(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.line.asking.load(Ordering::Relaxed) {
            return Pin::new(&mut self.socket).poll_read(context, into);
        }
        match recv(
            &self.socket,
            into.initialize_unfilled(),
            RecvFlags::DONTWAIT,
        ) {
            Ok((count, _)) => {
                into.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(rustix::io::Errno::AGAIN) => Poll::Pending,
            Err(errno) => Poll::Ready(Err(errno.into())),
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(poll_wait(&mut self.waits.1, context));
        let before = into.filled().len();
        let polled = self.poll_socket(context, into);
        let count = (into.filled().len() - before) as u64;
        if count > 0
            && let Some(account) = &*self.line.account.load()
        {
            account.meter.take(count)?;
            let flows = account.flows.as_deref();
            let wait = pause(flows.map(|flows| &flows.into), count);
            let received = &account.traffic.received;
            received.fetch_add(count, Ordering::Relaxed);
            self.waits.1 = wait;
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
        ready!(poll_wait(&mut self.waits.0, context));
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            let count = count as u64;
            self.line.written.fetch_add(count, Ordering::Relaxed);
            if let Some(account) = &*self.line.account.load() {
                account.meter.take(count)?;
                account.traffic.sent.fetch_add(count, Ordering::Relaxed);
                let flows = account.flows.as_deref();
                self.waits.0 = pause(flows.map(|flows| &flows.out), count);
            }
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
