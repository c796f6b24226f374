//! Canisters under `casemate serve`: over HTTP, and by commands that find the server.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use sandbox::{Ended, Stage, both};
use serde_json::{Value, json};
use serving::Serving;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

both!(
    commands_and_clients_see_the_same,
    a_command_goes_on_where_the_server_ended,
    a_site_is_served,
    archives_go_in_and_out_of_a_server,
    what_is_no_archive_leaves_nothing_in_a_server,
    a_server_proves_a_past,
    what_may_be_lost_is_said,
    a_deadline_ends_a_call,
    parts_of_calls_are_measured,
    who_has_the_folder_is_told,
);

const COUNTER: &str = include_str!("../../wasm/tests/guests/counter.wat");

/// A site whose only page is the method that it was asked by.
const SITE: &str = r#"
(module
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (import "ic0" "msg_reply" (func $reply))
  (memory 1)
  ;; record { status_code : nat16; headers : vec record { text; text }; body : blob }
  (data (i32.const 0)
    "DIDL\04\6c\03\a2\f5\ed\88\04\01\c6\a4\a1\98\06\02\9a\a1\b2\f9\0c\7a\6d\7b\6d\03\6c\02\00\71\01\71\01\00"
    "\05hello" "\01\0ccontent-type\0atext/plain" "\c8\00")
  (func (export "canister_query http_request")
    (call $append (i32.const 0) (i32.const 70))
    (call $reply)))
"#;

/// What a command of `casemate wasm` says.
fn wasm(stage: &Stage, args: &[&str]) -> Ended {
    Ended::of(stage.casemate().arg("wasm").args(args))
}

fn install(stage: &Stage, name: &str, text: &str) {
    let file = format!("{name}.wat");
    stage.write(&file, text);
    let module = stage.path(&file);
    let ended = wasm(
        stage,
        &["install", module.to_str().unwrap(), "--name", name],
    );
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.starts_with(name), "{}", ended.out);
}

/// Its three numbers, as they are answered.
fn numbers(count: u8) -> Vec<u8> {
    let number = |low: u8| [low, 0, 0, 0, 0, 0, 0, 0];
    [number(count), number(7 + count), number(count)].concat()
}

fn digits(count: u8) -> String {
    let digits = numbers(count)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    digits + "\n"
}

/// Sends a request, and reads status, head and body.
fn send(serving: &Serving<'_>, line: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(&serving.address).unwrap();
    let host = match headers.to_ascii_lowercase().contains("host:") {
        true => "",
        false => "Host: localhost\r\n",
    };
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec())
        .unwrap()
        .to_ascii_lowercase();
    assert!(!head.contains("transfer-encoding"), "{head}");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

fn json_of(serving: &Serving<'_>, line: &str, body: &[u8]) -> (u16, Value) {
    let (status, _, body) = send(serving, line, &key(serving), body);
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn key(serving: &Serving<'_>) -> String {
    format!("X-API-KEY: {}\r\n", serving.key.as_ref().unwrap())
}

fn commands_and_clients_see_the_same(stage: &Stage) {
    let serving = Serving::new(stage);
    install(stage, "counter", COUNTER);
    let (status, listed) = json_of(&serving, "GET /wasm", b"");
    assert_eq!(
        (status, &listed),
        (200, &json!({ "canisters": ["counter"] }))
    );
    let key = key(&serving);
    let call = "POST /wasm/counter/call/increment";
    let (status, head, body) = send(&serving, call, &key, b"");
    assert_eq!((status, body), (200, numbers(2)));
    assert!(head.contains("casemate-instructions: "), "{head}");
    wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(3), "");
    let (_, _, body) = send(&serving, "POST /wasm/counter/query/get", &key, b"");
    assert_eq!(body, numbers(3));
    // The same name is the same call.
    for _ in 0..3 {
        let named = format!("{key}Idempotency-Key: once\r\n");
        let (status, _, body) = send(&serving, call, &named, b"");
        assert_eq!((status, body), (200, numbers(4)));
    }
    let trap = json_of(&serving, "POST /wasm/counter/call/add_and_trap", b"");
    assert_eq!((trap.0, &trap.1["kind"]), (502, &json!("trapped")));
    assert_eq!(trap.1["logs"][0]["text"], "no");
    let ended = wasm(stage, &["call", "counter", "add_and_trap"]);
    assert_eq!(ended.code, 134);
    for said in [
        "log: no\n",
        "the canister trapped: no more",
        "hint: nothing was changed",
    ] {
        assert!(ended.err.contains(said), "{said}: {}", ended.err);
    }
    let ended = wasm(stage, &["call", "counter", "gets"]);
    assert_eq!(ended.code, 125);
    assert!(
        ended.err.contains("has no method \"gets\""),
        "{}",
        ended.err
    );
    let (_, status) = json_of(&serving, "GET /wasm/counter", b"");
    assert_eq!(
        (&status["state"], &status["heap"]),
        (&json!("running"), &json!(128 << 10))
    );
    assert!(
        status["worker"]["resident"].as_u64().unwrap() > 0,
        "{status}"
    );
    let (nobody, _, _) = send(&serving, call, "", b"");
    assert_eq!(nobody, 401);
    wasm(stage, &["stop", "counter"]).assert(0, "counter stopped\n", "");
    let (status, stopped) = json_of(&serving, call, b"");
    assert_eq!((status, &stopped["kind"]), (409, &json!("state")));
    wasm(stage, &["start", "counter"]).assert(0, "", "");
    wasm(stage, &["uninstall", "counter"]).assert(0, "", "");
    assert_eq!(json_of(&serving, "GET /wasm/counter", b"").0, 404);
}

