//! The contents of files over plain HTTP.
//!
//! ```text
//!  GET  /files          download ── range, encoding, description ── outflow
//!  POST /files          upload ──── intake (gunzip, multipart) ──── target
//!  POST /files/compose  compose
//! ```
//!
//! Both ways are streams of bounded pieces: what a request holds in memory doesn't depend on how
//! long the file is. A request says who it is by the sandbox's token, or by a signature over the
//! path, which a browser can carry in a link.

mod compose;
mod description;
mod download;
mod encoding;
mod intake;
mod multipart;
mod outflow;
mod range;
mod target;

use crate::Agent;
use crate::blocking::{self, Elsewhere};
use crate::error::Refusal;
use crate::fault::{Cause, Fault};
use crate::filesystem::metadata::Metadata;
use crate::filesystem::owner::Owner;
use crate::signature::{Claim, Operation};
use crate::users::User;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use encoding::Coding;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body::Body as _;
use intake::{Intake, Plan, Written};
use serde::Deserialize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes that are gathered before they are written.
const GATHERED: usize = 256 * 1024;
/// Bytes that a refused upload may still send, so that its client reads the refusal.
const DRAINED: usize = 8 * 1024 * 1024;
/// What surrounds a file in a form at most: boundaries and headers.
const SURROUNDING: u64 = 32 * 1024;
/// Bytes of a request to compose.
const COMPOSE: usize = 16 * 1024 * 1024;
/// Headers with this in front are notes to keep with the file.
const METADATA: &str = "x-metadata-";
/// The header with the sandbox's token.
const TOKEN: &str = "x-access-token";

/// The routes of this module.
pub(crate) fn router() -> Router<Arc<Agent>> {
    Router::new()
        .route(
            "/files",
            get(download)
                .post(upload)
                .layer(DefaultBodyLimit::disable()),
        )
        .route(
            "/files/compose",
            post(compose).layer(DefaultBodyLimit::max(COMPOSE)),
        )
}

type Answer<T> = std::result::Result<T, Refusal>;

/// The query of a request for a file.
#[derive(Deserialize)]
struct Address {
    path: Option<String>,
    username: Option<String>,
    signature: Option<String>,
    signature_expiration: Option<i64>,
}

