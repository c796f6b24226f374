//! What happened to a sandbox.

use super::App;
use super::auth::{May, READ};
use super::params::{At, Params};
use crate::census::lock;
use crate::meters::{Level, Line, Wanted};
use crate::problem::Problem;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

const MOST: usize = 1000;
const LEVELS: [(&str, Level); 4] = [
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("warn", Level::Warn),
    ("error", Level::Error),
];

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sandboxes/{id}/logs", get(v1))
        .route("/v2/sandboxes/{id}/logs", get(v2))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Both {
    logs: Vec<Written>,
    log_entries: Vec<Line>,
}

/// A line as E2B's command line reads it: one more JSON object, as text.
#[derive(Serialize)]
struct Written {
    timestamp: Timestamp,
    line: String,
}

impl Written {
    fn of(line: &Line) -> Self {
        let own = [
            (
                "level",
                serde_json::to_value(line.level).unwrap_or_default(),
            ),
            ("logger", Value::from("casemate")),
            ("message", Value::from(line.message.as_str())),
        ];
        let fields = line.fields.iter();
        let fields = fields.map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let own = own.map(|(name, value)| (name.to_owned(), value));
        Self {
            timestamp: line.timestamp,
            line: Value::Object(fields.chain(own).collect::<Map<_, _>>()).to_string(),
        }
    }
}

async fn v1(
    State(app): State<App>,
    _: May<READ>,
    At(id): At<String>,
    params: Params,
) -> Result<Json<Both>, Problem> {
    let wanted = Wanted {
        from: params.milliseconds("start")?,
        backward: false,
        level: Level::Debug,
        search: "",
        limit: params.number("limit", 0..=MOST)?.unwrap_or(MOST),
    };
    let log_entries = lock(&app.recall(&id)?.lines).some(&wanted);
    Ok(Json(Both {
        logs: log_entries.iter().map(Written::of).collect(),
        log_entries,
    }))
}

#[derive(Serialize)]
struct Logs {
    logs: Vec<Line>,
}

async fn v2(
    State(app): State<App>,
    _: May<READ>,
    At(id): At<String>,
    params: Params,
) -> Result<Json<Logs>, Problem> {
    let directions = [("forward", false), ("backward", true)];
    let wanted = Wanted {
        from: params.milliseconds("cursor")?,
        backward: params.word("direction", &directions)?.unwrap_or(false),
        level: params.word("level", &LEVELS)?.unwrap_or(Level::Debug),
        search: params.one("search").unwrap_or_default(),
        limit: params.number("limit", 0..=MOST)?.unwrap_or(MOST),
    };
    let logs = lock(&app.recall(&id)?.lines).some(&wanted);
    Ok(Json(Logs { logs }))
}
