//! What is said on a connection, where the policy has rules for that.
//!
//! ```text
//!             ┌─ TLS ── ca: we are the host ──┐ ALPN ┌─ http2 ─┐
//!  program ══▶│ first bytes                   ├─────▶│         ├─▶ judge ─▶ fill ─▶ upstream ══▶
//!             └─ plain ───────────────────────┘      └─ http1 ─┘     │
//!                                                        │           └─ no: answer
//!                                                    websocket ─▶ judge, message by message
//! ```
//!
//! What is forwarded is written anew from what was judged; nothing of a request goes out before.
//! The server is dialled when the first request was allowed, and verified as the host of the
//! permit. (If a client speaks HTTP/2 and it isn't known whether the server does, it's asked before
//! the client is answered.)
//!
//! - [`session`]: one connection, and what all of them share; [`account`]: its bytes
//! - [`ca`], [`upstream`]: TLS to the program and to the server; [`pool`]: servers' connections that
//!   wait for another program's
//! - [`stream`], [`link`], [`body`], [`http1`], [`forward`]: HTTP/1.1; [`websocket`]
//! - [`http2`] and its [`outbound`] connection; [`frames`], [`activity`], [`tasks`]: their limits
//! - [`judge`], [`said`], [`answer`]: one request, of whichever version
//! - [`clean`], [`fill`], [`sign`]: what is changed in it: middlewares, credentials, signatures

mod account;
mod activity;
mod answer;
mod body;
mod ca;
mod clean;
mod fill;
mod forward;
mod frames;
mod http1;
mod http2;
mod judge;
mod link;
mod outbound;
mod pool;
mod said;
mod session;
mod sign;
mod stream;
mod tasks;
#[cfg(test)]
mod tests;
mod upstream;
mod websocket;

pub use ca::Authority;
pub use session::{Inspection, Patience};

pub(super) use clean::may_be_unseen;
pub(super) use forward::forward;
pub(super) use session::Inspector;
pub(super) use upstream::client_config;

use account::Account;
use answer::Answer;
use session::Session;
use stream::{Prefixed, Stream};
use upstream::Upstream;

use super::accept::{refuse, reset, withdrawn};
use super::decide::{self, Permit};
use super::dial::Way;
use super::phases::Phase;
use super::quota::Meter;
use super::shared::Shared;
use super::sniff::{self, Start};
use crate::denial::ErrorCode;
use crate::hello::{ClientHello, Ech};
use casemate_identity::Shown;
use rustls::AlertDescription;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// A session that is open; dropped, it's accounted for.
struct Inspected(Arc<Session>);

impl Inspected {
    /// Opens one that counts as a connection of its own.
    fn open(shared: &Arc<Shared>, permit: Permit, way: Way, secure: bool) -> Result<Self, Answer> {
        let denied = |why: &str| {
            let host = permit.host.to_string();
            refuse(
                shared,
                &permit.identity,
                (&host, permit.port),
                "limits",
                why,
            );
            Answer::failed(ErrorCode::PolicyDenied, why)
        };
        let grant = permit.grant();
        let grant = grant.ok_or_else(|| denied("the policy no longer allows it"))?;
        let meter = shared
            .quotas
            .open(grant.limits())
            .map_err(|why| denied(&why))?;
        drop(grant);
        Ok(Self::new(shared, permit, way, secure, meter))
    }

    fn new(shared: &Arc<Shared>, permit: Permit, way: Way, secure: bool, meter: Meter) -> Self {
        let permit = permit.toward(&way);
        let binary = Shown(&permit.identity.executable.path).to_string();
        let host = permit.host.to_string();
        shared
            .ledger
            .allowed(&binary, &host, permit.port, &permit.entry);
        shared.journal.allowed(&permit, None);
        Self(Arc::new(Session {
            shared: Arc::clone(shared),
            permit,
            way,
            secure,
            account: Arc::new(Account::new(meter, shared.flows.clone())),
        }))
    }

    fn session(&self) -> &Session {
        &self.0
    }

    /// Runs something for as long as the policy allows the connection; None if it doesn't.
    async fn watched<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = withdrawn(&self.0.shared, &self.0.permit) => None,
        }
    }
}

impl Drop for Inspected {
    fn drop(&mut self) {
        let Session {
            shared,
            permit,
            account,
            ..
        } = &*self.0;
        let (sent, received) = (
            account.traffic.sent.load(Ordering::Relaxed),
            account.traffic.received.load(Ordering::Relaxed),
        );
        let binary = Shown(&permit.identity.executable.path).to_string();
        let host = permit.host.to_string();
        let row = (&*binary, &*host, permit.port, &*permit.entry);
        shared.ledger.moved(row, sent, received);
        if let Some(learning) = permit.learning() {
            learning.answered(permit, sent + received);
        }
        shared.journal.closed(permit, sent, received);
    }
}

impl Session {
    /// Writes down that something on the connection was refused.
    fn refused(&self, engine: &'static str, why: &str) {
        let host = self.permit.host.to_string();
        let to = (&*host, self.permit.port);
        refuse(&self.shared, &self.permit.identity, to, engine, why);
    }
}

