//! Connections: HTTP/1.1, and HTTP/2 from clients that know it is spoken.
//!
//! One rule ends a connection that its client doesn't: when no request runs on it for
//! [`QUIET`]. That covers a client that never says anything, one that sends its headers a byte
//! a minute, and one that keeps a connection for later. A running request has no limit here:
//! the output of a command is one response for as long as it lives.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use casemate_core::error::{Error, Result};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustix::net::AddressFamily;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::either::Either;

/// How long a connection may stay without a request.
const QUIET: Duration = Duration::from_secs(75);
/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 1024;
/// Header lines of a request.
const HEADERS: usize = 128;
/// Bytes of a request's head.
const HEAD: usize = 64 << 10;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 512;

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// A listening stream socket, Unix or TCP, that somebody else made.
    Given(OwnedFd),
    /// An address to listen on.
    Tcp(SocketAddr),
}

type Stream = Either<UnixStream, TcpStream>;

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Socket {
    fn open(listener: Listener) -> Result<Self> {
        match listener {
            Listener::Given(socket) => Self::adopt(socket),
            Listener::Tcp(address) => std::net::TcpListener::bind(address)
                .and_then(Self::tcp)
                .map_err(|e| Error::io("listen on", &e).on(address)),
        }
    }

    fn adopt(socket: OwnedFd) -> Result<Self> {
        let step = "take the listening socket over";
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)
            .and_then(
                |()| match rustix::net::sockopt::socket_acceptconn(&socket)? {
                    true => rustix::net::getsockname(&socket),
                    false => Err(rustix::io::Errno::INVAL),
                },
            )
            .map_err(std::io::Error::from)
            .and_then(|address| match address.address_family() {
                AddressFamily::UNIX => Self::unix(socket.into()),
                _ => Self::tcp(socket.into()),
            })
            .map_err(|e| Error::io(step, &e).hint("hand over a socket after listen(2)"))
    }

    fn unix(socket: std::os::unix::net::UnixListener) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket).map(Self::Unix)
    }

    fn tcp(socket: std::net::TcpListener) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Self::Tcp)
    }

    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Unix(socket) => socket.accept().await.map(|(s, _)| Either::Left(s)),
            Self::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                // A keystroke is one small packet, and waits for nothing.
                stream.set_nodelay(true)?;
                Ok(Either::Right(stream))
            }
        }
    }
}

/// Accepts connections and serves each as a task of its own.
pub(crate) async fn serve(listener: Listener, router: Router) -> Result<()> {
    let socket = Socket::open(listener)?;
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&free).acquire_owned().await else {
            return Ok(());
        };
        match socket.accept().await {
            Ok(stream) => {
                let router = router.clone();
                connections.spawn(async move {
                    drive(stream, router).await;
                    drop(place);
                });
            }
            Err(e) if passes(&e) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(e) => return Err(Error::io("accept a connection", &e)),
        }
    }
}

/// Whether the listener is still good after this (accept(2)): the client left, or descriptors
/// and memory ran out, which a commands' end may change.
fn passes(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::PERM
                | Errno::PROTO
        )
    )
}

async fn drive(stream: Stream, router: Router) {
    let (busy, mut requests) = watch::channel(0);
    let inner = TowerToHyperService::new(router);
    let service = Counted { inner, busy };
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_headers(HEADERS).max_buf_size(HEAD);
    builder
        .http2()
        .max_header_list_size(HEAD as u32)
        .max_concurrent_streams(STREAMS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        let quiet = *requests.borrow_and_update() == 0;
        tokio::select! {
            // What ends a connection is its client's doing, and nobody's to hear.
            _ = &mut connection => return,
            Ok(()) = requests.changed() => {}
            () = tokio::time::sleep(QUIET), if quiet => return,
        }
    }
}

/// The routes, and how many requests run on this connection.
struct Counted {
    inner: TowerToHyperService<Router>,
    busy: watch::Sender<usize>,
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response<Tracked>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = Running::new(&self.busy);
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Tracked { body, running })) })
    }
}

/// One request, until its response is sent or given up.
struct Running(watch::Sender<usize>);

impl Running {
    fn new(busy: &watch::Sender<usize>) -> Self {
        busy.send_modify(|count| *count += 1);
        Self(busy.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A response's body, which keeps its request running.
struct Tracked {
    body: Body,
    #[expect(dead_code, reason = "dropped with the body")]
    running: Running,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Says something, and waits for up to an hour until the agent closes.
    async fn closed(said: &[u8]) -> Option<Vec<u8>> {
        let (mut client, server) = UnixStream::pair().unwrap();
        let routes = Router::new()
            .route("/now", get(|| async { "now" }))
            .route("/never", get(std::future::pending::<()>));
        let drive = drive(Either::Left(server), routes);
        let mut read = Vec::new();
        let hour = Duration::from_secs(3600);
        let client = async {
            client.write_all(said).await.unwrap();
            let done = tokio::time::timeout(hour, client.read_to_end(&mut read)).await;
            done.is_ok()
        };
        let (done, ()) = tokio::join!(client, async {
            let _ = tokio::time::timeout(hour * 2, drive).await;
        });
        done.then_some(read)
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_not_enough_is_left() {
        for said in [
            &b""[..],
            b"GET",
            b"PRI * HT",
            b"GET /now HTTP/1.1\r\nhost: a\r\n",
        ] {
            assert_eq!(closed(said).await.as_deref(), Some(&b""[..]), "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_a_while_and_not_for_ever() {
        let begun = tokio::time::Instant::now();
        let read = closed(b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(read.starts_with(b"HTTP/1.1 200") && read.ends_with(b"now"));
        assert!(begun.elapsed() >= QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_as_long_as_it_does() {
        assert_eq!(
            closed(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await,
            None
        );
    }
}
