//! Requests to AWS, signed with the real keys.

use super::answer::Answer;
use super::fill;
use super::judge::Asked;
use super::session::Session;
use crate::credentials::sigv4::{Payload, Request, resign};
use crate::credentials::{Refusal, Rewriter, mentions};
use crate::denial::ErrorCode;
use crate::http1::{Header, Headers};
use crate::proxy::journal;
use casemate_policy::network::Signing;

/// The longest body that is read to be signed.
const MOST_SIGNED: usize = 10 << 20;

/// Where a request says the digest of its body itself.
const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// What the old signature is in.
const SIGNATURE: [&str; 3] = ["authorization", "x-amz-date", "x-amz-security-token"];

impl Asked {
    /// How much of the body is read to be signed; None if its digest isn't needed.
    pub(super) fn most_signed(&self, headers: &Headers) -> Option<usize> {
        let signing = self.own.signing.as_ref()?;
        let hashed = signing.body.unwrap_or_else(|| !headers.has(CONTENT_SHA256));
        hashed.then_some(MOST_SIGNED)
    }
}

impl Session {
    /// Signs a request and gives its target. Placeholders are filled in in its headers only: what
    /// is signed has to be what was judged.
    pub(super) fn signed(
        &self,
        asked: &Asked,
        signing: &Signing,
        headers: &mut Headers,
        body: &[u8],
    ) -> Result<String, Answer> {
        let credentials = &self.shared.inspection.credentials;
        let to = asked.destination();
        let told = |refusal| self.unfilled(&asked.permit, &refusal);
        let target = asked.target.to_string();
        if mentions(target.as_bytes()) {
            let why = "it's in the target of a request that is signed";
            return Err(told(Refusal::Malformed(why)));
        }
        let keys = credentials.signing_keys(&to).map_err(told)?;
        let rewriter = Rewriter::new(credentials, to);
        let others = |header: &Header| !SIGNATURE.iter().any(|name| header.is(name));
        fill::fields(&rewriter, headers, others).map_err(told)?;
        let payload = match signing.body {
            Some(false) => Payload::Unsigned,
            None if headers.has(CONTENT_SHA256) => Payload::AsSent,
            Some(true) | None => Payload::Body(body),
        };
        let request = Request {
            method: &asked.method,
            authority: &self.place_of(&asked.permit),
            target: &asked.target,
        };
        let (service, region) = (&signing.service, signing.region.as_deref());
        let now = journal::now();
        let signed = resign(headers, &request, payload, service, region, keys, now);
        signed.map_err(|error| {
            let why = error.to_string();
            self.refused("credentials", &why);
            Answer::failed(ErrorCode::MalformedRequest, why)
        })?;
        Ok(target)
    }
}
