//! Templates. There is one, `base`, and beside it what was written of sandboxes.

use super::App;
use super::auth::{May, READ, RUN};
use super::params::At;
use crate::lifecycle::BASE;
use crate::problem::{Problem, shown};
use crate::settings::ENVD_VERSION;
use axum::extract::State;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// What stands for the build of a template that nobody built.
const NO_BUILD: &str = "00000000-0000-0000-0000-000000000000";

pub(super) fn routes() -> Router<App> {
    let builds = "/templates/{id}/builds/{build}";
    Router::new()
        .route("/default-templates", get(list))
        .route("/templates", get(list).post(build))
        .route("/v2/templates", get(list).post(build))
        .route("/v3/templates", post(build))
        .route(
            "/templates/{id}",
            get(one).post(build_again).patch(change).delete(remove),
        )
        .route("/v2/templates/{id}", patch(change))
        .route("/templates/aliases/{alias}", get(alias))
        .route("/templates/tags", post(tag).delete(untag))
        .route("/templates/{id}/tags", get(tags))
        .route("/templates/{id}/files/{hash}", get(no_part))
        .route(builds, post(build_again_of))
        .route("/v2/templates/{id}/builds/{build}", post(build_again_of))
        .route("/templates/{id}/builds/{build}/status", get(no_part))
        .route("/templates/{id}/builds/{build}/logs", get(no_part))
}

async fn list(State(app): State<App>, _: May<READ>) -> Json<Value> {
    Json(json!([base(&app)]))
}

async fn one(
    State(app): State<App>,
    _: May<READ>,
    At(id): At<String>,
) -> Result<Json<Value>, Problem> {
    known(&id)?;
    let mut base = base(&app);
    base["builds"] = json!([]);
    Ok(Json(base))
}

async fn alias(_: May<READ>, At(alias): At<String>) -> Result<Json<Value>, Problem> {
    known(&alias)?;
    Ok(Json(json!({ "templateID": BASE, "public": true })))
}

async fn tags(_: May<READ>, At(id): At<String>) -> Result<Json<Value>, Problem> {
    known(&id)?;
    Ok(Json(json!([])))
}

/// Builds, and what was uploaded for them: there are none.
async fn no_part(_: May<READ>, At((id, part)): At<(String, String)>) -> Result<(), Problem> {
    known(&id)?;
    Err(Problem::missing(format!(
        "template '{id}' has no '{}'",
        shown(&part)
    )))
}

async fn build(_: May<RUN>) -> Problem {
    Problem::unsupported("building templates")
}

async fn build_again(_: May<RUN>, At(id): At<String>) -> Result<(), Problem> {
    known(&id)?;
    Err(Problem::unsupported("building templates"))
}

async fn build_again_of(_: May<RUN>, At((id, _)): At<(String, String)>) -> Result<(), Problem> {
    known(&id)?;
    Err(Problem::unsupported("building templates"))
}

async fn change(_: May<RUN>, At(id): At<String>) -> Result<(), Problem> {
    known(&id)?;
    Err(Problem::unsupported("changing the template 'base'"))
}

/// Snapshots are deleted as templates are.
async fn remove(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
) -> Result<StatusCode, Problem> {
    if id == BASE {
        return Err(Problem::unsupported("deleting the template 'base'"));
    }
    let control = app.clone();
    app.carry_out(async move { control.remove_snapshot(&may.by(), &id).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn tag(_: May<RUN>) -> Problem {
    Problem::unsupported("tags of templates")
}

async fn untag(_: May<RUN>) -> Problem {
    Problem::unsupported("tags of templates")
}

fn known(id: &str) -> Result<(), Problem> {
    match id == BASE {
        true => Ok(()),
        false => Err(Problem::not_found("template", id)),
    }
}

/// E2B's `Template`, which has all that its older and smaller shapes have.
fn base(app: &App) -> Value {
    let resources = app.settings.resources;
    json!({
        "templateID": BASE,
        "buildID": NO_BUILD,
        "cpuCount": resources.cpus,
        "memoryMB": resources.memory >> 20,
        "diskSizeMB": resources.disk >> 20,
        "public": true,
        "aliases": [BASE],
        "names": [BASE],
        "createdAt": app.since,
        "updatedAt": app.since,
        "createdBy": null,
        "lastSpawnedAt": null,
        "spawnCount": app.started.load(Ordering::Relaxed),
        "buildCount": 0,
        "envdVersion": ENVD_VERSION,
        "buildStatus": "ready",
    })
}
