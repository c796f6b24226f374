//! Heads that are written anew: what is for one hop ends here (RFC 9110 §7.6.1), and what the way
//! in knows of the client is added.

use super::is_http11;
use http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::accept::Client;
use crate::answer::{Body, TRAFFIC_TOKEN};
use crate::route::Authority;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What a head depends on besides the client's own.
pub(super) struct Circumstances<'a> {
    pub(super) host: &'a Authority,
    pub(super) client: Client,
    pub(super) port: u16,
    pub(super) mask: Option<&'a str>,
    pub(super) prefix: Option<&'a str>,
    pub(super) behind_proxy: bool,
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) has_body: bool,
}

/// A request's head on its way in.
#[derive(Clone)]
pub(super) struct Outgoing {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    /// What the program inside is told that the host is.
    pub(super) host: HeaderValue,
    /// The client waits for leave to send the body.
    pub(super) expects: bool,
    /// It may be sent twice: it has no body, and twice is as good as once (RFC 9110 §9.2.2).
    pub(super) repeatable: bool,
}

impl Outgoing {
    pub(super) fn new(path: PathAndQuery, parts: &Parts, around: Circumstances<'_>) -> Self {
        let mut headers = parts.headers.clone();
        let trailers = names(&headers, &TE, "trailers");
        let chunked = around.has_body && !headers.contains_key(CONTENT_LENGTH);
        strip(&mut headers);
        headers.remove(TRAFFIC_TOKEN);
        join_cookies(&mut headers);
        let expects = expects(parts) && around.has_body;
        if !expects {
            headers.remove(EXPECT);
        }
        if chunked {
            // Said in so many words, as otherwise a GET is taken to have no body.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if let Some(protocol) = around.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        } else if trailers {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        forwarded(&mut headers, &around);
        let host = host(&around);
        headers.insert(HOST, host.clone());
        let method = parts.method.clone();
        Self {
            repeatable: !around.has_body && method.is_idempotent(),
            method,
            path,
            headers,
            host,
            expects,
        }
    }

    pub(super) fn request(self, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from(self.path);
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers;
        request
    }
}

/// True if the client sends its body only when it's told to.
pub(super) fn expects(parts: &Parts) -> bool {
    is_http11(parts) && names(&parts.headers, &EXPECT, "100-continue")
}

/// Takes away from a response what ends here.
pub(super) fn clean(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // It doesn't count beside the other (RFC 9112 §6.3), and would count again without it.
        headers.remove(CONTENT_LENGTH);
    }
    strip(headers);
    // A program inside isn't asked where else the gateway is.
    headers.remove(ALT_SVC);
}

/// Takes away what is for one hop, first of all what says so of itself.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    // The length is no affair of one hop, whoever says so.
    for name in named.into_iter().filter(|name| name != CONTENT_LENGTH) {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

/// True if a list has this word.
pub(super) fn names(headers: &HeaderMap, list: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(list).iter();
    let mut words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|own| own.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// In HTTP/2 each may come by itself; in HTTP/1.1 there is one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

fn host(around: &Circumstances<'_>) -> HeaderValue {
    let port = around.port.to_string();
    let mask = around.mask.map(|mask| mask.replace("${PORT}", &port));
    let mask = mask.and_then(|mask| HeaderValue::try_from(mask).ok());
    let own = || around.host.text().cloned();
    let none = || HeaderValue::from_static("localhost");
    mask.or_else(own).unwrap_or_else(none)
}

/// Says who the client is, and what it asked for.
fn forwarded(headers: &mut HeaderMap, around: &Circumstances<'_>) {
    if !around.behind_proxy {
        for name in [
            FORWARDED,
            FORWARDED_FOR,
            FORWARDED_HOST,
            FORWARDED_PROTO,
            FORWARDED_PORT,
            REAL_IP,
        ] {
            headers.remove(name);
        }
    }
    headers.remove(FORWARDED_PREFIX);
    let peer = around.client.peer.ip().to_canonical().to_string();
    let before: Vec<_> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let chain = [&before[..], &[peer.as_bytes()]].concat().join(&b", "[..]);
    if let Ok(chain) = HeaderValue::from_bytes(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
    let proto = match around.client.secure {
        true => "https",
        false => "http",
    };
    let proto = HeaderValue::from_static(proto);
    headers.entry(FORWARDED_PROTO).or_insert(proto);
    if let Some(host) = around.host.text() {
        headers
            .entry(FORWARDED_HOST)
            .or_insert_with(|| host.clone());
    }
    if let Some(prefix) = around
        .prefix
        .and_then(|prefix| HeaderValue::from_str(prefix).ok())
    {
        headers.insert(FORWARDED_PREFIX, prefix);
    }
}
