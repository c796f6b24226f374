//! `network_middlewares`: what is done to requests before they go on.

use super::answer::Answer;
use super::judge::Asked;
use super::session::Session;
use crate::denial::ErrorCode;
use crate::http1::Headers;
use crate::path::{CanonicalTarget, PathRules};
use crate::proxy::decide::Permit;
use crate::proxy::dial::Failed;
use crate::proxy::shared::Shared;
use crate::redact::{redact, redact_form};
use casemate_policy::network::{Middleware, MiddlewareKind, OnError};

/// The longest body that is looked at.
const MOST_CLEANED: usize = 1 << 20;

/// Whether a connection may pass unseen.
///
/// # Errors
/// It would pass by a middleware, or credentials would be of no use.
pub(in crate::proxy) fn may_be_unseen(shared: &Shared, permit: &Permit) -> Result<(), Failed> {
    if permit.middlewares().any(|own| !fails_open(own)) {
        let why = "a middleware has to see the requests, and nothing is inspected there";
        return Err(Failed::Unseen(ErrorCode::MiddlewareRequired, why));
    }
    let accepted = permit.grant().is_some_and(|grant| {
        let mut endpoints = grant.endpoints();
        endpoints.any(|own| own.declared().allow_uninspected_credentials)
    });
    let bound = || {
        let credentials = &shared.inspection.credentials;
        credentials.reach(&permit.host, permit.port)
    };
    if !accepted && bound() {
        let why = "a credential is bound to it, and nothing is inspected there";
        return Err(Failed::Unseen(ErrorCode::UninspectedCredentials, why));
    }
    Ok(())
}

fn fails_open(middleware: &Middleware) -> bool {
    middleware.on_error == OnError::FailOpen
}

impl Asked {
    /// How much of the body is read to be looked at; None if nothing is. One that may be passed by
    /// is only if it's known to be short enough.
    pub(super) fn most_cleaned(&self, length: Option<u64>) -> Option<usize> {
        if length == Some(0) {
            return None;
        }
        let fits = length.is_some_and(|length| length <= MOST_CLEANED as u64);
        let mut middlewares = self.permit.middlewares();
        let any = middlewares.any(|own| fits || !fails_open(own));
        any.then_some(MOST_CLEANED)
    }
}

impl Session {
    /// Lets all middlewares of the host change a request.
    pub(super) fn cleaned(
        &self,
        asked: &mut Asked,
        headers: &Headers,
        mut body: Option<&mut Vec<u8>>,
    ) -> Result<(), Answer> {
        if asked.permit.middlewares().next().is_none() {
            return Ok(());
        }
        let permit = asked.permit.clone();
        for middleware in permit.middlewares() {
            let cleaned = match &middleware.kind {
                MiddlewareKind::Redact => cleaned(asked, headers, body.as_deref_mut()),
                MiddlewareKind::Unknown(_) => Err("there is none of this name"),
            };
            self.happened(&permit, middleware, cleaned)?;
        }
        Ok(())
    }

    /// The same for a text message of a WebSocket.
    pub(super) fn cleaned_text(&self, permit: &Permit, text: String) -> Result<String, Answer> {
        let mut text = text;
        for middleware in permit.middlewares() {
            let cleaned = match &middleware.kind {
                MiddlewareKind::Redact => {
                    let mut bytes = text.into_bytes();
                    let count = replaced(&mut bytes);
                    // What is replaced is ASCII, by ASCII.
                    text = String::from_utf8(bytes).unwrap_or_default();
                    Ok(count)
                }
                MiddlewareKind::Unknown(_) => Err("there is none of this name"),
            };
            self.happened(permit, middleware, cleaned)?;
        }
        Ok(text)
    }

    /// Writes down what a middleware did, and refuses what it failed on if it must not be left out.
    fn happened(
        &self,
        permit: &Permit,
        middleware: &Middleware,
        cleaned: Result<usize, &'static str>,
    ) -> Result<(), Answer> {
        let (name, journal) = (&middleware.name, &self.shared.journal);
        match cleaned {
            Ok(0) => Ok(()),
            Ok(count) => {
                let what = format!("`{name}` took {count} out of what a request says");
                let title = "A program was about to send what looks like a key";
                journal.noticed(permit, "casemate.middleware.redacted", title, &what);
                Ok(())
            }
            Err(why) => {
                let what = format!("`{name}` can't look at a request: {why}");
                let (id, title) = ("casemate.middleware.failure", "A middleware failed");
                if fails_open(middleware) {
                    journal.noticed(permit, id, title, &what);
                    return Ok(());
                }
                journal.finding(permit, id, title, &what);
                self.note_denied(permit, &what);
                Err(Answer::failed(ErrorCode::MiddlewareFailed, what))
            }
        }
    }
}

/// Takes keys out of the query and the body; how many there were.
fn cleaned(
    asked: &mut Asked,
    headers: &Headers,
    body: Option<&mut Vec<u8>>,
) -> Result<usize, &'static str> {
    let mut count = 0;
    let query = asked.target.query();
    if let Some((clean, found)) = query.and_then(|query| redact_form(query.as_str())) {
        let target = format!("{}?{clean}", asked.target.path());
        let rules = PathRules {
            allow_encoded_slash: true,
        };
        let target = CanonicalTarget::parse(&target, rules);
        asked.target = target.map_err(|_| "its query can't be written anew")?;
        count += found;
    }
    let body = match body {
        Some(body) if !body.is_empty() => body,
        _ => return Ok(count),
    };
    let coded = headers.list("content-encoding");
    if coded.iter().any(|coding| coding != "identity") {
        return Err("its body is compressed");
    }
    let text = std::str::from_utf8(body).map_err(|_| "its body isn't text")?;
    let kind = headers.only("content-type").ok().flatten();
    let form = |kind: &str| kind.starts_with("application/x-www-form-urlencoded");
    if !kind.is_some_and(|kind| form(&kind.to_ascii_lowercase())) {
        return Ok(count + replaced(body));
    }
    if let Some((clean, found)) = redact_form(text) {
        *body = clean.into_bytes();
        count += found;
    }
    Ok(count)
}

fn replaced(text: &mut Vec<u8>) -> usize {
    match redact(text) {
        None => 0,
        Some((clean, count)) => {
            *text = clean;
            count
        }
    }
}
