//! Where a body ends (RFC 9112 §6).

use super::Version;
use super::error::{Kind, Malformed};
use super::headers::Headers;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// It has this many bytes.
    Length(u64),
    /// It comes in chunks, the last of them empty.
    Chunked,
    /// It ends with the connection; of responses only.
    UntilClose,
}

/// What the two header fields say, if they say one thing.
fn declared(version: Version, headers: &Headers) -> Result<Option<Framing>, Malformed> {
    let length = headers.only("content-length")?;
    let coding = headers.only("transfer-encoding")?;
    match (length, coding) {
        (Some(_), Some(_)) => Err(Malformed::bad(
            "both Content-Length and Transfer-Encoding are there",
        )),
        (Some(length), None) => parse_length(length).map(|n| Some(Framing::Length(n))),
        (None, Some(_)) if version == Version::Http10 => {
            Err(Malformed::bad("Transfer-Encoding in HTTP/1.0"))
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => {
            Ok(Some(Framing::Chunked))
        }
        (None, Some(_)) => Err(Malformed::bad("a Transfer-Encoding that isn't `chunked`")),
        (None, None) => Ok(None),
    }
}

/// The framing of a request.
pub(super) fn of_request(version: Version, headers: &Headers) -> Result<Framing, Malformed> {
    Ok(declared(version, headers)?.unwrap_or(Framing::None))
}

/// The framing of a response to a request of this method (RFC 9112 §6.3).
pub(super) fn of_response(
    method: &str,
    status: u16,
    version: Version,
    headers: &Headers,
) -> Result<Framing, Malformed> {
    let declared = declared(version, headers)?;
    let bodiless = method == "HEAD"
        || matches!(status, 100..=199 | 204 | 304)
        || (method == "CONNECT" && matches!(status, 200..=299));
    if bodiless {
        return Ok(Framing::None);
    }
    Ok(declared.unwrap_or(Framing::UntilClose))
}

/// Digits only: no sign, no list, no space (RFC 9110 §8.6).
fn parse_length(text: &str) -> Result<u64, Malformed> {
    let bad = Malformed::bad("the Content-Length isn't a number");
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad);
    }
    // More than this is a number for some parsers and a negative one for others.
    match text.parse::<u64>() {
        Ok(length) if length <= i64::MAX as u64 => Ok(length),
        _ => Err(Malformed::new(
            Kind::TooLarge,
            "the Content-Length is too large",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> Headers {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        Headers::parse(&lines).expect("headers")
    }

    fn request(lines: &[&str]) -> Result<Framing, Malformed> {
        of_request(Version::Http11, &headers(lines))
    }

    #[test]
    fn one_statement_is_taken() {
        assert_eq!(request(&[]), Ok(Framing::None));
        assert_eq!(request(&["Content-Length: 0"]), Ok(Framing::Length(0)));
        assert_eq!(request(&["content-length: 007"]), Ok(Framing::Length(7)));
        assert_eq!(
            request(&["Transfer-Encoding: Chunked"]),
            Ok(Framing::Chunked)
        );
    }

    #[test]
    fn two_statements_are_refused() {
        for lines in [
            &["Content-Length: 5", "Content-Length: 5"][..],
            &["Content-Length: 5", "Content-Length: 6"],
            &["Content-Length: 5, 5"],
            &["Content-Length: 5", "Transfer-Encoding: chunked"],
            &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
            &["Transfer-Encoding: gzip, chunked"],
            &["Transfer-Encoding: chunked, chunked"],
            &["Transfer-Encoding: xchunked"],
            &["Transfer-Encoding: chunked;q=1"],
            &["Transfer-Encoding: identity"],
            &["Transfer-Encoding:"],
            &["Content-Length:"],
            &["Content-Length: +5"],
            &["Content-Length: -5"],
            &["Content-Length: 0x5"],
            &["Content-Length: 5 5"],
            &["Content-Length: 9223372036854775808"],
            &["Content-Length: 99999999999999999999"],
        ] {
            assert!(request(lines).is_err(), "{lines:?}");
        }
        let chunked = headers(&["Transfer-Encoding: chunked"]);
        assert!(of_request(Version::Http10, &chunked).is_err());
    }

    #[test]
    fn responses_end_as_their_request_and_status_say() {
        let response = |method, status, lines: &[&str]| {
            of_response(method, status, Version::Http11, &headers(lines))
        };
        let length = &["Content-Length: 5"][..];
        assert_eq!(response("GET", 200, length), Ok(Framing::Length(5)));
        assert_eq!(response("GET", 200, &[]), Ok(Framing::UntilClose));
        for (method, status) in [
            ("HEAD", 200),
            ("GET", 100),
            ("GET", 101),
            ("GET", 204),
            ("GET", 304),
            ("CONNECT", 200),
        ] {
            assert_eq!(response(method, status, length), Ok(Framing::None));
        }
        assert_eq!(response("CONNECT", 403, length), Ok(Framing::Length(5)));
        let both = &["Content-Length: 5", "Transfer-Encoding: chunked"];
        assert!(response("HEAD", 200, both).is_err());
    }
}
