//! `casemate run --policy`: which connections leave, from real programs to real servers.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;

use sandbox::{Ended, Stage, both, report, wait_until};
use server::{GREETING, Server};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

both!(
    allowed_to_one_program_and_denied_to_others,
    what_happened_is_in_the_report_and_the_log,
    the_program_that_started_it_counts,
    a_script_of_an_interpreter,
    a_pinned_digest,
    much_data_both_ways,
    ipv6,
    mapped_addresses,
    datagrams_are_refused_at_once,
    connect_through_the_proxy,
    socks_through_the_proxy,
    curl_through_the_proxy,
    names_that_no_entry_has,
    rules_in_rego_deny,
    rules_in_rego_allow,
    connections_at_a_time,
    connections_per_second,
    bytes_in_all,
    nothing_is_left_of_a_killed_supervisor,
);

/// A server, or the word that there is no address for one.
macro_rules! server {
    ($start:expr) => {
        match $start {
            Some(server) => server,
            None => return println!("skipped: this machine has loopback addresses only"),
        }
    };
}

/// `casemate run --policy P FLAGS -- COMMAND`, with these entries in the policy.
fn run(stage: &Stage, entries: &str, flags: &[&str], command: &[&str]) -> Ended {
    Ended::of(&mut prepared(stage, entries, flags, command))
}

fn prepared(
    stage: &Stage,
    entries: &str,
    flags: &[&str],
    command: &[&str],
) -> std::process::Command {
    let outside = stage.text("outside");
    let policy = format!(
        "version: 1\nfilesystem_policy: {{ include_workdir: true, read_only: [{outside}] }}\n{entries}"
    );
    stage.write("outside/p.yaml", policy);
    let mut casemate = stage.casemate();
    let path = stage.path("outside/p.yaml");
    casemate.arg("run").arg("--policy").arg(path).args(flags);
    casemate.arg("--").args(command);
    casemate
}

/// One entry for one server.
fn entry(server: &Server, binaries: &str, more: &str) -> String {
    let (ip, port) = (server.ip(), server.port());
    format!(
        "network_policies:\n  here:\n    endpoints: [{{ host: \"{ip}\", port: {port}, protocol: any }}]\n    binaries: [{binaries}]\n{more}"
    )
}

const BASH: &str = "{ path: /usr/bin/bash }";
const PYTHON: &str = "{ path: /usr/bin/python3 }";

/// Says what the server says first; a shell's own sockets know nothing of proxies.
fn hear(server: &Server) -> String {
    format!(
        "exec 3<>/dev/tcp/{}/{} && read -r line <&3 && echo \"$line\"",
        server.ip(),
        server.port()
    )
}

/// Sends so many bytes, says that this was all, and compares what comes back.
fn exchange(host: &str, port: u16, bytes: usize) -> String {
    format!(
        "import hashlib, os, socket\n\
         s = socket.create_connection(('{host}', {port}), 30)\n\
         f = s.makefile('rb')\n\
         print(f.readline().decode().strip())\n\
         data = os.urandom({bytes})\n\
         s.sendall(data)\n\
         s.shutdown(socket.SHUT_WR)\n\
         digest = lambda data: hashlib.sha256(data).hexdigest()\n\
         print(digest(f.read()) == digest(data))\n"
    )
}

fn python(stage: &Stage, entries: &str, flags: &[&str], script: &str) -> Ended {
    run(stage, entries, flags, &["/usr/bin/python3", "-c", script])
}

