//! The way there: one connection, on which one call follows another.
//!
//! A task of its own makes the calls, so that each is brought to its end whether or not somebody
//! still waits for it: a request that was cut off would leave a machine of which nobody knows what
//! it does.

use super::call::{Call, failed, refused};
use bytes::Bytes;
use casemate_core::error::{Error, Result};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// The longest answer, bytes. A machine's whole configuration has a few thousand.
const LONGEST: usize = 256 << 10;
/// The longest head of one.
const HEAD: usize = 16 << 10;
/// How many callers may wait for their turn before others wait to be one of them.
const QUEUE: usize = 16;

#[derive(Debug)]
pub(super) struct Connection {
    jobs: mpsc::Sender<Job>,
    over: Arc<OnceLock<String>>,
    worker: JoinHandle<()>,
}

#[derive(Debug)]
struct Job {
    call: Call,
    patience: Duration,
    answer: oneshot::Sender<Result<Bytes>>,
}

impl Connection {
    pub(super) async fn open(socket: UnixStream) -> Result<Self> {
        let begun = Builder::new()
            // As its own examples send them.
            .title_case_headers(true)
            .max_buf_size(HEAD)
            .handshake(TokioIo::new(socket))
            .await;
        let (sender, carrier) =
            begun.map_err(|error| Error::rule("speak with Firecracker", said(&error)))?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let over = Arc::<OnceLock<String>>::default();
        let told = Arc::clone(&over);
        let worker = tokio::spawn(async move {
            let mut carriers = JoinSet::new();
            carriers.spawn(carrier);
            work(sender, queue, &told).await;
        });
        Ok(Self { jobs, over, worker })
    }

    pub(super) fn over(&self) -> Option<String> {
        self.over.get().cloned()
    }

    pub(super) async fn call(&self, call: Call, patience: Duration) -> Result<Bytes> {
        let name = call.name();
        let gone = || {
            let why = self
                .over()
                .unwrap_or_else(|| "nobody makes calls".to_owned());
            failed(&name, why).hint("what the machine does isn't known: end it")
        };
        let (answer, answered) = oneshot::channel();
        let job = Job {
            call,
            patience,
            answer,
        };
        self.jobs.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// Makes the calls, until one has no answer that can be understood.
async fn work(
    mut sender: SendRequest<Full<Bytes>>,
    mut queue: mpsc::Receiver<Job>,
    over: &OnceLock<String>,
) {
    while let Some(Job {
        call,
        patience,
        answer,
    }) = queue.recv().await
    {
        let name = call.name();
        let exchanged = match timeout(patience, exchange(&mut sender, call)).await {
            Ok(exchanged) => exchanged,
            Err(_) => Err(format!("no answer in {} s", patience.as_secs_f32())),
        };
        match exchanged {
            Ok((status, body)) if status.is_success() => {
                let _ = answer.send(Ok(body));
            }
            Ok((status, body)) => {
                let _ = answer.send(Err(refused(&name, status, &body)));
            }
            Err(why) => {
                // Before anybody is told, so that whoever is told finds it.
                let _ = over.set(format!("`{name}` went wrong before: {why}"));
                let _ = answer.send(Err(failed(&name, why)));
                return;
            }
        }
    }
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    call: Call,
) -> Result<(StatusCode, Bytes), String> {
    let mut request = Request::builder()
        .method(call.method)
        .uri(call.path)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json");
    if !call.body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request
        .body(Full::new(call.body))
        .map_err(|error| error.to_string())?;
    sender.ready().await.map_err(|error| said(&error))?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| said(&error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LONGEST).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok((head.status, body))
}

/// An error and what is behind it.
fn said(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
