//! The audit journal, and all that is known of one sandbox: our own routes.

use super::App;
use super::auth::{ADMIN, May, READ};
use super::params::{At, Params};
use super::shapes::Inspected;
use crate::audit::Entry;
use crate::problem::Problem;
use crate::store::Page;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

const MOST: u32 = 1000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/casemate/audit", get(audit))
        .route("/casemate/sandboxes/{id}", get(inspect))
}

/// A page of the audit journal, the newest first.
#[utoipa::path(
    get, path = "/casemate/audit", tag = "casemate",
    params(
        ("before" = Option<i64>, Query, description = "Only entries with a lower id: the next page"),
        ("target" = Option<String>, Query, description = "Only entries of this sandbox or key"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 if not given"),
    ),
    responses((status = 200, body = Vec<Entry>), (status = 403, description = "The key's scope isn't `admin`")),
)]
pub(super) async fn audit(
    State(app): State<App>,
    _: May<ADMIN>,
    params: Params,
) -> Result<Json<Vec<Entry>>, Problem> {
    let page = Page {
        before: params.number("before", 0..=i64::MAX)?,
        target: params.one("target").map(str::to_owned),
        limit: params.number("limit", 1..=MOST)?.unwrap_or(100),
    };
    let entries = app.store.audit(&page).await;
    entries.map(Json).map_err(|error| Problem::store(&error))
}

/// All that is known of a sandbox; of one that ended, too, as long as the store has it.
#[utoipa::path(
    get, path = "/casemate/sandboxes/{id}", tag = "casemate",
    params(("id" = String, Path, description = "The sandbox's id")),
    responses((status = 200, body = Inspected), (status = 404, description = "There is none")),
)]
pub(super) async fn inspect(
    State(app): State<App>,
    _: May<READ>,
    At(id): At<String>,
) -> Result<Json<Inspected>, Problem> {
    let missing = || Problem::no_sandbox(&id);
    if let Ok(sandbox) = app.recall(&id) {
        return Ok(Json(Inspected::of(&sandbox.record(), &app.settings)));
    }
    let parsed = id.parse().map_err(|_| missing())?;
    let stored = app.store.sandbox(&parsed).await;
    let record = stored.map_err(|error| Problem::store(&error))?;
    let record = record.ok_or_else(missing)?;
    Ok(Json(Inspected::of(&record, &app.settings)))
}
