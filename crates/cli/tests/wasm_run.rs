//! `casemate wasm run`: WASI commands and plain modules, their limits, and hostile guests.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/mod.rs"]
mod support;

use sandbox::{Ended, Stage, both};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use support::{end_of, filtered, has, start, works};

both!(
    a_wasi_command_does_all_that_it_may,
    a_folder_is_a_file_system,
    streams_are_binary_and_large,
    exit_codes_pass_through,
    an_export_is_called,
    a_component_is_a_command,
    clocks_and_random_numbers_can_be_fixed,
    a_read_only_folder_is_read_only,
    nothing_leads_out_of_a_folder,
    what_the_host_acts_on_is_protected,
    traps_say_where,
    fuel_runs_out,
    memory_runs_out,
    time_runs_out,
    time_runs_out_while_a_module_is_compiled,
    time_runs_out_while_nobody_reads,
    signals_end_the_program,
    json_tells_the_ends_apart,
    json_goes_to_a_file,
    what_is_no_module_is_refused,
    missing_imports_are_named,
    wrong_calls_are_explained,
    wrong_flags_are_refused,
    the_process_has_nothing_but_its_folder,
    the_role_is_for_confined_processes,
);

const CLANG: &str = "/usr/bin/clang";
const LIBC: &str = "/usr/lib/wasm32-wasi/libc.a";

/// The C program of these tests, or that there is no compiler for it.
fn tool(stage: &Stage) -> Option<String> {
    if !has(&[CLANG, "/usr/bin/wasm-ld", LIBC]) {
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wasm/tool.c");
    let made = stage.path("tool.wasm");
    let mut compile = Command::new(CLANG);
    compile.args(["--target=wasm32-wasi", "-O1", "-Wall", "-Wextra", "-Werror"]);
    works(compile.arg(source).arg("-o").arg(&made));
    Some(made.to_str().unwrap().into())
}

/// `casemate wasm run ARGS`.
fn command<S: AsRef<OsStr>>(stage: &Stage, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = stage.casemate();
    command.args(["wasm", "run"]).args(args);
    command
}

fn run<S: AsRef<OsStr>>(stage: &Stage, args: impl IntoIterator<Item = S>) -> Ended {
    Ended::of(&mut command(stage, args))
}

/// Runs a module that is given as text.
fn wat(stage: &Stage, text: &str, args: &[&str]) -> Ended {
    stage.write("module.wat", text);
    let module = stage.text("module.wat");
    run(stage, [&*module].iter().chain(args))
}

/// What `--json` says, as the last line of standard error.
fn json(ended: &Ended) -> Value {
    let line = ended.err.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// A module that gets no further than its start.
const IDLE: &str = r#"(module (func (export "_start")))"#;
const FOREVER: &str = r#"(module (func $spin (export "_start") (loop (br 0))))"#;
/// Takes memory page by page until it gets none, and then exits with 7.
const HOG: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 32)) (i32.const -1))))
        (call $exit (i32.const 7))))"#;

fn a_wasi_command_does_all_that_it_may(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    stage.write("ws/data/in.txt", "from outside\n");
    let flags = [
        "--dir",
        "data",
        "--env",
        "MODE=fast",
        "--",
        "everything",
        "a b",
        "c",
    ];
    let mut command = command(stage, [&*tool].iter().chain(&flags));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(&mut command);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"one\ntwo\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!(
        text(output.stdout),
        "argument a b\nargument c\nMODE fast, HOME unset\nline one\nline two\nfrom outside\n"
    );
    assert_eq!(text(output.stderr), "on standard error\n");
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(stage.read("ws/data/out.txt"), "written inside\n");
    stage.assert_nothing_left();
}

fn a_folder_is_a_file_system(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    stage.folder("ws/data");
    run(stage, [&*tool, "--dir", "data", "--", "files"]).assert_out("");
    assert_eq!(stage.listing("ws/data").len(), 0);
}

