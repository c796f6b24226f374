//! Who asks: the API key of a request.

use super::App;
use crate::control::By;
use crate::keys::{Key, Scope};
use crate::problem::Problem;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// A key that may look.
pub(super) const READ: u8 = 0;
/// A key that may make, use and end sandboxes.
pub(super) const RUN: u8 = 1;
/// A key that may do everything.
pub(super) const ADMIN: u8 = 2;

/// A request with a key that has the scope.
pub(super) struct May<const SCOPE: u8>(pub(super) Arc<Key>);

impl<const SCOPE: u8> May<SCOPE> {
    /// The key, as who changes something.
    pub(super) fn by(self) -> By {
        By::Key(self.0)
    }
}

impl<const SCOPE: u8> FromRequestParts<App> for May<SCOPE> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let scope = match SCOPE {
            READ => Scope::Read,
            RUN => Scope::Run,
            _ => Scope::Admin,
        };
        key(app, &parts.headers)?.may(scope).map(Self)
    }
}

/// The key of a request: in `X-API-KEY`, or as a bearer token.
pub(crate) fn key(app: &App, headers: &HeaderMap) -> Result<Arc<Key>, Problem> {
    let secret = secret(headers).ok_or_else(|| {
        refused("no API key: send yours in the header X-API-KEY (E2B_API_KEY for the SDKs)")
    })?;
    let key = app.recognise(secret);
    key.ok_or_else(|| refused("this API key is not valid, or was revoked"))
}

/// The secret that a request brings.
pub(super) fn secret(headers: &HeaderMap) -> Option<&str> {
    let bearer = || {
        let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    match headers.get("x-api-key") {
        Some(value) => value.to_str().ok(),
        None => bearer(),
    }
}

fn refused(message: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, message)
}

/// Shows the detail of a problem to an administrator.
pub(super) async fn show_detail(State(app): State<App>, request: Request, next: Next) -> Response {
    let secret = secret(request.headers()).map(str::to_owned);
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let key = secret.and_then(|secret| app.keys.with_secret(&secret));
    match key.filter(|key| key.scope == Scope::Admin && problem.detail.is_some()) {
        Some(_) => problem.answer(true),
        None => response,
    }
}
