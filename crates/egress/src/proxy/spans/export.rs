//! The way to the collector: OTLP/HTTP, a batch at a time, on a thread of its own.

use super::{Span, otlp};
use crate::proxy::inspect::client_config;
use bytes::Bytes;
use casemate_core::error::{Error, Result};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// Spans of one request, and how long the first of them waits for the others.
const MOST: usize = 512;
const GATHERING: Duration = Duration::from_secs(1);
/// For one request, and how often one is tried.
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;
/// Before the second.
const BREATH: Duration = Duration::from_millis(500);
/// Bytes of an answer.
const MOST_ANSWER: usize = 64 << 10;

pub(super) enum Message {
    Span(Box<Span>),
    /// Is told when everything before it has been sent.
    Flush(SyncSender<()>),
}

/// Where to.
pub(super) struct Collector {
    uri: Uri,
    host: String,
    port: u16,
    secure: bool,
    scope: &'static str,
    sandbox: Option<String>,
}

/// Why a batch didn't arrive.
enum Unsent {
    /// It may another time.
    Later,
    Never,
}

impl Collector {
    pub(super) fn new(scope: &'static str, url: &str, sandbox: Option<String>) -> Result<Self> {
        let refuse = || {
            Error::rule("send spans", "this is no URL of http or https")
                .on(url)
                .hint("give the collector's, such as http://127.0.0.1:4318")
        };
        let uri: Uri = format!("{}/v1/traces", url.trim_end_matches('/'))
            .parse()
            .map_err(|_| refuse())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse()),
        };
        let authority = uri.authority().ok_or_else(refuse)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(refuse());
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if secure { 443 } else { 80 }),
            secure,
            uri,
            scope,
            sandbox,
        })
    }

    async fn post(&self, body: &Bytes) -> std::result::Result<u64, Unsent> {
        let answered = timeout(PATIENCE, self.exchange(body.clone())).await;
        match answered {
            Ok(Ok((StatusCode::OK, answer))) => Ok(rejected(&answer)),
            Ok(Ok((
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT,
                _,
            )))
            | Ok(Err(_))
            | Err(_) => Err(Unsent::Later),
            Ok(Ok(_)) => Err(Unsent::Never),
        }
    }

    async fn exchange(&self, body: Bytes) -> io::Result<(StatusCode, Bytes)> {
        let socket = TcpStream::connect((&*self.host, self.port)).await?;
        if !self.secure {
            return self.ask(socket, body).await;
        }
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(client_config()?));
        self.ask(connector.connect(name, socket).await?, body).await
    }

    async fn ask<S>(&self, stream: S, body: Bytes) -> io::Result<(StatusCode, Bytes)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let authority = self.uri.authority().map_or("", |own| own.as_str());
        let request = Request::post(self.uri.path())
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let answered = async {
            let response = sender.send_request(request).await;
            let (head, body) = response.map_err(io::Error::other)?.into_parts();
            let body = Limited::new(body, MOST_ANSWER).collect().await;
            let body = body.map_err(io::Error::other)?.to_bytes();
            Ok((head.status, body))
        };
        tokio::pin!(answered, connection);
        tokio::select! {
            answer = &mut answered => answer,
            // It ends when the answer is there, at the earliest.
            _ = &mut connection => answered.await,
        }
    }
}

/// How many spans a collector didn't take, by its own word.
fn rejected(answer: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    let text = count.as_str().and_then(|text| text.parse().ok());
    text.or(count.as_u64()).unwrap_or(0)
}

/// Sends what comes, until nobody can send any more.
pub(super) fn run(collector: &Collector, messages: &Receiver<Message>, lost: &AtomicU64) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let (mut batch, mut waiting, mut since) = (Vec::new(), Vec::new(), Instant::now());
    loop {
        let patience = GATHERING.saturating_sub(since.elapsed());
        let more = match messages.recv_timeout(patience) {
            Ok(Message::Span(span)) => {
                if batch.is_empty() {
                    since = Instant::now();
                }
                batch.push(*span);
                batch.len() < MOST
            }
            Ok(Message::Flush(done)) => {
                waiting.push(done);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                return send(&runtime, collector, &mut batch, lost);
            }
        };
        if !more {
            send(&runtime, collector, &mut batch, lost);
            since = Instant::now();
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
        }
    }
}

fn send(runtime: &Runtime, collector: &Collector, batch: &mut Vec<Span>, lost: &AtomicU64) {
    if batch.is_empty() {
        return;
    }
    let body = Bytes::from(otlp::request(
        batch,
        collector.scope,
        collector.sandbox.as_deref(),
    ));
    let count = batch.len() as u64;
    batch.clear();
    let missing = runtime.block_on(async {
        for number in 0..TRIES {
            match collector.post(&body).await {
                Ok(rejected) => return rejected.min(count),
                Err(Unsent::Later) if number + 1 < TRIES => sleep(BREATH * (number + 1)).await,
                Err(_) => break,
            }
        }
        count
    });
    lost.fetch_add(missing, Ordering::Relaxed);
}
