//! Refusals outside Connect services, in the form that Connect clients read as well.

use axum::Json;
use axum::response::{IntoResponse, Response};
use casemate_proto::connectrpc::ErrorCode;
use http::StatusCode;

/// A refusal: a status, and a sentence for the client.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// Connect's name for the status; a client of either kind finds what it looks for.
    fn code(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => ErrorCode::Unauthenticated,
            StatusCode::NOT_FOUND => ErrorCode::NotFound,
            StatusCode::REQUEST_TIMEOUT => ErrorCode::DeadlineExceeded,
            StatusCode::INTERNAL_SERVER_ERROR => ErrorCode::Internal,
            StatusCode::INSUFFICIENT_STORAGE => ErrorCode::ResourceExhausted,
            _ => ErrorCode::InvalidArgument,
        }
        .as_str()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"code": self.code(), "message": self.message});
        (self.status, Json(body)).into_response()
    }
}
