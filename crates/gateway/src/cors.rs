//! Pages of other origins (CORS: the Fetch standard, §3.2).
//!
//! E2B's client runs in browsers, too. The API and the agents are told who asks by headers that a
//! page has to know and to send itself, never by cookies: so every page may ask, and each is
//! answered what its key allows. What programs say of this at their own ports is theirs alone.
//!
//! A browser's question beforehand carries no header that names a sandbox, and no key: it's answered
//! here, and wakes nobody.

use crate::answer::{Body, empty};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

const ANY: HeaderValue = HeaderValue::from_static("*");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Seconds that a browser may remember the answer for.
const REMEMBERED: HeaderValue = HeaderValue::from_static("7200");
/// Bytes of names that are repeated.
const MOST_NAMES: usize = 4096;

/// The answer to a browser's question beforehand; `None` to any other request.
pub(crate) fn preflight(parts: &Parts) -> Option<Response<Body>> {
    let asked = &parts.headers;
    let asks = parts.method == Method::OPTIONS
        && asked.contains_key(ORIGIN)
        && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !asks {
        return None;
    }
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    // Named one by one, since `*` leaves out `Authorization`.
    let names = asked.get(ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(names) = names.filter(|names| names.len() <= MOST_NAMES) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    let vary = HeaderValue::from_static("access-control-request-headers");
    headers.insert(VARY, vary);
    Some(response)
}

/// Lets pages of any origin read a response. It's said to everybody: what a cache keeps of an
/// answer to somebody else would otherwise be closed to a page.
pub(crate) fn open(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
}
