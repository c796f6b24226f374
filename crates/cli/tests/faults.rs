//! What no client should send, clients that are slow or leave, and things that break: each has an
//! answer, the server stays, and another sandbox's running stream notices nothing.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use rustix::process::{Pid, Signal, kill_process};
use sandbox::{Stage, both, report, wait_until};
use serde_json::{Value, json};
use serving::Serving;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use support::{PATIENCE, has, start};

both!(
    calls_that_cannot_be_read,
    files_and_paths_that_cannot_be,
    heads_that_cannot_be,
    clients_that_are_slow_or_leave,
    a_disk_that_is_full,
    an_agent_that_is_killed,
    a_store_that_is_locked,
);

/// A command in another sandbox that says what it hears, all the while.
struct Witness {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    asked: u32,
}

impl Witness {
    fn new(serving: &Serving<'_>) -> Self {
        let id = serving.create(&[]);
        let mut command = serving.command(&["exec", "-i", &id, "--", "cat"]);
        let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut own = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            asked: 0,
        };
        own.noticed_nothing("the beginning");
        own
    }

    #[track_caller]
    fn noticed_nothing(&mut self, of: &str) {
        self.asked += 1;
        let (asked, mut heard) = (format!("{}\n", self.asked), String::new());
        self.input.write_all(asked.as_bytes()).unwrap();
        self.output.read_line(&mut heard).unwrap();
        assert_eq!(heard, asked, "{of}");
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sandbox, as a client of its agent that writes every byte itself.
struct Client<'a> {
    serving: &'a Serving<'a>,
    id: String,
    token: String,
}

/// An answer; status 0 is none.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: String,
}

const STREAM: &str = "application/connect+json";
const START: &str = "/process.Process/Start";

impl<'a> Client<'a> {
    fn new(serving: &'a Serving<'a>) -> Self {
        let mut own = Self {
            serving,
            id: String::new(),
            token: String::new(),
        };
        let made = own.api("POST", "/v2/sandboxes", &json!({ "templateID": "base" }));
        assert_eq!(made.status, 201, "{made:?}");
        let made: Value = report(&made.body);
        own.id = made["sandboxID"].as_str().unwrap().to_owned();
        own.token = made["envdAccessToken"].as_str().unwrap().to_owned();
        own
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.serving.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes, as far as they are taken.
    fn say(&self, bytes: impl AsRef<[u8]>) -> Heard {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes.as_ref());
        hear(&mut stream)
    }

