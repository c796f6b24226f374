//! The example of an embedding program, run: as it is, and without the call that it begins with.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../../examples/embed.rs"]
mod embed;
#[allow(dead_code, reason = "nothing here needs all of it")]
#[path = "../processes/harness.rs"]
mod harness;

use std::process::Command;

/// The first argument of a process that is the example.
const EXAMPLE: &str = "example";
/// And of one that forgets what it should call first.
const FORGETFUL: &str = "forgetful";

fn main() {
    match std::env::args().nth(1).as_deref() {
        // What the wall starts is the example, whose own first call makes it what it is to be.
        Some(EXAMPLE | "wasm-role") => embed::main().unwrap(),
        Some(FORGETFUL) => forget(),
        _ => harness::main(&[
            ("it_runs", it_runs),
            ("what_was_forgotten_is_named", what_was_forgotten_is_named),
        ]),
    }
}

fn run(what: &str) -> (String, String, bool) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg(what).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.success(),
    )
}

fn it_runs() {
    let (out, err, succeeded) = run(EXAMPLE);
    assert!(succeeded, "{err}");
    assert_eq!(out, "1\n2\n2\n");
}

fn forget() {
    let folder = tempfile::tempdir().unwrap();
    println!("{}", embed::count(folder.path()).unwrap_err());
}

fn what_was_forgotten_is_named() {
    let (out, err, succeeded) = run(FORGETFUL);
    assert!(succeeded, "{err}");
    assert!(
        out.contains("hint: call casemate_wasm::process::role() at the top of the program's main"),
        "{out}"
    );
}
