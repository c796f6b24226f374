//! What is there.

use super::At;
use super::terms::query;
use crate::callers::Scope;
use crate::fault::{Fault, Kind};
use crate::numbers::Work;
use crate::owner::{Owner, Status};
use crate::server::App;
use axum::Json;
use axum::extract::{Request, State};
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
    request: Request,
) -> Result<String, Fault> {
    let (parts, _) = request.into_parts();
    let method = query(&parts, "method");
    let headers = parts.headers;
    let found = look(app, name, headers, move |owner, name| {
        owner.interface(name, method.as_deref())
    });
    found.await?.ok_or_else(no_interface)
}

pub(super) async fn inspect(State(app): State<App>, request: Request) -> Result<String, Fault> {
    let (parts, body) = request.into_parts();
    let caller = app.callers.recognise(&parts.headers)?.may(Scope::Run)?;
    let shared = &app.shared;
    let admitted = shared.ledger.admit(&caller)?;
    let module = shared.modules.receive(body).await?;
    admitted.bytes(module.bytes.len())?;
    let deadline = shared.deadline();
    let job = move |owner: &dyn Owner| {
        let found = owner.inspect(module.bytes.clone());
        drop((admitted, module));
        found
    };
    let found = shared.work(Work::install, "-", deadline, job).await?;
    found.ok_or_else(no_interface)
}

fn no_interface() -> Fault {
    Fault::new(Kind::NoInterface, "the module carries no interface").hint(
        "a custom section `icp:public candid:service` would say what its methods take and give",
    )
}

async fn look<T: Send + 'static>(
    app: App,
    name: String,
    headers: HeaderMap,
    look: impl FnOnce(&dyn Owner, &str) -> Result<T, Fault> + Send + 'static,
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