fn streams_are_binary_and_large(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    let bytes: Vec<u8> = (0..8 << 20)
        .map(|at: u32| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect();
    let copied = filtered(&mut command(stage, [&*tool, "--", "copy"]), bytes.clone());
    assert!(
        copied == bytes,
        "{} bytes came of {}",
        copied.len(),
        bytes.len()
    );
    let flood = filtered(
        &mut command(stage, [&*tool, "--", "flood", "32"]),
        Vec::new(),
    );
    assert_eq!(flood.len(), 32 << 20);
    assert!(flood.iter().all(|byte| *byte == b'x'));
    // Nobody reads on: the program is told, and ends.
    let mut command = command(stage, [&*tool, "--", "flood", "1000000"]);
    let mut child = start(command.stdout(Stdio::piped()));
    drop(child.stdout.take());
    let status = end_of(&mut child, support::PATIENCE);
    assert!(!status.success(), "{status}");
}

fn exit_codes_pass_through(stage: &Stage) {
    let exits = |code: u32| {
        format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (func (export "_start") (call $exit (i32.const {code}))))"#
        )
    };
    for (code, seen) in [
        (0, 0),
        (1, 1),
        (125, 125),
        (126, 126),
        (255, 255),
        (256 + 3, 3),
    ] {
        wat(stage, &exits(code), &[]).assert(seen, "", "");
    }
    wat(stage, IDLE, &[]).assert(0, "", "");
    let old = exits(5).replace("wasi_snapshot_preview1", "wasi_unstable");
    wat(stage, &old, &[]).assert(5, "", "");
}

fn an_export_is_called(stage: &Stage) {
    let text = r#"(module
        (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
        (func (export "both") (param i64) (result i64 i64) (local.get 0) (local.get 0))
        (func (export "nothing")))"#;
    let calls: [(&[&str], &str); 5] = [
        (&["--invoke", "add", "1", "2"], "3\n"),
        (&["--invoke", "add", "-1", "0xffffffff"], "-2\n"),
        (&["--invoke", "half", "3"], "1.5\n"),
        (
            &["--invoke", "both", "-9223372036854775808"],
            "-9223372036854775808\n-9223372036854775808\n",
        ),
        (&["--invoke", "nothing", "--fuel", "10", "--", "unused"], ""),
    ];
    for (args, out) in calls {
        wat(stage, text, args).assert(0, out, "");
    }
    let reactor = r#"(module (global $ready (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $ready (i32.const 1)))
        (func (export "ready") (result i32) (global.get $ready)))"#;
    wat(stage, reactor, &["--invoke", "ready"]).assert_out("1\n");
}

fn a_component_is_a_command(stage: &Stage) {
    let text = include_str!("wasm/component.wat");
    let with = |last: &str, flags: &[&str]| wat(stage, &text.replace("LAST", last), flags);
    let said = "from a component\n";
    with("(i32.const 0)", &[]).assert_out(said);
    with("(i32.const 1)", &[]).assert(1, said, "");
    with("(call $exit (i32.const 1)) unreachable", &[]).assert(1, said, "");
    let ended = with("unreachable", &[]);
    assert_eq!((ended.code, &*ended.out), (134, said), "{ended:?}");
    assert!(ended.err.contains("  in run (function 3)"), "{ended:?}");
    assert_eq!(
        with("(loop (br 0)) unreachable", &["--fuel", "100000"]).code,
        119
    );
    assert_eq!(
        with("(loop (br 0)) unreachable", &["--timeout", "200ms"]).code,
        124
    );
    with("(i32.const 0)", &["--invoke", "run"]).assert(
        125,
        "",
        "casemate: error: call run: it is a component, and only exports of modules are called\n",
    );
    wat(stage, "(component)", &[]).assert(
        126,
        "",
        "casemate: error: run the component: it is no command: it does not export wasi:cli/run\n\
         hint: it exports nothing at all\n",
    );
    let alien = text.replace("wasi:cli/exit@0.2.0", "wasi:cli/leave@0.2.0");
    let ended = wat(stage, &alien.replace("LAST", "(i32.const 0)"), &[]);
    assert_eq!(ended.code, 126, "{ended:?}");
    assert!(ended.err.contains("wasi:cli/leave@0.2.0"), "{ended:?}");
    assert!(
        ended.err.contains("hint: a component gets WASI preview 2"),
        "{ended:?}"
    );
}

