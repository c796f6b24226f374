//! The head of a response (RFC 9112 §4).

use super::Version;
use super::error::Malformed;
use super::framing::{self, Framing};
use super::headers::Headers;
use super::scan::{Limits, lines};

/// A response that can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    /// What stands after the status; ASCII, possibly empty.
    pub reason: String,
    /// The version of the server.
    pub version: Version,
    /// All fields, those of the framing among them.
    pub headers: Headers,
    /// Where the body ends.
    pub framing: Framing,
    /// The server keeps the connection for another request.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// Reads a complete head that answers a request of this method.
    pub fn parse(head: &[u8], method: &str, limits: &Limits) -> Result<Self, Malformed> {
        let lines = lines(head, limits)?;
        let (first, fields) = lines
            .split_first()
            .ok_or(Malformed::bad("there is no status line"))?;
        let (version, status, reason) = status_line(first)?;
        let headers = Headers::parse(fields)?;
        let framing = framing::of_response(method, status, version, &headers)?;
        let closes = headers
            .list("connection")
            .iter()
            .any(|option| option == "close");
        Ok(Self {
            keep_alive: version == Version::Http11 && !closes && framing != Framing::UntilClose,
            status,
            reason,
            version,
            headers,
            framing,
        })
    }

    /// Whether another head follows this one, for the same request. 101 is final here.
    pub fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }
}

fn status_line(line: &[u8]) -> Result<(Version, u16, String), Malformed> {
    let bad = Malformed::bad("the status line isn't `HTTP/1.1 NNN reason`");
    let (version, rest) = line.split_at_checked(8).ok_or(bad)?;
    let version = Version::parse(version)?;
    let (status, reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(bad),
    };
    if !status.iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    let number = status
        .iter()
        .fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    if !(100..=599).contains(&number) {
        return Err(bad);
    }
    // Nobody acts on the reason, so what isn't ASCII in it is dropped rather than refused.
    let reason = reason
        .iter()
        .filter(|byte| byte.is_ascii())
        .map(|byte| char::from(*byte));
    Ok((version, number, reason.collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ResponseHead, Malformed> {
        ResponseHead::parse(text.as_bytes(), "GET", &Limits::default())
    }

    #[test]
    fn ordinary_responses_are_read() {
        let head =
            parse("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n").expect("a response");
        assert_eq!((head.status, head.reason.as_str()), (404, "Not Found"));
        assert_eq!(head.framing, Framing::Length(3));
        assert!(head.keep_alive && !head.is_interim());
        assert!(parse("HTTP/1.1 200\r\n\r\n").is_ok_and(|head| head.reason.is_empty()));
        assert!(parse("HTTP/1.1 100 Continue\r\n\r\n").is_ok_and(|head| head.is_interim()));
        assert!(parse("HTTP/1.0 200 OK\r\n\r\n").is_ok_and(|head| !head.keep_alive));
    }

    #[test]
    fn responses_with_two_meanings_are_refused() {
        for text in [
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1\t200 OK\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = ResponseHead::parse(&bytes, "GET", &Limits::default());
        }
    }
}
