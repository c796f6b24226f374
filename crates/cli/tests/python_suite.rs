//! CPython's own tests of what touches the system, inside and bare, by the same user in the same
//! kind of folder: nothing fails inside that doesn't fail bare, but for what the wall means.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
mod support;

use sandbox::{Stage, as_root, as_user};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{end_of, has, start};

const PYTHON: &str = "/usr/bin/python3";
/// Debian's libpython3-testsuite; without it, only a few of the files are there.
const SUITE: &str = "/usr/lib/python3.11/test/test_socket.py";
/// For one file of tests, on a machine that is busy with others.
const MOST: Duration = Duration::from_secs(240);

/// What is different inside, and why: part of a test's name, and the reason.
const MEANT: &[(&str, &str)] = &[
    (
        "UDPLITE",
        "socket(2) allows TCP and UDP; UDP-Lite is one of the protocols that nobody filters",
    ),
    (
        "ChownFileTests.test_chown_without_permission",
        "one group has an id in the user namespace; any other is EINVAL, not EPERM",
    ),
    (
        "ChownFileTests.test_chown_with_root",
        "root inside has no capabilities, and one id",
    ),
    (
        "POSIXProcessTestCase.test_user",
        "one user has an id in the user namespace; any other is EINVAL, not EPERM",
    ),
    (
        "POSIXProcessTestCase.test_group",
        "one group has an id in the user namespace; any other is EINVAL, not EPERM",
    ),
    (
        "MakedirTests.test_exist_ok_s_isgid_directory",
        "set-id bits can't be set; the test skips itself",
    ),
];

/// What one run of a file of tests said.
struct Said {
    failed: BTreeSet<String>,
    skipped: BTreeSet<String>,
    /// Number of tests that ran.
    ran: u32,
    text: String,
}

/// Runs one file of tests outside and inside, and compares.
fn compare(stage: &Stage, suite: &str) {
    if !has(&[PYTHON, SUITE]) {
        return;
    }
    let mut bare = stage.command("nice");
    let bare = said(stage, bare.arg(PYTHON), suite, "bare");
    let mut inside = stage.command("nice");
    let inside = said(
        stage,
        inside
            .arg(stage.path("casemate"))
            .args(["run", "--", PYTHON]),
        suite,
        "inside",
    );
    assert!(
        bare.ran > 0 && inside.ran == bare.ran,
        "{} tests bare, {} inside:\n{}",
        bare.ran,
        inside.ran,
        inside.text
    );
    let failed = unmeant(&inside.failed, &bare.failed);
    assert!(
        failed.is_empty(),
        "these fail inside only: {failed:#?}\n{}",
        inside.text
    );
    // A test that fails bare and is skipped inside is not one that the wall breaks.
    let known = bare.skipped.union(&bare.failed).cloned().collect();
    let skipped = unmeant(&inside.skipped, &known);
    assert!(
        skipped.is_empty(),
        "these are skipped inside only: {skipped:#?}\n{}",
        inside.text
    );
    println!(
        "{suite}: {} tests; bare {} failed, {} skipped; inside {} failed, {} skipped",
        bare.ran,
        bare.failed.len(),
        bare.skipped.len(),
        inside.failed.len(),
        inside.skipped.len(),
    );
}

/// Tests of one set that are not in another and that no reason is known for.
fn unmeant(inside: &BTreeSet<String>, bare: &BTreeSet<String>) -> Vec<String> {
    let meant = |name: &String| MEANT.iter().any(|(part, _)| name.contains(part));
    inside
        .difference(bare)
        .filter(|name| !meant(name))
        .cloned()
        .collect()
}

