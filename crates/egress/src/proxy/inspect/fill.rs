//! Credentials put in the place of their placeholders, on the way to where they belong.

use super::answer::Answer;
use super::judge::Asked;
use super::session::Session;
use crate::credentials::{Destination, Escape, Refusal, Rewriter, mentions};
use crate::denial::ErrorCode;
use crate::http1::{Header, Headers};
use crate::proxy::decide::Permit;

/// The longest body in which credentials are filled in.
const MOST_BODY: usize = 256 << 10;

impl Asked {
    /// Where it goes, as far as credentials are concerned.
    pub(super) fn destination(&self) -> Destination<'_> {
        Destination {
            secure: self.secure,
            provider: self.own.provider.as_deref(),
            ..Destination::new(&self.permit.host, self.permit.port, self.target.path())
        }
    }

    /// How much of the body is read before anything is sent; None if it's relayed as it comes.
    /// `length` is what the body says of itself.
    pub(super) fn most_read(&self, headers: &Headers, length: Option<u64>) -> Option<usize> {
        let filled = self.own.in_body && kind(headers).is_some();
        let rules = self.reading.most();
        rules
            .or(filled.then_some(MOST_BODY))
            .or_else(|| self.most_signed(headers))
            .or_else(|| self.most_cleaned(length))
    }
}

/// Fills in headers and gives the target to send.
pub(super) fn head(
    rewriter: &Rewriter<'_>,
    asked: &Asked,
    headers: &mut Headers,
) -> Result<String, Refusal> {
    rewriter.strip(headers);
    fields(rewriter, headers, |_| true)?;
    rewriter.inject(headers)?;
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

/// Fills in the values of those headers that `these` has.
pub(super) fn fields(
    rewriter: &Rewriter<'_>,
    headers: &mut Headers,
    these: impl Fn(&Header) -> bool,
) -> Result<(), Refusal> {
    headers.rewrite(|header| {
        if mentions(header.name().as_bytes()) {
            return Err(Refusal::Malformed("it's in the name of a header"));
        }
        match these(header) {
            true => rewriter.header(header),
            false => Ok(None),
        }
    })
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
    /// Makes of a request that is allowed what is sent, and gives its target. Middlewares come
    /// first: they see no credential. `body` is there if it was read.
    pub(super) fn outgoing(
        &self,
        asked: &mut Asked,
        headers: &mut Headers,
        body: Option<&mut Vec<u8>>,
    ) -> Result<String, Answer> {
        let mut none = Vec::new();
        let body = match body {
            Some(body) => {
                self.cleaned(asked, headers, Some(&mut *body))?;
                if let Some(kind) = kind(headers).filter(|_| asked.own.in_body) {
                    *body = self.filled_body(asked, kind, std::mem::take(body))?;
                }
                body
            }
            None => {
                self.cleaned(asked, headers, None)?;
                &mut none
            }
        };
        let credentials = &self.shared.inspection.credentials;
        let rewriter = Rewriter::new(credentials, asked.destination());
        let told = |refusal| self.unfilled(&asked.permit, &refusal);
        // What the server sends back would be the secret (RFC 9110 §9.3.8).
        if asked.method == "TRACE" && !credentials.is_empty() {
            return Err(told(Refusal::Unusable("TRACE would send it back")));
        }
        let target = match &asked.own.signing {
            None => head(&rewriter, asked, headers).map_err(told),
            Some(signing) => self.signed(asked, signing, headers, body),
        }?;
        self.set(asked, headers).map_err(told)?;
        Ok(target)
    }

    /// Sets the headers that a client of the platform wants in requests to this host, in the place
    /// of what the program sent under these names.
    fn set(&self, asked: &Asked, headers: &mut Headers) -> Result<(), Refusal> {
        let settings = match self.secure {
            true => asked.permit.settings(),
            false => Vec::new(),
        };
        if asked.method == "TRACE" && !settings.is_empty() {
            return Err(Refusal::Unusable("TRACE would send it back"));
        }
        for (name, value) in settings {
            headers.set(name, value.as_bytes())?;
        }
        Ok(())
    }

    /// A body as it goes out.
    fn filled_body(&self, asked: &Asked, kind: BodyKind, body: Vec<u8>) -> Result<Vec<u8>, Answer> {
        let credentials = &self.shared.inspection.credentials;
        let rewriter = Rewriter::new(credentials, asked.destination());
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
            Refusal::NotBound { .. } => {
                self.shared.journal.finding(
                    permit,
                    "casemate.credentials.not-bound",
                    "A credential was about to go where it doesn't belong",
                    &why,
                );
                self.note_denied(permit, &why);
                return Answer::failed(ErrorCode::CredentialEndpointMismatch, why);
            }
            Refusal::NoKeys { .. } => ErrorCode::CredentialEndpointMismatch,
            Refusal::Unknown { .. } | Refusal::Malformed(_) | Refusal::Unusable(_) => {
                ErrorCode::InvalidCredentialPlaceholder
            }
        };
        self.refused("credentials", &why);
        Answer::failed(code, why)
    }
}
