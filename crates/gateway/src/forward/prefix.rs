//! The path mode: `/proxy/{id}/{port}/…` outside is `/…` inside; `/proxy/absolute/{id}/{port}/…` is the
//! same inside, for programs that write it into their pages.
//!
//! For browsers where no wildcard DNS is. All sandboxes share an origin there, with each other and
//! with the API, so what a response says about a whole origin is taken away.

use crate::answer::Answer;
use crate::route::Prefix;
use http::header::{CONTENT_LOCATION, LOCATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// They speak for the whole origin.
const FOR_ALL: [HeaderName; 3] = [
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("clear-site-data"),
    STRICT_TRANSPORT_SECURITY,
];

/// The path inside, byte by byte what follows the prefix. Without its slash, the folder is
/// elsewhere: relative links would lead out of it. Where the prefix is kept, whether the folder has
/// a slash is the program's affair.
pub(super) fn inside(parts: &Parts, prefix: &Prefix) -> Result<PathAndQuery, Answer> {
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let bad = Answer::Bad("the path can't be read");
    if prefix.kept {
        return path.parse().map_err(|_| bad);
    }
    let prefix = prefix.path.as_str();
    let rest = path.strip_prefix(prefix).unwrap_or(path);
    if rest.starts_with('/') {
        return rest.parse().map_err(|_| bad);
    }
    if parts.method == Method::GET || parts.method == Method::HEAD {
        let folder = HeaderValue::try_from(format!("{prefix}/{rest}"));
        return Err(folder.map_or(bad, Answer::Folder));
    }
    format!("/{rest}").parse().map_err(|_| bad)
}

/// Where a program is, outside.
pub(super) struct Place<'a> {
    prefix: &'a str,
    port: u16,
    /// What it may call itself.
    own: [Option<&'a HeaderValue>; 2],
}

impl<'a> Place<'a> {
    pub(super) fn new(prefix: &'a str, port: u16, own: [Option<&'a HeaderValue>; 2]) -> Self {
        Self { prefix, port, own }
    }

    /// Makes a response's places those that the client can ask for.
    pub(super) fn lengthen(&self, headers: &mut HeaderMap) {
        for name in FOR_ALL {
            headers.remove(name);
        }
        for name in [LOCATION, CONTENT_LOCATION] {
            let longer = headers.get(&name).and_then(|value| self.location(value));
            longer.map(|longer| headers.insert(name, longer));
        }
        let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().cloned().collect();
        headers.remove(SET_COOKIE);
        for cookie in cookies {
            // One that can't be written again isn't set: it would be everybody's.
            if let Ok(cookie) = HeaderValue::from_bytes(&self.cookie(cookie.as_bytes())) {
                headers.append(SET_COOKIE, cookie);
            }
        }
    }

    /// A place with the prefix, if it's the program's own and doesn't have it.
    fn location(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        let absolute = ["http://", "https://", "//"]
            .into_iter()
            .find_map(|scheme| {
                let start = value.get(..scheme.len())?;
                start
                    .eq_ignore_ascii_case(scheme)
                    .then(|| &value[scheme.len()..])
            });
        let path = match absolute {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                self.is_own(authority).then_some(path)?
            }
            None => value.starts_with('/').then_some(value)?,
        };
        let longer = match (self.has_prefix(path), path.starts_with('/')) {
            (true, _) => path.to_owned(),
            (false, true) => format!("{}{path}", self.prefix),
            (false, false) => format!("{}/{path}", self.prefix),
        };
        HeaderValue::try_from(longer).ok()
    }

    fn is_own(&self, authority: &str) -> bool {
        let same = |own: &&HeaderValue| own.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        let inside = || {
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
                _ => (authority, Some(80)),
            };
            let local = ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"];
            port == Some(self.port) && local.iter().any(|own| own.eq_ignore_ascii_case(host))
        };
        self.own.iter().flatten().any(same) || inside()
    }

    /// True of a path that a program made which knows where it is (`X-Forwarded-Prefix`).
    fn has_prefix(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
    }

    /// A cookie of this program and no other: its path gets the prefix, and it has no domain. One
    /// without a path is for the folder that was asked for, which has the prefix already.
    fn cookie(&self, cookie: &[u8]) -> Vec<u8> {
        let mut parts = cookie.split(|byte| *byte == b';');
        let mut made = parts.next().unwrap_or_default().to_vec();
        for part in parts {
            let (name, value) = match part.iter().position(|byte| *byte == b'=') {
                Some(at) => (&part[..at], part[at + 1..].trim_ascii()),
                None => (part, &[][..]),
            };
            let is = |word: &str| name.trim_ascii().eq_ignore_ascii_case(word.as_bytes());
            if is("domain") {
                continue;
            }
            made.push(b';');
            let path = std::str::from_utf8(value)
                .ok()
                .filter(|path| path.starts_with('/'));
            match path {
                Some(path) if is("path") && !self.has_prefix(path) => {
                    made.extend_from_slice(b" Path=");
                    made.extend_from_slice(self.prefix.as_bytes());
                    made.extend_from_slice(path.as_bytes());
                }
                // A path that is no text would be another one to each client.
                None if is("path") && value.starts_with(b"/") => {
                    made.extend_from_slice(b" Path=");
                    made.extend_from_slice(self.prefix.as_bytes());
                }
                _ => made.extend_from_slice(part),
            }
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/proxy/i0123456789abcdefghij/3000";

    fn place(host: &HeaderValue) -> Place<'_> {
        Place::new(PREFIX, 3000, [Some(host), None])
    }

    #[test]
    fn places_of_its_own_get_the_prefix() {
        let host = HeaderValue::from_static("localhost:8080");
        let location = |value: &'static str| {
            let longer = place(&host).location(&HeaderValue::from_static(value));
            longer.map(|longer| longer.to_str().unwrap().to_owned())
        };
        for (from, to) in [
            ("/", "/"),
            ("/a/?b#c", "/a/?b#c"),
            ("http://localhost:8080/a", "/a"),
            ("HTTPS://LOCALHOST:8080/a", "/a"),
            ("http://localhost:8080", "/"),
            ("http://127.0.0.1:3000?x", "/?x"),
            ("http://[::1]:3000/x", "/x"),
            ("//localhost:8080/%2F//x", "/%2F//x"),
        ] {
            assert_eq!(location(from), Some(format!("{PREFIX}{to}")), "{from}");
        }
        for from in [
            "a/",
            "../a",
            "?x",
            "#x",
            "http://example.com/",
            "//example.com/x",
            "mailto:x",
        ] {
            assert_eq!(location(from), None, "{from}");
        }
        // A port inside that is another program's.
        assert_eq!(location("http://127.0.0.1:3001/"), None);
    }

    #[test]
    fn what_has_the_prefix_does_not_get_it_twice() {
        let host = HeaderValue::from_static("localhost:8080");
        let has = HeaderValue::try_from(format!("http://localhost:8080{PREFIX}/a")).unwrap();
        let longer = place(&host).location(&has).unwrap();
        assert_eq!(longer, format!("{PREFIX}/a").as_str());
        let other = HeaderValue::try_from(format!("{PREFIX}1/a")).unwrap();
        let longer = place(&host).location(&other).unwrap();
        assert_eq!(longer, format!("{PREFIX}{PREFIX}1/a").as_str());
    }

    #[test]
    fn a_cookie_is_this_programs_alone() {
        let host = HeaderValue::from_static("localhost");
        let cookie = |text: &str| String::from_utf8(place(&host).cookie(text.as_bytes())).unwrap();
        assert_eq!(
            cookie("a=b; Path=/; Secure"),
            format!("a=b; Path={PREFIX}/; Secure")
        );
        assert_eq!(cookie("a=b;path = /x"), format!("a=b; Path={PREFIX}/x"));
        assert_eq!(cookie("a=b; Domain=localhost; HttpOnly"), "a=b; HttpOnly");
        assert_eq!(cookie("a=\"p;ath=/\"; Path=x"), "a=\"p;ath=/\"; Path=x");
        let own = format!("a=b; Path={PREFIX}/x");
        assert_eq!(cookie(&own), own);
        let twice = cookie("a=b; path=/x; PATH=/");
        assert_eq!(twice, format!("a=b; Path={PREFIX}/x; Path={PREFIX}/"));
    }
}