    fn api(&self, method: &str, path: &str, body: &Value) -> Heard {
        let (key, body) = (self.serving.key.as_deref().unwrap(), body.to_string());
        self.say(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn head(&self, request: &str, headers: &str) -> String {
        format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: {}\r\n\
             E2b-Sandbox-Port: 49983\r\nX-Access-Token: {}\r\n{headers}",
            self.id, self.token
        )
    }

    /// A request to the agent.
    fn request(&self, request: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        let head = self.head(request, headers);
        [head.as_bytes(), length.as_bytes(), body].concat()
    }

    fn ask(&self, request: &str, headers: &str, body: &[u8]) -> Heard {
        self.say(self.request(request, headers, body))
    }

    fn call(&self, path: &str, kind: &str, body: &[u8]) -> Heard {
        let headers = format!("Content-Type: {kind}\r\n");
        self.ask(&format!("POST {path}"), &headers, body)
    }

    /// The code of the error that a stream ends with.
    #[track_caller]
    fn stream_fails(&self, body: &[u8], code: &str, why: &str) {
        let heard = self.call(START, STREAM, body);
        assert_eq!(heard.status, 200, "{heard:?}");
        let error = format!(r#"{{"error":{{"code":"{code}","message":""#);
        assert!(heard.body.contains(&error), "{heard:?}");
        assert!(heard.body.contains(why), "{heard:?}");
    }
}

/// A message in a stream.
fn enveloped(flags: u8, message: impl AsRef<[u8]>) -> Vec<u8> {
    let message = message.as_ref();
    let length = (message.len() as u32).to_be_bytes();
    [&[flags][..], &length, message].concat()
}

/// Reads one answer to its end.
fn hear(stream: &mut TcpStream) -> Heard {
    rest_of(stream, Vec::new())
}

/// The same, of which this was read already.
fn rest_of(stream: &mut TcpStream, mut read: Vec<u8>) -> Heard {
    let mut buffer = [0; 64 << 10];
    loop {
        let text = String::from_utf8_lossy(&read);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let ended = body == "0\r\n\r\n" || body.ends_with("\r\n0\r\n\r\n");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
        let whole = match length {
            Some(length) => body.len() >= length,
            None => lower.contains("chunked") && ended,
        };
        let heard = || Heard {
            status: status.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        };
        if whole {
            return heard();
        }
        match stream.read(&mut buffer) {
            Ok(0) => return heard(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return heard(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            count => {
                let count = count.expect("an answer, or an end");
                read.extend_from_slice(&buffer[..count]);
            }
        }
    }
}

fn calls_that_cannot_be_read(stage: &Stage) {
    let serving = Serving::new(stage);
    let mut witness = Witness::new(&serving);
    let client = Client::new(&serving);
    let fine = r#"{"process":{"cmd":"true"}}"#;
    let mut lying = enveloped(0, fine);
    lying[1..5].copy_from_slice(&[0xff; 4]);
    let cut = &enveloped(0, fine)[..20];
    let twice = [enveloped(0, fine), enveloped(0, fine)].concat();
    let nested = enveloped(0, r#"{"process":{"envs":"#.repeat(10_000));
    for (body, code, why) in [
        (&lying[..], "resource_exhausted", "4294967295 exceeds limit"),
        (cut, "invalid_argument", "incomplete request envelope"),
        (b"", "unimplemented", "requires a message"),
        (&twice, "unimplemented", "exactly one message"),
        (&enveloped(1, fine), "internal", "compressed"),
        (&enveloped(0x7f, fine), "internal", "compressed"),
        (
            &enveloped(0, "{"),
            "invalid_argument",
            "failed to decode JSON",
        ),
        (
            &enveloped(0, b"\xff\xfe"),
            "invalid_argument",
            "failed to decode JSON",
        ),
        (&nested, "invalid_argument", "failed to decode JSON"),
        (
            &enveloped(0, r#"{"process":{"cmd":"a\u0000b"}}"#),
            "invalid_argument",
            "NUL",
        ),
    ] {
        client.stream_fails(body, code, why);
        witness.noticed_nothing(why);
    }
    let unknown = format!("Content-Type: {STREAM}\r\nConnect-Content-Encoding: snappy\r\n");
    let heard = client.ask(&format!("POST {START}"), &unknown, &enveloped(0, fine));
    assert!(
        heard.body.contains(r#""code":"unimplemented""#),
        "{heard:?}"
    );

    let (plain, list) = ("application/json", "/process.Process/List");
    let input = br#"{"process":{"pid":1},"input":{"stdin":"***"}}"#;
    let deep = b"[".repeat(100_000);
    for (path, kind, body, status, why) in [
        (
            "/process.Process/SendInput",
            plain,
            &input[..],
            400,
            "failed to decode JSON",
        ),
        (list, plain, &deep, 400, "failed to decode JSON"),
        (list, plain, b"{", 400, "failed to decode JSON"),
        (list, "text/plain", b"{}", 415, ""),
        (START, "text/plain", b"{}", 415, ""),
        ("/process.Process/Nothing", plain, b"{}", 404, ""),
    ] {
        let heard = client.call(path, kind, body);
        assert_eq!(heard.status, status, "{path}: {heard:?}");
        assert!(heard.body.contains(why), "{path}: {heard:?}");
        witness.noticed_nothing(path);
    }
    let unknown = format!("Content-Type: {plain}\r\nContent-Encoding: snappy\r\n");
    let heard = client.ask(&format!("POST {list}"), &unknown, b"{}");
    assert_eq!(heard.status, 501, "{heard:?}");
    witness.noticed_nothing("all of them");
}

fn files_and_paths_that_cannot_be(stage: &Stage) {
    let serving = Serving::new(stage);
    let mut witness = Witness::new(&serving);
    let client = Client::new(&serving);
    let bytes = "Content-Type: application/octet-stream\r\n";
    let gzip = format!("{bytes}Content-Encoding: gzip\r\n");
    let snappy = format!("{bytes}Content-Encoding: snappy\r\n");
    for (request, headers, body, status, why) in [
        (
            "POST /files?path=a",
            &*snappy,
            &b"x"[..],
            400,
            "unsupported Content-Encoding 'snappy'",
        ),
        (
            "POST /files?path=a",
            &gzip,
            b"\x1f\x8b\x08\x00",
            400,
            "Content-Encoding gzip",
        ),
        (
            "POST /files?path=a",
            "Content-Type: text/plain\r\n",
            b"x",
            400,
            "unsupported content type",
        ),
        (
            "POST /files?path=a",
            "Content-Type: multipart/form-data\r\n",
            b"x",
            400,
            "boundary",
        ),
        ("GET /files?path=a%00b", "", b"", 400, "NUL"),
        ("GET /files?path=/proc/../tmp", "", b"", 400, "directory"),
        ("POST /x/../init", "", b"{}", 404, "not found"),
        ("POST //init", "", b"{}", 404, "not found"),
        ("POST /%69nit", "", b"{}", 404, "not found"),
    ] {
        let heard = client.ask(request, headers, body);
        assert_eq!(heard.status, status, "{request}: {heard:?}");
        assert!(heard.body.contains(why), "{request}: {heard:?}");
        witness.noticed_nothing(request);
    }
    // However it climbs, it stays in the sandbox.
    let climbing = format!("GET /files?path={}etc/hostname", "../".repeat(64));
    assert_eq!(client.ask(&climbing, "", b"").body, "sandbox\n");
    let odd = client.head("POST /files?path=a", bytes);
    let odd = format!("{odd}Transfer-Encoding: chunked\r\n\r\nzz\r\nx");
    let heard = client.say(odd);
    assert_eq!(heard.status, 400, "{heard:?}");
    assert!(
        heard.body.contains("the request's body broke off"),
        "{heard:?}"
    );

    let api = |method, path: &str, body| client.api(method, path, &body);
    assert_eq!(
        api("GET", "/sandboxes/../api-keys", Value::Null).status,
        404
    );
    assert_eq!(api("GET", "/sandboxes/a%00b", Value::Null).status, 404);
    let long = json!({ "templateID": "x".repeat(2 << 20) });
    assert_eq!(api("POST", "/v2/sandboxes", long).status, 413);
    let mut deep = Value::Null;
    for _ in 0..200 {
        deep = json!({ "a": deep });
    }
    let deep = api(
        "POST",
        "/v2/sandboxes",
        json!({ "templateID": "base", "metadata": deep }),
    );
    assert_eq!(deep.status, 400, "{deep:?}");
    let wrong = api(
        "POST",
        "/v2/sandboxes",
        json!({ "templateID": "base", "timeout": "soon" }),
    );
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert!(wrong.body.contains("timeout"), "{wrong:?}");
    witness.noticed_nothing("all of them");
}

fn heads_that_cannot_be(stage: &Stage) {
    let serving = Serving::new(stage);
    let mut witness = Witness::new(&serving);
    let client = Client::new(&serving);
    let mut many = client.head("GET /health", "");
    for number in 0..10_000 {
        let _ = write!(many, "a{number}: b\r\n");
    }
    let long = "b".repeat(1 << 20);
    let (get, post) = ("GET /health HTTP/1.1\r\n", "POST /health HTTP/1.1\r\n");
    for (head, status) in [
        (many, 431),
        (client.head("GET /health", &format!("a: {long}\r\n")), 431),
        (client.head(&format!("GET /{long}"), ""), 431),
        (format!("{get}Host: a\r\nHost: b\r\n"), 400),
        (get.to_owned(), 400),
        (format!("{get}Host: a b\r\n"), 400),
        (
            format!("{post}Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n"),
            400,
        ),
        (format!("{post}Host: a\r\nContent-Length: -1\r\n"), 400),
        (format!("{post}Host: a\r\nTransfer-Encoding: odd\r\n"), 400),
        ("\0\u{1}\u{2}\u{3}".repeat(100), 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n".to_owned(), 405),
    ] {
        let shown: String = head.chars().take(60).collect();
        let heard = client.say(format!("{head}\r\n"));
        assert_eq!(heard.status, status, "{shown}: {heard:?}");
        witness.noticed_nothing(&shown);
    }
}

fn clients_that_are_slow_or_leave(stage: &Stage) {
    let serving = Serving::new(stage);
    let mut witness = Witness::new(&serving);
    let client = Client::new(&serving);
    let run = |script: &str| {
        let started = json!({ "process": { "cmd": "sh", "args": ["-c", script] }, "tag": "left" });
        let headers = format!("Content-Type: {STREAM}\r\n");
        let body = enveloped(0, started.to_string());
        client.request(&format!("POST {START}"), &headers, &body)
    };
    // Some read nothing, and some never end what they began to say.
    let deaf: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = client.connect();
            stream.write_all(&run("exec yes")).unwrap();
            stream
        })
        .collect();
    let mut slow = client.connect();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: loc")
        .unwrap();
    let mut stuck = client.connect();
    let begun = client.head("POST /files?path=a", "Content-Length: 100\r\n\r\n");
    stuck
        .write_all(format!("{begun}not all").as_bytes())
        .unwrap();
    witness.noticed_nothing("clients that read nothing");

    // One leaves in the middle of a stream: its command goes on, and can be found.
    let mut stream = client.connect();
    stream
        .write_all(&run("while echo beat; do sleep 0.01; done"))
        .unwrap();
    let mut first = [0; 4096];
    assert!(stream.read(&mut first).unwrap() > 0);
    drop(stream);
    witness.noticed_nothing("a client that left");
    let list = client.call("/process.Process/List", "application/json", b"{}");
    assert!(list.body.contains("while echo beat"), "{list:?}");

    // Who closes its half has gone, by this server's rules.
    let mut half = client.connect();
    half.write_all(&run("sleep 100")).unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    hear(&mut half);
    witness.noticed_nothing("a client that closed its half");

    // A head has ten seconds.
    assert_eq!(hear(&mut slow).status, 0);
    drop((deaf, stuck));
    witness.noticed_nothing("the end of all");
    assert!(serving.says(&["exec", &client.id, "--", "echo", "still"]) == "still\n");
}

fn a_disk_that_is_full(stage: &Stage) {
    let serving = Serving::new(stage);
    let mut witness = Witness::new(&serving);
    let id = serving.create(&["--disk", "16M"]);
    stage.write("ws/big", vec![7; 32 << 20]);
    let copied = serving.run(&["cp", "big", &format!("{id}:/tmp/big")]);
    assert_eq!(copied.code, 125, "{copied:?}");
    assert!(copied.err.contains("not enough disk space"), "{copied:?}");
    // It stays full for longer than it takes to notice.
    let script = "head -c 33554432 /dev/zero > /tmp/full; echo $?; sleep 0.5\n\
                  rm /tmp/full; echo again > /tmp/a && cat /tmp/a";
    let full = serving.run(&["exec", &id, "--", "sh", "-c", script]);
    assert_eq!((full.code, &*full.out), (0, "1\nagain\n"), "{full:?}");
    assert!(full.err.contains("No space left"), "{full:?}");
    witness.noticed_nothing("a full disk");
    let other = serving.create(&[]);
    serving.says(&["cp", "big", &format!("{other}:/tmp/big")]);
}

/// The process with these arguments, and its parent.
fn found(args: &str) -> Option<(u32, u32)> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut own = pids.filter(|pid| {
        let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text == args.as_bytes()
    });
    let pid = own.next()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Some((pid, parent.trim().parse().ok()?))
}

fn an_agent_that_is_killed(stage: &Stage) {
    let serving = Serving::new(stage);
    let mut witness = Witness::new(&serving);
    let client = Client::new(&serving);
    // A length of sleep that only this test's sandbox has.
    let length = format!("{}.5", 100_000 + std::process::id());
    let mut stream = client.connect();
    let started = json!({ "process": { "cmd": "sleep", "args": [length] } });
    let headers = format!("Content-Type: {STREAM}\r\n");
    let body = enveloped(0, started.to_string());
    let request = client.request(&format!("POST {START}"), &headers, &body);
    stream.write_all(&request).unwrap();
    // The stream has begun, and says so.
    let mut read = Vec::new();
    while !read.windows(7).any(|window| window == b"\"start\"") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        read.extend(byte);
    }
    let mut agent = None;
    wait_until(PATIENCE, "the command to run", || {
        agent = found(&format!("sleep\0{length}\0"));
        agent.is_some()
    });
    let (_, agent) = agent.unwrap();
    let agent = Pid::from_raw(agent.try_into().unwrap()).unwrap();
    kill_process(agent, Signal::KILL).unwrap();
    // The stream ends with an error that clients know.
    let heard = rest_of(&mut stream, read);
    assert!(heard.body.contains(r#""code":"unavailable""#), "{heard:?}");
    wait_until(PATIENCE, "the sandbox to be known as ended", || {
        let known = report(&serving.says(&["inspect", &client.id]));
        known["state"] == "failed" || known["state"] == "stopped"
    });
    let known = report(&serving.says(&["inspect", &client.id]));
    assert!(known["reason"].is_string(), "{known}");
    let gone = client.ask("GET /health", "", b"");
    assert_eq!(gone.status, 502, "{gone:?}");
    assert!(gone.body.contains("The sandbox was not found"), "{gone:?}");
    witness.noticed_nothing("an agent's end");
}

fn a_store_that_is_locked(stage: &Stage) {
    if !has(&["/usr/bin/python3"]) {
        return;
    }
    let serving = Serving::new(stage);
    let mut witness = Witness::new(&serving);
    let client = Client::new(&serving);
    let script = "import sqlite3, sys\n\
                  store = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  store.execute('BEGIN EXCLUSIVE')\n\
                  print('held', flush=True)\n\
                  sys.stdin.read()\n";
    let mut holder = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(serving.data().join("platform.sqlite"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = String::new();
    let out = holder.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut held).unwrap();
    assert_eq!(held, "held\n");

    let new = json!({ "templateID": "base" });
    let refused = client.api("POST", "/v2/sandboxes", &new);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(
        refused.head.to_lowercase().contains("retry-after: 1"),
        "{refused:?}"
    );
    assert!(refused.body.contains("nothing was changed"), "{refused:?}");
    // What only looks goes on, and so does everything inside.
    assert_eq!(client.api("GET", "/v2/sandboxes", &Value::Null).status, 200);
    let said = serving.says(&["exec", &client.id, "--", "echo", "inside"]);
    assert_eq!(said, "inside\n");
    witness.noticed_nothing("a locked store");
    // An end is an end, and is written down later.
    serving.says(&["kill", &client.id]);

    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    wait_until(PATIENCE, "the store to be written to", || {
        client.api("POST", "/v2/sandboxes", &new).status == 201
    });
    let known = report(&serving.says(&["inspect", &client.id]));
    assert_eq!(known["state"], "stopped");
    witness.noticed_nothing("a store that is back");
}
