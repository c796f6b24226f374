//! Patterns as automata, in the three dialects of the format.
//!
//! What a pattern means is what the crate `globset` makes of it when `*` stops at a separator. The
//! original format asks for other separators than `/` by rewriting pattern and text alike before
//! they are compared, and the rewriting shows: with `.` as the separator, `*` doesn't match `a.b`.
//! So a pattern is rewritten in the same way here and compiled once; a text is rewritten while it's
//! fed to the automaton, byte by byte, in no memory at all.

use std::collections::HashMap;
use std::sync::Arc;

use globset::GlobBuilder;

use super::automaton::Automaton;

/// What separates, and how it's written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dialect {
    /// `/`: programs, scripts, and the paths of rules.
    Path,
    /// `.`: hosts, query values, and names of GraphQL, JSON-RPC and MCP.
    Dotted,
    /// The `path` of an endpoint: `*` crosses everything, and `/x/**` means `/x` too.
    Selector,
}

/// Why a pattern can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadGlob {
    Syntax,
    TooComplex,
}

/// One pattern.
#[derive(Debug)]
pub(super) enum Glob {
    Everything,
    Literal(Box<[u8]>),
    Automaton(Box<Automaton>),
}

impl Glob {
    fn new(pattern: &str, dialect: Dialect) -> Result<Self, BadGlob> {
        if pattern == "**" {
            return Ok(Glob::Everything);
        }
        if is_literal(pattern) {
            return Ok(Glob::Literal(pattern.as_bytes().into()));
        }
        Automaton::new(&[pattern], dialect).map(|made| Glob::Automaton(Box::new(made)))
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Glob::Everything => true,
            Glob::Literal(literal) => **literal == *text,
            Glob::Automaton(automaton) => automaton.patterns(text).next().is_some(),
        }
    }
}

/// Makes patterns, each different one once.
#[derive(Default)]
pub(super) struct Globs {
    made: HashMap<(Dialect, String), Arc<Glob>>,
}

impl Globs {
    pub(super) fn get(&mut self, pattern: &str, dialect: Dialect) -> Result<Arc<Glob>, BadGlob> {
        let key = (dialect, pattern.to_owned());
        if let Some(glob) = self.made.get(&key) {
            return Ok(Arc::clone(glob));
        }
        let glob = Arc::new(Glob::new(pattern, dialect)?);
        self.made.insert(key, Arc::clone(&glob));
        Ok(glob)
    }
}

impl Globs {
    /// A path of a program or script: only a `*` makes it a pattern.
    pub(super) fn get_program(&mut self, path: &str) -> Result<Arc<Glob>, BadGlob> {
        if path.contains('*') {
            return self.get(path, Dialect::Path);
        }
        Ok(Arc::new(Glob::Literal(path.as_bytes().into())))
    }
}

/// Whether the pattern is plain text in every dialect.
pub(super) fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', ']', '{', '}', '\\', '\0'])
}

/// The regular expression for a pattern.
pub(super) fn expression(pattern: &str, dialect: Dialect) -> Result<String, BadGlob> {
    if pattern.contains('\0') {
        return Err(BadGlob::Syntax);
    }
    match dialect {
        Dialect::Path => translate(pattern, true),
        Dialect::Dotted => {
            let rewritten = pattern.replace('/', "\0").replace('.', "/./");
            translate(&rewritten, true)
        }
        Dialect::Selector => selector(pattern),
    }
}

/// Braces and backslashes are plain text in a selector, unlike in the other dialects.
fn selector(pattern: &str) -> Result<String, BadGlob> {
    let mut plain = String::new();
    for character in pattern.chars() {
        match character {
            '{' | '}' | '\\' => plain.extend(['[', character, ']']),
            other => plain.push(other),
        }
    }
    let below = translate(&plain, false)?;
    match plain.strip_suffix("/**") {
        Some(itself) => Ok(format!("(?:{below})|(?:{})", translate(itself, false)?)),
        None => Ok(below),
    }
}

fn translate(pattern: &str, literal_separator: bool) -> Result<String, BadGlob> {
    let glob = GlobBuilder::new(pattern)
        .literal_separator(literal_separator)
        .build()
        .map_err(|_| BadGlob::Syntax)?;
    Ok(glob.regex().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{BadGlob, Dialect, Glob};

    #[track_caller]
    fn check(dialect: Dialect, pattern: &str, matching: &[&str], others: &[&str]) {
        let glob = Glob::new(pattern, dialect).expect(pattern);
        for text in matching {
            assert!(
                glob.matches(text.as_bytes()),
                "{pattern} should match {text}"
            );
        }
        for text in others {
            assert!(!glob.matches(text.as_bytes()), "{pattern} matches {text}");
        }
    }

    #[test]
    fn paths() {
        let check = |pattern, matching: &[&str], others: &[&str]| {
            check(Dialect::Path, pattern, matching, others);
        };
        check(
            "/repos/*",
            &["/repos/a", "/repos/"],
            &["/repos/a/b", "/repos"],
        );
        check("/repos/**", &["/repos/", "/repos/a/b"], &["/repos"]);
        check("/x**", &["/x", "/xyz"], &["/x/y"]);
        check(
            "/**/info/refs*",
            &["/info/refs", "/a/b/info/refs"],
            &["/info/x/refs"],
        );
        check("/a.b", &["/a.b"], &["/a/b", "/axb"]);
        check("/{a,b}/[!x]?", &["/a/yz"], &["/c/yz", "/a/xz", "/a/y/"]);
        check("**", &["", "/", "a\nb"], &[]);
    }

    #[test]
    fn dotted_names() {
        let check = |pattern, matching: &[&str], others: &[&str]| {
            check(Dialect::Dotted, pattern, matching, others);
        };
        check(
            "*.example.com",
            &["a.example.com"],
            &["example.com", "a.b.example.com"],
        );
        check(
            "**.example.com",
            &["a.example.com", "a.b.example.com"],
            &["example.com"],
        );
        check("v1.*", &["v1.2"], &["v1.2.3", "v1"]);
        check("foo-*", &["foo-a", "foo-"], &["foo-a.b"]);
        check("*", &["ab", "", "a/b"], &["a.b"]);
        check("**", &["a.b", "a"], &[]);
        check("tools/*", &["tools/call"], &["tools", "tools/a.b"]);
        check("a?b", &["a/b", "axb"], &["a.b"]);
    }

    #[test]
    fn selectors() {
        let check = |pattern, matching: &[&str], others: &[&str]| {
            check(Dialect::Selector, pattern, matching, others);
        };
        check("/x/**", &["/x", "/x/", "/x/y/z"], &["/xy", "/"]);
        check("/x/*", &["/x/y", "/x/y/z"], &["/x"]);
        check("/{a}*", &["/{a}", "/{a}/b"], &["/a"]);
        check("/graphql", &["/graphql"], &["/graphql/"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["[", "{a", "a}", "\0*", "[b-a]"] {
            assert_eq!(
                Glob::new(pattern, Dialect::Path).err(),
                Some(BadGlob::Syntax)
            );
        }
        let explosive = format!("*a{}", "?".repeat(40));
        assert_eq!(
            Glob::new(&explosive, Dialect::Path).err(),
            Some(BadGlob::TooComplex)
        );
    }
}
