//! What an operator does to a whole team: there is one, and every key belongs to it.

use super::App;
use super::auth::{ADMIN, May};
use super::body::Json as Body;
use super::keys::{self, NewKey};
use super::params::At;
use crate::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use casemate_core::sandbox::lifecycle;
use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::{Value, json};

/// Sandboxes that are taken down at the same time.
const AT_ONCE: usize = 16;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/teams/{id}/sandboxes/kill", post(kill_all))
        .route("/admin/sandboxes/running-counts", get(running))
        .route("/admin/teams/{id}/builds/cancel", post(cancel_builds))
        .route("/admin/teams/{id}/api-keys", post(make_key))
        .route("/admin/teams/{id}/api-keys/{key}", delete(revoke_key))
}

async fn kill_all(
    State(app): State<App>,
    may: May<ADMIN>,
    At(team): At<String>,
) -> Result<Json<Value>, Problem> {
    known(&app, &team)?;
    let (by, control) = (may.by(), app.clone());
    let done = app.carry_out(async move {
        let mut there = control.census.everybody();
        there.retain(|sandbox| sandbox.record().is_there());
        let ends = there.into_iter().map(|sandbox| {
            let (control, by) = (control.clone(), by.clone());
            async move { control.kill(&by, sandbox.id.as_str()).await }
        });
        let ends = futures_util::stream::iter(ends).buffer_unordered(AT_ONCE);
        let killed: Vec<_> = ends.collect().await;
        // One that is gone when its turn comes is none of either.
        let failed = |killed: &&Result<(), Problem>| {
            killed
                .as_ref()
                .is_err_and(|problem| problem.status != StatusCode::NOT_FOUND)
        };
        Ok(json!({
            "killedCount": killed.iter().filter(|killed| killed.is_ok()).count(),
            "failedCount": killed.iter().filter(failed).count(),
        }))
    });
    done.await.map(Json)
}

async fn running(State(app): State<App>, _: May<ADMIN>) -> Json<Value> {
    let all = app.census.everybody();
    let running = all
        .iter()
        .filter(|sandbox| sandbox.record().state == lifecycle::State::Running);
    Json(match running.count() {
        0 => json!({}),
        count => json!({ app.team_id.as_str(): count }),
    })
}

/// Nothing is built here.
async fn cancel_builds(
    State(app): State<App>,
    _: May<ADMIN>,
    At(team): At<String>,
) -> Result<Json<Value>, Problem> {
    known(&app, &team)?;
    Ok(Json(json!({ "cancelledCount": 0, "failedCount": 0 })))
}

async fn make_key(
    app: State<App>,
    may: May<ADMIN>,
    At(team): At<String>,
    wanted: Body<NewKey>,
) -> Result<Response, Problem> {
    known(&app, &team)?;
    keys::make(app, may, wanted).await
}

async fn revoke_key(
    app: State<App>,
    may: May<ADMIN>,
    At((team, key)): At<(String, String)>,
) -> Result<StatusCode, Problem> {
    known(&app, &team)?;
    keys::revoke(app, may, At(key)).await
}

fn known(app: &App, team: &str) -> Result<(), Problem> {
    match team == app.team_id {
        true => Ok(()),
        false => Err(Problem::not_found("team", team)),
    }
}
