//! The host of a question: a name or an address.

use std::net::IpAddr;

/// The longest name that DNS knows, with room for a final dot.
const MAX_NAME: usize = 254;

/// The address that a host is, if it is one.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bracketed.unwrap_or(host).parse().ok()
}

/// A name in lower case, kept in place.
pub(super) struct Name {
    bytes: [u8; MAX_NAME],
    length: usize,
}

impl Name {
    /// None if no host can be called that: it's empty, too long, or has an empty label.
    pub(super) fn new(text: &str) -> Option<Self> {
        let length = text.len();
        let mut bytes = [0; MAX_NAME];
        let own = bytes.get_mut(..length)?;
        own.copy_from_slice(text.as_bytes());
        own.make_ascii_lowercase();
        let whole = text.split('.').all(|label| !label.is_empty()) && !text.contains(['/', '\0']);
        whole.then_some(Self { bytes, length })
    }

    pub(super) fn text(&self) -> &str {
        // What was UTF-8 still is after a change of the case of ASCII letters.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}