/// Runs `python -m test -v` to a file, as its output is larger than a pipe.
fn said(stage: &Stage, command: &mut Command, suite: &str, name: &str) -> Said {
    stage.folder(format!("ws/{name}"));
    let path = stage.path(&format!("{name}.log"));
    let log = fs::File::create(&path).unwrap();
    command
        .args(["-m", "test", "-v", suite])
        .current_dir(stage.path(&format!("ws/{name}")));
    command
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null());
    // 0 is success, 2 is tests that failed; anything else is a run that is worth nothing.
    let code = end_of(&mut start(command), MOST).code();
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    assert!(
        matches!(code, Some(0 | 2)),
        "{suite} {name} ended with {code:?}:\n{text}"
    );
    Said {
        failed: failures(&text),
        skipped: skips(&text),
        ran: ran(&text),
        text,
    }
}

/// `ERROR: test_user (test.test_subprocess.POSIXProcessTestCase.test_user) (user=0)` and `FAIL:`.
fn failures(text: &str) -> BTreeSet<String> {
    let of_line = |line: &str| {
        let rest = line
            .strip_prefix("ERROR: ")
            .or_else(|| line.strip_prefix("FAIL: "))?;
        name_in(rest)
    };
    text.lines().filter_map(of_line).collect()
}

/// `test_x (test.test_os.T.test_x) ... skipped 'why'`, where the name may be a line above, with
/// the test's description.
fn skips(text: &str) -> BTreeSet<String> {
    let mut last = None;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        last = name_in(line).or(last);
        if line.contains(" ... skipped ") {
            found.extend(last.clone());
        }
    }
    found
}

/// The full name in a line, which stands in parentheses after the short one.
fn name_in(line: &str) -> Option<String> {
    let (short, rest) = line.split_once(" (")?;
    let (full, _) = rest.split_once(')')?;
    (!short.contains(' ') && full.starts_with("test.")).then(|| full.to_owned())
}

/// `Ran 316 tests in 1.1s`.
fn ran(text: &str) -> u32 {
    let number = |line: &str| {
        line.strip_prefix("Ran ")?
            .split(' ')
            .next()?
            .parse::<u32>()
            .ok()
    };
    text.lines().filter_map(number).sum()
}

#[test]
fn names_are_read() {
    let text = "test_a (test.test_os.T.test_a)\nWhat it does. ... skipped 'why'\nERROR: test_b (test.m.T.test_b) (n=1)\nRan 2 tests in 1s\n";
    assert_eq!(
        skips(text),
        BTreeSet::from(["test.test_os.T.test_a".to_owned()])
    );
    assert_eq!(
        failures(text),
        BTreeSet::from(["test.m.T.test_b".to_owned()])
    );
    assert_eq!(ran(text), 2);
}

/// Every difference has a reason that a reader can check.
#[test]
fn reasons_are_given() {
    assert!(
        MEANT
            .iter()
            .all(|(part, reason)| part.len() > 5 && reason.len() > 20)
    );
}

#[test]
fn test_os_as_root() {
    as_root(|stage| compare(stage, "test_os"));
}

#[test]
fn test_os_as_user() {
    as_user(|stage| compare(stage, "test_os"));
}

#[test]
fn test_mmap_as_root() {
    as_root(|stage| compare(stage, "test_mmap"));
}

#[test]
fn test_mmap_as_user() {
    as_user(|stage| compare(stage, "test_mmap"));
}

#[test]
fn test_tempfile_as_root() {
    as_root(|stage| compare(stage, "test_tempfile"));
}

#[test]
fn test_tempfile_as_user() {
    as_user(|stage| compare(stage, "test_tempfile"));
}

// The rest takes half a minute each, and the same code runs for both users.

#[test]
fn test_subprocess_as_user() {
    as_user(|stage| compare(stage, "test_subprocess"));
}

#[test]
fn test_threading_as_user() {
    as_user(|stage| compare(stage, "test_threading"));
}

#[test]
fn test_socket_as_user() {
    as_user(|stage| compare(stage, "test_socket"));
}

#[test]
fn test_signal_as_user() {
    as_user(|stage| compare(stage, "test_signal"));
}
