//! Modules: they become canisters, and take the place of others. And the end of canisters.

use super::call::{failed, whole};
use super::terms::{self, OUTCOME};
use super::{ARGUMENT_LENGTH, At};
use crate::callers::{Caller, Scope};
use crate::fault::{Fault, Kind};
use crate::numbers::Work;
use crate::owner::{Installation, Mode, Outcome, Owner};
use crate::server::App;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::json;

pub(super) async fn install(
    State(app): State<App>,
    At(name): At<String>,
    request: Request,
) -> Result<Response, Fault> {
    put(app, name, Mode::Install, request).await
}

pub(super) async fn replace(
    State(app): State<App>,
    At(name): At<String>,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let mode = match terms::query(&parts, "mode").as_deref() {
        None | Some("upgrade") => Mode::Upgrade,
        Some("reinstall") => Mode::Reinstall,
        Some(_) => return Err(Fault::new(Kind::Bad, "mode: upgrade or reinstall")),
    };
    put(app, name, mode, Request::from_parts(parts, body)).await
}

async fn put(app: App, name: String, mode: Mode, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let caller = app.callers.recognise(&parts.headers)?.may(Scope::Run)?;
    let shared = &app.shared;
    let settings = &shared.settings;
    let deadline = terms::deadline(&parts, settings)?;
    let length = argument_length(&parts, settings.argument)?;
    let admitted = shared.ledger.admit(&caller)?;
    let body = shared.modules.receive(body).await?;
    admitted.bytes(body.bytes.len())?;
    let mut module = body.bytes.clone();
    if length > module.len() {
        let why = format!("{ARGUMENT_LENGTH}: the body is shorter than {length} bytes");
        return Err(Fault::new(Kind::Bad, why));
    }
    let argument = module.split_to(length).to_vec();
    let installation = Installation {
        mode,
        module,
        argument,
        caller: caller.id.clone(),
    };
    let canister = name.clone();
    let job = move |owner: &dyn Owner| {
        let done = owner.install(&canister, installation);
        drop((admitted, body));
        done
    };
    let done = shared.work(Work::install, &name, deadline, job).await;
    let fault = match &done {
        Ok(outcome) => outcome.fault.as_ref(),
        Err(fault) => Some(fault),
    };
    let instructions = done.as_ref().map_or(0, |outcome| outcome.instructions);
    shared.called(Work::install, fault, instructions);
    let action = match mode {
        Mode::Install => "wasm.install",
        Mode::Upgrade => "wasm.upgrade",
        Mode::Reinstall => "wasm.reinstall",
    };
    app.callers.note(&caller, action, &name, fault);
    Ok(told(mode, &parts.headers, &done?))
}

/// How much of the body is the argument.
fn argument_length(parts: &Parts, most: usize) -> Result<usize, Fault> {
    let Some(text) = terms::text(&parts.headers, ARGUMENT_LENGTH)? else {
        return Ok(0);
    };
    let length = text.parse().ok().filter(|length| *length <= most);
    length.ok_or_else(|| {
        Fault::new(
            Kind::Bad,
            format!("{ARGUMENT_LENGTH}: not 0 to {most} bytes"),
        )
    })
}

fn told(mode: Mode, headers: &HeaderMap, outcome: &Outcome) -> Response {
    let is_whole = headers.get(ACCEPT).is_some_and(|kind| kind == OUTCOME);
    match &outcome.fault {
        _ if is_whole => whole(outcome),
        Some(fault) => failed(fault, outcome),
        None => {
            let status = match mode {
                Mode::Install => StatusCode::CREATED,
                _ => StatusCode::OK,
            };
            let body = json!({
                "canister": outcome.canister,
                "instructions": outcome.instructions,
                "logs": outcome.logs,
            });
            (status, Json(body)).into_response()
        }
    }
}

pub(super) async fn remove(
    State(app): State<App>,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    change(app, "wasm.remove", name, headers, |owner, name| {
        owner.remove(name)
    })
    .await
}

pub(super) async fn start(
    State(app): State<App>,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    change(app, "wasm.start", name, headers, |owner, name| {
        owner.start(name)
    })
    .await
}

pub(super) async fn stop(
    State(app): State<App>,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    change(app, "wasm.stop", name, headers, |owner, name| {
        owner.stop(name)
    })
    .await
}

async fn change(
    app: App,
    action: &'static str,
    name: String,
    headers: HeaderMap,
    change: fn(&dyn Owner, &str) -> Result<(), Fault>,
) -> Result<StatusCode, Fault> {
    let caller: Caller = app.callers.recognise(&headers)?.may(Scope::Run)?;
    let admitted = app.shared.ledger.admit(&caller)?;
    let canister = name.clone();
    let job = move |owner: &dyn Owner| {
        let done = change(owner, &canister);
        drop(admitted);
        done
    };
    let deadline = app.shared.deadline();
    let done = app.shared.work(Work::install, &name, deadline, job).await;
    app.callers
        .note(&caller, action, &name, done.as_ref().err());
    done.map(|()| StatusCode::NO_CONTENT)
}
