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
mod upload;

use crate::Agent;
use crate::error::Refusal;
use crate::fault::{Cause, Fault};
use crate::signature::{Claim, Operation};
use crate::users::User;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The header with the sandbox's token.
const TOKEN: &str = "x-access-token";

/// The routes of this module.
pub(crate) fn router() -> Router<Arc<Agent>> {
    Router::new()
        .route(
            "/files",
            get(download::answer)
                .post(upload::answer)
                .layer(DefaultBodyLimit::disable()),
        )
        .route(
            "/files/compose",
            post(compose::answer).layer(DefaultBodyLimit::max(compose::BODY)),
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
