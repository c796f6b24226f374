//! POST /files: a body that becomes files.

use super::encoding::{self, Coding};
use super::intake::{Intake, Plan, Written};
use super::{Address, Answer};
use crate::Agent;
use crate::blocking::{self, Elsewhere};
use crate::error::Refusal;
use crate::fault::Fault;
use crate::filesystem::metadata::{self, Metadata};
use crate::filesystem::owner::Owner;
use crate::signature::Operation;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderName};
use http_body::Body as _;
use std::pin::Pin;
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 256 * 1024;
/// Bytes that a refused upload may still send, so that its client reads the refusal.
const DRAINED: usize = 8 * 1024 * 1024;
/// What surrounds a file in a form at most: boundaries and headers.
const SURROUNDING: u64 = 32 * 1024;
/// Headers with this in front are notes to keep with the file.
const METADATA: &str = "x-metadata-";

pub(super) async fn answer(
    State(agent): State<Arc<Agent>>,
    address: Result<Query<Address>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Vec<Written>>> {
    let mut body = body;
    let result = receive(&agent, address, &headers, &mut body).await;
    // A client that asked first sends nothing if it isn't told to.
    if result.is_err() && !headers.contains_key(EXPECT) {
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
    metadata::check(&metadata)?;
    Ok(metadata)
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
