//! What sandboxes used.

use super::App;
use super::auth::{May, READ};
use super::params::{At, Params};
use super::shapes::Metric;
use crate::census::lock;
use crate::problem::Problem;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use casemate_core::sandbox::lifecycle;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Ids in one request.
const MOST_IDS: usize = 100;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sandboxes/metrics", get(of_many))
        .route("/sandboxes/{id}/metrics", get(of_one))
}

async fn of_one(
    State(app): State<App>,
    _: May<READ>,
    At(id): At<String>,
    params: Params,
) -> Result<Json<Vec<Metric>>, Problem> {
    let (from, to) = time(&params)?;
    let sandbox = app.recall(&id)?;
    let record = sandbox.record();
    // A sandbox that was just made has no sample yet.
    let is_new = lock(&sandbox.samples).last().is_none();
    if is_new && record.state == lifecycle::State::Running {
        app.sample(&sandbox).await;
    }
    let samples = lock(&sandbox.samples).between(from, to);
    Ok(Json(
        samples
            .iter()
            .map(|sample| Metric::of(sample, &record))
            .collect(),
    ))
}

/// `start` and `end`, in seconds; each second is whole.
pub(super) fn time(params: &Params) -> Result<(Timestamp, Timestamp), Problem> {
    let from = params.seconds("start")?.unwrap_or(Timestamp::MIN);
    let to = params.seconds("end")?.map_or(Timestamp::MAX, |end| {
        crate::clock::later(end, std::time::Duration::from_nanos(999_999_999))
    });
    match from > to {
        true => Err(Problem::bad("query start: after end")),
        false => Ok((from, to)),
    }
}

#[derive(Serialize)]
struct Newest {
    sandboxes: BTreeMap<String, Metric>,
}

async fn of_many(
    State(app): State<App>,
    _: May<READ>,
    params: Params,
) -> Result<Json<Newest>, Problem> {
    let ids: Vec<_> = params.list("sandbox_ids").take(MOST_IDS + 1).collect();
    if ids.is_empty() || ids.len() > MOST_IDS {
        return Err(Problem::bad(format!(
            "query sandbox_ids: not 1 to {MOST_IDS} ids"
        )));
    }
    let newest = ids.into_iter().filter_map(|id| {
        let sandbox = app.find(id).ok()?;
        let sample = lock(&sandbox.samples).last()?;
        Some((id.to_owned(), Metric::of(&sample, &sandbox.record())))
    });
    Ok(Json(Newest {
        sandboxes: newest.collect(),
    }))
}
