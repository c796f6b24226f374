//! The query: forwarded nearly as it was sent, judged as decoded pairs.

use super::InvalidTarget;
use crate::percent;

/// The longest query, encoded.
pub const MAX_QUERY_BYTES: usize = 8192;

/// The most pairs in a query.
pub const MAX_PAIRS: usize = 256;

/// A query that every server splits in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    text: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads what stands after the `?`; the characters were checked before.
    pub(super) fn parse(raw: &str) -> Result<Self, InvalidTarget> {
        // Some servers split at a semicolon too. Encoded, it's part of a value for all of them.
        let text = raw.replace(';', "%3B");
        if text.len() > MAX_QUERY_BYTES {
            return Err(InvalidTarget("the query is longer than 8192 bytes"));
        }
        let pairs = parse_pairs(&text)?;
        Ok(Self { text, pairs })
    }

    /// What is forwarded.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Decoded keys and values, in their order; a key without `=` has an empty value.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

/// Decodes `a=b&c=d`, of a query or of a form.
pub(crate) fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, InvalidTarget> {
    let mut pairs = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        if pairs.len() == MAX_PAIRS {
            return Err(InvalidTarget("the query has more than 256 pairs"));
        }
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.push((decode(key)?, decode(value)?));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, InvalidTarget> {
    let bytes = percent::decode_form(text.as_bytes())
        .ok_or(InvalidTarget("a % isn't followed by two digits"))?;
    String::from_utf8(bytes).map_err(|_| InvalidTarget("the query doesn't decode to UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(raw: &str) -> Vec<(String, String)> {
        Query::parse(raw).expect("a query").pairs
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn pairs_are_decoded_and_kept_in_order() {
        assert_eq!(
            pairs("a=1&b=x+y%20z&a=%C3%A4&&c&=d"),
            [
                pair("a", "1"),
                pair("b", "x y z"),
                pair("a", "ä"),
                pair("c", ""),
                pair("", "d"),
            ]
        );
        assert_eq!(pairs("a=b=c"), [pair("a", "b=c")]);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn a_semicolon_separates_nothing() {
        let query = Query::parse("a=1;admin=1").expect("a query");
        assert_eq!(query.as_str(), "a=1%3Badmin=1");
        assert_eq!(query.pairs(), [pair("a", "1;admin=1")]);
    }

    #[test]
    fn bad_escapes_and_too_much_are_refused() {
        for raw in ["a=%", "a=%2", "%zz=1", "a=%ff"] {
            assert!(Query::parse(raw).is_err(), "{raw}");
        }
        assert!(Query::parse(&"a&".repeat(256)).is_ok());
        assert!(Query::parse(&"a&".repeat(257)).is_err());
        assert!(Query::parse(&"a".repeat(8193)).is_err());
        assert!(Query::parse(&";".repeat(4000)).is_err());
    }
}