fn clocks_and_random_numbers_can_be_fixed(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    let said = |flags: &[&str], what: &str| {
        let ended = run(stage, [&*tool].iter().chain(flags).chain(&["--", what]));
        assert_eq!((ended.code, &*ended.err), (0, ""), "{ended:?}");
        ended.out
    };
    let fixed = said(&["--clock", "2001-02-03T04:05:06.5Z"], "clocks");
    assert_eq!(fixed, "981173106.500000000 0\n");
    assert_eq!(said(&["--clock", "12"], "clocks"), "12.000000000 0\n");
    let now = said(&[], "clocks");
    assert_ne!(now, said(&[], "clocks"));
    let numbers = said(&["--random-seed", "7"], "numbers");
    assert_eq!(numbers, said(&["--random-seed", "7"], "numbers"));
    assert_ne!(numbers, said(&["--random-seed", "8"], "numbers"));
    assert_ne!(said(&[], "numbers"), said(&[], "numbers"));
}

fn a_read_only_folder_is_read_only(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    stage.write("ws/data/in.txt", "kept");
    let before = stage.listing("ws");
    let with = |args: &[&str]| run(stage, [&*tool, "--dir", "data:ro", "--"].iter().chain(args));
    with(&["show", "data/in.txt"]).assert_out("kept");
    let attempts: [&[&str]; 5] = [
        &["put", "data/in.txt"],
        &["put", "data/new.txt"],
        &["remove", "data/in.txt"],
        &["rename", "data/in.txt", "data/other"],
        &["link", "in.txt", "data/link"],
    ];
    for args in attempts {
        let ended = with(args);
        assert_eq!(ended.code, 1, "{args:?}: {ended:?}");
    }
    stage.assert_same("ws", &before);
}

fn nothing_leads_out_of_a_folder(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    stage.write("outside/secret", "SECRET");
    stage.write("ws/secret", "SECRET");
    stage.write("ws/data/in.txt", "plain");
    stage.symlink("../secret", "ws/data/up");
    stage.symlink(stage.path("outside/secret"), "ws/data/absolute");
    stage.symlink("..", "ws/data/parent");
    stage.symlink("in.txt", "ws/data/inner");
    let with = |args: &[&str]| run(stage, [&*tool, "--dir", "data", "--"].iter().chain(args));
    with(&["show", "data/inner"]).assert_out("plain");
    let outside = stage.text("outside/secret");
    let paths = [
        "data/up",
        "data/absolute",
        "data/parent/secret",
        "data/../secret",
        "../secret",
        "secret",
        &*outside,
        "/etc/passwd",
        "/proc/self/environ",
    ];
    for path in paths {
        for what in ["show", "put"] {
            let ended = with(&[what, path]);
            assert_eq!(ended.code, 1, "{what} {path}: {ended:?}");
            assert!(!ended.out.contains("SECRET"), "{what} {path}: {ended:?}");
        }
    }
    // A link that the guest makes leads nowhere either.
    let made = with(&["link", "../secret", "data/made"]);
    assert!(made.code <= 1, "{made:?}");
    assert_eq!(with(&["show", "data/made"]).code, 1);
    assert_eq!(stage.read("outside/secret"), "SECRET");
    assert_eq!(stage.read("ws/secret"), "SECRET");
    // Without a folder, there is none.
    assert_eq!(run(stage, [&*tool, "--", "show", "data/in.txt"]).code, 1);
}

fn what_the_host_acts_on_is_protected(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    stage.write("ws/data/.git/config", "[core]\n");
    stage.write("ws/data/.git/HEAD", "ref: refs/heads/main\n");
    let with = |flags: &[&str], path: &str| {
        let put = ["--", "put", path];
        run(
            stage,
            [&*tool, "--dir", "data"].iter().chain(flags).chain(&put),
        )
    };
    assert_eq!(with(&[], "data/.git/config").code, 1);
    assert_eq!(stage.read("ws/data/.git/config"), "[core]\n");
    let made = with(&[], "data/.envrc");
    assert!(
        made.err.contains("--allow-carrier .envrc lets it be"),
        "{made:?}"
    );
    assert!(!stage.path("ws/data/.envrc").exists());
    with(&["--allow-carrier", ".envrc"], "data/.envrc").assert_out("");
    assert_eq!(stage.read("ws/data/.envrc"), "changed");
}

