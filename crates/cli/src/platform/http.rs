//! Requests to a server, over HTTP/1.1.
//!
//! Each request has a connection of its own: a command makes few of them, and streams that last
//! (output, input, ports) shouldn't share one. Nothing is redirected, and no proxy is used.

mod body;
mod dial;

pub(super) use body::{Body, Pieces, empty, full};

use casemate_core::error::Error;
use dial::Socket;
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::fd::OwnedFd;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer that is read as a whole.
const LONGEST: usize = 64 << 20;
/// How long a server may take to answer; making a sandbox takes the longest.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where requests go.
#[derive(Debug, Clone)]
pub(super) struct Site {
    secure: bool,
    host: String,
    port: u16,
    authority: HeaderValue,
    /// What precedes every path; no slash at its end.
    base: String,
    /// This user's own server, and nobody else's, is meant.
    own: Option<Own>,
    /// Makes connections, where there is no server in between.
    direct: Option<Direct>,
}

/// A way to somebody without a server.
#[derive(Clone)]
pub(crate) struct Direct(pub(crate) Arc<dyn Fn() -> Dialled + Send + Sync>);

/// A connection that is made.
pub(crate) type Dialled = Pin<Box<dyn Future<Output = std::io::Result<OwnedFd>> + Send>>;

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}

/// A server of this user's on this machine. Whoever listens has to be this user, or nothing is sent.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// Where it is, whatever its name.
    pub(super) address: Option<SocketAddr>,
    /// The file with the certificate of its own authority.
    pub(super) authority: Option<PathBuf>,
}

/// Why a request has no answer that could be used.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server isn't there, or broke off.
    Lost(Error),
    /// It said no.
    Refused {
        /// How.
        status: StatusCode,
        /// Why, in its words.
        message: String,
    },
}

pub(super) type Answer<T> = Result<T, Failed>;

impl Site {
    /// Somebody who is reached without a server.
    pub(super) fn direct(name: &'static str, direct: Direct) -> Self {
        Self {
            secure: false,
            host: name.to_owned(),
            port: 80,
            authority: HeaderValue::from_static(name),
            base: String::new(),
            own: None,
            direct: Some(direct),
        }
    }

    /// Reads a URL.
    pub(super) fn parse(url: &str, own: Option<Own>) -> Result<Self, Error> {
        let bad = |why: &str| {
            Error::rule("use as the server's URL", why)
                .on(url.escape_debug())
                .hint("a URL is http://HOST:PORT or https://HOST")
        };
        let uri: Uri = url.parse().map_err(|_| bad("it is no URL"))?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(bad("it begins neither with http:// nor with https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(bad("it has more than a host, a port and a path"));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            secure,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| bad("odd host"))?,
            base: uri.path().trim_end_matches('/').to_owned(),
            own,
            direct: None,
        })
    }

    /// Sends a request, whose URI is a path, and waits for the head of its response.
    pub(super) async fn send(&self, request: Request<Body>) -> Answer<Response<Incoming>> {
        self.connect().await?.send(request).await
    }

    /// A connection, for several requests one after the other.
    pub(super) async fn connect(&self) -> Answer<Line> {
        let socket = Socket::open(self).await.map_err(Failed::Lost)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| self.lost(&error))?;
        // It ends with the last body that is read from it.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(Line {
            sender,
            site: self.clone(),
        })
    }

    /// The URL of another host that the same server answers for.
    pub(super) fn below(&self, host: &str) -> String {
        let usual = if self.secure { 443 } else { 80 };
        let scheme = if self.secure { "https" } else { "http" };
        match self.port == usual || host.contains(':') {
            true => format!("{scheme}://{host}/"),
            false => format!("{scheme}://{host}:{}/", self.port),
        }
    }

    fn lost(&self, error: &dyn fmt::Display) -> Failed {
        Failed::Lost(Error::rule("talk to the server", error.to_string()).on(self))
    }
}

/// One connection.
pub(super) struct Line {
    sender: http1::SendRequest<Body>,
    site: Site,
}

impl Line {
    /// True if it can carry another request.
    pub(super) async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(&mut self, mut request: Request<Body>) -> Answer<Response<Incoming>> {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let whole = format!("{}{path}", self.site.base).parse();
        *request.uri_mut() = whole.map_err(|error| self.site.lost(&error))?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.site.authority.clone());
        let sent = self.sender.send_request(request).await;
        sent.map_err(|error| self.site.lost(&error))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let authority = self.authority.to_str().unwrap_or_default();
        write!(f, "{scheme}://{authority}{}", self.base)
    }
}

/// Waits for an answer that has to come soon.
pub(super) async fn soon<T>(answer: impl Future<Output = Answer<T>>) -> Answer<T> {
    let late = |_| {
        let why = format!("no answer within {} seconds", PATIENCE.as_secs());
        Failed::Lost(Error::rule("talk to the server", why))
    };
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

/// The response if it is a success, or what it says is wrong.
pub(super) async fn accepted(response: Response<Incoming>) -> Answer<Response<Incoming>> {
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let text = whole(response).await.unwrap_or_default();
    let message = serde_json::from_slice(&text)
        .ok()
        .and_then(|body: Value| Some(body.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| status.to_string());
    Err(Failed::Refused { status, message })
}

/// A response's body as a whole.
pub(super) async fn whole(response: Response<Incoming>) -> Answer<Vec<u8>> {
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let lost = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failed::Lost(Error::rule("read the server's answer", error.to_string()))
    };
    Ok(body.map_err(lost)?.to_bytes().to_vec())
}

/// A response's body as a value.
pub(super) async fn json<T: DeserializeOwned>(response: Response<Incoming>) -> Answer<T> {
    let text = whole(response).await?;
    serde_json::from_slice(&text).map_err(|error| {
        let why = format!("it isn't what it should be: {error}");
        Failed::Lost(
            Error::rule("read the server's answer", why)
                .hint("is it a Casemate or E2B server that the URL names?"),
        )
    })
}

impl Failed {
    /// As an error of this step.
    pub(super) fn during(self, step: &str, object: impl fmt::Display) -> Error {
        match self {
            Self::Lost(error) => error,
            Self::Refused { status, message } => {
                let error = Error::rule(step, message).on(object);
                match hint(status) {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            }
        }
    }

    /// True if there was no answer.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// True if it may be otherwise a moment later.
    pub(super) fn is_unavailable(&self) -> bool {
        let later = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];
        matches!(self, Self::Refused { status, .. } if later.contains(status))
    }

    /// True if what was asked for isn't there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

fn hint(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::UNAUTHORIZED => {
            Some("E2B_API_KEY or --key is a key of this server; `casemate key create` makes one")
        }
        StatusCode::FORBIDDEN => Some(
            "`casemate key create --scope SCOPE` with an administrator's key makes a better one",
        ),
        StatusCode::NOT_FOUND => Some("`casemate ps -a` lists the sandboxes"),
        StatusCode::TOO_MANY_REQUESTS => {
            Some("`casemate ps` shows what runs, `casemate kill` ends it")
        }
        StatusCode::INSUFFICIENT_STORAGE => Some("`casemate create --disk SIZE` gives more"),
        _ => None,
    }
}
