//! Bodies: JSON of a shape, or a problem that says where it isn't.
//!
//! Fields that we don't know are ignored: newer clients send more. A field of a wrong type is
//! refused by its path. The size is bounded by the router, the depth by serde_json.

use super::App;
use crate::problem::Problem;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body of this shape. An empty one is `{}`: some clients send none where every field is optional.
pub(super) struct Json<T>(pub(super) T);

/// A body as it came.
pub(super) struct Raw(pub(super) Bytes);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let Raw(bytes) = Raw::from_request(request, app).await?;
        parse(&bytes).map(Self)
    }
}

impl FromRequest<App> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let read = tokio::time::timeout(PATIENCE, Bytes::from_request(request, app)).await;
        let read = read.map_err(|_| {
            let seconds = PATIENCE.as_secs();
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {seconds} seconds"),
            )
        })?;
        read.map(Self).map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(failed)
                if failed.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!(
                        "the body is longer than {} bytes",
                        app.settings.largest_body
                    ),
                )
            }
            other => Problem::bad(format!("the body could not be read: {}", other.body_text())),
        })
    }
}

/// A body as a value.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = match bytes.trim_ascii() {
        [] => b"{}",
        bytes => bytes,
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match error.is_data() && path != "." {
            true => Problem::bad(format!("{path}: {error}")),
            false => Problem::bad(format!("the body is not what it should be: {error}")),
        }
    })?;
    json.end()
        .map_err(|error| Problem::bad(format!("the body is not one JSON value: {error}")))?;
    Ok(value)
}
