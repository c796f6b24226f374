//! Connections of clients.

mod patience;

use crate::answer::Body;
use crate::gateway::Gateway;
use crate::reads::Reads;
use crate::tasks::Tasks;
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use patience::{Busy, Patient};
use rustls::ServerConfig;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Who sent a request. The API finds it among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// It came by TLS.
    pub secure: bool,
}

/// A request's head.
const HEAD: usize = 128 << 10;
/// What the kernel may hold that isn't on its way yet: in HTTP/2 a key's echo has to wait for what
/// was written before it.
const UNSENT: u32 = 128 << 10;
/// Streams of one HTTP/2 connection, and the window of each. That of the connection holds all of
/// them: a stream that nobody reads takes nothing from another.
const STREAMS: u32 = 128;
const STREAM_WINDOW: u32 = 256 << 10;
/// What is kept of a stream until the client takes it.
const STREAM_BUFFER: usize = 64 << 10;
/// After which silence the kernel, or HTTP/2, asks whether the client is still there.
const PROBE: Duration = Duration::from_secs(60);
/// Clients that are turned away at one time, while the gateway stops.
const MOST_LATE: usize = 256;
/// How long after an accept that failed, for want of descriptors for instance, another is tried.
const RECOVERY: Duration = Duration::from_millis(50);

pub(crate) async fn serve(
    gateway: &Gateway,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(gateway.settings().connections));
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            () = &mut stop => break,
            _ = connections.join_next(), if !connections.is_empty() => {}
            (accepted, place) = next => match accepted {
                Ok((socket, peer)) => {
                    let (gateway, tls, closed) = (gateway.clone(), tls.clone(), closed.clone());
                    connections.spawn(async move {
                        // Why a connection ended is the client's affair.
                        let _ = connection(gateway, socket, peer, tls, closed).await;
                        drop(place);
                    });
                }
                Err(_) => sleep(RECOVERY).await,
            },
        }
    }
    gateway.stop();
    drop(closing);
    let drain = gateway.settings().patience.drain;
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        _ = timeout(drain, all) => {}
        () = turn_away(gateway, &listener, tls.as_ref()) => {}
    }
}

/// Tells whoever comes too late, rather than to refuse the connection: that the server is gone for
/// good is what they would have to believe.
async fn turn_away(gateway: &Gateway, listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) {
    let (_closing, closed) = watch::channel(());
    let mut late = JoinSet::new();
    loop {
        while late.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, peer)) if late.len() < MOST_LATE => {
                let (gateway, tls, closed) = (gateway.clone(), tls.cloned(), closed.clone());
                late.spawn(async move {
                    let _ = connection(gateway, socket, peer, tls, closed).await;
                });
            }
            Ok(_) => {}
            Err(_) => sleep(RECOVERY).await,
        }
    }
}

async fn connection(
    gateway: Gateway,
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    closed: watch::Receiver<()>,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&socket, PROBE)?;
    casemate_sys::socket::keep_unsent(&socket, UNSENT)?;
    let _counted = gateway.settings().metrics.client();
    let client = Client {
        peer,
        secure: tls.is_some(),
    };
    let Some(tls) = tls else {
        http(gateway, socket, client, false, closed).await;
        return Ok(());
    };
    let handshake = TlsAcceptor::from(tls).accept(socket);
    let stream = timeout(gateway.settings().patience.head, handshake).await??;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    http(gateway, stream, client, h2, closed).await;
    Ok(())
}

async fn http(
    gateway: Gateway,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    client: Client,
    h2: bool,
    mut closed: watch::Receiver<()>,
) {
    let patience = gateway.settings().patience;
    let (mut stream, busy) = Patient::new(stream, patience.head, patience.idle, h2);
    let h2 = h2
        || tokio::select! {
            begun = stream.is_h2() => match begun {
                Ok(h2) => h2,
                Err(_) => return,
            },
            _ = closed.changed() => return,
        };
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, busy) = (
            gateway.clone(),
            busy.begin(request.version() == Version::HTTP_2),
        );
        async move {
            let response = gateway.answer(request, client).await;
            Ok::<_, Infallible>(attended(response, busy))
        }
    });
    let stream = TokioIo::new(stream);
    // One type for both: the compiler can't see by itself that either may move between threads.
    let (served, reads): (Pin<Box<dyn Future<Output = ()> + Send>>, _) = match h2 {
        // It has windows of its own.
        true => {
            let connection = second(Streams::default()).serve_connection(stream, service);
            let stop = http2::Connection::graceful_shutdown;
            (Box::pin(attend(connection, closed, stop)), None)
        }
        false => {
            let reads = Reads::new();
            let connection = first(&reads).serve_connection(stream, service);
            let stop = UpgradeableConnection::graceful_shutdown;
            let served = attend(connection.with_upgrades(), closed, stop);
            (Box::pin(served), Some(reads))
        }
    };
    served.await;
    drop(reads);
}

/// Serves a connection until it is over, or has done what was begun when everything stops.
async fn attend<C: Future>(
    connection: C,
    mut closed: watch::Receiver<()>,
    stop: impl FnOnce(Pin<&mut C>),
) {
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closed.changed() => stop(connection.as_mut()),
    }
    let _ = connection.await;
}

/// HTTP/1.1.
fn first(reads: &Reads) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(reads.size)
        .max_header_size(HEAD)
        // The connection itself has it, which knows a slow head from a quiet client.
        .header_read_timeout(None);
    builder
}

/// HTTP/2.
fn second(streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD as u32)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * STREAMS)
        .max_send_buf_size(STREAM_BUFFER)
        .keep_alive_interval(PROBE);
    builder
}

/// The response; as long as its body is on its way, the connection is busy. After an upgrade it is
/// for good: what is quiet then may be quiet.
fn attended(response: Response<Body>, busy: Busy) -> Response<Body> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        busy.stay();
        return response;
    }
    response.map(|body| {
        let keep = move |frame| {
            let _ = &busy;
            frame
        };
        body.map_frame(keep).boxed_unsync()
    })
}

/// The tasks of a connection's HTTP/2 streams, which end with it.
#[derive(Clone, Default)]
struct Streams(Arc<Tasks>);

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(async move {
            stream.await;
        });
    }
}
