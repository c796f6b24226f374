//! The team: there is one, and every key belongs to it.

use super::App;
use super::auth::{May, READ, secret};
use super::metrics::time;
use super::params::{At, Params};
use crate::census::lock;
use crate::meters::TeamSample;
use crate::problem::Problem;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::HeaderMap;
use serde_json::{Value, json};

/// Samples in one answer.
const MOST: usize = 1000;

#[derive(Clone, Copy)]
enum Measure {
    Concurrent,
    StartRate,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/teams", get(list))
        .route("/teams/{id}/metrics", get(metrics))
        .route("/teams/{id}/metrics/max", get(highest))
}

/// The key in the answer is the caller's own: E2B's command line keeps it as the team's.
async fn list(State(app): State<App>, _: May<READ>, headers: HeaderMap) -> Json<Value> {
    Json(json!([{
        "teamID": app.team_id,
        "name": "default",
        "apiKey": secret(&headers),
        "isDefault": true,
    }]))
}

async fn metrics(
    State(app): State<App>,
    _: May<READ>,
    At(id): At<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let told = samples(&app, &id, &params)?.into_iter().map(|sample| {
        json!({
            "timestamp": sample.at,
            "timestampUnix": sample.at.as_second(),
            "concurrentSandboxes": sample.concurrent,
            "sandboxStartRate": sample.start_rate,
        })
    });
    Ok(Json(told.collect()))
}

async fn highest(
    State(app): State<App>,
    _: May<READ>,
    At(id): At<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let words = [
        ("concurrent_sandboxes", Measure::Concurrent),
        ("sandbox_start_rate", Measure::StartRate),
    ];
    let measure = params.word("metric", &words)?;
    let measure = measure.ok_or_else(|| Problem::bad("query metric: missing"))?;
    let value = |sample: &TeamSample| match measure {
        Measure::Concurrent => f64::from(sample.concurrent),
        Measure::StartRate => sample.start_rate,
    };
    let samples = samples(&app, &id, &params)?;
    let highest = samples.iter().max_by(|a, b| value(a).total_cmp(&value(b)));
    let at = highest.map_or_else(|| app.clock.now(), |sample| sample.at);
    Ok(Json(json!({
        "timestamp": at,
        "timestampUnix": at.as_second(),
        "value": highest.map_or(0.0, value),
    })))
}

fn samples(app: &App, id: &str, params: &Params) -> Result<Vec<TeamSample>, Problem> {
    if id != app.team_id {
        return Err(Problem::not_found("team", id));
    }
    let (from, to) = time(params)?;
    Ok(lock(&app.team).between(from, to, MOST))
}
