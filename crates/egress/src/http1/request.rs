//! The head of a request (RFC 9112 §3).

use super::Version;
use super::error::{Kind, Malformed};
use super::framing::{self, Framing};
use super::headers::{Headers, is_token_byte};
use super::scan::{Limits, lines};
use crate::host::Authority;

const MAX_METHOD_BYTES: usize = 32;

/// What a request asks for (RFC 9112 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestTarget {
    /// `/path?query`, as it was sent; [`crate::path::CanonicalTarget`] makes it fit to be judged.
    Origin(String),
    /// `http://host/path?query`, of a client that knows of the proxy.
    Absolute {
        /// In lower case.
        scheme: String,
        /// From the target; the `Host` field says the same.
        authority: Authority,
        /// `/path?query`, at least `/`.
        origin: String,
    },
    /// `host:port`, of CONNECT.
    Connect(Authority),
    /// `*`, of OPTIONS.
    Asterisk,
}

/// A request that can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// In upper case.
    pub method: String,
    /// What is asked for.
    pub target: RequestTarget,
    /// The version of the client.
    pub version: Version,
    /// All fields, `Host` and those of the framing among them.
    pub headers: Headers,
    /// `Host`; always there in HTTP/1.1.
    pub host: Option<Authority>,
    /// Where the body ends.
    pub framing: Framing,
    /// The client waits for 100 before it sends the body. The proxy sends that itself, once the
    /// head was allowed; the field isn't forwarded.
    pub expects_continue: bool,
    /// The client wants to go on with WebSocket.
    pub websocket: bool,
    /// The client keeps the connection for another request.
    pub keep_alive: bool,
}

impl RequestHead {
    /// Reads a complete head, its empty line included and nothing after it.
    pub fn parse(head: &[u8], limits: &Limits) -> Result<Self, Malformed> {
        let lines = lines(head, limits)?;
        let (first, fields) = lines
            .split_first()
            .ok_or(Malformed::bad("there is no request line"))?;
        let (method, target, version) = request_line(first)?;
        let headers = Headers::parse(fields)?;
        let host = host(version, &headers)?;
        let target = parse_target(&method, &target)?;
        check_host(&target, host.as_ref())?;
        let framing = framing::of_request(version, &headers)?;
        let connection = headers.list("connection");
        let websocket = wants_websocket(&method, version, framing, &headers, &connection)?;
        check_connection(&connection)?;
        Ok(Self {
            expects_continue: expects_continue(version, &headers)?,
            keep_alive: version == Version::Http11 && !connection.iter().any(|o| o == "close"),
            method,
            target,
            version,
            headers,
            host,
            framing,
            websocket,
        })
    }
}

/// Method, target and version, one space between them.
fn request_line(line: &[u8]) -> Result<(String, String, Version), Malformed> {
    let Ok(text) = std::str::from_utf8(line) else {
        return Err(Malformed::bad("the request line isn't ASCII"));
    };
    if !text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return Err(Malformed::bad("the request line isn't ASCII"));
    }
    let mut parts = text.split(' ');
    let (Some(method), Some(target)) = (parts.next(), parts.next()) else {
        return Err(Malformed::bad("the request line has no target"));
    };
    // Without a version it's HTTP/0.9, whose answers have no head.
    let version = parts
        .next()
        .ok_or(Malformed::bad("the request line has no version"))?;
    if parts.next().is_some() {
        return Err(Malformed::bad("the request line has more than three parts"));
    }
    let version = Version::parse(version.as_bytes())?;
    check_method(method)?;
    Ok((method.to_owned(), target.to_owned(), version))
}

/// Methods differ by case, but not every server knows that; all that are in use are upper case.
fn check_method(method: &str) -> Result<(), Malformed> {
    let known = |byte: u8| is_token_byte(byte) && !byte.is_ascii_lowercase();
    if method.is_empty() || method.len() > MAX_METHOD_BYTES || !method.bytes().all(known) {
        return Err(Malformed::bad("the method isn't a token in upper case"));
    }
    Ok(())
}