fn a_command_goes_on_where_the_server_ended(stage: &Stage) {
    let mut serving = Serving::new(stage);
    install(stage, "counter", COUNTER);
    wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(2), "");
    serving.stop();
    wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(3), "");
    serving.restart();
    wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(4), "");
    // What a server that was killed left behind isn't a server.
    serving.kill();
    wasm(stage, &["query", "counter", "get"]).assert(0, &digits(4), "");
}

fn a_site_is_served(stage: &Stage) {
    let serving = Serving::with(stage, &["--domain", "sbx.test"]);
    install(stage, "site", SITE);
    let (status, head, body) = send(&serving, "GET /wasm/site/www/x", "", b"");
    assert_eq!((status, body.as_slice()), (200, &b"hello"[..]), "{head}");
    for line in [
        "content-type: text/plain",
        "content-security-policy: sandbox",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let (status, head, body) = send(&serving, "GET /y", "Host: wasm-site.sbx.test\r\n", b"");
    assert_eq!((status, body.as_slice()), (200, &b"hello"[..]), "{head}");
    assert!(!head.contains("content-security-policy"), "{head}");
}

fn archives_go_in_and_out_of_a_server(stage: &Stage) {
    let mut serving = Serving::new(stage);
    install(stage, "counter", COUNTER);
    wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(2), "");
    stage.write("carried/nothing", "");
    let file = |name: &str| stage.path(&format!("carried/{name}"));
    let [served, over, alone] = ["served", "http", "alone"].map(file);
    let path = |file: &std::path::Path| file.to_str().unwrap().to_owned();
    wasm(stage, &["export", "counter", &path(&served)]).assert(0, "", "");
    let missing = wasm(stage, &["export", "other", &path(&over)]);
    assert_eq!(missing.code, 125);
    assert!(missing.err.contains("no canister"), "{}", missing.err);
    assert!(!over.exists());
    let (status, _, archive) = send(&serving, "GET /wasm/counter/export", &key(&serving), b"");
    assert_eq!(status, 200);
    let ended = wasm(stage, &["import", &path(&served), "--name", "other"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.starts_with("other "), "{}", ended.out);
    wasm(stage, &["call", "other", "increment"]).assert(0, &digits(3), "");
    let (status, made) = json_of(&serving, "POST /wasm/third/import", &archive);
    assert_eq!(status, 201, "{made}");
    wasm(stage, &["query", "third", "get"]).assert(0, &digits(2), "");
    // Whoever brings it controls it.
    let (_, third) = json_of(&serving, "GET /wasm/third", b"");
    assert_eq!(third["canister"], made["canister"]);
    assert_ne!(third["controllers"], json!(["2vxsx-fae"]));
    let taken = wasm(stage, &["import", &path(&served), "--name", "third"]);
    assert_eq!(taken.code, 125);
    assert!(taken.err.contains("already"), "{}", taken.err);
    serving.stop();
    wasm(stage, &["query", "third", "get"]).assert(0, &digits(2), "");
    // All ways out are the same.
    wasm(stage, &["export", "counter", &path(&alone)]).assert(0, "", "");
    let alone = std::fs::read(alone).unwrap();
    assert!(archive == alone);
    assert!(std::fs::read(served).unwrap() == alone);
}

/// What a server has of archives on their way, and of canisters that are being put together.
fn leftovers(stage: &Stage, serving: &Serving<'_>) -> Vec<String> {
    let canisters = serving.data().join("wasm/canisters");
    let names = std::fs::read_dir(canisters).unwrap();
    let mut left: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "counter")
        .collect();
    let open = std::fs::read_dir(format!("/proc/{}/fd", serving.pid())).unwrap();
    let data = serving.data().join("wasm");
    for file in open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()) {
        let file = file.to_string_lossy().into_owned();
        if file.starts_with(data.to_str().unwrap()) && file.ends_with(" (deleted)") {
            left.push(file);
        }
    }
    let data = std::fs::read_dir(data).unwrap();
    let data = data.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    left.extend(data.filter(|name| name.starts_with(".archive")));
    assert!(stage.path("home").exists());
    left
}

