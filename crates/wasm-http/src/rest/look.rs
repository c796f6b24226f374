//! What is there.

use super::At;
use crate::callers::Scope;
use crate::fault::{Fault, Kind};
use crate::numbers::Work;
use crate::owner::{Owner, Status};
use crate::server::App;
use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};

pub(super) async fn list(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, Fault> {
    let names = look(app, "-".to_owned(), headers, |owner, _| owner.names()).await?;
    Ok(Json(json!({ "canisters": names })))
}

pub(super) async fn status(
    State(app): State<App>,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<Json<Status>, Fault> {
    let status = look(app, name, headers, |owner, name| owner.status(name));
    Ok(Json(status.await?))
}

pub(super) async fn logs(
    State(app): State<App>,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let lines = look(app, name, headers, |owner, name| owner.logs(name)).await?;
    Ok(Json(json!({ "logs": lines })))
}

pub(super) async fn interface(
    State(app): State<App>,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<String, Fault> {
    let found = look(app, name, headers, |owner, name| owner.interface(name)).await?;
    let none = || Fault::new(Kind::NoRoute, "the canister's module carries no interface");
    found.ok_or_else(none)
}

async fn look<T: Send + 'static>(
    app: App,
    name: String,
    headers: HeaderMap,
    look: fn(&dyn Owner, &str) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let caller = app.callers.recognise(&headers)?.may(Scope::Read)?;
    let admitted = app.shared.ledger.admit(&caller)?;
    let canister = name.clone();
    let job = move |owner: &dyn Owner| {
        let found = look(owner, &canister);
        drop(admitted);
        found
    };
    let deadline = app.shared.deadline();
    app.shared.work(Work::query, &name, deadline, job).await
}
