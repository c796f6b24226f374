//! The node, for operators.

use super::App;
use super::auth::{ADMIN, May};
use super::host;
use super::params::At;
use crate::census::lock;
use crate::problem::Problem;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use casemate_core::sandbox::lifecycle;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// E2B's id of the one cluster.
const CLUSTER: &str = "00000000-0000-0000-0000-000000000000";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/nodes", get(list))
        .route("/nodes/{id}", get(one).post(set_status))
}

async fn list(State(app): State<App>, _: May<ADMIN>) -> Json<Value> {
    Json(json!([node(&app)]))
}

async fn one(
    State(app): State<App>,
    _: May<ADMIN>,
    At(id): At<String>,
) -> Result<Json<Value>, Problem> {
    known(&app, &id)?;
    Ok(Json(node(&app)))
}

async fn set_status(
    State(app): State<App>,
    _: May<ADMIN>,
    At(id): At<String>,
) -> Result<(), Problem> {
    known(&app, &id)?;
    Err(Problem::unsupported("changing the status of the only node"))
}

fn known(app: &App, id: &str) -> Result<(), Problem> {
    match id == app.settings.node {
        true => Ok(()),
        false => Err(Problem::not_found("node", id)),
    }
}

fn node(app: &App) -> Value {
    let all = app.census.everybody();
    let records: Vec<_> = all.iter().map(|sandbox| sandbox.record()).collect();
    let active = records.iter().filter(|record| record.is_active());
    let starting = records
        .iter()
        .filter(|record| record.state == lifecycle::State::Creating);
    // A share of one sandbox's processors, as a share of the machine's.
    let used: f64 = all
        .iter()
        .filter_map(|sandbox| {
            let share = lock(&sandbox.samples).last()?.cpu_percent;
            Some(share * f64::from(sandbox.record().wish.resources.cpus))
        })
        .sum();
    let processors = host::processors();
    let [family, model, name] = host::processor();
    let (total, in_use) = host::memory();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": "",
        "id": app.settings.node,
        "serviceInstanceID": app.settings.node,
        "clusterID": CLUSTER,
        "machineInfo": {
            "cpuFamily": family,
            "cpuModel": model,
            "cpuModelName": name,
            "cpuArchitecture": std::env::consts::ARCH,
        },
        "status": "ready",
        "statusChangedAt": app.since,
        "sandboxCount": records.len(),
        "metrics": {
            "allocatedCPU": active.map(|record| u64::from(record.wish.resources.cpus)).sum::<u64>(),
            "cpuPercent": (used / f64::from(processors)).round() as u64,
            "cpuCount": processors,
            "allocatedMemoryBytes": records.iter().map(|record| record.wish.resources.memory).sum::<u64>(),
            "memoryUsedBytes": in_use,
            "memoryTotalBytes": total,
            "hugePagesTotal": 0,
            "hugePagesUsed": 0,
            "hugePagesReserved": 0,
            "hugePageSizeBytes": 0,
            "disks": [],
        },
        "createSuccesses": app.started.load(Ordering::Relaxed),
        "createFails": app.failed.load(Ordering::Relaxed),
        "sandboxStartingCount": starting.count(),
    })
}
