//! What E2B has and this has not (yet): each route answers as E2B does for something
//! that isn't there, or says that it isn't supported.

use super::App;
use super::auth::{May, READ, RUN};
use super::params::At;
use crate::problem::Problem;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/access-tokens", post(access_token))
        .route("/access-tokens/{id}", delete(no_access_token))
        .route("/volumes", get(none).post(volume))
        .route("/volumes/{id}", get(no_volume).delete(no_volume))
        .route("/secrets", get(none).post(keep_secret))
        .route(
            "/secrets/{id}",
            get(no_secret).post(no_secret).delete(no_secret),
        )
}

async fn none(_: May<READ>) -> Json<Value> {
    Json(json!([]))
}

async fn volume(_: May<RUN>) -> Problem {
    Problem::unsupported("volumes")
}

async fn no_volume(_: May<READ>, At(id): At<String>) -> Problem {
    Problem::not_found("volume", &id)
}

/// Keys are all that there is to come in with.
async fn access_token(_: May<RUN>) -> Problem {
    Problem::unsupported("access tokens (API keys take their place)")
}

async fn no_access_token(_: May<RUN>, At(id): At<String>) -> Problem {
    Problem::not_found("access token", &id)
}

async fn keep_secret(_: May<RUN>) -> Problem {
    Problem::unsupported("secrets")
}

async fn no_secret(_: May<READ>, At(id): At<String>) -> Problem {
    Problem::not_found("secret", &id)
}
