//! Credentials put in the place of their placeholders, on the way to where they belong.

use super::answer::Answer;
use super::judge::Asked;
use super::session::Session;
use crate::credentials::{Credentials, Destination, Escape, Refusal, Rewriter};
use crate::denial::ErrorCode;
use crate::http1::Headers;
use crate::proxy::decide::Permit;

/// The longest body in which credentials are filled in.
pub(super) const MOST_BODY: usize = 256 << 10;

fn rewriter<'a>(credentials: &'a Credentials, asked: &'a Asked) -> Rewriter<'a> {
    to(credentials, &asked.permit, asked.target.path())
}

/// For what goes to this place.
pub(super) fn to<'a>(
    credentials: &'a Credentials,
    permit: &'a Permit,
    path: &'a str,
) -> Rewriter<'a> {
    let destination = Destination {
        host: &permit.host,
        port: permit.port,
        path,
    };
    Rewriter::new(credentials, destination)
}

/// Fills in headers and gives the target to send.
pub(super) fn head(
    credentials: &Credentials,
    asked: &Asked,
    headers: &mut Headers,
) -> Result<String, Refusal> {
    let rewriter = rewriter(credentials, asked);
    headers.rewrite(|header| rewriter.header(header))?;
    let path = rewriter.path(asked.target.path())?;
    let mut target = path.unwrap_or_else(|| asked.target.path().to_owned());
    if let Some(query) = asked.target.query() {
        target.push('?');
        match rewriter.query(query.as_str())? {
            Some(filled) => target.push_str(&filled),
            None => target.push_str(query.as_str()),
        }
    }
    Ok(target)
}

/// How credentials are written in a body of this type; None if they aren't.
pub(super) fn kind(headers: &Headers) -> Option<BodyKind> {
    if headers.has("content-encoding") {
        return None;
    }
    let kind = headers.only("content-type").ok()??.to_ascii_lowercase();
    match kind.split(';').next()?.trim() {
        "application/x-www-form-urlencoded" => Some(BodyKind::Form),
        json if json == "application/json" || json.ends_with("+json") => Some(BodyKind::Json),
        text if text.starts_with("text/") => Some(BodyKind::Text),
        _ => None,
    }
}

/// See [`kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    Form,
    Json,
    Text,
}

impl Session {
    /// A body as it goes out.
    pub(super) fn filled_body(
        &self,
        asked: &Asked,
        kind: BodyKind,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Answer> {
        let rewriter = rewriter(&self.shared.inspection.credentials, asked);
        let filled = match kind {
            BodyKind::Json => rewriter.text(&body, Escape::Json),
            BodyKind::Text => rewriter.text(&body, Escape::Plain),
            BodyKind::Form => match std::str::from_utf8(&body) {
                Ok(form) => match rewriter.query(form) {
                    Ok(filled) => return Ok(filled.map_or(body, String::into_bytes)),
                    Err(refusal) => Err(refusal),
                },
                Err(_) => Ok(None),
            },
        };
        match filled {
            Ok(Some(mut filled)) => Ok(std::mem::take(&mut *filled)),
            Ok(None) => Ok(body),
            Err(refusal) => Err(self.unfilled(&asked.permit, &refusal)),
        }
    }

    /// Writes down that a credential wasn't given out, and what the client is told.
    pub(super) fn unfilled(&self, permit: &Permit, refusal: &Refusal) -> Answer {
        let why = refusal.to_string();
        let code = match refusal {
            Refusal::NotBound { .. } => ErrorCode::CredentialEndpointMismatch,
            Refusal::Unknown { .. } | Refusal::Malformed(_) | Refusal::Unusable(_) => {
                ErrorCode::InvalidCredentialPlaceholder
            }
        };
        if code == ErrorCode::CredentialEndpointMismatch {
            self.shared.journal.finding(
                permit,
                "casemate.credentials.not-bound",
                "A credential was about to go where it doesn't belong",
                &why,
            );
        }
        self.note_denied(permit, &why);
        Answer::failed(code, why)
    }
}
