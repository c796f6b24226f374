//! Canisters in archives, and their past as a proof.

use super::At;
use super::terms;
use crate::callers::Scope;
use crate::fault::{Fault, Kind};
use crate::numbers::Work;
use crate::owner::{Owner, Replayed};
use crate::server::App;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use std::io::{BufWriter, Write as _};

pub(super) async fn export(
    State(app): State<App>,
    At(name): At<String>,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, _) = request.into_parts();
    // All that a canister knows is more than its queries tell, which take this scope as well.
    let caller = app.callers.recognise(&parts.headers)?.may(Scope::Run)?;
    let shared = &app.shared;
    let deadline = terms::deadline_or(&parts, &shared.settings, shared.settings.carry)?;
    let admitted = shared.ledger.admit(&caller)?;
    let spooled = shared.spool.begin().await?;
    let canister = name.clone();
    let job = move |owner: &dyn Owner| {
        let mut writer = BufWriter::new(spooled);
        let written = owner.export(&canister, &mut writer).and_then(|()| {
            let flushed = writer.flush();
            flushed.map_err(|why| Fault::new(Kind::Broken, format!("write the archive: {why}")))
        });
        // What is in the buffer of one that failed is for nobody.
        let (spooled, _) = writer.into_parts();
        spooled.check()?;
        written.map(|()| (spooled, admitted))
    };
    let done = shared.work(Work::carry, &name, deadline, job).await;
    let fault = done.as_ref().err();
    app.callers.note(&caller, "wasm.export", &name, fault);
    let (spooled, admitted) = done?;
    let length = HeaderValue::from(spooled.length());
    let mut response = spooled.into_body(admitted)?.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length);
    let raw = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, raw);
    Ok(response)
}

pub(super) async fn import(
    State(app): State<App>,
    At(name): At<String>,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let caller = app.callers.recognise(&parts.headers)?.may(Scope::Run)?;
    let shared = &app.shared;
    let deadline = terms::deadline_or(&parts, &shared.settings, shared.settings.carry)?;
    let admitted = shared.ledger.admit(&caller)?;
    // Nobody sends all of an archive to learn that its name is taken.
    let names = shared.work(Work::carry, &name, deadline, |owner| owner.names());
    if names.await?.contains(&name) {
        return Err(Fault::taken(&name));
    }
    let mut spooled = shared.spool.receive(body, &admitted).await?;
    let (canister, id) = (name.clone(), caller.id.clone());
    let job = move |owner: &dyn Owner| {
        let made = owner.import(&canister, &mut spooled.reader()?, id.as_deref());
        drop((admitted, spooled));
        made
    };
    let done = shared.work(Work::carry, &name, deadline, job).await;
    let fault = done.as_ref().err();
    app.callers.note(&caller, "wasm.import", &name, fault);
    let made = json!({ "canister": done?, "instructions": 0, "logs": [] });
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

pub(super) async fn replay(
    State(app): State<App>,
    At(name): At<String>,
    request: Request,
) -> Result<Json<Replayed>, Fault> {
    let (parts, _) = request.into_parts();
    let caller = app.callers.recognise(&parts.headers)?.may(Scope::Run)?;
    let shared = &app.shared;
    let deadline = terms::deadline_or(&parts, &shared.settings, shared.settings.carry)?;
    let from = from(&parts)?;
    let admitted = shared.ledger.admit(&caller)?;
    let canister = name.clone();
    let job = move |owner: &dyn Owner| {
        let proven = owner.replay(&canister, from);
        drop(admitted);
        proven
    };
    let proven = shared.work(Work::carry, &name, deadline, job).await?;
    Ok(Json(proven))
}

/// The checkpoint to begin at.
fn from(parts: &Parts) -> Result<Option<u64>, Fault> {
    let given = terms::query(parts, "from");
    let number = given.map(|text| text.parse::<u64>());
    let number = number.transpose();
    number.map_err(|_| Fault::new(Kind::Bad, "from: not the number of a checkpoint"))
}