fn what_is_no_archive_leaves_nothing_in_a_server(stage: &Stage) {
    let serving = Serving::new(stage);
    install(stage, "counter", COUNTER);
    let (_, _, archive) = send(&serving, "GET /wasm/counter/export", &key(&serving), b"");
    let mut lying = archive.clone();
    // The length of the first part: magic, version, kind.
    lying[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut damaged = archive.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let truncated = &archive[..archive.len() - 1];
    let longer = [&archive[..], b"x"].concat();
    for bad in [truncated, &archive[..30], &[], &lying, &damaged, &longer] {
        let (status, said) = json_of(&serving, "POST /wasm/bad/import", bad);
        assert_eq!((status, &said["kind"]), (400, &json!("refused")), "{said}");
        stage.write("bad.canister", bad);
        let file = stage.path("bad.canister");
        let ended = wasm(stage, &["import", file.to_str().unwrap(), "--name", "bad"]);
        assert_eq!(ended.code, 125, "{}", ended.out);
        assert!(ended.err.contains("the archive"), "{}", ended.err);
    }
    // Clients that go away in the middle, of one and of the other.
    let key = key(&serving);
    for request in [
        format!(
            "POST /wasm/bad/import HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: 900000000\r\n\r\ncasemate archive"
        ),
        format!("GET /wasm/counter/export HTTP/1.1\r\nHost: localhost\r\n{key}\r\n"),
    ] {
        let mut stream = TcpStream::connect(&serving.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        drop(stream);
    }
    let until = std::time::Instant::now() + support::PATIENCE;
    while !leftovers(stage, &serving).is_empty() {
        let left = leftovers(stage, &serving);
        assert!(std::time::Instant::now() < until, "{left:?}");
        std::thread::yield_now();
    }
    wasm(stage, &["list"]).assert(0, "counter\n", "");
    wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(2), "");
}

fn a_server_proves_a_past(stage: &Stage) {
    let serving = Serving::with(stage, &["--wasm-keep-history"]);
    install(stage, "counter", COUNTER);
    for count in 2..5 {
        wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(count), "");
    }
    let ended = wasm(stage, &["replay", "counter"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("calls    3 the same"), "{}", ended.out);
    let (status, proven) = json_of(&serving, "POST /wasm/counter/replay?from=1", b"");
    assert_eq!((status, &proven["calls"]), (200, &json!(3)), "{proven}");
    let (status, none) = json_of(&serving, "POST /wasm/counter/replay?from=9", b"");
    assert_eq!((status, &none["kind"]), (409, &json!("state")), "{none}");
    // Somebody changes what was.
    let home = serving.data().join("wasm/canisters/counter");
    let milestone = home.join("1.milestone");
    let text = std::fs::read_to_string(&milestone).unwrap();
    let at = text.find("\"state\": \"").unwrap() + 10;
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    std::fs::write(&milestone, [&text[..at], digit, &text[at + 1..]].concat()).unwrap();
    let (status, differs) = json_of(&serving, "POST /wasm/counter/replay", b"");
    assert_eq!(
        (status, &differs["kind"]),
        (409, &json!("differs")),
        "{differs}"
    );
    wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(5), "");
}

