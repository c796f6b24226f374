//! The target of a request, in the one spelling that is both judged and forwarded.
//!
//! A rule on `/admin` is worth nothing if `/public/..;/%61dmin` gets to the same place. So the path
//! is rewritten before it's judged, the result is what goes upstream, and a path that servers are
//! known to read in different ways is refused rather than interpreted:
//!
//! ```text
//! /a//b;v=1/./%7Ec/../d?x=1;y   ──▶   path /a/b/d   query x=1%3By   pairs [(x, "1;y")]
//! ```
//!
//! Sources: RFC 3986 §2.3, §3.3, §5.2.4, §6.2.2.

mod query;
mod segments;

use std::fmt;

pub use query::{MAX_PAIRS, MAX_QUERY_BYTES, Query};

/// The longest path, encoded.
pub const MAX_PATH_BYTES: usize = 4096;

/// What the policy lets a path have.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathRules {
    /// `%2F` is kept as it is rather than refused.
    pub allow_encoded_slash: bool,
}

/// A target in its only spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalTarget {
    path: String,
    query: Option<Query>,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTarget(pub &'static str);

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid request target: {}", self.0)
    }
}

impl std::error::Error for InvalidTarget {}

impl CanonicalTarget {
    /// Rewrites `path[?query]`.
    pub fn parse(target: &str, rules: PathRules) -> Result<Self, InvalidTarget> {
        for byte in target.bytes() {
            match byte {
                b'#' => return Err(InvalidTarget("it has a fragment")),
                b'\\' => return Err(InvalidTarget("it has a backslash")),
                0x21..=0x7e => {}
                0x20 | 0..0x20 | 0x7f => {
                    return Err(InvalidTarget("it has a space or a control character"));
                }
                _ => return Err(InvalidTarget("it has a character that isn't ASCII")),
            }
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Ok(Self {
            path: segments::canonical_path(path, rules)?,
            query: query.map(Query::parse).transpose()?,
        })
    }

    /// The path, to be judged and forwarded; it begins with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query, if there is a `?`.
    pub fn query(&self) -> Option<&Query> {
        self.query.as_ref()
    }

    /// The decoded pairs of the query; none if there is no query.
    pub fn pairs(&self) -> &[(String, String)] {
        self.query.as_ref().map_or(&[], Query::pairs)
    }
}

impl fmt::Display for CanonicalTarget {
    /// What is forwarded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{}", query.as_str()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(target: &str) -> Result<String, InvalidTarget> {
        CanonicalTarget::parse(target, PathRules::default()).map(|target| target.to_string())
    }

    #[test]
    fn path_and_query_are_apart() {
        assert_eq!(parse("/a?b?c=/../d").as_deref(), Ok("/a?b?c=/../d"));
        assert_eq!(parse("/a?").as_deref(), Ok("/a?"));
        assert_eq!(parse("/a/%3Fb").as_deref(), Ok("/a/%3Fb"));
    }

    #[test]
    fn what_servers_disagree_on_is_refused() {
        for target in [
            "/a#b",
            "/a?b#c",
            "/a\\b",
            "/a?b\\c",
            "/a b",
            "/a\tb",
            "/a\0",
            "/a?b\r\nc",
            "/ä",
            "/a\x7f",
        ] {
            assert!(parse(target).is_err(), "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn rewriting_twice_changes_nothing(target in "/[-a-z0-9A-F%.;/?&=+:@!~\\[\\]|]{0,60}", slash: bool) {
            let rules = PathRules { allow_encoded_slash: slash };
            if let Ok(once) = CanonicalTarget::parse(&target, rules) {
                let twice = CanonicalTarget::parse(&once.to_string(), rules);
                prop_assert_eq!(twice.as_ref(), Ok(&once));
                let inner: Vec<_> = once.path().split('/').skip(1).collect();
                prop_assert!(!inner.iter().any(|part| matches!(*part, "." | "..")));
                prop_assert!(!once.path().contains("//") && !once.path().contains(';'));
            }
        }

        #[test]
        fn any_text_is_rewritten_or_refused(target in "\\PC*") {
            let _ = CanonicalTarget::parse(&target, PathRules::default());
        }
    }
}
