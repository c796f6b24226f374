//! Web sites: what a browser asks is asked of the canister's method `http_request`, as the gateways of
//! the Internet Computer do it ("HTTP Gateway Protocol").
//!
//! ```text
//!  request ─▶ request.rs: the record ─▶ http_request ──(upgrade)──▶ http_request_update
//!                                            │                            │
//!  response ◀─ head.rs: what may pass ◀─ record.rs: the record ◀──────────┘
//!      ▲                                     │ streaming
//!      └── stream.rs: piece by piece ◀───────┘
//! ```
//!
//! A site has a host of its own, `wasm-NAME.domain`: there it is alone in its origin. It is also found
//! at `/wasm/NAME/www/`, beside the API and all others; there a browser is told to take it for nobody's
//! (`Content-Security-Policy: sandbox`), and cookies don't pass in either direction.
//!
//! What a canister answers may be anything: its statuses, names and values are checked one by one,
//! and what would frame a message isn't its own to say.

mod head;
mod host;
mod record;
mod stream;

pub(crate) use host::before;

use crate::callers::Scope;
use crate::fault::{Fault, Kind};
use crate::numbers::Work;
use crate::owner::{Ask, Outcome, Owner};
use crate::rest::At;
use crate::server::App;
use crate::settings::Sites;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use record::{Asked, Page};

/// The method that answers requests.
const REQUEST: &str = "http_request";
/// The method that answers those that change something.
const UPDATE: &str = "http_request_update";

/// Where a site is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Under a host of its own.
    Host,
    /// In a folder beside others.
    Folder,
}

/// Relative links are meant from inside the folder.
pub(crate) async fn folder(At(name): At<String>) -> Response {
    let location = HeaderValue::try_from(format!("/wasm/{name}/www/"));
    match location {
        Ok(location) => (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response(),
        Err(_) => Fault::new(Kind::Bad, "this is no name for a canister").into_response(),
    }
}

pub(crate) async fn front_page(
    State(app): State<App>,
    At(name): At<String>,
    request: Request,
) -> Response {
    serve(app, name, Place::Folder, request).await
}

pub(crate) async fn page(
    State(app): State<App>,
    At((name, _)): At<(String, String)>,
    request: Request,
) -> Response {
    serve(app, name, Place::Folder, request).await
}

/// Answers a request of a browser.
async fn serve(app: App, name: String, place: Place, request: Request) -> Response {
    let shared = app.shared.clone();
    let is_head = request.method() == Method::HEAD;
    match answer(&app, &name, place, request).await {
        Ok((page, instructions)) => {
            shared.called(Work::site, None, instructions);
            let body = match is_head {
                true => axum::body::Body::empty(),
                false => stream::body(shared, name, page.body, page.next),
            };
            let mut response = Response::new(body);
            *response.status_mut() = page.status;
            *response.headers_mut() = page.headers;
            head::enclose(response.headers_mut(), place);
            response
        }
        Err(fault) => {
            shared.called(Work::site, Some(&fault), 0);
            fault.into_response()
        }
    }
}

async fn answer(
    app: &App,
    name: &str,
    place: Place,
    request: Request,
) -> Result<(Page, u64), Fault> {
    let (parts, body) = request.into_parts();
    let shared = &app.shared;
    let admitted = match shared.settings.sites {
        Sites::Public => None,
        Sites::Keyed => {
            let caller = app.callers.recognise(&parts.headers)?.may(Scope::Read)?;
            Some(shared.ledger.admit(&caller)?)
        }
    };
    let asked = Asked {
        method: parts.method.as_str().to_owned(),
        url: url(&parts, name, place)?,
        headers: head::incoming(&parts.headers, place)?,
        body: Vec::new(),
        certificate_version: None,
    };
    let body = shared.uploads.receive(body).await?;
    if let Some(admitted) = &admitted {
        admitted.bytes(body.bytes.len())?;
    }
    let canister = name.to_owned();
    let job = move |owner: &dyn Owner| {
        let asked = Asked {
            body: body.bytes.to_vec(),
            ..asked
        };
        let done = ask(owner, &canister, &asked);
        drop((admitted, body));
        done
    };
    shared.work(Work::site, name, shared.deadline(), job).await
}

/// What the site calls the place that was asked for.
fn url(parts: &Parts, name: &str, place: Place) -> Result<String, Fault> {
    let whole = parts
        .uri
        .path_and_query()
        .map_or("/", |whole| whole.as_str());
    let url = match place {
        Place::Host => whole,
        Place::Folder => {
            let rest = whole
                .strip_prefix("/wasm/")
                .and_then(|rest| rest.strip_prefix(name));
            let rest = rest.and_then(|rest| rest.strip_prefix("/www"));
            rest.ok_or_else(|| Fault::new(Kind::Bad, "the path's beginning is written oddly"))?
        }
    };
    match url.len() <= head::LONGEST_URL {
        true => Ok(url.to_owned()),
        false => Err(Fault::new(Kind::TooLong, "the path is too long for a site")),
    }
}

/// Asks for a page: without change, and then with it if the canister says so.
fn ask(owner: &dyn Owner, name: &str, asked: &Asked) -> Result<(Page, u64), Fault> {
    let argument = record::encode(asked)?;
    let ask = |method: &str| Ask {
        method: method.to_owned(),
        argument: argument.clone(),
        ..Ask::default()
    };
    let none = |fault: Fault| match fault.kind {
        Kind::NoMethod => Fault::new(Kind::NoMethod, format!("canister {name:?} has no web site"))
            .hint(format!("a site is a query method {REQUEST}")),
        _ => fault,
    };
    let (reply, first) = reply(owner.query(name, ask(REQUEST)).map_err(none)?)?;
    let answered = record::decode(&reply)?;
    if !answered.upgrade {
        return Ok((head::page(answered)?, first));
    }
    let (reply, second) = self::reply(owner.call(name, ask(UPDATE))?)?;
    let answered = record::decode(&reply)?;
    Ok((head::page(answered)?, first.saturating_add(second)))
}

/// The bytes that came back, and what they took.
fn reply(outcome: Outcome) -> Result<(Vec<u8>, u64), Fault> {
    match (outcome.fault, outcome.reply) {
        (Some(fault), _) => Err(fault),
        (None, Some(reply)) => Ok((reply, outcome.instructions)),
        (None, None) => Err(Fault::new(Kind::Answer, "the canister answered nothing")),
    }
}