fn traps_say_where(stage: &Stage) {
    let text = r#"(module (func $boom unreachable) (func $middle call $boom)
        (func (export "_start") call $middle))"#;
    let ended = wat(stage, text, &[]);
    assert_eq!((ended.code, &*ended.out), (134, ""), "{ended:?}");
    let lines: Vec<&str> = ended.err.lines().collect();
    assert_eq!(lines[0], "casemate: trap: unreachable code was reached");
    assert!(
        lines[1].starts_with("casemate:   in boom (function 0) at byte 0x"),
        "{ended:?}"
    );
    assert!(
        lines[2].starts_with("casemate:   in middle (function 1) at byte 0x"),
        "{ended:?}"
    );
    assert_eq!(lines.len(), 4, "{ended:?}");

    let starts = r#"(module (func $first (drop (i32.div_u (i32.const 1) (i32.const 0))))
        (start $first) (func (export "_start")))"#;
    let ended = wat(stage, starts, &[]);
    assert_eq!(ended.code, 134, "{ended:?}");
    assert!(
        ended
            .err
            .starts_with("casemate: trap: integer divide by zero\ncasemate:   in first "),
        "{ended:?}"
    );

    let deep = r#"(module (func $deep (param i64) (call $deep (local.get 0)))
        (func (export "_start") (call $deep (i64.const 1))))"#;
    let ended = wat(stage, deep, &[]);
    assert_eq!(ended.code, 134, "{ended:?}");
    assert!(
        ended
            .err
            .contains("the call stack is full: recursion is too deep"),
        "{ended:?}"
    );

    let escape = "(module (func $\"a\\1b]0;x\\07\" unreachable) (func (export \"_start\") call 0))";
    let ended = wat(stage, escape, &[]);
    assert_eq!(ended.code, 134, "{ended:?}");
    assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
}

fn fuel_runs_out(stage: &Stage) {
    let ended = wat(stage, FOREVER, &["--fuel", "1000000"]);
    assert_eq!(ended.code, 119, "{ended:?}");
    assert!(
        ended
            .err
            .starts_with("casemate: stopped: instruction limit 1000000 reached\n"),
        "{ended:?}"
    );
    assert!(ended.err.contains("in spin (function 0)"), "{ended:?}");
    wat(stage, IDLE, &["--fuel", "1000"]).assert(0, "", "");
    // The same run takes the same number of instructions.
    let rounds = r#"(module (func (export "_start") (local i32)
        (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))))"#;
    let count = || {
        let said = json(&wat(stage, rounds, &["--json"]));
        said["instructions"].as_u64().unwrap()
    };
    let needed = count();
    assert!((5000..20_000).contains(&needed), "{needed}");
    assert_eq!(needed, count());
    wat(stage, rounds, &["--fuel", &(needed + 1).to_string()]).assert(0, "", "");
    let short = wat(stage, rounds, &["--fuel", &(needed - 10).to_string()]);
    assert_eq!(short.code, 119, "{short:?}");
}

fn memory_runs_out(stage: &Stage) {
    let ended = wat(stage, HOG, &["--memory", "15M"]);
    ended.assert(120, "", "casemate: stopped: memory limit 15 MiB reached (16 MiB wanted)\ncasemate:   in function 1 at byte 0x5f\n");
    let large = r#"(module (memory 1000) (func (export "_start")))"#;
    let ended = wat(stage, large, &["--memory", "16M"]);
    ended.assert(
        120,
        "",
        "casemate: stopped: memory limit 16 MiB reached (62.5 MiB wanted)\n",
    );
    // A maximum of the module's own is told to the module.
    let modest = HOG.replace(
        r#"(memory (export "memory") 1)"#,
        r#"(memory (export "memory") 1 100)"#,
    );
    wat(stage, &modest, &["--memory", "16M"]).assert(7, "", "");
    // Tables are memory, too.
    let table = r#"(module (table $t 1 funcref) (func (export "_start")
        (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 100000)) (i32.const -1)))) unreachable))"#;
    assert_eq!(wat(stage, table, &["--memory", "4M"]).code, 120);
}

fn time_runs_out(stage: &Stage) {
    let ended = wat(stage, FOREVER, &["--timeout", "300ms"]);
    assert_eq!(ended.code, 124, "{ended:?}");
    assert!(
        ended
            .err
            .starts_with("casemate: stopped: time limit 300ms reached\n"),
        "{ended:?}"
    );
    assert!(ended.err.contains("in spin (function 0)"), "{ended:?}");
    assert!(ended.took >= Duration::from_millis(300), "{ended:?}");
    // One that waits for input has used nothing, and is ended as well.
    let Some(tool) = tool(stage) else { return };
    let mut command = command(
        stage,
        [&*tool, "--timeout", "300ms", "--json", "--", "copy"],
    );
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = start(&mut command);
    let stdin = child.stdin.take().unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(said["outcome"], "time_limit");
    assert!(said["instructions"].is_u64(), "{said}");
    stage.assert_nothing_left();
}

