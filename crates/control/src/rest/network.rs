//! Where a sandbox may connect to, changed while it runs.

use super::App;
use super::auth::{May, RUN};
use super::body::Json;
use super::params::At;
use crate::network::Network;
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::routing::put;
use http::StatusCode;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/sandboxes/{id}/network", put(replace))
}

/// Replaces all of it: what isn't given is back at its default.
async fn replace(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
    Json(network): Json<Network>,
) -> Result<StatusCode, Problem> {
    let control = app.clone();
    app.carry_out(async move { control.restrict(&may.by(), &id, network).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
