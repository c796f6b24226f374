//! Requests of HTTP/2, gRPC among them: many at once over one connection to each side.
//!
//! Framing is hyper's; what is judged and forwarded is the same as for HTTP/1.1. Bodies and
//! trailers are streamed with the flow control of both sides, so that none is held here for longer
//! than a window. There is no WebSocket: extended CONNECT (RFC 8441) isn't offered.

use super::activity::{Activity, Watched};
use super::answer::{Answer, Form};
use super::frames::Frames;
use super::judge::Asked;
use super::outbound::{Outbound, WINDOWS};
use super::session::Session;
use super::stream::Stream;
use super::tasks::{Ends, Tasks};
use super::upstream::Upstream;
use crate::denial::ErrorCode;
use crate::host::Authority;
use crate::http1::{Headers, Malformed};
use crate::proxy::dial::Failed;
use crate::proxy::spans;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::http2::Builder as Server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Requests of one client at a time.
const MOST_STREAMS: u32 = 100;
/// Bytes of a decoded head, as RFC 9113 §6.5.2 counts them.
const MOST_HEAD: u32 = 16 << 10;
/// Connections on which a request is tried that none of them took.
const MOST_TRIES: usize = 3;
/// Bytes of an answer that wait for one stream's client.
const MOST_WAITING: usize = 64 << 10;
/// Streams that a client opens and resets before it's hung up on (CVE-2023-44487).
const MOST_RESETS: usize = 20;
/// For requests that are being answered when nothing has happened for too long.
const LINGERING: Duration = Duration::from_secs(2);
/// Whether the other side is still there is asked this often.
const PING: Duration = Duration::from_secs(60);

/// Fields that aren't forwarded; others of their kind can't be there (RFC 9113 §8.2.2). `te` can, and
/// is for the server: gRPC wants its trailers.
const HOP_BY_HOP: [&str; 4] = ["host", "expect", "proxy-authorization", "proxy-connection"];

pub(super) type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The one connection to the server that all requests go over.
struct Link {
    session: Arc<Session>,
    activity: Activity,
    server: Mutex<Option<Outbound>>,
}

/// Serves a connection until it ends. `kept` is a connection to the server that is there already.
pub(super) async fn serve(session: Arc<Session>, stream: Stream, kept: Option<Upstream>) {
    let (tasks, patience) = (Tasks::default(), session.patience());
    let kept = match kept {
        Some(upstream) => Outbound::new(upstream).await.ok(),
        None => None,
    };
    let link = Arc::new(Link {
        session,
        activity: Activity::default(),
        server: Mutex::new(kept),
    });
    let served = Arc::clone(&link);
    let service = service_fn(move |request| {
        let link = Arc::clone(&served);
        async move {
            let _open = link.activity.begin();
            Ok::<_, Infallible>(link.exchange(request).await)
        }
    });
    let mut server = Server::new(tasks.clone());
    server
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(MOST_RESETS)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_send_buf_size(MOST_WAITING)
        .keep_alive_interval(PING)
        .auto_date_header(false);
    let guard = Ends(tasks);
    let stream = TokioIo::new(Frames::new(stream, patience));
    let connection = server.serve_connection(stream, service);
    {
        tokio::pin!(connection);
        let ceased = link.activity.ceased(patience.idle, patience.answer);
        tokio::select! {
            // Why it ended is the client's affair.
            _ = connection.as_mut() => {}
            () = ceased => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(LINGERING, connection).await;
            }
        }
    }
    drop(guard);
    if link.activity.is_whole()
        && let Some(server) = link.server.lock().await.take()
    {
        server.park(&link.session);
    }
}

impl Link {
    async fn exchange(&self, request: Request<Incoming>) -> Response<Body> {
        let agent = request.headers().get(header::USER_AGENT).cloned();
        spans::request(async {
            let response = match self.answered(request).await {
                Ok(response) => response,
                Err(answer) => {
                    let form = Form::of_agent(agent.as_ref().map(HeaderValue::as_bytes));
                    refusal(&answer, form)
                }
            };
            spans::status(response.status().as_u16());
            response
        })
        .await
    }

