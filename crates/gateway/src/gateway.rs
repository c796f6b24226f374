//! The gateway itself: what all connections share, and where a request goes.

use crate::accept::{self, Client};
use crate::answer::{Answer, Body, Broken};
use crate::cors;
use crate::forward::{Asked, forward};
use crate::inside::Insides;
use crate::pool::Pools;
use crate::route::{Authority, Route, of_signed, route};
use crate::sandboxes::Sandboxes;
use crate::settings::Settings;
use crate::tasks::Tasks;
use bytes::Bytes;
use casemate_core::node::{Door, Node};
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::net::TcpListener;
use tower_service::Service;
use tracing::Instrument as _;
use tracing::field::Empty;

/// The way in. Copies are the same gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) sandboxes: Arc<dyn Sandboxes>,
    pub(crate) pools: Arc<Pools>,
    pub(crate) insides: Insides,
    /// Upgraded connections.
    pub(crate) tunnels: Tasks,
    /// What is asked now is refused: this gateway is about to stop.
    stopping: AtomicBool,
    api: Box<Api>,
}

/// Bytes of a path that are written down.
const LONGEST_PATH: usize = 256;

type Api =
    dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync;

impl Gateway {
    /// A gateway to the sandboxes of this node. What is for none of them is for `api`, an
    /// `axum::Router` for instance, which finds a [`Client`] among the request's extensions.
    pub fn new<A, B>(
        mut settings: Settings,
        node: Arc<dyn Node>,
        sandboxes: Arc<dyn Sandboxes>,
        api: A,
    ) -> Self
    where
        A: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        A::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Broken>,
    {
        // As the names of requests are.
        let plain = |domain: String| domain.trim_end_matches('.').to_ascii_lowercase();
        settings.domain = settings.domain.map(plain);
        let api = TowerToHyperService::new(api);
        let api = move |request| -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
            let answered = api.call(request);
            Box::pin(async move {
                let response = answered.await.unwrap_or_else(|never| match never {});
                response.map(|body| body.map_err(Into::into).boxed_unsync())
            })
        };
        let pools = Arc::new(Pools::new(settings.patience, settings.metrics.clone()));
        let insides = Insides::new(
            Arc::clone(&sandboxes),
            Arc::clone(&pools),
            (settings.per_sandbox, settings.bandwidth),
        );
        Self(Arc::new(Shared {
            settings,
            node,
            sandboxes,
            pools,
            insides,
            tunnels: Tasks::default(),
            stopping: AtomicBool::new(false),
            api: Box::new(api),
        }))
    }

    /// Serves what connects to this listener until `stop` resolves, and then what was begun for a
    /// while ([`Patience::drain`](crate::Patience)); what is asked meanwhile is answered with 503. HTTP/1.1 and HTTP/2 are told apart by how a client begins, with TLS by ALPN.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        stop: impl Future<Output = ()>,
    ) {
        accept::serve(self, listener, tls, stop).await;
    }

    /// Refuses what is asked from now on.
    pub(crate) fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        client: Client,
    ) -> Response<Body> {
        // A body that nobody reads ends an HTTP/1 connection, and a client that isn't told would use
        // it for its next request.
        let unread = request.version() <= Version::HTTP_11 && !request.body().is_end_stream();
        let began = Instant::now();
        let mut open = true;
        let span = tracing::info_span!(
            "request",
            method = method(request.method()),
            path = Empty,
            sandbox = Empty,
            port = Empty,
            status = Empty,
        );
        let answered = self.answered(request, client, &mut open);
        let answered = answered.instrument(span.clone()).await;
        let mut response = answered.unwrap_or_else(|answer| {
            let mut response = answer.response();
            if unread {
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        });
        if open {
            cors::open(response.headers_mut());
        }
        let status = response.status().as_u16();
        span.record("status", status);
        let took = began.elapsed().as_micros() as u64;
        span.in_scope(|| tracing::debug!(took, "answered, after so many microseconds"));
        response
    }

    /// `open` becomes false if what is answered is a program's own affair.
    async fn answered(
        &self,
        mut request: Request<Incoming>,
        client: Client,
        open: &mut bool,
    ) -> Result<Response<Body>, Answer> {
        let shared = &self.0;
        if shared.stopping.load(Ordering::Relaxed) {
            return Err(Answer::Stopping);
        }
        // Taken before the head is taken apart; nothing happens unless it's waited for.
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let host = Authority::of(&parts)?;
        let domain = shared.settings.domain.as_deref();
        let route = route(&parts, &host, domain)?;
        *open = !matches!(&route, Route::Sandbox(target) if target.door != Door::Agent);
        if *open && let Some(answer) = cors::preflight(&parts) {
            return Ok(answer);
        }
        let target = match route {
            Route::Api => {
                // Ids and nothing secret, unlike the paths of files and of programs' pages.
                let path = parts.uri.path();
                let path = path.get(..LONGEST_PATH).unwrap_or(path);
                tracing::Span::current().record("path", path);
                let mut request = Request::from_parts(parts, body);
                request.extensions_mut().insert(upgrade);
                request.extensions_mut().insert(client);
                return Ok((shared.api)(request).await);
            }
            Route::Signed(signed) => {
                let found = shared.sandboxes.find_by_signature(&signed).await;
                of_signed(found.ok_or(Answer::Unsigned)?)
            }
            Route::Sandbox(target) => target,
        };
        let span = tracing::Span::current();
        span.record("sandbox", target.id.as_str());
        span.record("port", target.port());
        let asked = Asked {
            parts,
            body,
            upgrade,
            host,
            client,
        };
        forward(shared, target, asked).await
    }
}

/// A method's name; a client's own inventions are all one.
fn method(of: &Method) -> &'static str {
    let known = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    let known = known.into_iter().find(|name| *name == of.as_str());
    known.unwrap_or("another")
}
