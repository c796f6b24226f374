//! Where Prometheus fetches the numbers: `GET /metrics`, one request a connection.

use crate::http1::{HeadScanner, Limits, RequestHead, RequestTarget};
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Requests at one time.
const MOST: usize = 8;
/// For one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before accepting again when there are no descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// A place to fetch numbers from.
pub enum Scrape {
    /// A port, which should be of the loopback interface.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

/// The numbers, in OpenMetrics' text; `None` if there are none.
pub type Numbers = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Answers there, on the current runtime.
///
/// # Errors
/// The listener can't be used.
pub fn scrape(place: Scrape, numbers: &Numbers) -> io::Result<()> {
    let (numbers, room) = (Arc::clone(numbers), Arc::new(Semaphore::new(MOST)));
    // Owned by the runtime, which ends with the program.
    match place {
        Scrape::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(async move {
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    one(&numbers, &room, accepted).await;
                }
            });
        }
        Scrape::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tokio::spawn(async move {
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    one(&numbers, &room, accepted).await;
                }
            });
        }
    }
    Ok(())
}

async fn one<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    numbers: &Numbers,
    room: &Arc<Semaphore>,
    accepted: io::Result<S>,
) {
    let Ok(mut stream) = accepted else {
        return sleep(BREATH).await;
    };
    let Ok(room) = Arc::clone(room).acquire_owned().await else {
        return;
    };
    let numbers = Arc::clone(numbers);
    tokio::spawn(async move {
        // Whatever is wrong with it ends this one.
        let _ = timeout(PATIENCE, request(&numbers, &mut stream)).await;
        drop(room);
    });
}

async fn request<S: AsyncRead + AsyncWrite + Unpin>(
    numbers: &Numbers,
    stream: &mut S,
) -> io::Result<()> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, kind, body) = match head(stream).await? {
        None => ("400 Bad Request", TEXT, "this is not HTTP\n".to_owned()),
        Some(head) => match (&*head.method, &head.target) {
            ("GET", RequestTarget::Origin(path)) if is_metrics(path) => match numbers() {
                Some(text) => (
                    "200 OK",
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    text,
                ),
                None => ("404 Not Found", TEXT, "there are none\n".to_owned()),
            },
            ("GET", _) => ("404 Not Found", TEXT, "see /metrics\n".to_owned()),
            _ => ("405 Method Not Allowed", TEXT, "only GET\n".to_owned()),
        },
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

fn is_metrics(target: &str) -> bool {
    target.split('?').next() == Some("/metrics")
}

async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<RequestHead>> {
    let limits = Limits::default();
    let (mut scanner, mut read, mut buffer) = (HeadScanner::default(), Vec::new(), [0u8; 1024]);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&buffer[..count]);
        match scanner.scan(&read, &limits) {
            Ok(None) => {}
            Ok(Some(length)) => return Ok(RequestHead::parse(&read[..length], &limits).ok()),
            Err(_) => return Ok(None),
        }
    }
}