fn time_runs_out_while_a_module_is_compiled(stage: &Stage) {
    let body = "(local.set 0 (i32.add (local.get 0) (i32.load (local.get 0))))".repeat(300_000);
    let text = format!(r#"(module (memory 1) (func (export "_start") (local i32) {body}))"#);
    stage.write("long.wat", text);
    let module = stage.text("long.wat");
    let ended = run(stage, [&*module, "--timeout", "10ms"]);
    ended.assert(
        124,
        "",
        "casemate: stopped: time limit 10ms reached while the module was compiled\n",
    );
    stage.assert_nothing_left();
}

/// The runtime waits in write(2), and can't look at the clock.
fn time_runs_out_while_nobody_reads(stage: &Stage) {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "\08\00\00\00\00\10\00\00")
        (func (export "_start")
            (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))) (br 0))))"#;
    stage.write("writer.wat", text);
    let module = stage.text("writer.wat");
    let mut command = command(stage, [&*module, "--timeout", "500ms", "--json"]);
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut unread = child.stdout.take().unwrap();
    unread.read_exact(&mut [0]).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(unread);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(said["outcome"], "time_limit");
    assert_eq!(said["instructions"], Value::Null, "{said}");
    let message = "stopped: time limit 500ms reached while the program ran";
    assert_eq!(said["message"], message);
    stage.assert_nothing_left();
}

fn signals_end_the_program(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    let mut command = command(stage, [&*tool, "--", "copy"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(&mut command);
    let stdin = answering(&mut child);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "casemate: signal 15 ended the program's process while the program ran\n"
    );
    stage.assert_nothing_left();
}

/// Standard input of a program that copies it, and that has begun to.
fn answering(child: &mut Child) -> (ChildStdin, ChildStdout) {
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(b"x").unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    (stdin, stdout)
}

fn json_tells_the_ends_apart(stage: &Stage) {
    let trap = r#"(module (memory 2) (func $f (drop (i32.load (i32.const -4)))) (func (export "_start") call $f))"#;
    let add = r#"(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#;
    let cases: [(&str, &[&str], &str, u8); 8] = [
        (IDLE, &[], "exited", 0),
        (HOG, &["--memory", "1M"], "memory_limit", 120),
        (FOREVER, &["--fuel", "1000"], "out_of_fuel", 119),
        (FOREVER, &["--timeout", "100ms"], "time_limit", 124),
        (trap, &[], "trapped", 134),
        (add, &["--invoke", "add", "20", "22"], "returned", 0),
        (add, &["--invoke", "ad"], "refused", 125),
        ("(module", &[], "refused", 126),
    ];
    for (text, flags, outcome, code) in cases {
        let flags: Vec<&str> = ["--json"].iter().chain(flags).copied().collect();
        let ended = wat(stage, text, &flags);
        let said = json(&ended);
        assert_eq!(
            (&said["outcome"], ended.code),
            (&outcome.into(), code.into()),
            "{ended:?}"
        );
        assert_eq!(said["exit_code"], code);
        assert_eq!(said["version"], 1);
        assert!(said["duration_seconds"].as_f64().unwrap() > 0.0, "{said}");
        assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    }
    let said = json(&wat(stage, trap, &["--json"]));
    assert_eq!(said["trap"], "memory_out_of_bounds");
    assert_eq!(said["frames"][0]["function"], "f");
    assert_eq!(said["peak_memory_bytes"], 2 << 16);
    let said = json(&wat(stage, add, &["--json", "--invoke", "add", "20", "22"]));
    assert_eq!(said["results"], serde_json::json!(["42"]));
    assert!(said["instructions"].as_u64().unwrap() >= 3, "{said}");
    let missing = run(stage, ["missing.wasm", "--json"]);
    assert_eq!(
        (&json(&missing)["outcome"], missing.code),
        (&"failed".into(), 127)
    );
}

fn json_goes_to_a_file(stage: &Stage) {
    let ended = wat(stage, FOREVER, &["--fuel", "1000", "--json=told.json"]);
    assert_eq!(ended.code, 119, "{ended:?}");
    assert!(
        ended
            .err
            .starts_with("casemate: stopped: instruction limit"),
        "{ended:?}"
    );
    let said: Value = serde_json::from_str(&stage.read("ws/told.json")).unwrap();
    assert_eq!(said["outcome"], "out_of_fuel");
    assert_eq!(said["instructions"], 1000);
    let ended = wat(stage, IDLE, &["--json=-"]);
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.err.contains("hint: --json alone"), "{ended:?}");
}

