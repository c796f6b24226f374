//! `casemate serve` itself: its flags, what it says, and what is seen of it at work.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/collector.rs"]
mod collector;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use collector::{attribute, collector};
use sandbox::{Ended, Stage, both, report, wait_until};
use serde_json::Value;
use serving::Serving;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use support::{PATIENCE, end_of, start};

both!(
    combinations_that_make_no_sense,
    people_need_no_resolver_for_a_domain,
    nobody_has_to_read_what_it_says,
    the_first_key_is_not_lost,
    a_log_of_changes,
    a_log_of_requests,
    numbers,
    spans_of_requests,
);

fn combinations_that_make_no_sense(stage: &Stage) {
    stage.write("outside/none.pem", "");
    let none = stage.text("outside/none.pem");
    let pair = format!("{none},{none}");
    let cases: &[(&[&str], &str, &str)] = &[
        (
            &["--tls", "self"],
            "speak TLS: a certificate is for a name, and there is none",
            "add --domain NAME: --domain sbx.localhost for instance",
        ),
        (
            &["--dns", "127.0.0.1:0"],
            "answer DNS questions: there is no domain to answer for",
            "add --domain NAME: --domain sbx.localhost for instance",
        ),
        (
            &[
                "--domain",
                "a.test",
                "--tls",
                "self",
                "--dns",
                "127.0.0.1:0",
                "--listen",
                "0.0.0.0:0",
            ],
            "answer DNS questions 0.0.0.0:0: answers have to name one address, and this is all of them",
            "give --listen the address that clients are to reach",
        ),
        (
            &["--listen", "0.0.0.0:0"],
            "listen elsewhere than on loopback 0.0.0.0:0: keys and files would cross the network in the clear",
            "--domain NAME --tls CERT,KEY encrypts; --insecure accepts that, behind a proxy that speaks TLS for instance",
        ),
        (
            &["--domain", "a.test", "--tls", &pair],
            &format!("read the certificate {none}: no items found"),
            "a PEM file with the whole chain, and one with its key, are needed",
        ),
        (
            &["--metrics", "192.0.2.1:1"],
            "serve metrics 192.0.2.1:1: others than this host could read them there",
            "give 127.0.0.1:PORT, [::1]:PORT or the path of a socket",
        ),
        (
            &["--otlp-endpoint", "ftp://x"],
            "send spans ftp://x: this is no URL of http or https",
            "give the collector's, such as http://127.0.0.1:4318",
        ),
    ];
    for (flags, why, hint) in cases {
        let ended = Ended::of(stage.casemate().arg("serve").args(*flags));
        let text = format!("casemate: error: {why}\nhint: {hint}\n");
        assert_eq!((ended.code, &*ended.err), (125, &*text), "{flags:?}");
    }
    for flags in [
        ["--tls", "self", "--insecure", ""],
        ["--tls", "other", "", ""],
        ["--domain", "a.test:3000", "", ""],
        ["--domain", "10.0.0.1", "", ""],
        ["--log-level", "loud", "", ""],
    ] {
        let flags = flags.iter().filter(|flag| !flag.is_empty());
        let ended = Ended::of(stage.casemate().arg("serve").args(flags));
        assert_eq!(ended.code, 125, "{ended:?}");
    }
}

/// The server's own file says where it is and who signed its certificate.
fn people_need_no_resolver_for_a_domain(stage: &Stage) {
    let mut serving = Serving::with(stage, &["--domain", "sbx.test", "--tls", "self"]);
    let id = serving.create(&[]);
    assert_eq!(serving.says(&["exec", &id, "--", "echo", "hi"]), "hi\n");
    stage.write("ws/file", "there and back");
    let there = format!("{id}:/tmp/file");
    serving.says(&["cp", "file", &there]);
    assert_eq!(serving.says(&["cp", &there, "-"]), "there and back");
    let port = serving.address.rsplit(':').next().unwrap().to_owned();
    let url = serving.says(&["port", "--print-url", &id, "8000"]);
    assert_eq!(url, format!("https://8000-{id}.sbx.test:{port}/\n"));
    // The next server has another authority.
    serving.stop();
    serving.restart_with(&["--domain", "sbx.test", "--tls", "self"]);
    assert!(serving.says(&["ps"]).contains(&id));
}

fn nobody_has_to_read_what_it_says(stage: &Stage) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = stage.casemate();
    let mut server = start(
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(writer),
    );
    wait_until(PATIENCE, "the server to answer", || {
        Ended::of(stage.casemate().arg("ps")).code == 0
    });
    assert!(server.try_wait().unwrap().is_none());
    server.kill().unwrap();
    server.wait().unwrap();
    stage.end_processes();
}

