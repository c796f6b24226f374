//! The host that a request is for.

use crate::answer::Answer;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Version};
use std::net::IpAddr;

/// See the module. `localhost:3000` is the name `localhost`, and is what `text` is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// In lower case, without the port, the brackets and the root's dot.
    name: String,
    /// As the client wrote it; none if it named no host (HTTP/1.0).
    text: Option<HeaderValue>,
}

impl Authority {
    /// Reads it. The request line wins over `Host` (RFC 9112 §3.2.2); in HTTP/2 they may not differ
    /// (RFC 9113 §8.3.1).
    pub(crate) fn of(parts: &Parts) -> Result<Self, Answer> {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Answer::Bad("Host comes twice"));
        }
        let line = parts.uri.authority().map(http::uri::Authority::as_str);
        let line = line.map(HeaderValue::from_str).transpose();
        let line = line.map_err(|_| Answer::Bad("the request line names no host"))?;
        if parts.version == Version::HTTP_2
            && let (Some(line), Some(host)) = (&line, host)
            && !line.as_bytes().eq_ignore_ascii_case(host.as_bytes())
        {
            return Err(Answer::Bad(":authority and Host name different places"));
        }
        match line.as_ref().or(host) {
            Some(text) => Self::parse(text),
            None if parts.version == Version::HTTP_10 => Ok(Self {
                name: String::new(),
                text: None,
            }),
            None => Err(Answer::Bad("Host is missing")),
        }
    }

    fn parse(text: &HeaderValue) -> Result<Self, Answer> {
        const BAD: Answer = Answer::Bad("Host is no name or address");
        let plain = text.to_str().map_err(|_| BAD)?;
        let (name, port) = match plain.strip_prefix('[') {
            Some(rest) => {
                let (name, after) = rest.split_once(']').ok_or(BAD)?;
                name.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
                (
                    name,
                    after.strip_prefix(':').or(after.is_empty().then_some("")),
                )
            }
            None => match plain.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (plain, Some("")),
            },
        };
        let port = port.ok_or(BAD)?;
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if !port.bytes().all(|byte| byte.is_ascii_digit())
            || (!port.is_empty() && port.parse::<u16>().is_err())
            || !name.bytes().all(fine)
        {
            return Err(BAD);
        }
        Ok(Self {
            name: name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
            text: Some(text.clone()),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> Option<&HeaderValue> {
        self.text.as_ref()
    }

    /// True if headers may name the sandbox here.
    pub(super) fn takes_headers(&self, domain: Option<&str>) -> bool {
        let name = self.name.as_str();
        let ours = domain.is_some_and(|domain| {
            let under = name.strip_suffix(domain);
            under.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        name == "localhost"
            || name.parse::<IpAddr>().is_ok()
            || name.starts_with("sandbox.")
            || !ours
    }
}
