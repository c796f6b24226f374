//! AWS requests signed again, with the real keys.
//!
//! A program in the sandbox signs with keys that are worth nothing. What it signed with is taken
//! off the request, and the request as it will be forwarded is signed anew.
//!
//! ```text
//! canonical request ──SHA-256──▶ string to sign ──HMAC, with a key for day/region/service──▶ signature
//! ```
//!
//! Source: the AWS documentation, "Create a signed AWS API request" (Signature Version 4) and
//! "Authenticating Requests: Using the Authorization Header" of S3.

mod canonical;
mod resign;

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::secret::Secret;
use casemate_core::hex;

pub use resign::{Payload, Request, resign};

/// The keys to sign with. Whoever calls [`resign`] has made sure that they belong there.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// It's sent with each request, so it's no secret.
    pub access_key_id: String,
    /// It signs, and is never sent.
    pub secret_access_key: Secret,
    /// It's sent with each request, if the keys are temporary.
    pub session_token: Option<Secret>,
}

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `YYYYMMDD`.
    pub date: &'a str,
    /// For example `us-east-1`.
    pub region: &'a str,
    /// For example `s3`.
    pub service: &'a str,
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

/// Why a request can't be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningError(pub &'static str);

impl fmt::Display for SigningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the AWS request can't be signed: {}", self.0)
    }
}

impl std::error::Error for SigningError {}

/// The signature of a canonical request, in hexadecimal.
fn signature(secret: &Secret, scope: &Scope<'_>, date_time: &str, canonical: &str) -> String {
    let hashed = sha256_hex(canonical.as_bytes());
    let to_sign = format!("AWS4-HMAC-SHA256\n{date_time}\n{scope}\n{hashed}");
    let key = signing_key(secret, scope);
    hex::encode(&mac(&key, to_sign.as_bytes()))
}

fn signing_key(secret: &Secret, scope: &Scope<'_>) -> Zeroizing<Vec<u8>> {
    let start = Zeroizing::new([b"AWS4", secret.expose()].concat());
    let date = mac(&start, scope.date.as_bytes());
    let region = mac(&date, scope.region.as_bytes());
    let service = mac(&region, scope.service.as_bytes());
    mac(&service, b"aws4_request")
}

fn mac(key: &[u8], data: &[u8]) -> Zeroizing<Vec<u8>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    Zeroizing::new(hmac::sign(&key, data).as_ref().to_vec())
}

fn sha256_hex(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    hex::encode(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signing key in AWS's example of an IAM request.
    #[test]
    fn the_published_signing_key_is_derived() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").expect("memory");
        let scope = Scope {
            date: "20150830",
            region: "us-east-1",
            service: "iam",
        };
        assert_eq!(
            hex::encode(&signing_key(&secret, &scope)),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
    }
}
