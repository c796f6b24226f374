//! Where a credential belongs.

use std::fmt;

use crate::host::Host;

/// How much of a path is shown in messages.
const MAX_SHOWN_BYTES: usize = 200;

/// A host, a port and a path below which a credential may be sent, over TLS unless it says
/// otherwise: without TLS, nobody has proven to be the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    host: HostPattern,
    port: u16,
    path: String,
    secure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Exact(Host),
    /// Label by label; `*` is any one label.
    Labels(Vec<String>),
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The host that the policy allowed.
    pub host: &'a Host,
    /// Its port.
    pub port: u16,
    /// The canonical path, without the query.
    pub path: &'a str,
    /// Over TLS.
    pub secure: bool,
    /// The only provider whose credentials may be used, if the endpoint names one.
    pub provider: Option<&'a str>,
}

impl<'a> Destination<'a> {
    /// Over TLS, and with any provider.
    pub fn new(host: &'a Host, port: u16, path: &'a str) -> Self {
        Self {
            host,
            port,
            path,
            secure: true,
            provider: None,
        }
    }
}

/// As messages name it: `api.example.com:443`.
impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.get(..MAX_SHOWN_BYTES).unwrap_or(self.path);
        write!(f, "{}:{}{path}", self.host, self.port)?;
        f.write_str(if self.secure { "" } else { " without TLS" })
    }
}

/// Why a binding isn't one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBinding(pub &'static str);

impl fmt::Display for InvalidBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid binding of a credential: {}", self.0)
    }
}

impl std::error::Error for InvalidBinding {}

impl Binding {
    /// A binding to a host (`*` may stand for a whole label), a port, and a path (`/` is all), over
    /// TLS.
    pub fn new(host: &str, port: u16, path: &str) -> Result<Self, InvalidBinding> {
        if !path.starts_with('/') {
            return Err(InvalidBinding("its path doesn't begin with a slash"));
        }
        Ok(Self {
            host: pattern(host)?,
            port,
            path: path.trim_end_matches('/').to_owned(),
            secure: true,
        })
    }

    /// The same without TLS: whoever is on the way can read the secret.
    pub fn in_the_clear(self) -> Self {
        Self {
            secure: false,
            ..self
        }
    }

    /// Whether there is a path of this place that the credential may be sent to.
    pub fn reaches(&self, host: &Host, port: u16) -> bool {
        self.port == port && self.host.matches(host)
    }

    /// Whether the credential may be sent there.
    pub fn covers(&self, destination: &Destination<'_>) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.reaches(destination.host, destination.port)
            && self.secure == destination.secure
            && destination
                .path
                .strip_prefix(self.path.as_str())
                .is_some_and(below)
    }
}

fn pattern(host: &str) -> Result<HostPattern, InvalidBinding> {
    // A star is checked as if it were an ordinary label.
    let example = host.replace('*', "x");
    let bad = InvalidBinding("its host isn't one");
    let parsed = Host::parse(&example).map_err(|_| bad)?;
    if !host.contains('*') {
        return Ok(HostPattern::Exact(parsed));
    }
    let labels: Vec<_> = host
        .trim_end_matches('.')
        .to_ascii_lowercase()
        .split('.')
        .map(str::to_owned)
        .collect();
    let whole = |label: &String| label == "*" || !label.contains('*');
    let fixed_end = labels.iter().rev().take(2).all(|label| label != "*");
    if !labels.iter().all(whole) || labels.len() < 3 || !fixed_end {
        return Err(InvalidBinding(
            "a star stands for more than a label of a subdomain",
        ));
    }
    Ok(HostPattern::Labels(labels))
}

impl HostPattern {
    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exact(exact), host) => exact == host,
            (Self::Labels(labels), Host::Name(name)) => {
                let same = |(pattern, label): (&String, &str)| pattern == "*" || pattern == label;
                labels.len() == name.split('.').count()
                    && labels.iter().zip(name.split('.')).all(same)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(binding: (&str, u16, &str), host: &str, port: u16, path: &str) -> bool {
        let (pattern, bound, prefix) = binding;
        let host = Host::parse(host).expect("a host");
        Binding::new(pattern, bound, prefix)
            .expect("a binding")
            .covers(&Destination::new(&host, port, path))
    }

    #[test]
    fn a_binding_covers_its_place_only() {
        let binding = ("API.example.com", 443, "/v1/");
        assert!(covers(binding, "api.example.com", 443, "/v1"));
        assert!(covers(binding, "api.example.com", 443, "/v1/x"));
        assert!(!covers(binding, "api.example.com", 443, "/v1x"));
        assert!(!covers(binding, "api.example.com", 443, "/v2"));
        assert!(!covers(binding, "api.example.com", 80, "/v1"));
        assert!(!covers(binding, "evil.example.com", 443, "/v1"));
        assert!(!covers(binding, "x.api.example.com", 443, "/v1"));
        assert!(covers(("a.example", 1, "/"), "a.example", 1, "/any"));
    }

    #[test]
    fn a_secret_is_not_sent_in_the_clear_unless_it_is_meant_to() {
        let host = Host::parse("a.example").expect("a host");
        let over_tls = Destination::new(&host, 443, "/");
        let plain = Destination {
            secure: false,
            ..over_tls
        };
        let binding = Binding::new("a.example", 443, "/").expect("a binding");
        assert!(binding.covers(&over_tls) && !binding.covers(&plain));
        let binding = binding.in_the_clear();
        assert!(binding.covers(&plain) && !binding.covers(&over_tls));
    }

    #[test]
    fn a_star_is_one_label() {
        let binding = ("*.s3.*.amazonaws.com", 443, "/");
        assert!(covers(binding, "b.s3.eu-west-1.amazonaws.com", 443, "/k"));
        assert!(!covers(
            binding,
            "a.b.s3.eu-west-1.amazonaws.com",
            443,
            "/k"
        ));
        assert!(!covers(binding, "b.s3.amazonaws.com", 443, "/k"));
        for host in [
            "*",
            "*.com",
            "a.*",
            "a.*.com",
            "x*.a.example",
            "**.a.example",
            "",
            "a b",
        ] {
            assert!(Binding::new(host, 443, "/").is_err(), "{host}");
        }
        assert!(Binding::new("a.example", 443, "v1").is_err());
    }
}
