//! A socket whose bytes take their time, if its sandbox may not have them as fast as it can.

use crate::dial::Socket;
use casemate_core::flow::{Flow, Flows};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// See the module.
pub(crate) struct Paced {
    socket: Socket,
    flows: Option<Arc<Flows>>,
    /// Until bytes may go again, into the sandbox and out of it.
    into: Wait,
    out: Wait,
}

impl Paced {
    pub(crate) fn new(socket: Socket, flows: Option<Arc<Flows>>) -> Self {
        Self {
            socket,
            flows,
            into: Wait::default(),
            out: Wait::default(),
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Poll::Ready(Ok(count)), Some(flows)) = (&written, &self.flows) {
            self.into.begin(&flows.into, *count);
        }
        written
    }
}

/// Until something may go on.
#[derive(Default)]
struct Wait(Option<Pin<Box<Sleep>>>);

impl Wait {
    fn begin(&mut self, flow: &Flow, count: usize) {
        let wait = flow.take(count as u64);
        self.0 = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(context));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        ready!(own.out.poll(cx));
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut own.socket).poll_read(cx, buffer));
        if let Some(flows) = &own.flows {
            own.out.begin(&flows.out, buffer.filled().len() - before);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        ready!(own.into.poll(cx));
        let written = Pin::new(&mut own.socket).poll_write(cx, bytes);
        own.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        ready!(own.into.poll(cx));
        let written = Pin::new(&mut own.socket).poll_write_vectored(cx, bytes);
        own.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