    async fn answered(&self, request: Request<Incoming>) -> Result<Response<Body>, Answer> {
        let (head, body) = request.into_parts();
        let method = head.method.as_str();
        // As for HTTP/1.1: servers differ on whether case counts.
        if method == "CONNECT" || method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let bad = Malformed::bad("the method isn't one in upper case");
            return Err(Answer::malformed(&bad));
        }
        let mut headers = headers(&head.headers)?;
        let authority = authority(&head.uri, &headers)?;
        HOP_BY_HOP.iter().for_each(|name| headers.remove(name));
        let origin = head.uri.path_and_query().map_or("/", |own| own.as_str());
        let mut asked = self.session.asked(method, Some(&authority), origin)?;
        let (target, body) = match asked.most_read(&headers, body.size_hint().exact()) {
            None => {
                self.session.judge(&asked, &headers, &[])?;
                let target = self.session.outgoing(&mut asked, &mut headers, None)?;
                let patience = self.session.patience();
                // Calls of gRPC may say nothing for long, in either direction.
                let pause = match is_grpc(&headers) {
                    true => patience.answer,
                    false => patience.body,
                };
                (target, Watched::new(body, &self.activity, pause).boxed())
            }
            Some(most) => {
                let mut read = self.read(body, most).await?;
                self.session.judge(&asked, &headers, &read)?;
                let session = &self.session;
                let target = session.outgoing(&mut asked, &mut headers, Some(&mut read))?;
                // It may be of another length now.
                headers.remove("content-length");
                let body = Full::from(read).map_err(|never| match never {});
                (target, body.boxed())
            }
        };
        let request = self.request(&asked, &target, &headers, body)?;
        self.send(request).await
    }

    async fn read(&self, body: Incoming, most: usize) -> Result<Vec<u8>, Answer> {
        let patience = self.session.patience().body;
        let cut_off = || Answer::failed(ErrorCode::MalformedRequest, "the body was cut off");
        match timeout(patience, Limited::new(body, most).collect()).await {
            Ok(Ok(read)) => Ok(read.to_bytes().into()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Answer::too_large(most)),
            Ok(Err(_)) | Err(_) => Err(cut_off()),
        }
    }

    /// The request to send, made of what was judged.
    fn request(
        &self,
        asked: &Asked,
        target: &str,
        headers: &Headers,
        body: Body,
    ) -> Result<Request<Body>, Answer> {
        let bad = |why: &dyn std::fmt::Display| {
            Answer::failed(ErrorCode::InvalidRequestTarget, why.to_string())
        };
        let authority = self.session.place_of(&asked.permit);
        let uri = Uri::builder()
            .scheme("https")
            .authority(authority.to_string())
            .path_and_query(target)
            .build()
            .map_err(|error| bad(&error))?;
        let mut request = Request::new(body);
        *request.method_mut() = asked.method.parse().map_err(|error| bad(&error))?;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = uri;
        let secret = !self.session.shared.inspection.credentials.is_empty();
        for field in headers.iter() {
            let name = HeaderName::from_bytes(field.name().as_bytes());
            let value = HeaderValue::from_bytes(field.value());
            let name = name.map_err(|error| bad(&error))?;
            let mut value = value.map_err(|error| bad(&error))?;
            // What may be a secret isn't kept in the table of the compression (RFC 7541 §7.1.3).
            value.set_sensitive(secret);
            request.headers_mut().append(name, value);
        }
        Ok(request)
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Answer> {
        let patience = self.session.patience().answer;
        let broken = |why: String| Answer::failed(ErrorCode::UpstreamUnreachable, why);
        for _ in 0..MOST_TRIES {
            let mut server = self.server().await.map_err(|failed| {
                let answer = Answer::unreachable(&failed);
                crate::proxy::accept::fail(&self.session.shared, &self.session.permit, &failed);
                answer
            })?;
            match timeout(patience, server.try_send_request(request)).await {
                Ok(Ok(mut response)) => {
                    // Elsewhere is another connection, about which nothing was decided.
                    response.headers_mut().remove(header::ALT_SVC);
                    let watched = |body| Watched::new(body, &self.activity, patience).boxed();
                    return Ok(response.map(watched));
                }
                // What comes back was not sent: the connection had just ended.
                Ok(Err(mut error)) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(error.into_error().to_string())),
                },
                Err(late) => return Err(broken(late.to_string())),
            }
        }
        Err(broken("the server ends its connections at once".to_owned()))
    }

    /// The connection to the server, made if there is none.
    async fn server(&self) -> Result<SendRequest<Body>, Failed> {
        let mut kept = self.server.lock().await;
        if let Some(sender) = kept.as_ref().and_then(Outbound::sender) {
            return Ok(sender);
        }
        if let Some(spare) = Outbound::unparked(&self.session)
            && let Some(sender) = spare.sender()
        {
            *kept = Some(spare);
            return Ok(sender);
        }
        let upstream = self.session.connect(true).await?;
        if !upstream.h2 {
            let why = "the server doesn't speak HTTP/2 any more";
            return Err(Failed::Unreachable(io::Error::other(why)));
        }
        let unreachable = |error| Failed::Unreachable(io::Error::other(error));
        let server = Outbound::new(upstream).await.map_err(unreachable)?;
        let sender = server.sender();
        *kept = Some(server);
        let ended = || Failed::Unreachable(io::ErrorKind::ConnectionReset.into());
        sender.ok_or_else(ended)
    }
}

fn is_grpc(headers: &Headers) -> bool {
    let kind = headers.only("content-type").ok().flatten();
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// Fields as the judge and the credentials know them.
fn headers(map: &HeaderMap) -> Result<Headers, Answer> {
    let mut headers = Headers::default();
    for (name, value) in map {
        let added = headers.add(name.as_str(), value.as_bytes());
        added.map_err(|bad| Answer::malformed(&bad))?;
    }
    Ok(headers)
}

/// The place that is asked for, which `:authority` and `Host` must not tell differently
/// (RFC 9113 §8.3.1).
fn authority(uri: &Uri, headers: &Headers) -> Result<Authority, Answer> {
    let wrong = |why: &str| Answer::failed(ErrorCode::MalformedRequest, why);
    let host = headers.only("host");
    let host = host.map_err(|bad| Answer::malformed(&bad))?;
    let named = uri.authority().map(http::uri::Authority::as_str);
    let text = named.or(host).ok_or_else(|| wrong("it names no host"))?;
    if uri.scheme_str().is_some_and(|scheme| scheme != "https") {
        return Err(wrong("its scheme isn't https"));
    }
    let parsed = Authority::parse(text).map_err(|bad| wrong(bad.0))?;
    let same = host.is_none_or(|host| Authority::parse(host).as_ref() == Ok(&parsed));
    same.then_some(parsed)
        .ok_or_else(|| wrong(":authority and Host name different places"))
}

fn refusal(answer: &Answer, form: Form) -> Response<Body> {
    let body = Full::from(answer.body(form)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    let status = http::StatusCode::from_u16(answer.status());
    *response.status_mut() = status.unwrap_or(http::StatusCode::FORBIDDEN);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(form.content_type());
    headers.insert(header::CONTENT_TYPE, kind);
    let fresh = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, fresh);
    response
}
