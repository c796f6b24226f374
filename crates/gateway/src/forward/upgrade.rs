//! Upgrades: after 101, two byte streams that are one.

use super::{BURST, headers, is_http11};
use crate::inside::Inside;
use crate::link::Link;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

/// What is read at once.
const CHUNK: usize = 32 << 10;

/// The protocol that a client wants to change to. HTTP/2 isn't one (RFC 9113 §3.1): whoever got it
/// would send requests that nobody here reads.
pub(super) fn wanted(parts: &Parts) -> Option<HeaderValue> {
    let headers = &parts.headers;
    let mut protocols = headers.get_all(UPGRADE).iter();
    let (protocol, more) = (protocols.next()?, protocols.next());
    let upgrades = is_http11(parts) && headers::names(headers, &CONNECTION, "upgrade");
    let h2 = words(protocol).any(|word| {
        word.get(..2)
            .is_some_and(|h2| h2.eq_ignore_ascii_case(b"h2"))
    });
    (upgrades && !h2 && more.is_none()).then(|| protocol.clone())
}

/// The protocol that was changed to, if it's among those that were wanted (RFC 9110 §7.8).
pub(super) fn agreed(wanted: &HeaderValue, headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let mut wanted = words(wanted);
    let same = wanted.any(|word| word.eq_ignore_ascii_case(protocol.as_bytes().trim_ascii()));
    same.then(|| protocol.clone())
}

fn words(list: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    list.as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
}

/// Says again what was taken away as of one hop.
pub(super) fn restore(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// See the module.
pub(super) struct Tunnel {
    pub(super) ours: OnUpgrade,
    pub(super) theirs: OnUpgrade,
    /// Its place among the sandbox's connections.
    pub(super) _link: Link,
    pub(super) flow: Flow,
}

impl Tunnel {
    /// Moves bytes once both sides have changed over.
    pub(super) async fn run(self) {
        // Nobody is left who could be told why one didn't.
        if let Ok((theirs, ours)) = tokio::try_join!(self.theirs, self.ours) {
            let flow = self.flow;
            flow.run(TokioIo::new(ours), TokioIo::new(theirs)).await;
        }
    }
}

/// Bytes between a client and a sandbox.
pub(super) struct Flow {
    pub(super) inside: Arc<Inside>,
    /// Bytes to the sandbox, and out of it.
    pub(super) counts: (Counter, Counter),
}

impl Flow {
    /// Moves bytes until both sides have said all, one breaks off, or the sandbox ends. One that
    /// has said all may still listen.
    pub(super) async fn run(
        self,
        ours: impl AsyncRead + AsyncWrite + Unpin,
        theirs: impl AsyncRead + AsyncWrite + Unpin,
    ) {
        let (from_client, to_client) = split(ours);
        let (from_sandbox, to_sandbox) = split(theirs);
        let moved = async {
            tokio::try_join!(
                self.one_way(from_client, to_sandbox, &self.counts.0),
                self.one_way(from_sandbox, to_client, &self.counts.1),
            )
        };
        let gone = self.inside.gone();
        tokio::select! {
            // Nobody is left who could be told why it broke.
            _ = moved => {}
            () = gone => {}
        }
        self.inside.touch();
    }

    async fn one_way(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        count: &Counter,
    ) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut burst = 0;
        loop {
            let read = from.read(&mut chunk).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&chunk[..read]).await?;
            to.flush().await?;
            count.inc_by(read as u64);
            self.inside.touch_again();
            burst += read;
            if burst >= BURST {
                burst = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}
