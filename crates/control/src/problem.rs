//! What a caller is told when a request can't be fulfilled.
//!
//! E2B's clients turn the status into their exceptions and show the message. What only the owner of
//! the machine may see (paths, errors of the kernel) is the detail: it goes to the log, to the audit
//! journal, and to callers whose key is an administrator's.

use axum::response::{IntoResponse, Response};
use casemate_core::error::Error;
use casemate_core::node::Refusal;
use casemate_core::sandbox::lifecycle::Denied;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use std::fmt;

/// A request that wasn't fulfilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// What the caller reads.
    pub message: String,
    /// What only an administrator reads.
    pub detail: Option<String>,
    /// Seconds after which it may be tried again.
    pub retry_after: Option<u64>,
    /// What E2B's clients tell it by, beside the status.
    pub code: Option<&'static str>,
}

impl Problem {
    /// With this status, and these words.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            detail: None,
            retry_after: None,
            code: None,
        }
    }

    /// The request is wrong as it stands.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What the request names isn't there.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// There is none of this name (any more).
    pub(crate) fn not_found(kind: &str, name: &str) -> Self {
        Self::missing(format!("{kind} '{}' not found", shown(name)))
    }

    /// There is no such sandbox (any more).
    pub(crate) fn no_sandbox(id: &str) -> Self {
        Self::not_found("sandbox", id)
    }

    /// The state of what the request names doesn't have this.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// A quota is used up.
    pub(crate) fn too_many(message: impl Into<String>, retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// E2B has this, and this server doesn't (yet).
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::bad(format!("{what}: not supported here"))
    }

    /// The same, with what E2B's clients tell it by.
    pub(crate) fn coded(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// Something of ours failed.
    pub(crate) fn broken(message: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }

    /// The store can't be read or written to now.
    pub(crate) fn store(error: &Error) -> Self {
        Self {
            detail: Some(error.to_string()),
            retry_after: Some(1),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the store is not available, nothing was changed; try again",
            )
        }
    }

    /// The node didn't do it.
    pub(crate) fn node(step: &str, refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => Self::missing("the node keeps no such sandbox"),
            Refusal::NoTemplate(name) => Self::not_found("template", &name),
            Refusal::Invalid(why) => Self::bad(why),
            Refusal::Unsupported(what) => Self::unsupported(what),
            Refusal::State(denied) => denied.into(),
            Refusal::Closed(_) => Self::new(StatusCode::BAD_GATEWAY, refusal.to_string()),
            Refusal::Full(why) => Self {
                retry_after: Some(5),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
            },
            Refusal::Slow(after) => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!("{step}: no answer of the node after {after:?}"),
            ),
            Refusal::Failed(error) => {
                Self::broken(format!("{step}: the node failed"), error.to_string())
            }
        }
    }

    /// The answer; `all` shows the detail as well.
    pub(crate) fn answer(&self, all: bool) -> Response {
        let message = match &self.detail {
            Some(detail) if all => format!("{}: {detail}", self.message),
            _ => self.message.clone(),
        };
        let mut body = json!({ "code": self.status.as_u16(), "message": message });
        if let Some(code) = self.code {
            body["error_code"] = code.into();
        }
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// Says no more than any caller may read; the detail travels beside it.
    fn into_response(self) -> Response {
        if let Some(detail) = &self.detail {
            tracing::error!(status = self.status.as_u16(), detail, "{}", self.message);
        }
        let mut response = self.answer(false);
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Problem {}

/// A name of a client's, as it is repeated to it: not longer than names are, and printable.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(64).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::conflict(denied.to_string())
    }
}
