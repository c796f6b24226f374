//! The document of our own extensions, and a page to read it.
//!
//! E2B's own surface has a document already, by E2B; this one says only what is ours.

use super::App;
use super::journal;
use super::keys::KeyDemand;
use super::shapes::{Demand, LifetimeDemand, ResourceDemand};
use crate::keys::Scope;
use crate::quota::Quotas;
use axum::routing::get;
use axum::{Json, Router};
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// The page needs nothing but itself and the document.
const NOTHING_ELSE: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";

pub(super) fn routes() -> Router<App> {
    let page = || async {
        let headers = [
            (
                CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            ),
            (
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(NOTHING_ELSE),
            ),
        ];
        (headers, include_str!("openapi.html"))
    };
    Router::new()
        .route("/openapi.json", get(async || Json(Document::openapi())))
        .route("/docs", get(page))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Casemate",
        description = "What Casemate adds to the E2B API. The field `casemate` of `POST /sandboxes` and \
            `POST /v2/sandboxes` is a `Demand`; that of `POST /sandboxes/{id}/timeout` is a \
            `LifetimeDemand`; that of `POST /api-keys` and `PATCH /api-keys/{id}` is a `KeyDemand`. \
            Of the first, `Casemate-Never: true` and `Casemate-Idle-Timeout: 600` are the same as headers. \
            Both routes that make a sandbox take the header `Idempotency-Key`: the same request with \
            the same key is done once in 24 hours, and its answer is then marked \
            `idempotency-replayed: true`; another request with the same key is refused (422).",
    ),
    paths(journal::audit, journal::inspect),
    components(schemas(Demand, ResourceDemand, LifetimeDemand, KeyDemand, Scope, Quotas)),
    modifiers(&WithKey),
)]
struct Document;

struct WithKey;

impl Modify for WithKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let header = ApiKey::Header(ApiKeyValue::new("X-API-KEY"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::ApiKey(header));
        document.security = Some(vec![SecurityRequirement::new("key", [] as [&str; 0])]);
    }
}
