//! A request stripped of one signature and given another.

use super::{AwsCredentials, Scope, SigningError, canonical, sha256_hex, signature};
use crate::civil::Civil;
use crate::host::Authority;
use crate::http1::Headers;
use crate::path::CanonicalTarget;

/// The request as it will be forwarded.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its `Host`.
    pub authority: &'a Authority,
    /// Its path and query.
    pub target: &'a CanonicalTarget,
}

/// What the signature says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// This is it.
    Body(&'a [u8]),
    /// Nothing: `UNSIGNED-PAYLOAD`, which S3 takes over TLS.
    Unsigned,
    /// What the request says itself in `x-amz-content-sha256`.
    AsSent,
}

const CONTENT_SHA256: &str = "x-amz-content-sha256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// Takes the old signature off `headers` and puts a new one on. `region` is that of the old
/// signature if it's not given. `now` is in milliseconds since 1970.
pub fn resign(
    headers: &mut Headers,
    request: &Request<'_>,
    payload: Payload<'_>,
    service: &str,
    region: Option<&str>,
    credentials: &AwsCredentials,
    now: u64,
) -> Result<(), SigningError> {
    let presigned = |(key, _): &(String, String)| key.to_ascii_lowercase().starts_with("x-amz-sig");
    if request.target.pairs().iter().any(presigned) {
        return Err(SigningError("it's signed in its query"));
    }
    let region = match region {
        Some(region) => region.to_owned(),
        None => signed_region(headers)?,
    };
    let payload = payload_hash(headers, payload)?;
    for name in [
        "authorization",
        "x-amz-date",
        "x-amz-security-token",
        CONTENT_SHA256,
        "date",
    ] {
        headers.remove(name);
    }
    let date_time = Civil::from_unix_millis(now);
    put(headers, "x-amz-date", date_time.basic().as_bytes())?;
    if service.starts_with("s3") || payload == UNSIGNED || payload == UNSIGNED_TRAILER {
        put(headers, CONTENT_SHA256, payload.as_bytes())?;
    }
    if let Some(token) = &credentials.session_token {
        put(headers, "x-amz-security-token", token.expose())?;
    }
    let date = date_time.basic_date();
    let scope = Scope {
        date: &date,
        region: &region,
        service,
    };
    let authorization = authorization(
        headers,
        request,
        &payload,
        &scope,
        &date_time.basic(),
        credentials,
    )?;
    put(headers, "Authorization", authorization.as_bytes())
}

fn authorization(
    headers: &Headers,
    request: &Request<'_>,
    payload: &str,
    scope: &Scope<'_>,
    date_time: &str,
    credentials: &AwsCredentials,
) -> Result<String, SigningError> {
    let bad_target = SigningError("its target can't be decoded");
    let path = canonical::path(request.target.path(), !scope.service.starts_with("s3"));
    let raw_query = request.target.query().map_or("", |query| query.as_str());
    let query = canonical::query(raw_query);
    let (canonical, signed) = canonical::request(
        request.method,
        &path.ok_or(bad_target)?,
        &query.ok_or(bad_target)?,
        &signed_headers(headers, request.authority)?,
        payload,
    );
    let signature = signature(&credentials.secret_access_key, scope, date_time, &canonical);
    Ok(format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
        credentials.access_key_id
    ))
}

/// What has to be signed: `Host`, the type of the body, and all of AWS's own. The rest may be
/// changed on the way, by this proxy too.
fn signed_headers(
    headers: &Headers,
    authority: &Authority,
) -> Result<Vec<(String, String)>, SigningError> {
    let mut signed: Vec<(String, String)> = vec![("host".to_owned(), authority.to_string())];
    for field in headers.iter() {
        let name = field.name().to_ascii_lowercase();
        if name.starts_with("x-amz-") || matches!(name.as_str(), "content-type" | "content-md5") {
            let value = std::str::from_utf8(field.value())
                .map_err(|_| SigningError("a signed header isn't text"))?;
            match signed.iter_mut().find(|(known, _)| *known == name) {
                Some((_, joined)) => {
                    joined.push(',');
                    joined.push_str(value);
                }
                None => signed.push((name, value.to_owned())),
            }
        }
    }
    Ok(signed)
}

fn payload_hash(headers: &Headers, payload: Payload<'_>) -> Result<String, SigningError> {
    let sent = match payload {
        Payload::Body(body) => return Ok(sha256_hex(body)),
        Payload::Unsigned => return Ok(UNSIGNED.to_owned()),
        Payload::AsSent => headers.only(CONTENT_SHA256),
    };
    let sent = sent.map_err(|_| SigningError("it has two hashes of its body"))?;
    match sent {
        Some(text) if text == UNSIGNED || text == UNSIGNED_TRAILER => Ok(text.to_owned()),
        Some(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(text.to_ascii_lowercase())
        }
        Some(text) if text.starts_with("STREAMING-AWS4") => {
            // Each chunk has a signature that only the sandbox's own keys fit.
            Err(SigningError("its body is signed in chunks"))
        }
        Some(_) => Err(SigningError("the hash of its body isn't one")),
        None => Err(SigningError("it has no hash of its body")),
    }
}

