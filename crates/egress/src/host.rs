//! Host names and authorities, in one spelling each.
//!
//! A name that is compared with a policy must not have two spellings, and a name that is resolved
//! must not turn into an address on the way: `getaddrinfo` reads `0x7f.1`, `2130706433` and `127.1`
//! as 127.0.0.1. So whatever looks like a number but isn't a plain address is refused here.
//!
//! Sources: RFC 3986 §3.2.2, RFC 1123 §2.1, RFC 5890 (A-labels only), and the WHATWG URL standard's
//! notion of a host that "ends in a number".

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name, without its trailing dot (RFC 1035 §2.3.4).
pub const MAX_NAME_BYTES: usize = 253;

const MAX_LABEL_BYTES: usize = 63;

/// A host in its only spelling: lower case, no trailing dot, no v4-mapped addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

/// `host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, if it's given.
    pub port: Option<u16>,
}

/// Why a host isn't one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHost(pub &'static str);

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid host: {}", self.0)
    }
}

impl std::error::Error for InvalidHost {}

impl Host {
    /// Reads a host; an IPv6 address may stand in brackets.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner
                .strip_suffix(']')
                .ok_or(InvalidHost("a bracket isn't closed"))?;
            return v6(inner);
        }
        if text.contains(':') {
            return v6(text);
        }
        name_or_v4(text)
    }

    /// The address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some((*address).into()),
            Self::V6(address) => Some((*address).into()),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    /// Without brackets: as a log and a policy write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
        }
    }
}

impl Authority {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        let split = if text.starts_with('[') {
            let end = text
                .find(']')
                .ok_or(InvalidHost("a bracket isn't closed"))?;
            let (host, rest) = text.split_at(end + 1);
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(InvalidHost("something follows the bracket")),
            }
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let (host, port) = split;
        Ok(Self {
            host: Host::parse(host)?,
            port: port.map(parse_port).transpose()?,
        })
    }

    /// The port, or the one that the scheme stands for.
    pub fn port_or(&self, default: u16) -> u16 {
        self.port.unwrap_or(default)
    }
}

impl fmt::Display for Authority {
    /// As a `Host` header has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V6(address) => write!(f, "[{address}]")?,
            other => other.fmt(f)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidHost> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(InvalidHost("the port isn't a number from 1 to 65535")),
    }
}

fn v6(text: &str) -> Result<Host, InvalidHost> {
    // A zone (`%eth0`) isn't part of this grammar, and only means something on one machine.
    let address: Ipv6Addr = text
        .parse()
        .map_err(|_| InvalidHost("not an IPv6 address"))?;
    Ok(Host::from(IpAddr::V6(address)))
}

fn name_or_v4(text: &str) -> Result<Host, InvalidHost> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(InvalidHost("it's empty"));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(InvalidHost("the name is longer than 253 bytes"));
    }
    let mut last = "";
    for label in name.split('.') {
        check_label(label)?;
        last = label;
    }
    if !ends_in_number(last) {
        return Ok(Host::Name(name.to_ascii_lowercase()));
    }
    // The standard library takes four decimal numbers without leading zeros, and nothing else.
    match name.parse() {
        Ok(address) if name == text => Ok(Host::V4(address)),
        _ => Err(InvalidHost("an ambiguous spelling of an address")),
    }
}

fn check_label(label: &str) -> Result<(), InvalidHost> {
    if label.is_empty() {
        return Err(InvalidHost("a label is empty"));
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(InvalidHost("a label is longer than 63 bytes"));
    }
    if !label.is_ascii() {
        return Err(InvalidHost(
            "not ASCII; international names are written as A-labels (xn--…)",
        ));
    }
    // The underscore is no part of a host name, but names with it exist and resolve.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !label.bytes().all(allowed) {
        return Err(InvalidHost("a character that no name has"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(InvalidHost("a label begins or ends with a hyphen"));
    }
    Ok(())
}

/// Whether something would read a name that ends in this label as an address.
fn ends_in_number(label: &str) -> bool {
    let lower = label.as_bytes();
    let hex = matches!(lower, [b'0', b'x' | b'X', digits @ ..] if digits.iter().all(u8::is_ascii_hexdigit));
    hex || lower.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Result<Host, InvalidHost> {
        Ok(Host::Name(text.to_owned()))
    }

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(Host::parse("API.Example.COM."), name("api.example.com"));
        assert_eq!(
            Host::parse("_dmarc.example.com"),
            name("_dmarc.example.com")
        );
        assert_eq!(Host::parse("xn--bcher-kva.ch"), name("xn--bcher-kva.ch"));
        assert_eq!(
            Host::parse("r3---sn-a.example.com"),
            name("r3---sn-a.example.com")
        );
        assert_eq!(Host::parse("1.2.3.4.example"), name("1.2.3.4.example"));
    }

    #[test]
    fn addresses_in_odd_notations_are_refused() {
        for text in [
            "0x7f.1",
            "0x7f.0.0.0x1",
            "2130706433",
            "127.1",
            "127.0.0.01",
            "0177.0.0.1",
            "0x7f000001",
            "0x",
            "127.0.0.1.",
            "256.1.1.1",
            "1.2.3.4.5",
            "example.123",
            "a.0x1f",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a%2eb",
            "a@b",
            "bücher.ch",
            "-a.com",
            "a-.com",
            "*.com",
            "a\0b",
            "a\r\nb",
            "[::1",
            "::1]",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "a.com..",
        ] {
            assert!(Host::parse(text).is_err(), "{text:?}");
        }
        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&"a.".repeat(127)).is_ok());
        assert!(Host::parse(&"a.".repeat(128)).is_err());
    }

    #[test]
    fn a_mapped_address_is_the_one_in_it() {
        let expected = Ok(Host::V4(Ipv4Addr::new(1, 2, 3, 4)));
        assert_eq!(Host::parse("1.2.3.4"), expected);
        assert_eq!(Host::parse("[::ffff:1.2.3.4]"), expected);
        assert_eq!(Host::parse("::FFFF:102:304"), expected);
    }

    #[test]
    fn authorities_are_read_and_written() {
        for (text, written) in [
            ("Example.com", "example.com"),
            ("example.com.:443", "example.com:443"),
            ("[::1]", "[::1]"),
            ("[2001:DB8::0:1]:8443", "[2001:db8::1]:8443"),
            ("1.2.3.4:80", "1.2.3.4:80"),
        ] {
            let authority = Authority::parse(text).expect("an authority");
            assert_eq!(authority.to_string(), written);
        }
        for text in [
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a: 80",
            "a:080000",
            "[::1]80",
            "[::1]:",
            "::1:80",
            "user@a:80",
            ":80",
            "a:80:80",
        ] {
            assert!(Authority::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = Authority::parse(&text);
        }

        #[test]
        fn reading_what_was_written_changes_nothing(text in "[-A-Za-z0-9_.:\\[\\]]{1,80}") {
            if let Ok(authority) = Authority::parse(&text) {
                prop_assert_eq!(Authority::parse(&authority.to_string()), Ok(authority));
            }
        }
    }
}
