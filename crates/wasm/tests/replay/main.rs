//! What was called is run again, in each executor, and comes to the same; or the first thing that
//! doesn't is named.
//!
//! This program is the controller and all that it starts, so it asks for its role first.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[allow(dead_code, reason = "nothing here needs the path of this program")]
#[path = "../processes/harness.rs"]
mod harness;
mod player;

use casemate_wasm::replay::{ReplayError, Replayed};
use casemate_wasm::store::{Document, Journal, Milestone, Record};
use player::{Player, executors, past};
use std::fs;
use std::path::Path;

type Failed = ReplayError<player::Failed>;

fn main() {
    casemate_wasm::process::role(&casemate_wasm::worker::Wasm);
    harness::main(&[
        (
            "a_history_comes_to_the_same_in_each_executor",
            a_history_comes_to_the_same_in_each_executor,
        ),
        (
            "a_byte_that_was_changed_is_named",
            a_byte_that_was_changed_is_named,
        ),
        ("what_was_forged_is_named", what_was_forged_is_named),
        ("another_runtime_is_refused", another_runtime_is_refused),
        ("what_was_not_kept_is_said", what_was_not_kept_is_said),
    ]);
}

fn replay(home: &Path, from: Option<u64>, which: usize) -> Result<Replayed, Failed> {
    let executor = &*executors()[which];
    casemate_wasm::replay::replay(home, from, |document| {
        Player::open(home, document, executor)
    })
}

fn a_history_comes_to_the_same_in_each_executor() {
    for recorded in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let last = past(folder.path(), &*executors()[recorded]);
        let mut found = Vec::new();
        for replayed in 0..2 {
            let proven = replay(folder.path(), None, replayed).unwrap();
            assert_eq!((proven.from, proven.milestones, proven.calls), (1, 3, 9));
            assert_eq!(proven.state, last);
            assert!(proven.instructions > 1000);
            found.push(proven);
            // From the middle as well.
            let proven = replay(folder.path(), Some(2), replayed).unwrap();
            assert_eq!((proven.from, proven.milestones, proven.calls), (2, 2, 5));
            assert_eq!(proven.state, last);
        }
        assert_eq!(found[0], found[1]);
    }
}

/// In any file that a replay reads.
fn a_byte_that_was_changed_is_named() {
    for (file, at, said) in [
        ("1.calls", 60, "1.calls: a record was damaged"),
        ("2.calls", 30, "2.calls: a record was damaged"),
        (
            "1.pages",
            100,
            "1.pages: page 0 of the heap has another checksum at byte 0",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        past(folder.path(), &*executors()[0]);
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x04;
        fs::write(&path, bytes).unwrap();
        for which in 0..2 {
            let why = replay(folder.path(), None, which).unwrap_err().to_string();
            assert!(why.contains(said), "{why}");
        }
    }
}

/// Writes a journal anew, with something else in it: all of its checksums are right.
fn forge(home: &Path, number: u64, change: impl Fn(&mut Vec<Record>)) {
    let path = Document::calls(home, number);
    let (_, mut records) = Journal::look(&path).unwrap();
    change(&mut records);
    fs::remove_file(&path).unwrap();
    let mut journal = Journal::begin(&path, false).unwrap();
    for record in &records {
        let written = journal.append(record, Default::default()).unwrap();
        let _ = written.wait().unwrap();
    }
}

fn what_was_forged_is_named() {
    type Change = fn(&mut Vec<Record>);
    let changes: [(Change, &str); 5] = [
        (
            |records| records[2].digest.instructions += 1,
            "call 3 after checkpoint 1, canister_update echo: it took ",
        ),
        (
            |records| records[1].digest.answer ^= 1,
            "call 2 after checkpoint 1, canister_update increment: its answer is another",
        ),
        (
            |records| records[1].digest.state ^= 1,
            "call 2 after checkpoint 1, canister_update increment: the globals",
        ),
        (
            |records| records[2].call.argument[0] ^= 1,
            "call 3 after checkpoint 1, canister_update echo: its answer is another",
        ),
        // Each of those that are left comes to the same, and together they don't.
        (
            |records| records.truncate(3),
            "the state at checkpoint 2 is ",
        ),
    ];
    for (change, said) in changes {
        let folder = tempfile::tempdir().unwrap();
        past(folder.path(), &*executors()[0]);
        forge(folder.path(), 1, change);
        for which in 0..2 {
            let why = replay(folder.path(), None, which).unwrap_err().to_string();
            assert!(why.contains(said), "{why}");
        }
    }
}

/// Changes the text of a milestone.
fn edit(home: &Path, number: u64, from: &str, to: &str) {
    let path = Milestone::path(home, number);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

fn another_runtime_is_refused() {
    for (from, to, said) in [
        ("\"wasmtime\": \"", "\"wasmtime\": \"9", "wasmtime 9"),
        ("\"semantics\": ", "\"semantics\": 9", "semantics 9"),
        ("\"simd\"", "\"threads\"", "the features "),
        (
            "\"settings\": \"",
            "\"settings\": \"00",
            "wasmtime's settings 00",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        past(folder.path(), &*executors()[0]);
        edit(folder.path(), 2, from, to);
        // Before anything runs.
        let why = casemate_wasm::replay::replay(
            folder.path(),
            None,
            |_: &Document| -> Result<Player, player::Failed> { panic!("it was opened") },
        );
        let why = why.unwrap_err();
        assert!(matches!(why, ReplayError::Runtime { checkpoint: 2, .. }));
        assert!(why.to_string().contains(said), "{why}");
    }
    // Another build of the same is none.
    let folder = tempfile::tempdir().unwrap();
    past(folder.path(), &*executors()[0]);
    edit(folder.path(), 2, "\"build\": \"", "\"build\": \"00");
    replay(folder.path(), None, 0).unwrap();
}

fn what_was_not_kept_is_said() {
    let folder = tempfile::tempdir().unwrap();
    past(folder.path(), &*executors()[0]);
    let said = |from| replay(folder.path(), from, 0).unwrap_err().to_string();
    assert!(said(Some(7)).contains("there is no milestone 7; there are [1, 2, 3]"));
    fs::remove_file(Milestone::path(folder.path(), 2)).unwrap();
    assert!(said(None).contains("checkpoint 2 wasn't kept"));
    fs::remove_file(Milestone::path(folder.path(), 1)).unwrap();
    fs::remove_file(Milestone::path(folder.path(), 3)).unwrap();
    assert!(said(None).contains("no history was kept"));
}
