//! `--otlp-endpoint`: what a collector is sent, and what happens without one.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/collector.rs"]
mod collector;
#[path = "support/https.rs"]
mod https;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;

use collector::{attribute, collector};
use https::Https;
use sandbox::{Ended, Stage, both};
use serde_json::Value;
use server::Server;
use std::collections::BTreeSet;
use std::net::TcpListener;

both!(
    a_collector_gets_a_tree_of_each_connection,
    nobody_waits_for_a_collector,
);

const PROGRAM: &str = r#"
import socket, ssl, sys
host, plain, secure = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.create_connection((host, plain), 30) as connection:
    connection.sendall(b'x')
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(64): pass
try: socket.create_connection((host, 1), 30).recv(1)
except OSError: pass
context = ssl.create_default_context()
with socket.create_connection((host, secure)) as connection:
    with context.wrap_socket(connection, server_hostname=host) as connection:
        for path, last in ('/ok?token=hunter2', b''), ('/hunter2', b'Connection: close\r\n'):
            connection.sendall(b'GET %s HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: Bearer hunter2\r\n%s\r\n' % (path.encode(), host.encode(), secure, last))
            print(connection.recv(12).decode().split()[1])
            connection.settimeout(30)
            if not last:
                while not connection.recv(4096).endswith(b'secret'): pass
        while connection.recv(4096): pass
"#;

fn run(stage: &Stage, url: &str) -> Option<(Ended, u16, u16)> {
    let Some(server) = Server::start() else {
        println!("skipped: this machine has loopback addresses only");
        return None;
    };
    let https = Https::start(stage, server.ip())?;
    let (ip, plain, secure) = (server.ip(), server.port(), https.address.port());
    stage.write(
        "outside/p.yaml",
        format!(
            "version: 1\nnetwork_policies:\n  it:\n    binaries: [{{ path: \"/**\" }}]\n    endpoints:\n      \
             - {{ host: \"{ip}\", port: {plain} }}\n      \
             - {{ host: \"{ip}\", port: {secure}, protocol: rest, enforcement: enforce, \
             rules: [{{ allow: {{ method: GET, path: /ok }} }}] }}\n"
        ),
    );
    let mut command = stage.casemate();
    command.env("SSL_CERT_FILE", &https.authority);
    command.args(["run", "--quiet", "--name", "traced", "--otlp-endpoint", url]);
    command.args(["--policy", &stage.text("outside/p.yaml")]);
    command.args(["--", "/usr/bin/python3", "-c", PROGRAM, &ip.to_string()]);
    command.args([plain.to_string(), secure.to_string()]);
    Some((Ended::of(&mut command), plain, secure))
}

fn a_collector_gets_a_tree_of_each_connection(stage: &Stage) {
    let (url, requests) = collector();
    let Some((ended, plain, secure)) = run(stage, &url) else {
        return;
    };
    ended.assert(0, "200\n403\n", "");
    let requests = requests.lock().unwrap();
    let text = format!("{requests:?}");
    assert!(!text.contains("hunter2"), "{text}");
    let spans: Vec<&Value> = requests
        .iter()
        .flat_map(|own| {
            let resource = &own["resourceSpans"][0]["resource"];
            assert_eq!(attribute(resource, "service.name").unwrap(), "casemate");
            assert_eq!(attribute(resource, "casemate.name").unwrap(), "traced");
            own["resourceSpans"][0]["scopeSpans"][0]["spans"]
                .as_array()
                .unwrap()
        })
        .collect();
    let nanos = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    let hexadecimal = |value: &Value, length: usize| {
        let text = value.as_str().unwrap();
        assert!(text.len() == length && text.bytes().all(|own| own.is_ascii_hexdigit()));
    };
    let mut ids = BTreeSet::new();
    for span in &spans {
        hexadecimal(&span["traceId"], 32);
        hexadecimal(&span["spanId"], 16);
        assert!(ids.insert(span["spanId"].as_str().unwrap()), "{span}");
        assert!(nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"));
    }
    let of_port = |port: u16| {
        let roots = spans.iter().filter(|own| own["parentSpanId"].is_null());
        let root = roots
            .filter(|own| attribute(own, "server.port") == Some(port.to_string()))
            .collect::<Vec<_>>();
        assert_eq!(root.len(), 1, "{port}: {text}");
        let root = root[0];
        let children: Vec<_> = spans
            .iter()
            .filter(|own| own["traceId"] == root["traceId"] && !own["parentSpanId"].is_null())
            .collect();
        for child in &children {
            assert_eq!(child["parentSpanId"], root["spanId"]);
            let begins = nanos(child, "startTimeUnixNano") >= nanos(root, "startTimeUnixNano");
            assert!(begins && nanos(child, "endTimeUnixNano") <= nanos(root, "endTimeUnixNano"));
        }
        let names: BTreeSet<_> = children
            .iter()
            .map(|own| own["name"].as_str().unwrap().to_owned())
            .collect();
        let requests: Vec<_> = children
            .iter()
            .filter(|own| own["name"] == "request")
            .copied()
            .copied()
            .collect();
        (root, names, requests)
    };
    let (root, names, _) = of_port(plain);
    for name in ["identify", "decide", "dial"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    // Only the first of the three has to read the program.
    assert!(names.contains("hash"), "{names:?}");
    assert_eq!(attribute(root, "casemate.decision").unwrap(), "allowed");
    assert_eq!(attribute(root, "casemate.bytes.sent").unwrap(), "1");
    assert!(
        attribute(root, "process.executable.path")
            .unwrap()
            .contains("python")
    );
    assert_eq!(root["kind"], 3);
    let (root, _, _) = of_port(1);
    assert_eq!(attribute(root, "casemate.decision").unwrap(), "denied");
    assert_eq!(root["status"]["code"], 2);
    let (_, names, requests) = of_port(secure);
    for name in ["identify", "decide", "dial", "tls", "request"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let told: Vec<_> = requests
        .iter()
        .map(|own| {
            assert_eq!(attribute(own, "http.request.method").unwrap(), "GET");
            (
                attribute(own, "http.response.status_code").unwrap(),
                attribute(own, "casemate.decision").unwrap(),
            )
        })
        .collect();
    let expected = [("200", "allowed"), ("403", "denied")];
    assert_eq!(told, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

fn nobody_waits_for_a_collector(stage: &Stage) {
    // One that hears and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let Some((ended, ..)) = run(stage, &url) else {
        return;
    };
    assert_eq!((ended.code, &*ended.out), (0, "200\n403\n"));
    // And none at all.
    drop(silent);
    let Some((ended, ..)) = run(stage, &url) else {
        return;
    };
    assert_eq!((ended.code, &*ended.out), (0, "200\n403\n"));
    assert!(
        ended.err.contains("spans never reached the collector"),
        "{ended:?}"
    );
    for url in [
        "127.0.0.1:4318",
        "ftp://a",
        "http://me:secret@a",
        "http://a?b",
    ] {
        let policy = stage.text("outside/p.yaml");
        let flags = ["--policy", &policy, "--otlp-endpoint", url, "--", "true"];
        let ended = stage.run(flags);
        assert!(
            ended.code == 125 && ended.err.contains("send spans"),
            "{ended:?}"
        );
    }
}
