//! `casemate wasm install`, `call`, `query` and the rest: canisters that stay.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/mod.rs"]
mod support;

use sandbox::{Ended, Stage, both};

both!(
    what_is_called_is_kept,
    a_failure_changes_nothing,
    names_and_methods_are_explained,
    one_owner_at_a_time,
    modules_are_checked,
);

const COUNTER: &str = include_str!("../../wasm/tests/guests/counter.wat");

/// Where guests run.
const EXECUTORS: [&str; 2] = ["sandboxed", "in-process"];

fn wasm(stage: &Stage, executor: &str, args: &[&str]) -> Ended {
    let mut command = stage.casemate();
    command
        .args(["wasm"])
        .args(args)
        .args(["--executor", executor]);
    Ended::of(&mut command)
}

/// A counter, freshly installed.
fn install(stage: &Stage, executor: &str) {
    stage.write("counter.wat", COUNTER);
    let module = stage.path("counter.wat");
    let ended = wasm(
        stage,
        executor,
        &["install", module.to_str().unwrap(), "--name", "counter"],
    );
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.starts_with("counter "), "{}", ended.out);
}

/// Its three numbers, as they are answered.
fn numbers(count: u8) -> String {
    let number = |low: u8| format!("{low:02x}{}", "00".repeat(7));
    format!("{}{}{}\n", number(count), number(7 + count), number(count))
}

fn what_is_called_is_kept(stage: &Stage) {
    for executor in EXECUTORS {
        install(stage, executor);
        wasm(stage, executor, &["query", "counter", "get"]).assert(0, &numbers(1), "");
        for count in 2..5 {
            // Each in a process of its own, which runs again what the ones before it were asked.
            let called = wasm(stage, executor, &["call", "counter", "increment"]);
            called.assert(0, &numbers(count), "");
            let asked = wasm(stage, executor, &["query", "counter", "get_after_adding"]);
            asked.assert(0, &numbers(count + 1), "");
        }
        wasm(stage, executor, &["query", "counter", "get"]).assert(0, &numbers(4), "");
        let echoed = wasm(
            stage,
            executor,
            &["call", "counter", "echo", "--arg-hex", "6f6b", "--raw"],
        );
        echoed.assert(0, "ok", "");
        wasm(stage, executor, &["list"]).assert(0, "counter\n", "");
        let status = wasm(stage, executor, &["status", "counter"]);
        assert!(
            status.out.contains("heap           128 KiB"),
            "{}",
            status.out
        );
        wasm(stage, executor, &["uninstall", "counter"]).assert(0, "", "");
        wasm(stage, executor, &["list"]).assert(0, "", "");
    }
}

fn a_failure_changes_nothing(stage: &Stage) {
    for executor in EXECUTORS {
        install(stage, executor);
        let ended = wasm(stage, executor, &["call", "counter", "add_and_trap"]);
        assert_eq!((ended.code, ended.out.as_str()), (134, ""));
        for said in [
            "log: no\n",
            "the canister trapped: no more",
            "hint: nothing was changed",
        ] {
            assert!(ended.err.contains(said), "{said}: {}", ended.err);
        }
        let ended = wasm(stage, executor, &["call", "counter", "divide"]);
        assert!(
            ended.err.contains("integer division by zero"),
            "{}",
            ended.err
        );
        wasm(stage, executor, &["query", "counter", "get"]).assert(0, &numbers(1), "");
        wasm(stage, executor, &["uninstall", "counter"]).assert(0, "", "");
    }
}

fn names_and_methods_are_explained(stage: &Stage) {
    let ended = wasm(stage, "sandboxed", &["call", "counter", "get"]);
    assert_eq!(ended.code, 125);
    assert!(
        ended.err.contains("there is no canister \"counter\""),
        "{}",
        ended.err
    );
    install(stage, "sandboxed");
    let cases: [(&[&str], &str); 5] = [
        (&["call", "count", "get"], "there are counter"),
        (&["call", "counter", "gets"], "has no method \"gets\""),
        (
            &["query", "counter", "increment"],
            "has no query \"increment\"",
        ),
        (
            &["call", "counter", "echo", "--arg-hex", "abc"],
            "hexadecimal digits",
        ),
        (&["status", "../counter"], "is no name for a canister"),
    ];
    for (args, said) in cases {
        let ended = wasm(stage, "sandboxed", args);
        assert_eq!(ended.code, 125, "{args:?}");
        assert!(ended.err.contains(said), "{args:?}: {}", ended.err);
    }
    let module = stage.path("counter.wat");
    let again = ["install", module.to_str().unwrap(), "--name", "counter"];
    let ended = wasm(stage, "sandboxed", &again);
    assert!(
        ended
            .err
            .contains("there is a canister \"counter\" already"),
        "{}",
        ended.err
    );
}

fn one_owner_at_a_time(stage: &Stage) {
    install(stage, "sandboxed");
    let data = stage.path("home/.local/state/casemate/wasm");
    let lock = std::fs::File::open(data.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ended = wasm(
        stage,
        "sandboxed",
        &["query", "counter", "get", "--wait", "0"],
    );
    assert_eq!(ended.code, 125);
    assert!(ended.err.contains("belongs to process"), "{}", ended.err);
    drop(lock);
    wasm(stage, "sandboxed", &["query", "counter", "get"]).assert(0, &numbers(1), "");
}

fn modules_are_checked(stage: &Stage) {
    let cases = [
        ("(module (import \"env\" \"f\" (func)))", "env"),
        (
            "(module (func (export \"canister_init\") unreachable))",
            "unreachable",
        ),
        ("(module", "wat"),
        (
            "(module (func (export \"canister_query q\") (param i32)))",
            "canister_query q",
        ),
    ];
    for executor in EXECUTORS {
        for (text, said) in cases {
            stage.write("bad.wat", text);
            let module = stage.path("bad.wat");
            let args = ["install", module.to_str().unwrap(), "--name", "bad"];
            let ended = wasm(stage, executor, &args);
            assert_ne!(ended.code, 0, "{text}");
            assert!(ended.err.contains(said), "{text}: {}", ended.err);
            wasm(stage, executor, &["list"]).assert(0, "", "");
        }
    }
}