impl Address {
    /// Whether this may be done; the user to do it for.
    fn admit(&self, agent: &Agent, operation: Operation, headers: &HeaderMap) -> Answer<User> {
        let claim = Claim {
            operation,
            path: self.path.as_deref().unwrap_or(""),
            user: self.username.as_deref(),
            signature: self.signature.as_deref(),
            expiration: self.signature_expiration,
            header: headers.get(TOKEN).map(|value| value.as_bytes()),
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let given = agent.given();
        claim
            .check(given.token(), now)
            .map_err(|denied| Refusal::unauthenticated(denied.to_string()))?;
        let named = self.username.as_deref().filter(|name| !name.is_empty());
        let name = named.unwrap_or(&given.user).to_owned();
        drop(given);
        user(&name)
    }
}

fn user(name: &str) -> Answer<User> {
    User::named(name).map_err(|error| Refusal::unauthenticated(error.message.unwrap_or_default()))
}

async fn download(
    State(agent): State<Arc<Agent>>,
    address: Result<Query<Address>, QueryRejection>,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    let Query(address) = address.map_err(|e| Refusal::invalid(e.body_text()))?;
    let user = address.admit(&agent, Operation::Read, &headers)?;
    let workdir = agent.given().workdir.clone();
    let path = address.path.unwrap_or_default();
    let path = crate::paths::resolve(&path, &user.home, workdir.as_deref())
        .map_err(|refused| Refusal::invalid(refused.to_string()))?;
    blocking::run(move || Ok(download::download(&path, &headers))).await?
}

async fn upload(
    State(agent): State<Arc<Agent>>,
    address: Result<Query<Address>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Vec<Written>>> {
    let mut body = body;
    let result = receive(&agent, address, &headers, &mut body).await;
    if result.is_err() {
        drain(&mut body).await;
    }
    result.map(Json)
}

async fn receive(
    agent: &Agent,
    address: Result<Query<Address>, QueryRejection>,
    headers: &HeaderMap,
    body: &mut Body,
) -> Answer<Vec<Written>> {
    let Query(address) = address.map_err(|e| Refusal::invalid(e.body_text()))?;
    let user = address.admit(agent, Operation::Write, headers)?;
    let coding = header(headers, &CONTENT_ENCODING);
    let coding = encoding::sent(coding).ok_or_else(|| {
        Refusal::invalid(format!(
            "unsupported Content-Encoding '{}': there are gzip and identity",
            coding.unwrap_or("")
        ))
    })?;
    let content_type = header(headers, &CONTENT_TYPE).unwrap_or("").to_owned();
    let form = content_type.to_ascii_lowercase().starts_with("multipart/");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if !form && !media_type.eq_ignore_ascii_case("application/octet-stream") {
        return Err(Refusal::invalid(format!(
            "unsupported content type: '{content_type}', expected multipart/form-data or \
             application/octet-stream"
        )));
    }
    let length = header(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let plan = Plan {
        owner: Owner::of(agent, &user),
        home: user.home,
        workdir: agent.given().workdir.clone(),
        expected: length.and_then(|length: u64| match (coding, form, &address.path) {
            (Coding::Identity, false, _) => Some(length),
            (Coding::Identity, true, Some(_)) => Some(length.saturating_sub(SURROUNDING)),
            _ => None,
        }),
        path: address.path,
        metadata: notes(headers)?,
    };
    let intake = blocking::run(move || match form {
        true => Intake::form(plan, &content_type, coding),
        false => Intake::file(&plan, coding),
    });
    Ok(take(intake.await?, body).await?)
}

/// Moves a body into files.
async fn take(intake: Intake, body: &mut Body) -> crate::fault::Result<Vec<Written>> {
    let mut intake = Elsewhere::new(intake);
    let mut piece = Vec::with_capacity(GATHERED);
    loop {
        let more = gather(body, &mut piece).await?;
        (intake, piece) = blocking::run(move || {
            intake.take(&piece)?;
            piece.clear();
            Ok((intake, piece))
        })
        .await?;
        if !more {
            return blocking::run(move || intake.into_inner().finish()).await;
        }
    }
}

/// Fills `piece`; false at the end of the body.
async fn gather(body: &mut Body, piece: &mut Vec<u8>) -> crate::fault::Result<bool> {
    while piece.len() < GATHERED {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    piece.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => {
                return Err(Fault::invalid(format!("the upload broke off: {error}")));
            }
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Reads some of what a refused upload still sends. A client that is sending may otherwise find
/// its connection closed before it looks at the answer.
async fn drain(body: &mut Body) {
    let mut drained = 0;
    let mut piece = Vec::new();
    while drained < DRAINED && matches!(gather(body, &mut piece).await, Ok(true)) {
        drained += piece.len();
        piece.clear();
    }
}

/// What the request notes about its files.
fn notes(headers: &HeaderMap) -> Answer<Metadata> {
    let mut metadata = Metadata::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(METADATA) {
            let value = value.to_str().map_err(|_| {
                Refusal::invalid(format!("metadata is printable ASCII, '{key}' is not"))
            })?;
            metadata.insert(key.to_owned(), value.to_owned());
        }
    }
    crate::filesystem::metadata::check(&metadata)?;
    Ok(metadata)
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The body of a request to compose.
#[derive(Deserialize)]
struct Composition {
    source_paths: Vec<String>,
    destination: String,
    username: Option<String>,
}

async fn compose(
    State(agent): State<Arc<Agent>>,
    composition: Result<Json<Composition>, JsonRejection>,
) -> Answer<Json<Written>> {
    let Json(wanted) = composition.map_err(|e| Refusal::invalid(e.body_text()))?;
    if wanted.source_paths.is_empty() {
        return Err(Refusal::invalid("source_paths must not be empty"));
    }
    if wanted.source_paths.len() > compose::MOST_SOURCES {
        let most = compose::MOST_SOURCES;
        return Err(Refusal::invalid(format!(
            "source_paths has more than {most} paths"
        )));
    }
    if wanted.destination.is_empty() {
        return Err(Refusal::invalid("destination is required"));
    }
    let (default, workdir) = {
        let given = agent.given();
        (given.user.clone(), given.workdir.clone())
    };
    let named = wanted.username.filter(|name| !name.is_empty());
    let user = user(&named.unwrap_or(default))?;
    let resolve = |path: &String| {
        crate::paths::resolve(path, &user.home, workdir.as_deref())
            .map_err(|refused| Refusal::invalid(refused.to_string()))
    };
    let sources = wanted
        .source_paths
        .iter()
        .map(resolve)
        .collect::<Answer<Vec<_>>>()?;
    let destination = resolve(&wanted.destination)?;
    let owner = Owner::of(&agent, &user);
    blocking::run(move || {
        compose::compose(&sources, &destination, owner)?;
        Ok(Json(Written::new(&destination, &Metadata::new())))
    })
    .await
    .map_err(Refusal::from)
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let status = match fault.cause {
            Cause::Missing => StatusCode::NOT_FOUND,
            Cause::Exists | Cause::State => StatusCode::CONFLICT,
            Cause::Invalid => StatusCode::BAD_REQUEST,
            Cause::Full => StatusCode::INSUFFICIENT_STORAGE,
            Cause::Bound | Cause::Lost | Cause::Refused => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, fault.text)
    }
}
