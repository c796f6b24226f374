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
    a_query_asks_a_query,
    names_and_methods_are_explained,
    one_owner_at_a_time,
    modules_are_checked,
    a_canister_is_carried_in_a_file,
    what_was_called_is_proven_again,
    as_much_of_the_past_stays_as_was_said,
    code_is_changed_and_calls_are_stopped,
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

/// A composite query that hands on what another query says.
const ASKER: &str = r#"(module
    (import "ic0" "canister_self_size" (func $self_size (result i32)))
    (import "ic0" "canister_self_copy" (func $self (param i32 i32 i32)))
    (import "ic0" "call_new" (func $new (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "ic0" "call_perform" (func $perform (result i32)))
    (import "ic0" "msg_arg_data_size" (func $size (result i32)))
    (import "ic0" "msg_arg_data_copy" (func $copy (param i32 i32 i32)))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_reply" (func $reply))
    (memory 1)
    (table 2 funcref)
    (elem (i32.const 0) $hand_on $refuse)
    (data (i32.const 0) "get")
    (data (i32.const 8) "well")
    (func (export "canister_query get")
        (call $append (i32.const 8) (i32.const 4))
        (call $reply))
    (func (export "canister_composite_query ask")
        (call $self (i32.const 100) (i32.const 0) (call $self_size))
        (call $new (i32.const 100) (call $self_size) (i32.const 0) (i32.const 3)
            (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0))
        (drop (call $perform)))
    (func $hand_on (param i32)
        (call $copy (i32.const 200) (i32.const 0) (call $size))
        (call $append (i32.const 200) (call $size))
        (call $reply))
    (func $refuse (param i32) unreachable))"#;

fn a_query_asks_a_query(stage: &Stage) {
    for executor in EXECUTORS {
        stage.write("asker.wat", ASKER);
        let module = stage.path("asker.wat");
        let name = format!("asker-{executor}");
        let args = ["install", module.to_str().unwrap(), "--name", &name];
        assert_eq!(wasm(stage, executor, &args).code, 0);
        wasm(stage, executor, &["query", &name, "ask", "--raw"]).assert(0, "well", "");
        let called = wasm(stage, executor, &["call", &name, "ask"]);
        assert!(
            called.code != 0 && called.err.contains("is a composite query"),
            "{}",
            called.err
        );
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

fn a_canister_is_carried_in_a_file(stage: &Stage) {
    install(stage, "sandboxed");
    wasm(stage, "sandboxed", &["call", "counter", "increment"]).assert(0, &numbers(2), "");
    stage.write("carried/nothing", "");
    let file = stage.path("carried/counter.canister");
    let file = file.to_str().unwrap();
    wasm(stage, "sandboxed", &["export", "counter", file]).assert(0, "", "");
    // It isn't overwritten, and what is no archive is no canister.
    let ended = wasm(stage, "sandboxed", &["export", "counter", file]);
    assert!(ended.err.contains("exists"), "{}", ended.err);
    let ended = wasm(stage, "sandboxed", &["import", file, "--name", "other"]);
    assert!(
        ended.out.starts_with("other "),
        "{} {}",
        ended.out,
        ended.err
    );
    wasm(stage, "in-process", &["call", "other", "increment"]).assert(0, &numbers(3), "");
    wasm(stage, "sandboxed", &["query", "counter", "get"]).assert(0, &numbers(2), "");
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    stage.write("broken.canister", bytes);
    let broken = stage.path("broken.canister");
    let broken = broken.to_str().unwrap();
    let ended = wasm(stage, "sandboxed", &["import", broken, "--name", "third"]);
    assert_eq!(ended.code, 125, "{}", ended.err);
    wasm(stage, "sandboxed", &["list"]).assert(0, "counter\nother\n", "");
}

fn what_was_called_is_proven_again(stage: &Stage) {
    install(stage, "sandboxed");
    let kept = |args: &[&str]| wasm(stage, "sandboxed", &[args, &["--keep-history"]].concat());
    let ended = wasm(stage, "sandboxed", &["replay", "counter"]);
    assert_eq!(ended.code, 125, "{}", ended.out);
    for command in ["stop", "start"] {
        kept(&[command, "counter"]);
    }
    for count in 2..5 {
        kept(&["call", "counter", "increment"]).assert(0, &numbers(count), "");
    }
    for executor in EXECUTORS {
        let ended = wasm(stage, executor, &["replay", "counter"]);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        assert!(ended.out.contains("calls    3 the same"), "{}", ended.out);
    }
}

fn as_much_of_the_past_stays_as_was_said(stage: &Stage) {
    install(stage, "sandboxed");
    let home = stage.path("home/.local/state/casemate/wasm/canisters/counter");
    let milestones = || {
        let names = std::fs::read_dir(&home).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".milestone")).count()
    };
    let kept = |flag: &str, count: usize| {
        for command in ["stop", "start"] {
            let ended = wasm(stage, "sandboxed", &[command, "counter", flag]);
            assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        }
        assert_eq!(milestones(), count, "{flag}");
    };
    kept("--keep-history", 2);
    kept("--keep-history", 4);
    kept("--keep-history=3", 3);
    kept("--keep-history=3", 3);
    let args = ["call", "counter", "increment", "--keep-history=3"];
    wasm(stage, "sandboxed", &args).assert(0, &numbers(2), "");
    let ended = wasm(stage, "sandboxed", &["replay", "counter"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("states   3 the same"), "{}", ended.out);
    assert!(ended.out.contains("calls    1 the same"), "{}", ended.out);
    let none = wasm(stage, "sandboxed", &["list", "--keep-history=0"]);
    assert_ne!(none.code, 0, "{}", none.out);
}

fn code_is_changed_and_calls_are_stopped(stage: &Stage) {
    install(stage, "sandboxed");
    let module = stage.path("counter.wat");
    let module = module.to_str().unwrap();
    wasm(stage, "sandboxed", &["call", "counter", "increment"]).assert(0, &numbers(2), "");
    wasm(stage, "sandboxed", &["stop", "counter"]).assert(0, "counter stopped\n", "");
    let ended = wasm(stage, "sandboxed", &["call", "counter", "increment"]);
    assert!(
        ended.err.contains("casemate wasm start counter"),
        "{}",
        ended.err
    );
    wasm(stage, "sandboxed", &["start", "counter"]).assert(0, "", "");
    let changed = wasm(
        stage,
        "sandboxed",
        &["reinstall", module, "--name", "counter"],
    );
    assert_eq!(changed.code, 0, "{}", changed.err);
    wasm(stage, "sandboxed", &["query", "counter", "get"]).assert(0, &numbers(1), "");
    let changed = wasm(
        stage,
        "sandboxed",
        &["upgrade", module, "--name", "counter"],
    );
    assert_eq!(changed.code, 0, "{}", changed.err);
    wasm(stage, "sandboxed", &["tick"]).assert(0, "", "");
}
