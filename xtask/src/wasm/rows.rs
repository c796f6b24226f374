//! Each promise beside its tests, which have to exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::list::{self, Promise};
use super::listing::Listing;
use crate::artifacts::workspace;

/// How many rows there are.
const ROWS: usize = 68;

/// Where what is refused is named, and what the promise of it is called.
const REFUSALS: [(&str, &str, &str); 2] = [
    (
        "crates/wasm/src/module/refusal/mod.rs",
        "Refusal",
        "refusal",
    ),
    (
        "crates/wasm/src/module/refusal/counted.rs",
        "Counted",
        "count",
    ),
];

/// The flags of `cargo xtask wasm-rows`.
#[derive(Args)]
pub(crate) struct Options {
    /// Only print what is promised, and don't build the tests
    #[arg(long)]
    list: bool,
}

/// Prints the promises; one without a test is a failure.
pub(crate) fn run(options: &Options) -> Result<()> {
    let promises = list::read(&file("crates/wasm/tests/rows.txt")?)?;
    print!("{}", file("crates/wasm/src/system/matrix.txt")?);
    println!();
    let mut problems = unnamed(&promises)?;
    problems.extend(unexplained(&promises, &file("SPECIFICATION.md")?));
    let listing = match options.list {
        true => None,
        false => {
            let tests = promises.iter().flat_map(|promise| &promise.tests);
            let packages: BTreeSet<&str> = tests.map(|test| test.package.as_str()).collect();
            Some(Listing::of(&packages.into_iter().collect::<Vec<_>>())?)
        }
    };
    for promise in &promises {
        let broken = broken(promise, listing.as_ref());
        let state = match (&broken[..], &promise.excuse) {
            ([], Some(_)) => "excused",
            ([], None) => "ok",
            _ => "MISSING",
        };
        println!("{state:8} {}: {}", promise.name, promise.text);
        for test in &promise.tests {
            println!("           {} {} {}", test.package, test.binary, test.name);
        }
        if let Some(excuse) = &promise.excuse {
            println!("           only on a chain: {excuse}");
        }
        problems.extend(broken);
    }
    match problems.len() {
        0 => Ok(()),
        count => bail!(
            "{count} promises are not held:\n  {}",
            problems.join("\n  ")
        ),
    }
}

/// What is wrong with a promise.
fn broken(promise: &Promise, listing: Option<&Listing>) -> Vec<String> {
    let name = &promise.name;
    if let Some(what) = &promise.missing {
        return vec![format!("{name} isn't kept: {what}")];
    }
    if promise.tests.is_empty() && promise.excuse.is_none() {
        return vec![format!("{name} has no test: {}", promise.text)];
    }
    let missing = promise
        .tests
        .iter()
        .filter(|test| listing.is_some_and(|listing| !listing.has(test)));
    missing
        .map(|test| {
            format!(
                "{name}: there is no test {} in {} {}",
                test.name, test.package, test.binary
            )
        })
        .collect()
}

/// Rows, refusals and counts that nobody promises.
fn unnamed(promises: &[Promise]) -> Result<Vec<String>> {
    let mut names: Vec<String> = (1..=ROWS).map(|number| format!("row {number}")).collect();
    names.push("matrix".to_owned());
    for (path, of, kind) in REFUSALS {
        let source = file(path)?;
        let variants = list::variants(&source, of);
        if variants.is_empty() {
            bail!("{path} has no enum {of} any more");
        }
        names.extend(variants.iter().map(|variant| format!("{kind} {variant}")));
    }
    let known: BTreeSet<&str> = promises
        .iter()
        .map(|promise| promise.name.as_str())
        .collect();
    let unnamed = names.iter().filter(|name| !known.contains(name.as_str()));
    Ok(unnamed
        .map(|name| format!("{name} isn't in the list"))
        .collect())
}

/// Excuses that the specification doesn't give.
fn unexplained(promises: &[Promise], specification: &str) -> Vec<String> {
    let excused = promises.iter().filter(|promise| promise.excuse.is_some());
    let unexplained = excused.filter(|promise| {
        let line = format!("| {} |", promise.name);
        !specification.lines().any(|known| known.starts_with(&line))
    });
    unexplained
        .map(|promise| {
            format!(
                "{} is excused, and SPECIFICATION.md doesn't say why",
                promise.name
            )
        })
        .collect()
}

fn file(path: &str) -> Result<String> {
    let path = workspace().join(Path::new(path));
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(name: &str, excuse: Option<&str>) -> Promise {
        Promise {
            name: name.to_owned(),
            text: "it holds".to_owned(),
            tests: Vec::new(),
            excuse: excuse.map(str::to_owned),
            missing: None,
        }
    }

    #[test]
    fn the_list_names_every_row_and_refusal() {
        let promises = list::read(&file("crates/wasm/tests/rows.txt").unwrap()).unwrap();
        assert_eq!(unnamed(&promises).unwrap(), Vec::<String>::new());
        let fewer = &promises[1..];
        assert_eq!(unnamed(fewer).unwrap().len(), 1);
    }

    #[test]
    fn a_promise_without_a_test_needs_an_excuse_that_is_explained() {
        assert_eq!(broken(&promise("row 1", None), None).len(), 1);
        assert!(broken(&promise("row 1", Some("votes")), None).is_empty());
        let excused = [promise("row 1", Some("votes"))];
        assert_eq!(unexplained(&excused, "| row 11 | votes |").len(), 1);
        assert!(unexplained(&excused, "a\n| row 1 | votes |").is_empty());
    }
}