fn parse_target(method: &str, target: &str) -> Result<RequestTarget, Malformed> {
    if method == "CONNECT" {
        let authority = parse_authority(target)?;
        if authority.port.is_none() {
            return Err(Malformed::bad("CONNECT without a port"));
        }
        return Ok(RequestTarget::Connect(authority));
    }
    if target == "*" && method == "OPTIONS" {
        return Ok(RequestTarget::Asterisk);
    }
    if target.starts_with('/') {
        return Ok(RequestTarget::Origin(target.to_owned()));
    }
    let (scheme, rest) = target
        .split_once("://")
        .ok_or(Malformed::bad("the target is neither a path nor a URL"))?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https" | "ws" | "wss") {
        return Err(Malformed::bad("the target's scheme isn't one of HTTP"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at(end);
    let slash = if origin.starts_with('/') { "" } else { "/" };
    Ok(RequestTarget::Absolute {
        scheme,
        authority: parse_authority(authority)?,
        origin: format!("{slash}{origin}"),
    })
}

fn parse_authority(text: &str) -> Result<Authority, Malformed> {
    Authority::parse(text).map_err(|error| Malformed::bad(error.0))
}

fn host(version: Version, headers: &Headers) -> Result<Option<Authority>, Malformed> {
    match headers.only("host")? {
        Some(text) => parse_authority(text).map(Some),
        None if version == Version::Http10 => Ok(None),
        None => Err(Malformed::bad("HTTP/1.1 without Host")),
    }
}

/// The target and `Host` must not name two places: servers differ in which one they obey.
fn check_host(target: &RequestTarget, host: Option<&Authority>) -> Result<(), Malformed> {
    let Some(host) = host else { return Ok(()) };
    let same = match target {
        RequestTarget::Origin(_) | RequestTarget::Asterisk => true,
        // Many clients leave the port out.
        RequestTarget::Connect(target) => {
            target.host == host.host && host.port.is_none_or(|port| Some(port) == target.port)
        }
        RequestTarget::Absolute {
            scheme, authority, ..
        } => {
            let port = match scheme.as_str() {
                "http" | "ws" => 80,
                _ => 443,
            };
            authority.host == host.host && authority.port_or(port) == host.port_or(port)
        }
    };
    if !same {
        return Err(Malformed::bad("the target and Host name different places"));
    }
    Ok(())
}

/// Whether it's an upgrade to WebSocket. One to HTTP/2 is refused, since what follows couldn't be
/// read; others aren't forwarded, which a server takes as if they weren't there.
fn wants_websocket(
    method: &str,
    version: Version,
    framing: Framing,
    headers: &Headers,
    connection: &[String],
) -> Result<bool, Malformed> {
    let upgrade = headers.list("upgrade");
    let is_h2 =
        |protocol: &String| protocol == "h2c" || protocol == "h2" || protocol.starts_with("http/");
    if upgrade.iter().any(is_h2) || headers.has("http2-settings") {
        return Err(Malformed::bad("an upgrade to HTTP/2"));
    }
    if !upgrade.iter().any(|protocol| protocol == "websocket") {
        return Ok(false);
    }
    if upgrade.len() != 1 || !connection.iter().any(|option| option == "upgrade") {
        return Err(Malformed::bad("an unclear upgrade to WebSocket"));
    }
    if method != "GET" || version != Version::Http11 || framing != Framing::None {
        return Err(Malformed::bad(
            "an upgrade to WebSocket that isn't a plain GET",
        ));
    }
    Ok(true)
}

/// A field that `Connection` names is dropped on the way; these must not be.
fn check_connection(options: &[String]) -> Result<(), Malformed> {
    const NEVER: [&str; 4] = ["host", "content-length", "content-type", "content-encoding"];
    if options
        .iter()
        .any(|option| NEVER.contains(&option.as_str()))
    {
        return Err(Malformed::bad(
            "Connection names a field that can't be dropped",
        ));
    }
    Ok(())
}

fn expects_continue(version: Version, headers: &Headers) -> Result<bool, Malformed> {
    match headers.only("expect")? {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("100-continue") => Ok(version == Version::Http11),
        Some(_) => Err(Malformed::new(Kind::Expectation, "an unknown expectation")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<RequestHead, Malformed> {
        RequestHead::parse(text.as_bytes(), &Limits::default())
    }

    fn status(text: &str) -> u16 {
        parse(text).map_or_else(|error| error.status(), |_| 200)
    }

    #[test]
    fn an_ordinary_request_is_read() {
        let head = parse("POST /a?b HTTP/1.1\r\nHost: A.example:80\r\nContent-Length: 3\r\n\r\n")
            .expect("a request");
        assert_eq!(head.method, "POST");
        assert_eq!(head.target, RequestTarget::Origin("/a?b".to_owned()));
        assert_eq!(head.framing, Framing::Length(3));
        assert_eq!(
            head.host.map(|host| host.to_string()).as_deref(),
            Some("a.example:80")
        );
        assert!(head.keep_alive && !head.websocket && !head.expects_continue);
    }

    #[test]
    fn targets_of_every_form_are_read() {
        let target = |text: &str| parse(text).map(|head| head.target);
        let authority = |text| Authority::parse(text).expect("an authority");
        assert_eq!(
            target("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            Ok(RequestTarget::Connect(authority("a.example:443")))
        );
        assert_eq!(
            target("GET HTTP://A.example?x HTTP/1.1\r\nHost: a.example:80\r\n\r\n"),
            Ok(RequestTarget::Absolute {
                scheme: "http".to_owned(),
                authority: authority("a.example"),
                origin: "/?x".to_owned(),
            })
        );
        assert_eq!(
            target("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
            Ok(RequestTarget::Asterisk)
        );
    }

    #[test]
    fn requests_with_two_meanings_are_refused() {
        for text in [
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET file:///etc HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: b\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Host\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(status(text), 400, "{text:?}");
        }
        assert_eq!(status("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505);
    }

    #[test]
    fn upgrades_are_to_websocket_or_none() {
        let request = |more: &str| parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n"));
        let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
        assert!(request(upgrade).is_ok_and(|head| head.websocket));
        assert!(request("Upgrade: TLS/1.0\r\n").is_ok_and(|head| !head.websocket));
        for more in [
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
            "Upgrade: foo, H2C\r\n",
            "HTTP2-Settings: AAMA\r\n",
            "Upgrade: websocket\r\n",
            "Connection: Upgrade\r\nUpgrade: websocket, foo\r\n",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n",
        ] {
            assert!(request(more).is_err(), "{more}");
        }
    }

    #[test]
    fn expectations_are_known_or_refused() {
        let request = |version, value| {
            parse(&format!(
                "POST / HTTP/{version}\r\nHost: a\r\nExpect: {value}\r\n\r\n"
            ))
        };
        assert!(request("1.1", "100-Continue").is_ok_and(|head| head.expects_continue));
        assert!(request("1.0", "100-continue").is_ok_and(|head| !head.expects_continue));
        assert_eq!(request("1.1", "more").map_err(|e| e.status()), Err(417));
    }

    #[test]
    fn too_many_fields_are_refused() {
        let request = |count| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "A: b\r\n".repeat(count)
            )
        };
        assert_eq!(status(&request(99)), 200);
        assert_eq!(status(&request(100)), 431);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = RequestHead::parse(&bytes, &Limits::default());
        }

        #[test]
        fn any_lines_are_read_or_refused(lines in "([A-Z]{1,8}[ :][ -~]{0,30}\r\n){1,6}") {
            let _ = parse(&format!("{lines}\r\n"));
            let _ = parse(&format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        }
    }
}