/// The region in `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
fn signed_region(headers: &Headers) -> Result<String, SigningError> {
    let unsigned = SigningError("it isn't signed, so its region isn't known");
    let value = headers.only("authorization").map_err(|_| unsigned)?;
    let (_, rest) = value
        .and_then(|v| v.split_once("Credential="))
        .ok_or(unsigned)?;
    let credential = rest.split(',').next().unwrap_or_default();
    let region = credential.trim().rsplit('/').nth(2).unwrap_or_default();
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.is_empty() || region.len() > 64 || !region.bytes().all(known) {
        return Err(unsigned);
    }
    Ok(region.to_owned())
}

fn put(headers: &mut Headers, name: &str, value: &[u8]) -> Result<(), SigningError> {
    let bad = |_| SigningError("a credential holds a character that no header has");
    headers.set(name, value).map_err(bad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credentials::Secret;
    use crate::http1::{Limits, RequestHead};
    use crate::path::PathRules;

    const NOW: u64 = 1_440_938_160_000;

    fn signed(
        lines: &str,
        target: &str,
        payload: Payload<'_>,
        service: &str,
    ) -> Result<Headers, SigningError> {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let head = RequestHead::parse(head.as_bytes(), &Limits::default());
        let mut headers = head.expect("a request").headers;
        let authority = Authority::parse("example.amazonaws.com").expect("an authority");
        let request = Request {
            method: "GET",
            authority: &authority,
            target: &CanonicalTarget::parse(target, PathRules::default()).expect("a target"),
        };
        let credentials = AwsCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
                .expect("memory"),
            session_token: None,
        };
        resign(
            &mut headers,
            &request,
            payload,
            service,
            None,
            &credentials,
            NOW,
        )?;
        Ok(headers)
    }

    const OLD: &str = "Authorization: AWS4-HMAC-SHA256 Credential=FAKE/20990101/us-east-1/service/aws4_request, SignedHeaders=host, Signature=00\r\n\
                       X-Amz-Security-Token: fake\r\nX-Amz-Date: 20990101T000000Z\r\n";

    #[test]
    fn the_published_request_is_signed_again() {
        let headers = signed(OLD, "/", Payload::Body(b""), "service").expect("signed");
        assert_eq!(
            headers.only("authorization"),
            Ok(Some(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, \
                 Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
            ))
        );
        assert!(!headers.has("x-amz-security-token"));
        assert_eq!(headers.only("x-amz-date"), Ok(Some("20150830T123600Z")));
    }

    #[test]
    fn the_payload_is_what_the_policy_says() {
        let hash = "AB".repeat(32);
        let with = |value: &str| format!("{OLD}x-amz-content-sha256: {value}\r\n");
        let sent = |value: &str, payload| -> Result<_, SigningError> {
            let headers = signed(&with(value), "/k", payload, "s3")?;
            Ok(headers
                .only(CONTENT_SHA256)
                .expect("once")
                .map(str::to_owned))
        };
        assert_eq!(sent(&hash, Payload::AsSent), Ok(Some(hash.to_lowercase())));
        assert_eq!(
            sent(UNSIGNED, Payload::AsSent),
            Ok(Some(UNSIGNED.to_owned()))
        );
        assert_eq!(
            sent(&hash, Payload::Unsigned),
            Ok(Some(UNSIGNED.to_owned()))
        );
        let body = sent(UNSIGNED, Payload::Body(b"x"))
            .expect("signed")
            .expect("a hash");
        assert_eq!(body, sha256_hex(b"x"));
        for value in ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x", ""] {
            assert!(sent(value, Payload::AsSent).is_err(), "{value}");
        }
        assert!(signed(OLD, "/", Payload::AsSent, "s3").is_err());
    }

    #[test]
    fn what_cannot_be_signed_is_refused() {
        assert!(signed("", "/", Payload::Unsigned, "s3").is_err());
        let presigned = "/k?X-Amz-Signature=00&X-Amz-Credential=x";
        assert!(signed(OLD, presigned, Payload::Unsigned, "s3").is_err());
        for credential in [
            "x",
            "a/b",
            "K/20150830/US EAST/s3/aws4_request",
            "K/d//s3/aws4_request",
        ] {
            let lines = format!("Authorization: AWS4-HMAC-SHA256 Credential={credential}\r\n");
            assert!(
                signed(&lines, "/", Payload::Unsigned, "s3").is_err(),
                "{credential}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_header_is_signed_or_refused(value in "[ -~]{0,60}", target in "/[a-z%20?=&+]{0,20}") {
            let lines = format!("Authorization: {value}\r\nX-Amz-Meta: {value}\r\n");
            if CanonicalTarget::parse(&target, PathRules::default()).is_ok() {
                let _ = signed(&lines, &target, Payload::Unsigned, "s3");
            }
        }
    }
}