fn what_is_no_module_is_refused(stage: &Stage) {
    // The header, and a section of types that says it is longer than the file.
    let cut = b"\0asm\x01\0\0\0\x01\x10\x01";
    let cases: [(&[u8], &str, &str); 6] = [
        (b"", "it is empty", ""),
        (
            b"#!/bin/sh\n",
            "it is neither Wasm nor its text form",
            "hint: a module begins with",
        ),
        (b"\x1f\x8b\x08\0\0", "it is compressed", "hint: unpack it"),
        (
            b"\0asm",
            "it ends within its first 8 bytes",
            "hint: the file seems to be cut off",
        ),
        (cut, "unexpected end", "hint: the file seems to be cut off"),
        (
            b"(module (func $x))",
            "it has no _start",
            "hint: it exports no function at all",
        ),
    ];
    for (bytes, why, hint) in cases {
        stage.write("bad.wasm", bytes);
        let module = stage.text("bad.wasm");
        let ended = run(stage, [&*module]);
        assert_eq!((ended.code, &*ended.out), (126, ""), "{ended:?}");
        assert!(ended.err.starts_with("casemate: error: "), "{ended:?}");
        assert!(
            ended.err.contains(why) && ended.err.contains(hint),
            "{why}: {ended:?}"
        );
    }
    let folder = run(stage, ["."]);
    assert_eq!(folder.code, 126, "{folder:?}");
    let missing = run(stage, ["missing.wasm"]);
    missing.assert(
        127,
        "",
        "casemate: error: open the module missing.wasm: No such file or directory (os error 2)\n\
         hint: give the path of a .wasm or .wat file\n",
    );
}

fn missing_imports_are_named(stage: &Stage) {
    let text = r#"(module (import "env" "print" (func (param i32))) (import "env" "memory" (memory 1))
        (import "wasi_snapshot_preview1" "sock_open" (func)) (func (export "_start")))"#;
    wat(stage, text, &[]).assert(
        126,
        "",
        "casemate: error: link the module: nobody provides what it imports: function env.print, \
         memory env.memory, function wasi_snapshot_preview1.sock_open\n\
         hint: a module gets WASI preview 1 (wasi_snapshot_preview1) and nothing else\n",
    );
}

fn wrong_calls_are_explained(stage: &Stage) {
    let text = r#"(module (func (export "add") (param i32 i32)) (func (export "sub"))
        (func (export "one") (param f32)) (memory (export "memory") 1))"#;
    let cases: [(&[&str], &str); 5] = [
        (
            &["ad", "1"],
            "call ad: the module exports no such function\nhint: did you mean `add`? it exports add, sub, one\n",
        ),
        (
            &["memory"],
            "call memory: the module exports no such function\nhint: it exports add, sub, one\n",
        ),
        (
            &["add", "1"],
            "call add: it takes 2 arguments, i32, i32, not 1\nhint: arguments stand right after the name: --invoke NAME ARG…\n",
        ),
        (
            &["add", "1", "x"],
            "read argument 2 of add: `x` is no i32\n",
        ),
        (
            &["one", "4294967296x"],
            "read argument 1 of one: `4294967296x` is no f32\n",
        ),
    ];
    for (call, why) in cases {
        let args: Vec<&str> = ["--invoke"].iter().chain(call).copied().collect();
        wat(stage, text, &args).assert(125, "", &format!("casemate: error: {why}"));
    }
    let ended = wat(stage, text, &[]);
    assert_eq!(ended.code, 126, "{ended:?}");
    assert!(
        ended
            .err
            .contains("hint: call an export by --invoke NAME ARG…: add, sub, one"),
        "{ended:?}"
    );
}