fn what_may_be_lost_is_said(stage: &Stage) {
    let mut serving = Serving::with(stage, &["--wasm-durability", "checkpoint"]);
    install(stage, "counter", COUNTER);
    let (status, head, _) = send(
        &serving,
        "POST /wasm/counter/call/increment",
        &key(&serving),
        b"",
    );
    assert_eq!(status, 200);
    assert!(head.contains("casemate-unwritten: true"), "{head}");
    let said = "what the call did is lost if everything ends before the next checkpoint";
    let ended = wasm(stage, &["call", "counter", "increment"]);
    assert_eq!((ended.code, ended.out), (0, digits(3)));
    assert_eq!(ended.err, format!("casemate: note: {said}\n"));
    let ended = wasm(stage, &["call", "counter", "increment", "--hex"]);
    assert!(ended.err.contains(said), "{}", ended.err);
    wasm(stage, &["query", "counter", "get"]).assert(0, &digits(4), "");
    // It was true.
    serving.kill();
    let alone = ["--durability", "checkpoint"];
    let wasm_alone = |args: &[&str]| wasm(stage, &[args, &alone].concat());
    wasm_alone(&["query", "counter", "get"]).assert(0, &digits(1), "");
    // A command and a server that end in good order lose nothing.
    let ended = wasm_alone(&["call", "counter", "increment"]);
    assert!(ended.err.contains(said), "{}", ended.err);
    wasm_alone(&["query", "counter", "get"]).assert(0, &digits(2), "");
    serving.restart_with(&["--wasm-durability", "checkpoint"]);
    assert!(
        !wasm(stage, &["call", "counter", "increment"])
            .err
            .is_empty()
    );
    serving.stop();
    wasm(stage, &["query", "counter", "get"]).assert(0, &digits(3), "");
}

/// Counts, and then has more to do than there is time for.
const SPINNER: &str = r#"
(module
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (memory 1)
  (func $count (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1))))
  (func (export "canister_update spin") (call $count) (loop (br 0)))
  (func (export "canister_update count")
    (call $count) (call $append (i32.const 0) (i32.const 1)) (call $reply)))
"#;

fn a_deadline_ends_a_call(stage: &Stage) {
    let serving = Serving::new(stage);
    install(stage, "s", SPINNER);
    let said = "deadline exceeded, nothing was changed";
    let (status, late) = json_of(&serving, "POST /wasm/s/call/spin?deadline=200", b"");
    assert_eq!((status, &late["kind"]), (504, &json!("late")), "{late}");
    assert_eq!(late["reject_code"], 2, "{late}");
    assert!(late["message"].as_str().unwrap().contains(said), "{late}");
    assert!(late["instructions"].as_u64().unwrap() > 0, "{late}");
    let ended = wasm(stage, &["call", "s", "spin", "--timeout", "200ms"]);
    assert_eq!(ended.code, 124, "{}", ended.err);
    assert!(ended.err.contains(said), "{}", ended.err);
    wasm(stage, &["call", "s", "count"]).assert(0, "01\n", "");
    let key = key(&serving);
    let (status, _, body) = send(
        &serving,
        "POST /wasm/s/call/count?deadline=60000",
        &key,
        b"",
    );
    assert_eq!((status, body), (200, vec![2]));
}

fn parts_of_calls_are_measured(stage: &Stage) {
    let socket = stage.path("home/metrics");
    let _serving = Serving::with(stage, &["--metrics", socket.to_str().unwrap()]);
    install(stage, "counter", COUNTER);
    wasm(stage, &["call", "counter", "increment"]).assert(0, &digits(2), "");
    wasm(stage, &["query", "counter", "get"]).assert(0, &digits(2), "");
    let mut stream = UnixStream::connect(&socket).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    for line in [
        "casemate_wasm_turn_seconds_count{phase=\"compile\"} 1",
        "casemate_wasm_turn_seconds_count{phase=\"run\"} 1",
        "casemate_wasm_turn_seconds_count{phase=\"commit\"} 1",
        "casemate_wasm_turn_seconds_count{phase=\"journal\"} 1",
        "casemate_wasm_turn_seconds_count{phase=\"query\"} 1",
        "casemate_wasm_turn_seconds_count{phase=\"disk\"} 0",
        "casemate_wasm_turn_instructions_count 1",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

fn who_has_the_folder_is_told(stage: &Stage) {
    install(stage, "counter", COUNTER);
    let data = stage.path("home/.local/state/casemate/wasm");
    let lock = std::fs::File::open(data.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ended = wasm(stage, &["list", "--wait", "0"]);
    assert_eq!(ended.code, 125);
    assert!(ended.err.contains("belongs to process"), "{}", ended.err);
    // One that waits goes on when it is free.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wasm(stage, &["list", "--wait", "1m"]));
        drop(lock);
        waiting.join().unwrap()
    });
    waiting.assert(0, "counter\n", "");
}