fn the_first_key_is_not_lost(stage: &Stage) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = stage.casemate();
    command.args(["serve", "--listen", "127.0.0.1:0", "--no-client-file"]);
    let mut server = start(command.stdout(writer));
    assert_eq!(end_of(&mut server, PATIENCE).code(), Some(125));
    stage.end_processes();
}

/// The lines of a log in JSON.
fn lines(log: &str) -> Vec<Value> {
    log.lines().map(report).collect()
}

fn a_log_of_changes(stage: &Stage) {
    let mut serving = Serving::with(stage, &["--log-format", "json"]);
    let id = serving.create(&[]);
    serving.says(&["exec", &id, "--", "true"]);
    serving.says(&["kill", &id]);
    serving.stop();
    let log = serving.log();
    let lines = lines(&log);
    let about = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("{message} isn't in {log}"))
    };
    let created = about("sandbox.create");
    assert_eq!(
        (&created["level"], &created["target_id"]),
        (&"INFO".into(), &id.clone().into())
    );
    let request = &created["span"];
    assert_eq!(
        (&request["name"], &request["method"]),
        (&"request".into(), &"POST".into())
    );
    assert_eq!(about("sandbox.kill")["target_id"], *id);
    assert!(lines.iter().all(|line| line["level"] != "DEBUG"), "{log}");
}

fn a_log_of_requests(stage: &Stage) {
    let mut serving = Serving::with(stage, &["--log-format", "json", "--log-level", "debug"]);
    let id = serving.create(&[]);
    serving.says(&["exec", &id, "--", "echo", "hunter2"]);
    stage.write("ws/hunter2", "hunter2");
    serving.says(&["cp", "hunter2", &format!("{id}:/tmp/hunter2")]);
    serving.stop();
    let log = serving.log();
    let answered = |line: &&Value| line["message"] == "answered, after so many microseconds";
    let lines = lines(&log);
    let requests: Vec<_> = lines
        .iter()
        .filter(answered)
        .map(|line| &line["span"])
        .collect();
    let inside = requests.iter().filter(|span| span["sandbox"] == *id);
    assert!(inside.clone().all(|span| span["port"] == 49983), "{log}");
    assert!(inside.count() >= 2, "{log}");
    let api = requests.iter().find(|span| span["status"] == 201).unwrap();
    assert!(
        api["path"].as_str().unwrap().ends_with("/sandboxes"),
        "{api}"
    );
    // Neither keys, nor what is done inside, nor the names of files.
    assert!(!log.contains(serving.key.as_deref().unwrap()), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

fn fetched(stage: &Stage, path: &str) -> String {
    let mut stream = UnixStream::connect(stage.path("home/metrics")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn numbers(stage: &Stage) {
    let serving = Serving::with(stage, &["--metrics", &stage.text("home/metrics")]);
    let id = serving.create(&[]);
    serving.says(&["exec", &id, "--", "true"]);
    serving.says(&["exec", &id, "--", "true"]);
    let text = fetched(stage, "/metrics");
    for line in [
        "casemate_sandbox_step_seconds_count{step=\"create\"} 1\n",
        "gateway_exec_seconds_count 2\n",
        "gateway_pool_open{class=\"pty\"} 0\n",
        "gateway_pool_idle{class=\"files\"} 0\n",
        "gateway_first_byte_seconds_count{class=\"port\"} 0\n",
        "# EOF\n",
    ] {
        assert!(text.contains(line), "{line} isn't in {text}");
    }
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(fetched(stage, "/").starts_with("HTTP/1.1 404 "));
}

fn spans_of_requests(stage: &Stage) {
    let (url, requests) = collector();
    let mut serving = Serving::with(stage, &["--otlp-endpoint", &url]);
    let id = serving.create(&[]);
    serving.stop();
    let requests = requests.lock().unwrap();
    let scopes = requests
        .iter()
        .map(|own| &own["resourceSpans"][0]["scopeSpans"][0]);
    let mut spans = Vec::new();
    for scope in scopes {
        assert_eq!(scope["scope"]["name"], "casemate.serve");
        spans.extend(scope["spans"].as_array().unwrap());
    }
    let status = "http.response.status_code";
    let made = |own: &&&Value| attribute(own, status).as_deref() == Some("201");
    let request = spans.iter().find(made).unwrap();
    assert_eq!(
        (&request["name"], &request["kind"]),
        (&"request".into(), &2.into())
    );
    assert_eq!(
        attribute(request, "http.request.method").as_deref(),
        Some("POST")
    );
    let create = spans.iter().find(|own| own["name"] == "create").unwrap();
    assert_eq!(create["parentSpanId"], request["spanId"]);
    assert_eq!(create["traceId"], request["traceId"]);
    assert_eq!(attribute(create, "casemate.sandbox"), Some(id));
}
