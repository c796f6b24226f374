//! API keys. E2B's shapes, and beside them what a key may do and use, in the field `casemate`.

use super::App;
use super::auth::{ADMIN, May};
use super::body::Json as Body;
use super::params::At;
use crate::keys::{Key, LENGTH, PREFIX, Scope};
use crate::problem::Problem;
use crate::quota::Quotas;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api-keys", get(list).post(make))
        .route("/api-keys/{id}", patch(change).delete(revoke))
}

/// `casemate` of a key.
#[derive(Default, Deserialize, Serialize, ToSchema)]
pub(super) struct KeyDemand {
    /// What it may do; `run` if a new key doesn't say.
    scope: Option<Scope>,
    /// What it may use.
    quotas: Option<Quotas>,
}

#[derive(Deserialize)]
pub(super) struct NewKey {
    name: String,
    casemate: Option<KeyDemand>,
}

#[derive(Deserialize)]
struct ChangedKey {
    name: Option<String>,
    casemate: Option<KeyDemand>,
}

async fn list(State(app): State<App>, _: May<ADMIN>) -> Json<Vec<Value>> {
    Json(app.keys.all().iter().map(|key| told(key)).collect())
}

pub(super) async fn make(
    State(app): State<App>,
    may: May<ADMIN>,
    Body(wanted): Body<NewKey>,
) -> Result<Response, Problem> {
    let demand = wanted.casemate.unwrap_or_default();
    let scope = demand.scope.unwrap_or(Scope::Run);
    let quotas = demand.quotas.unwrap_or_default();
    let control = app.clone();
    let (key, secret) = app
        .carry_out(async move {
            control
                .make_key(&may.by(), wanted.name, scope, quotas)
                .await
        })
        .await?;
    let mut told = told(&key);
    told["key"] = secret.into();
    Ok((StatusCode::CREATED, Json(told)).into_response())
}

async fn change(
    State(app): State<App>,
    may: May<ADMIN>,
    At(id): At<String>,
    Body(wanted): Body<ChangedKey>,
) -> Result<Json<Value>, Problem> {
    let demand = wanted.casemate.unwrap_or_default();
    let control = app.clone();
    let key = app
        .carry_out(async move {
            let (scope, quotas) = (demand.scope, demand.quotas);
            control
                .change_key(&may.by(), &id, wanted.name, scope, quotas)
                .await
        })
        .await?;
    Ok(Json(told(&key)))
}

pub(super) async fn revoke(
    State(app): State<App>,
    may: May<ADMIN>,
    At(id): At<String>,
) -> Result<StatusCode, Problem> {
    let control = app.clone();
    app.carry_out(async move { control.revoke_key(&may.by(), &id).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn told(key: &Key) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "mask": {
            "prefix": PREFIX,
            "valueLength": LENGTH,
            "maskedValuePrefix": key.first,
            "maskedValueSuffix": key.last,
        },
        "createdAt": key.created,
        "createdBy": null,
        "lastUsed": key.used,
        "casemate": { "scope": key.scope, "quotas": key.quotas },
    })
}
