//! The promises as they are written down, in `crates/wasm/tests/rows.txt`.
//!
//! ```text
//! # a comment
//! row 1: what holds
//!     casemate-wasm behaviour the_name_of_a_test
//! row 2: what holds on a chain of machines
//!     only on a chain: why not here
//! row 3: what should hold
//!     missing: what of it
//! refusal NotWasm: what is refused
//!     casemate-wasm prepare refusals::another_test
//! matrix: what is held by these
//!     casemate-wasm behaviour and_another
//! ```

use anyhow::{Context, Result, bail};

/// What an excuse begins with.
const EXCUSE: &str = "only on a chain: ";
/// What says that a promise isn't kept, or not all of it.
const MISSING: &str = "missing: ";
/// What can't be excused: a process that dies, and what it may do.
const NEVER: [&str; 2] = ["row 51", "row 64"];

/// A promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Promise {
    /// `row 1`, `refusal NotWasm`, `matrix`.
    pub(crate) name: String,
    /// What holds.
    pub(crate) text: String,
    /// What holds it.
    pub(crate) tests: Vec<Test>,
    /// Why it can't be here.
    pub(crate) excuse: Option<String>,
    /// What of it isn't there.
    pub(crate) missing: Option<String>,
}

/// A test, by its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) package: String,
    /// The name of a test binary, or `lib`.
    pub(crate) binary: String,
    pub(crate) name: String,
}

/// Reads them.
pub(crate) fn read(text: &str) -> Result<Vec<Promise>> {
    let mut promises: Vec<Promise> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = || format!("line {}: {line:?}", number + 1);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_prefix("    ") {
            None => {
                let (name, text) = line.split_once(": ").with_context(at)?;
                if promises.iter().any(|promise| promise.name == name) {
                    bail!("{}: there are two of {name}", at());
                }
                promises.push(Promise {
                    name: name.to_owned(),
                    text: text.to_owned(),
                    tests: Vec::new(),
                    excuse: None,
                    missing: None,
                });
            }
            Some(line) => {
                let promise = promises.last_mut().with_context(at)?;
                if let Some(what) = line.strip_prefix(MISSING) {
                    promise.missing = Some(what.to_owned());
                    continue;
                }
                match line.strip_prefix(EXCUSE) {
                    Some(_) if NEVER.contains(&promise.name.as_str()) => {
                        bail!("{}: {} can't be excused", at(), promise.name)
                    }
                    Some(excuse) => promise.excuse = Some(excuse.to_owned()),
                    None => promise.tests.push(test(line).with_context(at)?),
                }
            }
        }
    }
    Ok(promises)
}

fn test(line: &str) -> Option<Test> {
    let mut words = line.split_whitespace().map(str::to_owned);
    let test = Test {
        package: words.next()?,
        binary: words.next()?,
        name: words.next()?,
    };
    words.next().is_none().then_some(test)
}

/// The variants of an enum in a file of Rust: each is a line of its own.
pub(crate) fn variants<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!("pub enum {name} {{");
    let lines = source
        .lines()
        .skip_while(|line| *line != begin)
        .skip(1)
        .take_while(|line| *line != "}");
    let names = lines.filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let is_name = line.starts_with(|first: char| first.is_ascii_uppercase());
        let end = line.find(|character: char| !character.is_ascii_alphanumeric())?;
        is_name.then_some(&line[..end])
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_read_with_their_tests() {
        let text = "# no\nrow 1: one\n    a b c::d\n    a lib e\n\nrow 2: two\n    only on a chain: votes\nrow 3: three\n    missing: all\n";
        let test = |binary: &str, name: &str| Test {
            package: "a".to_owned(),
            binary: binary.to_owned(),
            name: name.to_owned(),
        };
        let promise = |name: &str, text: &str| Promise {
            name: name.to_owned(),
            text: text.to_owned(),
            tests: Vec::new(),
            excuse: None,
            missing: None,
        };
        let expected = [
            Promise {
                tests: vec![test("b", "c::d"), test("lib", "e")],
                ..promise("row 1", "one")
            },
            Promise {
                excuse: Some("votes".to_owned()),
                ..promise("row 2", "two")
            },
            Promise {
                missing: Some("all".to_owned()),
                ..promise("row 3", "three")
            },
        ];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, said) in [
            ("row 51: a\n    only on a chain: b", "line 2"),
            ("row 64: a\n    only on a chain: b", "can't be excused"),
            ("row 1: a\nrow 1: b", "two of row 1"),
            ("row 1: a\n    p b", "line 2"),
            ("row 1: a\n    p b c d", "line 2"),
            ("    p b c", "line 1"),
            ("row 1", "line 1"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn variants_are_found_in_source() {
        let source = "pub enum Other {\n    No,\n}\npub enum One {\n    /// Text.\n    #[error(\n        \"Not\"\n    )]\n    A(String),\n    B {\n        Name: u8,\n    },\n    C,\n}\n";
        assert_eq!(variants(source, "One"), ["A", "B", "C"]);
        assert!(variants(source, "None").is_empty());
    }
}
