//! The tests that there are: each test binary is built and asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::list::Test;
use crate::artifacts::workspace;
use crate::command;

/// The names of tests, by package and binary.
pub(crate) struct Listing(BTreeMap<(String, String), Vec<String>>);

impl Listing {
    /// Of these packages.
    pub(crate) fn of(packages: &[&str]) -> Result<Self> {
        let mut tests = BTreeMap::new();
        for (place, program) in built(packages)? {
            let listed =
                command::output(Command::new(&program).args(["--list", "--format", "terse"]))
                    .with_context(|| format!("cannot list the tests of {}", program.display()))?;
            let names = listed
                .lines()
                .filter_map(|line| line.strip_suffix(": test"));
            tests.insert(place, names.map(str::to_owned).collect());
        }
        Ok(Self(tests))
    }

    /// Whether there is such a test, or tests of that name as several users.
    pub(crate) fn has(&self, test: &Test) -> bool {
        let place = (test.package.clone(), test.binary.clone());
        let is_one = |name: &String| {
            let rest = name.strip_prefix(&test.name);
            rest.is_some_and(|rest| ["", "::as_root", "::as_user"].contains(&rest))
        };
        self.0
            .get(&place)
            .is_some_and(|names| names.iter().any(is_one))
    }
}

/// Every test binary of these packages: its package, its name, and where it is.
fn built(packages: &[&str]) -> Result<Vec<((String, String), PathBuf)>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo.args(["test", "--no-run", "--quiet", "--message-format", "json"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    let said = command::output(&mut cargo).context("the tests can't be built")?;
    Ok(said.lines().filter_map(binary).collect())
}

/// What a line of cargo says was built, if that is a test binary.
fn binary(line: &str) -> Option<((String, String), PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_test = message["profile"]["test"].as_bool() == Some(true);
    let program = message["executable"].as_str().filter(|_| is_test)?;
    let target = &message["target"];
    let is_library = target["kind"][0].as_str() == Some("lib");
    let binary = match is_library {
        true => "lib",
        false => target["name"].as_str()?,
    };
    let package = package(message["package_id"].as_str()?)?;
    Some(((package, binary.to_owned()), program.into()))
}

/// The name in `path+file:///…/folder#name@1.0.0`, which is the folder's if it isn't said.
fn package(id: &str) -> Option<String> {
    let (place, named) = id.split_once('#')?;
    let name = match named.split_once('@') {
        Some((name, _)) => name,
        None => place.rsplit('/').next()?,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_binaries_are_told_from_what_else_is_built() {
        let line = |kind: &str, is_test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "package_id": "path+file:///x/crates/wasm#casemate-wasm@0.1.0",
                "target": {"kind": [kind], "name": "some"},
                "profile": {"test": is_test},
                "executable": "/x/some-1",
            })
            .to_string()
        };
        let place = |binary: &str| {
            (
                ("casemate-wasm".to_owned(), binary.to_owned()),
                "/x/some-1".into(),
            )
        };
        assert_eq!(binary(&line("test", true)), Some(place("some")));
        assert_eq!(binary(&line("lib", true)), Some(place("lib")));
        assert_eq!(binary(&line("bin", false)), None);
        assert_eq!(binary("warning: no"), None);
        assert_eq!(
            package("path+file:///x/xtask#0.1.0").as_deref(),
            Some("xtask")
        );
    }

    #[test]
    fn a_test_may_be_run_as_several_users() {
        let names = ["one::as_root", "one::as_user", "two", "three::more"];
        let place = ("p".to_owned(), "b".to_owned());
        let listing = Listing([(place, names.map(str::to_owned).to_vec())].into());
        let has = |binary: &str, name: &str| {
            listing.has(&Test {
                package: "p".to_owned(),
                binary: binary.to_owned(),
                name: name.to_owned(),
            })
        };
        assert!(has("b", "one") && has("b", "two") && has("b", "three::more"));
        assert!(!has("b", "three") && !has("b", "tw") && !has("lib", "two"));
    }
}
