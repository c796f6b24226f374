//! What a host may look like: a name, a pattern of names, or an address.
//!
//! In a pattern, `*` is a whole label, or a part of the first one, and `**` is one or more labels
//! at the beginning. The only wildcard is `*`: it has to be plain who owns the names that match.

use std::net::IpAddr;

use super::address;
use crate::position::Located;
use crate::quote::quoted;
use crate::report::Report;

/// The longest name of the DNS, as text.
const MAX_HOST_BYTES: usize = 253;

/// The longest label of the DNS.
const MAX_LABEL_BYTES: usize = 63;

/// Why a text is no host.
pub(super) struct Objection {
    why: String,
    hint: &'static str,
}

impl Objection {
    fn new(why: impl Into<String>, hint: &'static str) -> Self {
        Self {
            why: why.into(),
            hint,
        }
    }

    pub(super) fn tell(self, text: &Located<&str>, path: &str, report: &mut Report) {
        let message = format!("{} in `{path}` {}", quoted(text.value), self.why);
        report.add_with_hint(text.position, message, self.hint);
    }
}

/// A name, pattern or address in its canonical form: lower case, and no brackets around IPv6.
pub(super) fn host(text: &str) -> Result<String, Objection> {
    literal(text).map_or_else(|| name(text), Ok)
}

/// The same; what is wrong with it is told.
pub(crate) fn told(text: &Located<&str>, path: &str, report: &mut Report) -> Option<String> {
    match host(text.value) {
        Ok(host) => Some(host),
        Err(objection) => {
            objection.tell(text, path, report);
            None
        }
    }
}

/// The same; what is wrong with it is said in one line.
pub(crate) fn checked(text: &str) -> Result<String, String> {
    host(text).map_err(|bad| format!("{} {}; {}", quoted(text), bad.why, bad.hint))
}

/// The same for any pattern.
pub(super) fn selector_or_address(text: &str) -> Result<String, Objection> {
    literal(text).map_or_else(|| selector(text), Ok)
}

fn literal(text: &str) -> Option<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(text).parse().ok()?;
    (bare.is_none() || address.is_ipv6()).then(|| address::canonical(address).to_string())
}

/// A name, or a pattern that doesn't span the domains of different owners.
pub(super) fn name(text: &str) -> Result<String, Objection> {
    let name = selector(text)?;
    let labels: Vec<_> = name.split('.').collect();
    if !name.contains('*') {
        return Ok(name);
    }
    if labels.len() < 3 || labels.last().is_some_and(|label| label.contains('*')) {
        return Err(Objection::new(
            "spans the domains of different owners",
            "put the wildcard below a domain, as in `*.example.com`",
        ));
    }
    for (index, label) in labels.iter().enumerate() {
        match *label {
            "*" => {}
            "**" if index == 0 => {}
            label if label.contains("**") => {
                return Err(Objection::new(
                    "has a `**` that isn't the whole first label",
                    "`**` stands for one or more labels at the beginning, as in `**.example.com`",
                ));
            }
            label if label.contains('*') && index > 0 => {
                return Err(Objection::new(
                    "has a `*` inside a label that isn't the first one",
                    "further on, a `*` is a whole label, as in `*.s3.*.example.com`",
                ));
            }
            _ => {}
        }
    }
    Ok(name)
}

/// A name or any pattern of names, in lower case.
pub(super) fn selector(text: &str) -> Result<String, Objection> {
    if literal(text).is_some() {
        return Err(Objection::new("is an address", "only names can stand here"));
    }
    if let Some(objection) = malformed(text) {
        return Err(objection);
    }
    if text.len() > MAX_HOST_BYTES || text.split('.').any(|label| label.len() > MAX_LABEL_BYTES) {
        return Err(Objection::new(
            "is longer than a name can be",
            "a name has at most 253 characters, and each of its labels 63",
        ));
    }
    if text.ends_with('.') {
        return Err(Objection::new(
            "ends in a dot",
            "write it without; names are absolute anyway",
        ));
    }
    if text.split('.').any(str::is_empty) {
        return Err(Objection::new("has an empty label", "check the dots"));
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        return Err(Objection::new(
            "ends in a number, but is no address",
            "an IPv4 address is four decimal numbers without leading zeros; networks go into `allowed_ips`",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// What is wrong with the characters.
fn malformed(text: &str) -> Option<Objection> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    let stranger = text.chars().find(|character| !plain(*character))?;
    if text.contains("://") {
        return Some(Objection::new(
            "is a URL",
            "give the name alone, without scheme and path",
        ));
    }
    Some(match stranger {
        ':' => Objection::new("has a port in it", "the port goes into `port`"),
        '/' => Objection::new(
            "has a `/` in it",
            "a path goes into `path`, a network into `allowed_ips`",
        ),
        '?' | '[' | ']' | '{' | '}' | ',' => Objection::new(
            format!("has a `{stranger}`"),
            "the only wildcard in a host is `*`; write an endpoint for each of several names",
        ),
        other if !other.is_ascii() => Objection::new(
            "isn't ASCII",
            "write an international name as it is in the DNS: `xn--…`",
        ),
        other => {
            let shown = quoted(other.encode_utf8(&mut [0; 4]));
            Objection::new(
                format!("has a {shown}"),
                "a name has letters, digits, `-`, `_` and dots",
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{host, name, selector};

    #[test]
    fn hosts() {
        for (text, canonical) in [
            ("API.example.com", Some("api.example.com")),
            ("localhost", Some("localhost")),
            ("_dmarc.example.com", Some("_dmarc.example.com")),
            ("*.example.com", Some("*.example.com")),
            ("**.example.com", Some("**.example.com")),
            ("*.s3.*.amazonaws.com", Some("*.s3.*.amazonaws.com")),
            ("*-ai.x.com", Some("*-ai.x.com")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("[FE80::1]", Some("fe80::1")),
            ("2001:db8:0::1", Some("2001:db8::1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("[10.0.0.1]", None),
            ("*", None),
            ("**", None),
            ("*.com", None),
            ("**.com", None),
            ("a*.com", None),
            ("www.example.*", None),
            ("foo.us-*.x.com", None),
            ("foo.**.x.com", None),
            ("foo**.x.com", None),
            ("example.com.", None),
            ("a..b", None),
            ("", None),
            ("010.0.0.1", None),
            ("127.1", None),
            ("0x7f.0x1", None),
            ("*.0.0.1", None),
            ("10.0.0.0/8", None),
            ("https://x.com", None),
            ("x.com:443", None),
            ("x.com/p", None),
            ("{a,b}.x.com", None),
            ("b\u{fc}cher.example", None),
            ("a b", None),
            ("a\u{1b}b", None),
        ] {
            assert_eq!(host(text).ok().as_deref(), canonical, "{text}");
        }
        assert!(host(&format!("{}.com", "x".repeat(63))).is_ok());
        assert!(host(&format!("{}.com", "x".repeat(64))).is_err());
        assert!(host(&format!("{}com", "x.".repeat(126))).is_err());
    }

    #[test]
    fn selectors_may_be_broad_and_names_are_no_addresses() {
        assert!(selector("**.zip").is_ok() && selector("*").is_ok());
        assert!(name("10.0.0.1").is_err() && name("::1").is_err());
    }
}
