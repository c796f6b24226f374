//! Lists of sandboxes, page by page.
//!
//! The order is by the time of creation, and by id where that is the same. A page's token is the
//! place of its last entry, not a number of entries: what is made or ends between two pages neither
//! repeats nor hides others.

use super::App;
use super::auth::{May, READ};
use super::params::{Params, one_of};
use super::shapes::Listed;
use crate::problem::Problem;
use crate::record::Record;
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_core::sandbox::SandboxId;
use casemate_core::sandbox::lifecycle;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use std::sync::Arc;

const MOST: usize = 100;
const STATES: [(&str, Shown); 2] = [("running", Shown::Running), ("paused", Shown::Paused)];

#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Running,
    Paused,
}

/// A place in the order.
type Place = (Timestamp, SandboxId);

/// `GET /v2/sandboxes`.
pub(super) async fn page(
    State(app): State<App>,
    _: May<READ>,
    params: Params,
) -> Result<(HeaderMap, Json<Vec<Listed>>), Problem> {
    let states = params
        .list("state")
        .map(|state| one_of("state", state, &STATES));
    let states: Vec<_> = states.collect::<Result<_, _>>()?;
    let limit = params.number("limit", 1..=MOST)?.unwrap_or(MOST);
    let ascending = params
        .word("order", &[("asc", true), ("desc", false)])?
        .unwrap_or(false);
    let after = params.date("startedAfter")?;
    let from = params.one("nextToken").map(place).transpose()?;
    let template = params.one("template");
    let labels = labels(&params)?;
    let mut found = everybody(&app, |record| {
        let in_state = states.is_empty() || states.contains(&shown(record));
        in_state
            && after.is_none_or(|after| record.created > after)
            && template.is_none_or(|template| template == record.wish.template)
            && has(record, &labels)
            && from.as_ref().is_none_or(|from| match ascending {
                true => place_of(record) > *from,
                false => place_of(record) < *from,
            })
    });
    if !ascending {
        found.reverse();
    }
    let mut headers = HeaderMap::new();
    if found.len() > limit {
        found.truncate(limit);
        if let Some(token) = found.last().and_then(|last| token(&place_of(last))) {
            headers.insert("x-next-token", token);
        }
    }
    Ok((
        headers,
        Json(found.iter().map(|record| Listed::of(record)).collect()),
    ))
}

/// `GET /sandboxes`: all that run, the newest first.
pub(super) async fn running(
    State(app): State<App>,
    _: May<READ>,
    params: Params,
) -> Result<Json<Vec<Listed>>, Problem> {
    let labels = labels(&params)?;
    let found = everybody(&app, |record| {
        shown(record) == Shown::Running && has(record, &labels)
    });
    Ok(Json(
        found
            .iter()
            .rev()
            .map(|record| Listed::of(record))
            .collect(),
    ))
}

/// Those that clients find, the oldest first.
fn everybody(app: &App, wanted: impl Fn(&Record) -> bool) -> Vec<Arc<Record>> {
    let all = app.census.everybody();
    let records = all.iter().map(|sandbox| sandbox.record());
    let mut found: Vec<_> = records
        .filter(|record| record.is_there() && wanted(record))
        .collect();
    found.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    found
}

fn shown(record: &Record) -> Shown {
    match record.state {
        lifecycle::State::Paused | lifecycle::State::Resuming => Shown::Paused,
        _ => Shown::Running,
    }
}

/// `metadata` is a query within the query. E2B's clients encode each name and value, then the pairs,
/// then the whole; so it is decoded once more than it looks.
fn labels(params: &Params) -> Result<Vec<(String, String)>, Problem> {
    match params.one("metadata") {
        None => Ok(Vec::new()),
        Some(text) => Ok(Params::parse(&decoded(text))?.into_pairs().collect()),
    }
}

/// The text, with its percent signs and pluses decoded once.
fn decoded(text: &str) -> String {
    let one = text.replace('&', "%26").replace('=', "%3D");
    let name = form_urlencoded::parse(one.as_bytes()).next();
    name.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

fn has(record: &Record, labels: &[(String, String)]) -> bool {
    labels
        .iter()
        .all(|(name, value)| record.metadata.get(name) == Some(value))
}

fn place_of(record: &Record) -> Place {
    (record.created, record.id.clone())
}

fn token((at, id): &Place) -> Option<HeaderValue> {
    let text = format!("{} {id}", at.as_nanosecond());
    HeaderValue::try_from(URL_SAFE_NO_PAD.encode(text)).ok()
}

fn place(token: &str) -> Result<Place, Problem> {
    let place = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (at, id) = text.split_once(' ')?;
        let at = Timestamp::from_nanosecond(at.parse().ok()?).ok()?;
        Some((at, id.parse().ok()?))
    };
    place().ok_or_else(|| Problem::bad("query nextToken: not a token of this list"))
}
