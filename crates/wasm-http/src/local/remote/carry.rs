//! Archives, as streams: neither side has all of one in memory.

use super::{GRACE, LONGEST, Remote, told};
use crate::fault::{Fault, Kind};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::header::HOST;
use http::request::Builder;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::future::pending;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// What is sent at once, bytes.
const PIECE: usize = 1 << 20;
/// What a server is given for an archive or a replay: as long as it takes any.
const PATIENCE: Duration = Duration::from_secs(3600);

/// When one is given up that begins now.
pub(super) fn by() -> Instant {
    Instant::now() + PATIENCE
}

impl Remote {
    /// Writes what a request is answered with.
    pub(super) fn download(&self, request: Builder, into: &mut dyn Write) -> Result<(), Fault> {
        self.stream(request, Body::empty(), pending(), async |mut body| {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|why| self.lost(why))?;
                if let Some(bytes) = frame.data_ref() {
                    let written = into.write_all(bytes);
                    written.map_err(|why| {
                        Fault::new(Kind::Broken, format!("write the archive: {why}"))
                    })?;
                }
            }
            Ok(())
        })
    }

    /// Sends all that can be read, and gives the answer.
    pub(super) fn upload(&self, request: Builder, from: &mut dyn Read) -> Result<Bytes, Fault> {
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
        let next = |mut receiver: mpsc::Receiver<_>| async {
            receiver.recv().await.map(|piece| (piece, receiver))
        };
        let body = Body::from_stream(stream::unfold(receiver, next));
        let mut unread = None;
        let feed = async {
            let sender = sender;
            loop {
                let mut piece = Vec::new();
                let read = (&mut *from).take(PIECE as u64).read_to_end(&mut piece);
                let piece = match read {
                    Ok(0) => break,
                    Ok(_) => Ok(Bytes::from(piece)),
                    Err(why) => {
                        unread = Some(why.to_string());
                        Err(why)
                    }
                };
                // What was answered already isn't read to its end.
                let is_last = piece.is_err();
                if sender.send(piece).await.is_err() || is_last {
                    break;
                }
            }
            drop(sender);
            pending().await
        };
        let answered = self.stream(request, body, feed, async |body| {
            let body = Limited::new(body, LONGEST).collect().await;
            body.map_err(|why| self.lost(why))
                .map(|body| body.to_bytes())
        });
        match unread {
            Some(why) => Err(Fault::new(Kind::Broken, format!("read the archive: {why}"))),
            None => answered,
        }
    }

    /// Asks, does `beside` until it is answered, and takes the body of an answer that is no fault.
    fn stream<T>(
        &self,
        request: Builder,
        body: Body,
        beside: impl Future<Output = ()>,
        take: impl AsyncFnOnce(Incoming) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let request: Request<Body> = request
            .header(HOST, "localhost")
            .body(body)
            .map_err(|why| Fault::new(Kind::Bad, why.to_string()))?;
        let answered = async {
            let stream = UnixStream::connect(self.folder.socket()).await;
            let stream = stream.map_err(|why| self.lost(why))?;
            let handshake = http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|why| self.lost(why))?;
            let answered = async {
                let response: Result<Response<Incoming>, _> = sender.send_request(request).await;
                let (head, body) = response.map_err(|why| self.lost(why))?.into_parts();
                if head.status.is_success() {
                    return take(body).await;
                }
                let body = Limited::new(body, LONGEST).collect().await;
                Err(told(&body.map_err(|why| self.lost(why))?.to_bytes()))
            };
            // The connection works as long as somebody waits for its answer.
            let mut answered = std::pin::pin!(answered);
            tokio::select! {
                answered = &mut answered => return answered,
                _ = connection => {}
                () = beside => {}
            }
            answered.await
        };
        self.runtime.block_on(async {
            let by = tokio::time::Instant::from_std(by() + GRACE);
            let answered = tokio::time::timeout_at(by, answered).await;
            answered.map_err(|_| self.lost("no answer in time"))?
        })
    }
}
