//! Snapshots and forks.
//!
//! A snapshot stands where a template does: sandboxes are made from it by its id or its name, and it
//! is deleted by the templates' route.

use super::App;
use super::auth::{May, READ, RUN};
use super::body::Json;
use super::params::{At, Params};
use super::shapes::{Fork, Forked, NewSnapshot, SnapshotInfo};
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use casemate_core::sandbox::SnapshotId;
use http::{HeaderMap, HeaderValue, StatusCode};

const MOST: usize = 100;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sandboxes/{id}/fork", post(fork))
        .route("/sandboxes/{id}/snapshots", post(snapshot))
        .route("/snapshots", get(page))
}

async fn snapshot(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
    Json(wanted): Json<NewSnapshot>,
) -> Result<(StatusCode, axum::Json<SnapshotInfo>), Problem> {
    app.find(&id)?;
    let keep = wanted.keep();
    let name = wanted.name()?;
    let control = app.clone();
    let made = app
        .carry_out(async move { control.snapshot(&may.by(), &id, name, keep).await })
        .await?;
    Ok((StatusCode::CREATED, axum::Json(SnapshotInfo::of(&made))))
}

async fn fork(
    State(app): State<App>,
    May(key): May<RUN>,
    At(id): At<String>,
    Json(wanted): Json<Fork>,
) -> Result<(StatusCode, axum::Json<Vec<Forked>>), Problem> {
    app.find(&id)?;
    let (count, timeout) = (wanted.count()?, wanted.timeout()?);
    let control = app.clone();
    let forks = app
        .carry_out(async move { control.fork(&key, &id, count, timeout).await })
        .await?;
    let forks = forks.iter().map(|fork| Forked::of(fork, &app.settings));
    Ok((StatusCode::CREATED, axum::Json(forks.collect())))
}

/// The newest first. A page's token is the id of its last entry.
async fn page(
    State(app): State<App>,
    _: May<READ>,
    params: Params,
) -> Result<(HeaderMap, axum::Json<Vec<SnapshotInfo>>), Problem> {
    let limit = params.number("limit", 1..=MOST)?.unwrap_or(MOST);
    let (sandbox, name) = (params.one("sandboxID"), params.one("name"));
    let from = params.one("nextToken").map(str::parse::<SnapshotId>);
    let from = from
        .transpose()
        .map_err(|_| Problem::bad("query nextToken: not a token of this list"))?;
    let all = app.snapshots.all();
    let wanted = all.iter().filter(|snapshot| {
        sandbox.is_none_or(|sandbox| snapshot.sandbox.as_str() == sandbox)
            && name.is_none_or(|name| snapshot.name.as_deref() == Some(name))
    });
    let mut wanted: Vec<_> = wanted.collect();
    if let Some(from) = from {
        let last = wanted.iter().position(|snapshot| snapshot.id == from);
        let last = last.ok_or_else(|| {
            Problem::bad("query nextToken: that snapshot is gone; begin the list anew")
        })?;
        wanted.drain(..=last);
    }
    let mut headers = HeaderMap::new();
    if wanted.len() > limit {
        wanted.truncate(limit);
        let token = wanted
            .last()
            .map(|last| HeaderValue::try_from(last.id.as_str()));
        if let Some(Ok(token)) = token {
            headers.insert("x-next-token", token);
        }
    }
    let shown = wanted
        .into_iter()
        .map(|snapshot| SnapshotInfo::of(snapshot));
    Ok((headers, axum::Json(shown.collect())))
}