fn allowed_to_one_program_and_denied_to_others(stage: &Stage) {
    let server = server!(Server::start());
    let script = hear(&server);
    let ended = run(
        stage,
        &entry(&server, BASH, ""),
        &[],
        &["bash", "-c", &script],
    );
    ended.assert_out(&format!("{GREETING}\n"));
    // The same program, and only another one is named.
    let ended = run(
        stage,
        &entry(&server, PYTHON, ""),
        &[],
        &["bash", "-c", &script],
    );
    assert_ne!(ended.code, 0);
    assert_eq!(ended.out, "");
    assert!(ended.err.contains("net:refuse denied"), "{}", ended.err);
    assert!(ended.err.contains("/usr/bin/bash"), "{}", ended.err);
    // And one that is, at another port.
    let elsewhere = server!(Server::start());
    let ended = run(
        stage,
        &entry(&server, BASH, ""),
        &[],
        &["bash", "-c", &hear(&elsewhere)],
    );
    assert_eq!((ended.out.as_str(), elsewhere.accepted()), ("", 0));
    assert_eq!(server.accepted(), 1);
}

fn what_happened_is_in_the_report_and_the_log(stage: &Stage) {
    let server = server!(Server::start());
    let (ip, port) = (server.ip().to_string(), server.port());
    let script = exchange(&ip, port, 1000)
        + &format!(
            "try: socket.create_connection(('{ip}', 9), 30).recv(1)\nexcept OSError: print('refused')\n"
        );
    let ended = python(
        stage,
        &entry(&server, PYTHON, ""),
        &["--report", "report.json", "-q"],
        &script,
    );
    ended.assert_out(&format!("{GREETING}\nTrue\nrefused\n"));
    let report = report(&stage.read("ws/report.json"));
    let rows = report["connections"].as_array().unwrap();
    let row = |decision: &str| rows.iter().find(|row| row["decision"] == decision).unwrap();
    let allowed = row("allowed");
    let binary = fs::canonicalize("/usr/bin/python3").unwrap();
    assert_eq!(allowed["binary"], binary.to_str().unwrap());
    assert_eq!(
        (&allowed["host"], &allowed["port"]),
        (&ip.clone().into(), &port.into())
    );
    assert_eq!(
        (&allowed["because"], &allowed["count"]),
        (&"here".into(), &1.into())
    );
    let greeted = 1000 + GREETING.len() + 1;
    assert_eq!(
        (&allowed["sent"], &allowed["received"]),
        (&1000.into(), &greeted.into())
    );
    let denied = row("denied");
    assert_eq!((&denied["host"], &denied["port"]), (&ip.into(), &9.into()));
    assert!(
        denied["because"].as_str().unwrap().contains("not allowed"),
        "{denied}"
    );
    // The log is for the owner only, a line for each thing that happened.
    let log = stage.path("home/.local/state/casemate/audit.jsonl");
    assert_eq!(
        fs::metadata(&log).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let log = fs::read_to_string(log).unwrap();
    let events: Vec<_> = log.lines().map(sandbox::report).collect();
    let of = |activity: &str| {
        let name = |event: &&serde_json::Value| event["activity_name"] == activity;
        events.iter().filter(name).count()
    };
    assert_eq!((of("Open"), of("Close"), of("Refuse")), (1, 1, 1), "{log}");
}

fn the_program_that_started_it_counts(stage: &Stage) {
    let server = server!(Server::start());
    let allowed = entry(&server, "{ path: /usr/bin/timeout }", "");
    let script = hear(&server);
    let ended = run(
        stage,
        &allowed,
        &[],
        &["timeout", "50", "bash", "-c", &script],
    );
    ended.assert_out(&format!("{GREETING}\n"));
    // It doesn't count that it runs somewhere else.
    let script = format!("timeout 50 true; {script}");
    let ended = run(stage, &allowed, &[], &["bash", "-c", &script]);
    assert_eq!(ended.out, "", "{}", ended.err);
    assert_eq!(server.accepted(), 1);
}

fn a_script_of_an_interpreter(stage: &Stage) {
    let server = server!(Server::start());
    for name in ["tool", "other"] {
        stage.script(&format!("outside/{name}.sh"), hear(&server));
    }
    let (tool, other) = (
        stage.text("outside/tool.sh"),
        stage.text("outside/other.sh"),
    );
    let allowed = entry(
        &server,
        &format!("{{ path: /usr/bin/bash, script: {tool} }}"),
        "",
    );
    run(stage, &allowed, &[], &["bash", &tool]).assert_out(&format!("{GREETING}\n"));
    for command in [
        &["bash", &other][..],
        &["bash", "-c", &hear(&server), &tool],
    ] {
        let ended = run(stage, &allowed, &[], command);
        assert_eq!(ended.out, "", "{command:?}: {}", ended.err);
    }
    assert_eq!(server.accepted(), 1);
}

fn a_pinned_digest(stage: &Stage) {
    let server = server!(Server::start());
    let said = stage.outside("sha256sum /usr/bin/bash");
    let digest = said.split(' ').next().unwrap();
    let pinned = |digest: &str| {
        let binary = format!("{{ path: /usr/bin/bash, sha256: {digest} }}");
        entry(&server, &binary, "")
    };
    let script = hear(&server);
    run(stage, &pinned(digest), &[], &["bash", "-c", &script]).assert_out(&format!("{GREETING}\n"));
    let wrong = "ab".repeat(32);
    let ended = run(stage, &pinned(&wrong), &[], &["bash", "-c", &script]);
    assert_eq!(ended.out, "", "{}", ended.err);
    assert_eq!(server.accepted(), 1);
}

fn much_data_both_ways(stage: &Stage) {
    let server = server!(Server::start());
    let script = exchange(&server.ip().to_string(), server.port(), 48 << 20);
    let ended = python(stage, &entry(&server, PYTHON, ""), &[], &script);
    ended.assert_out(&format!("{GREETING}\nTrue\n"));
}

fn ipv6(stage: &Stage) {
    let server = server!(Server::start_ipv6());
    let script = exchange(&server.ip().to_string(), server.port(), 100);
    python(stage, &entry(&server, PYTHON, ""), &[], &script)
        .assert_out(&format!("{GREETING}\nTrue\n"));
    let ended = python(stage, &entry(&server, BASH, ""), &[], &script);
    assert_ne!(ended.code, 0);
    assert_eq!(server.accepted(), 1);
}

fn mapped_addresses(stage: &Stage) {
    let server = server!(Server::start());
    let script = exchange(&format!("::ffff:{}", server.ip()), server.port(), 100);
    python(stage, &entry(&server, PYTHON, ""), &[], &script)
        .assert_out(&format!("{GREETING}\nTrue\n"));
    let ended = python(stage, &entry(&server, BASH, ""), &[], &script);
    assert_ne!(ended.code, 0);
    assert_eq!(server.accepted(), 1);
}

fn datagrams_are_refused_at_once(stage: &Stage) {
    let server = server!(Server::start());
    // Not by silence: the error arrives at the socket.
    let script = format!(
        "import socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         s.settimeout(30)\n\
         s.connect(('{}', {}))\n\
         s.send(b'x')\n\
         try: s.recv(1)\n\
         except ConnectionRefusedError: print('refused')\n",
        server.ip(),
        server.port()
    );
    python(stage, &entry(&server, PYTHON, ""), &[], &script).assert_out("refused\n");
}

/// Asks the proxy, with what it answers.
fn proxied(ask: &str) -> String {
    format!(
        "import socket, struct\n\
         s = socket.create_connection(('127.0.0.1', 1), 30)\n\
         f = s.makefile('rb')\n{ask}"
    )
}

fn connect_through_the_proxy(stage: &Stage) {
    let server = server!(Server::start());
    let ask = |port: u16| {
        proxied(&format!(
            "s.sendall(b'CONNECT {0}:{port} HTTP/1.1\\r\\nHost: {0}:{port}\\r\\n\\r\\n')\n\
             print(f.readline().split()[1].decode())\n\
             while f.readline().strip(): pass\n\
             print(f.readline().decode().strip()[:5])\n",
            server.ip()
        ))
    };
    python(stage, &entry(&server, PYTHON, ""), &[], &ask(server.port()))
        .assert_out(&format!("200\n{GREETING}\n"));
    let ended = python(stage, &entry(&server, PYTHON, ""), &["-q"], &ask(9));
    assert!(ended.out.starts_with("403\n"), "{ended:?}");
    assert_eq!(server.accepted(), 1);
}

fn socks_through_the_proxy(stage: &Stage) {
    let server = server!(Server::start());
    let ask = |port: u16| {
        proxied(&format!(
            "s.sendall(bytes([5, 1, 0]))\n\
             print(list(f.read(2)))\n\
             s.sendall(bytes([5, 1, 0, 1]) + socket.inet_aton('{}') + struct.pack('>H', {port}))\n\
             print(f.read(10)[1])\n\
             print(f.readline().decode().strip())\n",
            server.ip()
        ))
    };
    python(stage, &entry(&server, PYTHON, ""), &[], &ask(server.port()))
        .assert_out(&format!("[5, 0]\n0\n{GREETING}\n"));
    let ended = python(stage, &entry(&server, PYTHON, ""), &["-q"], &ask(9));
    assert_eq!(ended.out, "[5, 0]\n2\n\n", "{ended:?}");
    assert_eq!(server.accepted(), 1);
}

fn curl_through_the_proxy(stage: &Stage) {
    const CURL: &str = "/usr/bin/curl";
    if !Path::new(CURL).exists() {
        return println!("skipped: {CURL} is not installed");
    }
    let server = server!(Server::start());
    let url = format!("http://{}/", server.address);
    let allowed = entry(&server, &format!("{{ path: {CURL} }}"), "");
    // The greeting is no HTTP, which it tells: it was reached.
    for proxy in [
        "http://127.0.0.1:1",
        "socks5h://127.0.0.1:1",
        "socks5://127.0.0.1:1",
    ] {
        let asked = [
            CURL,
            "-s",
            "-p",
            "--http0.9",
            "-m",
            "30",
            "-x",
            proxy,
            "-o",
            "-",
            &url,
        ];
        let command = format!("{} | head -n 1", asked.join(" "));
        run(stage, &allowed, &[], &["sh", "-c", &command]).assert_out(&format!("{GREETING}\n"));
    }
    let accepted = server.accepted();
    let allowed = entry(&server, PYTHON, "");
    for proxy in ["http://127.0.0.1:1", "socks5h://127.0.0.1:1"] {
        let ended = run(
            stage,
            &allowed,
            &[],
            &[CURL, "-s", "-p", "--http0.9", "-x", proxy, &url],
        );
        assert_ne!(ended.code, 0);
        assert!(ended.err.contains("/usr/bin/curl"), "{}", ended.err);
    }
    assert_eq!(server.accepted(), accepted);
}

fn names_that_no_entry_has(stage: &Stage) {
    let server = server!(Server::start());
    // RFC 6761: nobody has it. Over TCP the answer is read as it is: code 5, refused.
    let script = "import socket, struct\n\
         try: socket.getaddrinfo('unlisted.invalid', 80)\n\
         except socket.gaierror: print('no address')\n\
         q = b'\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\x08unlisted\\x07invalid\\0\\0\\1\\0\\1'\n\
         server = [l.split()[1] for l in open('/etc/resolv.conf') if l.startswith('nameserver')][0]\n\
         s = socket.create_connection((server, 53), 30)\n\
         s.sendall(struct.pack('>H', len(q)) + q)\n\
         f = s.makefile('rb')\n\
         print(f.read(struct.unpack('>H', f.read(2))[0])[3] & 15)\n";
    let ended = python(stage, &entry(&server, PYTHON, ""), &["-q"], script);
    ended.assert_out("no address\n5\n");
}

const REGO: &str = "rego: |\n  package casemate.policy\n";

fn rules_in_rego_deny(stage: &Stage) {
    let server = server!(Server::start());
    let rule = format!(
        "{REGO}  deny contains \"not that one\" if input.network.port == {}\n",
        server.port()
    );
    let denying = entry(&server, BASH, &rule);
    let ended = run(stage, &denying, &[], &["bash", "-c", &hear(&server)]);
    assert_eq!(ended.out, "");
    assert!(ended.err.contains("not that one"), "{}", ended.err);
    let rule = format!("{REGO}  deny contains \"not that one\" if input.network.port == 9\n");
    let silent = entry(&server, BASH, &rule);
    run(stage, &silent, &[], &["bash", "-c", &hear(&server)]).assert_out(&format!("{GREETING}\n"));
}

fn rules_in_rego_allow(stage: &Stage) {
    let server = server!(Server::start());
    // What no entry names has to be public, whoever allows it: so this is about another program.
    let rule = |path: &str| format!("{REGO}  allow if input.exec.path == \"{path}\"\n");
    let other = entry(&server, PYTHON, &rule("/usr/bin/bash"));
    let ended = run(stage, &other, &[], &["bash", "-c", &hear(&server)]);
    assert!(ended.err.contains("by=ssrf"), "{ended:?}");
    let other = entry(&server, PYTHON, &rule("/usr/bin/dash"));
    let ended = run(stage, &other, &[], &["bash", "-c", &hear(&server)]);
    assert!(ended.err.contains("by=policy"), "{ended:?}");
    assert_eq!(server.accepted(), 0);
}

/// Opens connections without closing any, and says how many were greeted.
fn several(server: &Server, count: u32) -> String {
    format!(
        "import socket\n\
         held, good = [], 0\n\
         for _ in range({count}):\n\
         \x20   try:\n\
         \x20       s = socket.create_connection(('{}', {}), 30)\n\
         \x20       held.append(s)\n\
         \x20       good += s.recv(1) == b'r'\n\
         \x20   except ConnectionResetError: pass\n\
         print(good)\n",
        server.ip(),
        server.port()
    )
}

fn limited(server: &Server, limits: &str) -> String {
    entry(server, PYTHON, &format!("    limits: {{ {limits} }}\n"))
}

fn connections_at_a_time(stage: &Stage) {
    let server = server!(Server::start());
    let ended = python(
        stage,
        &limited(&server, "connections: 3"),
        &[],
        &several(&server, 5),
    );
    assert_eq!(ended.out, "3\n", "{ended:?}");
    assert!(
        ended.err.contains("here allows 3 connections at a time"),
        "{}",
        ended.err
    );
}

fn connections_per_second(stage: &Stage) {
    let server = server!(Server::start());
    let ended = python(
        stage,
        &limited(&server, "rate: 2"),
        &[],
        &several(&server, 200),
    );
    let good: u32 = ended.out.trim().parse().unwrap();
    assert!((2..200).contains(&good), "{ended:?}");
    assert!(
        ended
            .err
            .contains("here allows 2 new connections per second"),
        "{}",
        ended.err
    );
}

fn bytes_in_all(stage: &Stage) {
    let server = server!(Server::start());
    let limits = limited(&server, "bytes: 1M");
    let script = exchange(&server.ip().to_string(), server.port(), 100_000);
    python(stage, &limits, &[], &script).assert_out(&format!("{GREETING}\nTrue\n"));
    let script = exchange(&server.ip().to_string(), server.port(), 4 << 20);
    let ended = python(stage, &limits, &["-q"], &script);
    assert!(!ended.out.contains("True"), "{ended:?}");
    assert_ne!(ended.code, 0);
}

fn nothing_is_left_of_a_killed_supervisor(stage: &Stage) {
    let server = server!(Server::start());
    let held = format!("{} && exec sleep 1000", hear(&server));
    let mut command = prepared(
        stage,
        &entry(&server, BASH, ""),
        &[],
        &["bash", "-c", &held],
    );
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    wait_until(Duration::from_secs(60), "the connection", || {
        server.open() == 1
    });
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(Duration::from_secs(60), "its end", || server.open() == 0);
    stage.assert_nothing_left();
}
