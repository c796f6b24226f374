//! Making, finding and killing sandboxes.

use super::App;
use super::auth::{May, READ, RUN};
use super::body::{Raw, parse};
use super::list;
use super::params::At;
use super::shapes::{Detail, NewSandbox, Sandbox, Version};
use crate::idempotency::Named;
use crate::keys::Scope;
use crate::problem::Problem;
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::time::Duration;

const V1: Version = Version {
    timeout: Duration::from_secs(15),
    always_secure: false,
};
const V2: Version = Version {
    timeout: Duration::from_secs(300),
    always_secure: true,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sandboxes", get(list::running).post(create_v1))
        .route("/v2/sandboxes", get(list::page).post(create_v2))
        .route("/sandboxes/{id}", get(detail).delete(kill))
}

async fn create_v1(
    app: State<App>,
    may: May<RUN>,
    headers: HeaderMap,
    body: Raw,
) -> Result<Response, Problem> {
    create(app, may, headers, body, V1, "POST /sandboxes").await
}

async fn create_v2(
    app: State<App>,
    may: May<RUN>,
    headers: HeaderMap,
    body: Raw,
) -> Result<Response, Problem> {
    create(app, may, headers, body, V2, "POST /v2/sandboxes").await
}

async fn create(
    State(app): State<App>,
    May(key): May<RUN>,
    headers: HeaderMap,
    Raw(body): Raw,
    version: Version,
    what: &'static str,
) -> Result<Response, Problem> {
    let named = Named::read(&key.id, &headers, what, &body)?;
    let wanted: NewSandbox = parse(&body)?;
    let order = wanted.order(&headers, version, app.settings.resources)?;
    let control = app.clone();
    let done = app
        .carry_out(async move {
            let named = named.as_ref();
            let request = async {
                let mut text = String::new();
                let also = |record: &_| {
                    text = serde_json::to_string(&Sandbox::of(record, &control.settings))
                        .unwrap_or_default();
                    named.map(|named| {
                        named.answered(StatusCode::CREATED, &text, control.clock.now())
                    })
                };
                control.create(&key, order, also).await?;
                Ok((StatusCode::CREATED, text))
            };
            control.once(named, request).await
        })
        .await?;
    let json = HeaderValue::from_static("application/json");
    let mut response = (done.status, [(CONTENT_TYPE, json)], done.body).into_response();
    if done.before {
        let headers = response.headers_mut();
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn detail(
    State(app): State<App>,
    May(key): May<READ>,
    At(id): At<String>,
) -> Result<Json<Detail>, Problem> {
    let record = app.find(&id)?.record();
    let detail = Detail::of(&record, &app.settings);
    // Who has the token can do everything in the sandbox.
    Ok(Json(match key.scope {
        Scope::Read => detail.without_token(),
        Scope::Run | Scope::Admin => detail,
    }))
}

async fn kill(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
) -> Result<StatusCode, Problem> {
    let control = app.clone();
    app.carry_out(async move { control.kill(&may.by(), &id).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
