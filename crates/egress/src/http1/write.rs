//! The head that is forwarded, written from what was parsed and judged.
//!
//! Fields that are meant for one hop (RFC 9110 §7.6.1), those that `Connection` names, and those of
//! the framing are left out; what is needed of them is written anew.

use super::Version;
use super::framing::Framing;
use super::headers::Headers;
use super::request::RequestHead;
use super::response::ResponseHead;
use crate::host::Authority;

/// Fields that concern one connection only, besides those that `Connection` names. `Expect` is one
/// of them because the proxy answers it.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "expect",
    "alt-svc",
];

/// Fields that are written from the parsed form.
const REWRITTEN: [&str; 3] = ["host", "content-length", "transfer-encoding"];

/// Whether a field of this name is about the connection or the framing, so that it's never taken
/// from anybody else. Servers behind CGI don't tell underscores from hyphens.
pub(crate) fn is_of_connection(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    HOP_BY_HOP.contains(&name.as_str()) || REWRITTEN.contains(&name.as_str())
}

/// What a request is forwarded as.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The canonical path and query.
    pub target: &'a str,
    /// The place that the policy allowed; it becomes the `Host` field.
    pub authority: &'a Authority,
    /// The framing that the body will have, which may be another than it came with.
    pub framing: Framing,
    /// Whether the connection is to be kept.
    pub keep_alive: bool,
}

impl RequestHead {
    /// Appends the head to forward, its empty line included.
    pub fn write(&self, forward: &Forward<'_>, out: &mut Vec<u8>) {
        line(
            out,
            &[
                self.method.as_bytes(),
                b" ",
                forward.target.as_bytes(),
                b" HTTP/1.1",
            ],
        );
        line(out, &[b"Host: ", forward.authority.to_string().as_bytes()]);
        write_fields(&self.headers, out);
        write_framing(forward.framing, out);
        write_connection(self.websocket, forward.keep_alive, out);
        out.extend_from_slice(b"\r\n");
    }
}

impl ResponseHead {
    /// Appends the head to hand back. `version` is the client's: one that speaks HTTP/1.0 gets no
    /// chunks, so for it `framing` must be another.
    pub fn write(&self, framing: Framing, keep_alive: bool, version: Version, out: &mut Vec<u8>) {
        let protocol: &[u8] = match version {
            Version::Http10 => b"HTTP/1.0 ",
            Version::Http11 => b"HTTP/1.1 ",
        };
        let status = self.status.to_string();
        line(
            out,
            &[protocol, status.as_bytes(), b" ", self.reason.as_bytes()],
        );
        write_fields(&self.headers, out);
        if framing != Framing::None {
            write_framing(framing, out);
        } else if matches!(self.status, 200..=203 | 205..) {
            // An answer to HEAD, or a 304: what the body would have been.
            if let Ok(Some(length)) = self.headers.only("content-length") {
                line(out, &[b"Content-Length: ", length.as_bytes()]);
            }
        }
        if !self.is_interim() {
            let keep_alive = keep_alive && framing != Framing::UntilClose;
            write_connection(self.status == 101, keep_alive, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn write_fields(headers: &Headers, out: &mut Vec<u8>) {
    let named = headers.list("connection");
    for field in headers.iter() {
        let name = field.name().to_ascii_lowercase();
        let dropped = HOP_BY_HOP.contains(&name.as_str())
            || REWRITTEN.contains(&name.as_str())
            || named.contains(&name);
        if !dropped {
            line(out, &[field.name().as_bytes(), b": ", field.value()]);
        }
    }
}

fn write_framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            line(out, &[b"Content-Length: ", length.to_string().as_bytes()]);
        }
        Framing::Chunked => line(out, &[b"Transfer-Encoding: chunked"]),
    }
}

fn write_connection(websocket: bool, keep_alive: bool, out: &mut Vec<u8>) {
    if websocket {
        line(out, &[b"Connection: Upgrade"]);
        line(out, &[b"Upgrade: websocket"]);
    } else if !keep_alive {
        line(out, &[b"Connection: close"]);
    }
}

fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::Limits;

    fn forwarded(head: &str, framing: Framing) -> String {
        let head = RequestHead::parse(head.as_bytes(), &Limits::default()).expect("a request");
        let authority = Authority::parse("a.example").expect("an authority");
        let mut out = Vec::new();
        let forward = Forward {
            target: "/x",
            authority: &authority,
            framing,
            keep_alive: true,
        };
        head.write(&forward, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn only_what_is_meant_for_the_server_is_forwarded() {
        let head = "GET http://A.example/%78 HTTP/1.0\r\nhost: a.EXAMPLE\r\nAccept:  */* \r\n\
                    Connection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n\
                    Proxy-Authorization: Basic eA==\r\nProxy-Connection: x\r\nExpect: 100-continue\r\n\
                    Upgrade: TLS/1.0\r\nMcp-Session-Id: s\r\n\r\n";
        assert_eq!(
            forwarded(head, Framing::None),
            "GET /x HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nMcp-Session-Id: s\r\n\r\n"
        );
    }

    #[test]
    fn the_framing_is_written_once_and_as_decided() {
        let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 7\r\n\r\n";
        let expected = "POST /x HTTP/1.1\r\nHost: a.example\r\n";
        assert_eq!(
            forwarded(head, Framing::Length(9)),
            format!("{expected}Content-Length: 9\r\n\r\n")
        );
        assert_eq!(
            forwarded(head, Framing::Chunked),
            format!("{expected}Transfer-Encoding: chunked\r\n\r\n")
        );
    }

    #[test]
    fn an_upgrade_is_forwarded_as_one() {
        let head = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: x, upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\n";
        assert_eq!(
            forwarded(head, Framing::None),
            "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
    }

    #[test]
    fn responses_are_written_anew() {
        let written = |head: &str, method, framing, keep| {
            let head = ResponseHead::parse(head.as_bytes(), method, &Limits::default());
            let mut out = Vec::new();
            head.expect("a response")
                .write(framing, keep, Version::Http11, &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            written(
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nKeep-Alive: 1\r\nAlt-Svc: h3=\":443\"\r\nA: b\r\n\r\n",
                "GET",
                Framing::Length(5),
                false
            ),
            "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            written(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                "HEAD",
                Framing::None,
                true
            ),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        );
        assert_eq!(
            written(
                "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
                "GET",
                Framing::None,
                true
            ),
            "HTTP/1.1 204 No\r\n\r\n"
        );
        assert_eq!(
            written("HTTP/1.1 200 OK\r\n\r\n", "GET", Framing::UntilClose, true),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(
            method in "GET|POST|X-Y", value in "[!-~][ -~\u{80}-\u{ff}]{0,20}[!-~]", length in 0u64..99,
        ) {
            let head = format!("{method} / HTTP/1.1\r\nHost: h\r\nX-V: {value}\r\nContent-Length: {length}\r\n\r\n");
            let written = forwarded(&head, Framing::Length(length));
            let again = RequestHead::parse(written.as_bytes(), &Limits::default()).expect("our own");
            prop_assert_eq!(again.method, method);
            prop_assert_eq!(again.framing, Framing::Length(length));
            prop_assert_eq!(again.headers.all("x-v").collect::<Vec<_>>(), [value.as_bytes()]);
        }
    }
}
