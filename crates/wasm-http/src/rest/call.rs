//! Calls and queries.

use super::At;
use super::terms::{Form, OUTCOME, Terms};
use crate::callers::{Caller, Scope};
use crate::fault::Fault;
use crate::numbers::Work;
use crate::owner::{Ask, Outcome, Owner};
use crate::server::App;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

const INSTRUCTIONS: &str = "casemate-instructions";
const UNWRITTEN: &str = "casemate-unwritten";

pub(super) async fn call(
    State(app): State<App>,
    At((name, method)): At<(String, String)>,
    request: Request,
) -> Response {
    counted(app, Work::call, name, method, request).await
}

pub(super) async fn query(
    State(app): State<App>,
    At((name, method)): At<(String, String)>,
    request: Request,
) -> Response {
    counted(app, Work::query, name, method, request).await
}

pub(super) async fn tick(State(app): State<App>, headers: HeaderMap) -> Result<StatusCode, Fault> {
    app.callers.recognise(&headers)?.may(Scope::Run)?;
    let deadline = app.shared.deadline();
    let ticked = app
        .shared
        .work(Work::call, "-", deadline, |owner| owner.tick());
    ticked.await.map(|()| StatusCode::NO_CONTENT)
}

async fn counted(app: App, work: Work, name: String, method: String, request: Request) -> Response {
    let shared = app.shared.clone();
    match asked(app, work, name, method, request).await {
        Ok(done) => {
            let fault = done.outcome.fault.as_ref();
            shared.called(work, fault, done.outcome.instructions);
            done.response()
        }
        Err(fault) => {
            shared.called(work, Some(&fault), 0);
            fault.into_response()
        }
    }
}

/// What came of it, to be told in this form.
struct Done {
    outcome: Outcome,
    wants: Form,
    json: Option<Value>,
}

async fn asked(
    app: App,
    work: Work,
    name: String,
    method: String,
    request: Request,
) -> Result<Done, Fault> {
    let (parts, body) = request.into_parts();
    let shared = app.shared;
    let caller = app.callers.recognise(&parts.headers)?.may(Scope::Run)?;
    let terms = Terms::read(&parts, &shared.settings)?;
    let admitted = shared.ledger.admit(&caller)?;
    let body = shared.arguments.receive(body).await?;
    admitted.bytes(body.bytes.len())?;
    let Terms { sends, wants, .. } = terms;
    let canister = name.clone();
    let job = move |owner: &dyn Owner| {
        let argument = argument(owner, (&name, &method), sends, body.bytes.clone())?;
        let ask = Ask {
            argument,
            key: terms.key.map(|key| scoped(&caller, &key)),
            caller: caller.id,
            deadline: Some(terms.deadline.into_std()),
            method: method.clone(),
        };
        let outcome = match work {
            Work::query => owner.query(&name, ask)?,
            _ => owner.call(&name, ask)?,
        };
        let json = match (&outcome.reply, wants) {
            (Some(reply), Form::Json) => Some(owner.decode(&name, &method, reply)?),
            _ => None,
        };
        // It counts as long as it runs, not as long as its caller waits.
        drop((admitted, body));
        Ok(Done {
            outcome,
            wants,
            json,
        })
    };
    shared.work(work, &canister, terms.deadline, job).await
}

fn argument(
    owner: &dyn Owner,
    (name, method): (&str, &str),
    form: Form,
    body: Bytes,
) -> Result<Vec<u8>, Fault> {
    match form {
        Form::Json => {
            let text = match body.trim_ascii() {
                [] => b"[]",
                text => text,
            };
            let value = serde_json::from_slice(text).map_err(|why| {
                let why = format!("the argument is no JSON: {why}");
                Fault::new(crate::Kind::Bad, why)
            })?;
            owner.encode(name, method, &value)
        }
        _ => Ok(body.into()),
    }
}

/// Each API key has names of its own for its requests.
fn scoped(caller: &Caller, key: &str) -> String {
    match &caller.id {
        Some(id) => format!("{id}/{key}"),
        None => format!("/{key}"),
    }
}

impl Done {
    fn response(self) -> Response {
        let outcome = self.outcome;
        let mut response = match (self.wants, &outcome.fault, self.json) {
            (Form::Whole, ..) => whole(&outcome),
            (_, Some(fault), _) => failed(fault, &outcome),
            (_, None, Some(json)) => Json(json).into_response(),
            (_, None, None) => match outcome.reply {
                Some(reply) => (raw(), reply).into_response(),
                None => StatusCode::NO_CONTENT.into_response(),
            },
        };
        let headers = response.headers_mut();
        headers.insert(INSTRUCTIONS, HeaderValue::from(outcome.instructions));
        if outcome.unwritten {
            headers.insert(UNWRITTEN, HeaderValue::from_static("true"));
        }
        response
    }
}

fn raw() -> [(http::HeaderName, HeaderValue); 1] {
    let raw = HeaderValue::from_static("application/octet-stream");
    [(CONTENT_TYPE, raw)]
}

/// All that came of a call.
pub(super) fn whole(outcome: &Outcome) -> Response {
    let kind = [(CONTENT_TYPE, HeaderValue::from_static(OUTCOME))];
    (kind, Json(outcome).into_response().into_body()).into_response()
}

/// A fault, with what the canister had done until then.
pub(super) fn failed(fault: &Fault, outcome: &Outcome) -> Response {
    let mut body = fault.json();
    body["instructions"] = outcome.instructions.into();
    body["logs"] = json!(outcome.logs);
    fault.respond(&body)
}