fn wrong_flags_are_refused(stage: &Stage) {
    stage.write("ws/file", "");
    let cases: [(&[&str], &str); 8] = [
        (&["--dir", "missing"], "bring in --dir"),
        (&["--dir", "file"], "bring in --dir"),
        (&["--dir", "../ws"], "the path has a `..` in it"),
        (&["--dir", "/"], "it is the whole file system"),
        (&["--env", "=x"], "the name is empty"),
        (&["--memory", "0"], "larger than zero"),
        (&["--clock", "yesterday"], "expected a time such as"),
        (&["--fuel", "x"], "--fuel"),
    ];
    for (flags, why) in cases {
        let ended = wat(stage, IDLE, flags);
        assert_eq!((ended.code, &*ended.out), (125, ""), "{flags:?}: {ended:?}");
        assert!(ended.err.contains(why), "{flags:?}: {ended:?}");
    }
    let ended = run(
        stage,
        [OsStr::new("x.wasm"), OsStr::new("--"), sandbox::not_utf8()],
    );
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.err.contains("use as an argument"), "{ended:?}");
    assert!(ended.err.contains("it is not UTF-8"), "{ended:?}");
}

/// What a guest could use that has taken its process over.
fn the_process_has_nothing_but_its_folder(stage: &Stage) {
    let Some(tool) = tool(stage) else { return };
    stage.write("ws/data/in.txt", "plain");
    stage.write("outside/secret", "SECRET");
    let mut command = command(stage, [&*tool, "--dir", "data", "--", "copy"]);
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let streams = answering(&mut child);
    let process = PathBuf::from(format!("/proc/{}", guest_of(child.id())));
    let read = |name: &str| fs::read_to_string(process.join(name)).unwrap();
    let status = read("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    // The wall's, and the one that ends the compiling.
    assert_eq!(field("Seccomp_filters:"), "2");
    let maps = read("maps");
    let both = |line: &&str| {
        line.split(' ')
            .nth(1)
            .is_some_and(|modes| modes.starts_with("rwx"))
    };
    assert_eq!(maps.lines().find(both), None);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    for kind in ["user", "mnt", "net", "pid", "ipc", "uts"] {
        let of = |process: &Path| fs::read_link(process.join("ns").join(kind)).unwrap();
        assert_ne!(of(&process), of(Path::new("/proc/self")), "{kind}");
    }
    let interfaces = read("net/dev");
    assert_eq!(interfaces.lines().count(), 3, "{interfaces}");
    assert!(interfaces.contains("lo:"), "{interfaces}");
    // In its root, there are the folders of every view, and on the way to its own.
    let root = process.join("root");
    let mut names: Vec<String> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let here = stage.path("ws/data");
    let first = here
        .components()
        .nth(1)
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    let usual = ["dev", "home", "proc", "run", "tmp", "var"];
    for name in &names {
        assert!(
            usual.contains(&&**name) || name == first,
            "{name} of {names:?}"
        );
    }
    let inside = |path: PathBuf| root.join(path.strip_prefix("/").unwrap());
    assert!(inside(here.join("in.txt")).exists());
    assert!(!inside(stage.path("outside")).exists());
    assert!(!inside(stage.path("casemate")).exists());
    // Nothing is open but its streams, its sheet and what the runtime made.
    for entry in fs::read_dir(process.join("fd")).unwrap() {
        let to = fs::read_link(entry.unwrap().path()).unwrap();
        let known = [
            "pipe:",
            "anon_inode:",
            "socket:",
            "/memfd:wasm-",
            "/dev/null",
            "/dev/urandom",
        ];
        let text = to.to_str().unwrap();
        assert!(
            to == here || known.iter().any(|known| text.starts_with(known)),
            "{text}"
        );
    }
    assert!(
        !read("environ").contains("GIT_CONFIG"),
        "{}",
        read("environ")
    );
    drop(streams);
    assert!(end_of(&mut child, support::PATIENCE).success());
    stage.assert_nothing_left();
}

fn the_role_is_for_confined_processes(stage: &Stage) {
    let ended = Ended::of(stage.casemate().args(["wasm-tool", "--sheet-fd", "3"]));
    ended.assert(
        125,
        "",
        "casemate: error: run a guest here: this process is not confined\n\
         hint: `casemate wasm run` starts it behind the wall\n",
    );
}

/// The process that executes the guest: the child of the sandbox's init.
fn guest_of(casemate: u32) -> u32 {
    let only_child = |parent: u32| -> u32 {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(&path).unwrap();
        let children: Vec<&str> = children.split_whitespace().collect();
        assert_eq!(children.len(), 1, "{path}: {children:?}");
        children[0].parse().unwrap()
    };
    only_child(only_child(casemate))
}