/// Serves a connection of which only the program's side is open. `said` is what the program said
/// already.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    program: TcpStream,
    way: Way,
    permit: Permit,
    said: Vec<u8>,
    meter: Meter,
) {
    let host = permit.host.to_string();
    let no = |why: &str| refuse(shared, &permit.identity, (&host, permit.port), "tls", why);
    let patience = shared.inspection.patience;
    match timeout(patience.idle, sniff::start(&program, said)).await {
        Ok(Ok(Start::Other(first))) if first.is_empty() => {}
        Ok(Ok(Start::Other(first))) => {
            plain(shared, program, way, permit, first, meter).await;
        }
        Ok(Ok(Start::Tls(hello, first))) => {
            secure(shared, program, way, permit, (&hello, first), meter).await;
        }
        Ok(Err(error)) => {
            no(&error.to_string());
            reset(program);
        }
        // Where the server would speak first, nobody says anything.
        Err(_) => {
            no("unsupported_l7_protocol: the program said nothing for too long");
            reset(program);
        }
    }
}

async fn plain(
    shared: &Arc<Shared>,
    program: TcpStream,
    way: Way,
    permit: Permit,
    first: Vec<u8>,
    meter: Meter,
) {
    let inspected = Inspected::new(shared, permit, way, false, meter);
    // A method is upper case here; HTTP/2 without TLS begins like one (RFC 9113 §3.4).
    if !first[0].is_ascii_uppercase() || first.starts_with(b"PRI * HTTP/2") {
        let why = "unsupported_l7_protocol: what is spoken is neither TLS nor HTTP/1.1";
        inspected.session().refused("l7", why);
        return reset(program);
    }
    let stream: Stream = Box::new(Prefixed::new(first, program));
    let work = http1::serve(inspected.session(), stream, None);
    inspected.watched(work).await;
}

async fn secure(
    shared: &Arc<Shared>,
    program: TcpStream,
    way: Way,
    permit: Permit,
    (hello, first): (&ClientHello, Vec<u8>),
    meter: Meter,
) {
    let (host, port) = (permit.host.to_string(), permit.port);
    let identity = Arc::clone(&permit.identity);
    let no = |why: &str| refuse(shared, &identity, (&host, port), "tls", why);
    let permit = match named(shared, permit, &way, hello) {
        Ok(permit) => permit,
        Err(why) => {
            no(&why);
            return reset(program);
        }
    };
    let inspected = Inspected::new(shared, permit, way, true, meter);
    let session = inspected.session();
    let wants_h2 = hello.alpn.iter().any(|protocol| protocol == b"h2");
    let (h2, kept) = match wants_h2 {
        true => agreed(session).await,
        false => (false, None),
    };
    let config = shared.inspection.authority.server(&session.permit.host, h2);
    let Some(config) = config else {
        session.refused(
            "tls",
            "tls_termination_unavailable: the host can't have a certificate",
        );
        return reset(program);
    };
    let accepted = TlsAcceptor::from(config).accept(Prefixed::new(first, program));
    let begun = shared.phases.begin();
    let shaken = timeout(shared.inspection.patience.head, accepted).await;
    shared.phases.end(Phase::Tls, begun);
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return session.refused("tls", &failure(&error, hello)),
        Err(_) => return session.refused("tls", "the TLS handshake took too long"),
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let work = http2::serve(Arc::clone(&inspected.0), Box::new(stream), kept);
        inspected.watched(work).await;
    } else {
        // A connection that speaks HTTP/2 is of no use to a client that chose HTTP/1.1.
        let kept = kept.filter(|_| !h2);
        inspected
            .watched(http1::serve(session, Box::new(stream), kept))
            .await;
    }
}

/// Whether HTTP/2 can be offered to a client that wants it. If that isn't known yet, the server is
/// asked, and the connection kept for the first request.
async fn agreed(session: &Session) -> (bool, Option<Upstream>) {
    if let Some(known) = session
        .shared
        .inspection
        .upstreams
        .speaks_h2(&session.permit)
    {
        return (known, None);
    }
    match session.connect(true).await {
        Ok(upstream) => (upstream.h2, Some(upstream)),
        // The client is told why in HTTP, when it asks for something.
        Err(_) => (false, None),
    }
}

/// The permit for the host that the hello names, which may be another one of the same address.
fn named(
    shared: &Shared,
    permit: Permit,
    way: &Way,
    hello: &ClientHello,
) -> Result<Permit, String> {
    sniff::check(shared, &permit, hello)?;
    let Some(name) = hello
        .server_name
        .as_ref()
        .filter(|name| **name != permit.host)
    else {
        return Ok(permit);
    };
    let other = decide::host(shared, &permit.identity, name.clone(), permit.port);
    let other = other.map_err(|denial| denial.reason)?;
    if let Way::Address(to) = way {
        let judged = shared.dialer.judge(&other, &[to.ip()]);
        judged.map_err(|refused| refused.reason)?;
        return Ok(other);
    }
    // A client that asked for a host by name means that host.
    Err(format!(
        "TLS asks for {name}, and the connection is to {}",
        permit.host
    ))
}

/// Why a client doesn't go on with the handshake.
fn failure(error: &std::io::Error, hello: &ClientHello) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied,
        )) => "the client doesn't trust the sandbox's authority: it pins its server's \
               certificate, or has roots of its own"
            .to_owned(),
        _ if hello.ech == Ech::Outer => {
            format!(
                "the TLS handshake failed ({error}): the client offered ECH, which inspection can't answer"
            )
        }
        _ => format!("the TLS handshake failed: {error}"),
    }
}
