//! Pausing, resuming, and moving the end.

use super::App;
use super::auth::{May, RUN};
use super::body::Json;
use super::params::At;
use super::shapes::{Connect, Pause, Refresh, Resume, Sandbox, SetTimeout};
use crate::control::By;
use crate::lifecycle::End;
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use std::time::Duration;

/// How long a sandbox runs after a client connected that didn't say.
const CONNECTED: Duration = Duration::from_secs(300);
/// The same, for the older routes.
const RESUMED: Duration = Duration::from_secs(15);

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sandboxes/{id}/timeout", post(set_timeout))
        .route("/sandboxes/{id}/refreshes", post(refresh))
        .route("/sandboxes/{id}/connect", post(connect))
        .route("/v2/sandboxes/{id}/connect", post(connect))
        .route("/sandboxes/{id}/pause", post(pause))
        .route("/sandboxes/{id}/resume", post(resume))
}

async fn set_timeout(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
    Json(wanted): Json<SetTimeout>,
) -> Result<StatusCode, Problem> {
    let never = wanted
        .demand()
        .and_then(|demand| demand.never)
        .unwrap_or(false);
    let idle = wanted.demand().and_then(|demand| demand.idle());
    let end = match (wanted.timeout()?, never, idle) {
        (Some(_), true, _) => {
            return Err(Problem::bad("casemate.never: there is a timeout as well"));
        }
        (Some(timeout), false, _) => End::In(timeout),
        (None, true, _) => End::Never,
        (None, false, Some(_)) => End::Same,
        (None, false, None) => return Err(Problem::bad("timeout: missing")),
    };
    move_end(app, may.by(), id, end, idle).await
}

async fn refresh(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
    Json(wanted): Json<Refresh>,
) -> Result<StatusCode, Problem> {
    let duration = wanted.duration()?.unwrap_or(RESUMED);
    move_end(app, may.by(), id, End::NotBefore(duration), None).await
}

async fn move_end(
    app: App,
    by: By,
    id: String,
    end: End,
    idle: Option<Option<Duration>>,
) -> Result<StatusCode, Problem> {
    let control = app.clone();
    app.carry_out(async move { control.set_end(&by, &id, end, idle).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn connect(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
    Json(wanted): Json<Connect>,
) -> Result<Response, Problem> {
    app.find(&id)?;
    let timeout = wanted.timeout()?.unwrap_or(CONNECTED);
    let keep = wanted.keep();
    let control = app.clone();
    let (record, resumed) = app
        .carry_out(async move { control.connect(&may.by(), &id, timeout, keep).await })
        .await?;
    let status = match resumed {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, axum::Json(Sandbox::of(&record, &app.settings))).into_response())
}

async fn pause(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
    Json(wanted): Json<Pause>,
) -> Result<StatusCode, Problem> {
    app.find(&id)?;
    let control = app.clone();
    app.carry_out(async move {
        let strict = wanted.is_strict();
        control.pause(&may.by(), &id, wanted.keep(), strict).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn resume(
    State(app): State<App>,
    may: May<RUN>,
    At(id): At<String>,
    Json(wanted): Json<Resume>,
) -> Result<Response, Problem> {
    app.find(&id)?;
    let timeout = wanted.timeout()?.unwrap_or(RESUMED);
    let control = app.clone();
    let record = app
        .carry_out(async move {
            control
                .resume(&may.by(), &id, timeout, wanted.at_end(), wanted.keep())
                .await
        })
        .await?;
    let told = axum::Json(Sandbox::of(&record, &app.settings));
    Ok((StatusCode::CREATED, told).into_response())
}
