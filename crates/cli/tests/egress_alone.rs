//! `casemate egress`: the proxy by itself, with its metrics, logs and timings.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/https.rs"]
mod https;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;

use https::Https;
use sandbox::{Ended, Stage, wait_until};
use server::Server;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Through the proxy at a Unix socket: what it answers, and what the server then says.
const CLIENT: &str = r#"
import socket, sys
proxy = socket.socket(socket.AF_UNIX)
proxy.connect(sys.argv[1])
proxy.sendall(f'CONNECT {sys.argv[2]} HTTP/1.1\r\nHost: {sys.argv[2]}\r\n\r\n'.encode())
file = proxy.makefile('rb')
print(file.readline().decode().split()[1])
while file.readline().strip(): pass
print(file.readline().decode().strip()[:5])
"#;

/// A proxy that ends with the test.
struct Proxy {
    child: Child,
    err: BufReader<ChildStderr>,
    places: Vec<String>,
    /// Before it listened.
    said: String,
}

impl Proxy {
    /// Waits until it listens at all of `listen`.
    fn start(stage: &Stage, listen: &[&str], flags: &[&str]) -> Self {
        let mut command = stage.casemate();
        command
            .args(["egress", "--policy"])
            .arg(stage.path("outside/p.yaml"));
        for place in listen {
            command.args(["--listen", place]);
        }
        Self::spawn(command.args(flags), listen)
    }

    fn spawn(command: &mut Command, listen: &[&str]) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let (mut places, mut said) = (Vec::new(), String::new());
        while places.len() < listen.len() {
            let mut line = String::new();
            assert!(
                err.read_line(&mut line).unwrap() > 0,
                "it ended before it listened"
            );
            said.push_str(&line);
            if let Some((_, place)) = line.trim().split_once("listening at ") {
                places.push(place.to_owned());
            }
        }
        Self {
            child,
            err,
            places,
            said,
        }
    }

    /// Ends it in order; what it said.
    fn end(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut said = std::mem::take(&mut self.said);
        self.err.read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        said
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn policy(stage: &Stage, address: SocketAddr, binary: &str) {
    let (ip, port) = (address.ip(), address.port());
    stage.write(
        "outside/p.yaml",
        format!(
            "version: 1\nnetwork_policies:\n  here:\n    endpoints: [{{ host: \"{ip}\", port: {port}, protocol: any }}]\n    binaries: [{{ path: \"{binary}\" }}]\n"
        ),
    );
}

fn scrape(socket: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_client_at_a_unix_socket_is_its_process() {
    sandbox::as_root(|stage| {
        let Some(server) = Server::start() else {
            return println!("skipped: this machine has loopback addresses only");
        };
        let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
        policy(stage, server.address, python.to_str().unwrap());
        let (socket, metrics) = (stage.text("home/proxy"), stage.text("home/metrics"));
        let (perf, audit) = (stage.text("home/perf"), stage.text("home/audit"));
        let flags = [
            "--metrics",
            &metrics,
            "--perf-log",
            &perf,
            "--audit",
            &audit,
            "--name",
            "alone",
        ];
        let proxy = Proxy::start(stage, &[&socket], &flags);
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let ask = |target: &str| {
            let mut client = stage.command("/usr/bin/python3");
            Ended::of(client.args(["-c", CLIENT, &socket, target])).out
        };
        assert_eq!(ask(&server.address.to_string()), "200\nready\n");
        assert!(ask(&format!("{}:1", server.ip())).starts_with("403\n"));
        // Another program.
        let request = format!("CONNECT {} HTTP/1.1\\r\\n\\r\\n", server.address);
        let curl =
            format!("printf '{request}' | curl -s --unix-socket {socket} telnet://x || true");
        drop(stage.outside(&curl));
        let curl = Ended::of(
            stage
                .command("curl")
                .args(["-sS", "--unix-socket", &socket])
                .arg(format!("http://{}/", server.address)),
        );
        assert_ne!(curl.out, "ready\n");

        let is = |text: &str, line: &str| text.lines().any(|own| own == line);
        wait_until(PATIENCE, "the connection to be counted as ended", || {
            is(&scrape(&metrics), "casemate_open_connections 0")
        });
        let text = scrape(&metrics);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        for line in [
            "casemate_connections_total{decision=\"allowed\"} 1",
            "casemate_transferred_total{direction=\"received\"} 6",
            "casemate_events_lost_total 0",
            "casemate_stage_seconds_count{stage=\"dial\"} 1",
            "casemate_stage_seconds_count{stage=\"tls\"} 0",
        ] {
            assert!(is(&text, line), "{line}: {text}");
        }
        for stage in ["identify", "hash", "decide", "dns"] {
            let none = format!("casemate_stage_seconds_count{{stage=\"{stage}\"}} 0");
            assert!(!is(&text, &none), "{none}: {text}");
        }
        proxy.end();

        let mode = std::fs::metadata(&perf).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let log = stage.read("home/perf");
        for phase in [
            "socket_to_pid",
            "peer_identity",
            "verify_or_cache",
            "hashing",
            "policy_evaluation",
            "evaluation_total",
            "dns",
            "connect",
        ] {
            let found = log.lines().any(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["phase"] == phase
                    && line["us"].as_f64().unwrap() >= 0.0
                    && line["time"].is_string()
            });
            assert!(found, "{phase}: {log}");
        }
        let logs = |flags: &[&str]| {
            let ended = Ended::of(
                stage
                    .casemate()
                    .args(["logs", "--audit", &audit])
                    .args(flags),
            );
            assert_eq!(ended.err, "");
            ended.out
        };
        let to = format!("-> {} policy=here by=policy", server.address);
        assert!(logs(&["--name", "alone"]).contains(&to));
        let denied = logs(&["--denied", "--since", "1h"]);
        assert!(denied.lines().count() >= 1, "{denied}");
        assert!(
            denied
                .lines()
                .all(|line| line.contains("net:refuse denied")),
            "{denied}"
        );
        assert_eq!(logs(&["--name", "other"]), "");
    });
}

#[test]
fn a_client_at_a_port_is_its_address() {
    sandbox::as_root(|stage| {
        let Some(server) = Server::start() else {
            return println!("skipped: this machine has loopback addresses only");
        };
        let web = TcpListener::bind((server.ip(), 0)).unwrap();
        let address = web.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in web.incoming().flatten() {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n",
                );
            }
        });
        let curl = |proxy: &str, port: &str| {
            let proxy = format!("{proxy}://{port}");
            let mut curl = Command::new("curl");
            curl.env_clear()
                .args(["-sS", "--noproxy", "", "-p", "-x", &proxy]);
            let ended = Ended::of(curl.arg(format!("http://{address}/")));
            (ended.code, ended.out)
        };
        let client = ["--client", "127.0.0.1=builder"];
        policy(stage, address, "/**");
        let proxy = Proxy::start(stage, &["127.0.0.1:0"], &client);
        let port = proxy.places[0].clone();
        for scheme in ["http", "socks5", "socks5h"] {
            assert_eq!(curl(scheme, &port), (0, "hello\n".to_owned()), "{scheme}");
        }
        proxy.end();
        // A client of whom only the address is known is no program.
        policy(stage, address, "/usr/bin/*");
        let proxy = Proxy::start(stage, &["127.0.0.1:0"], &client);
        assert_ne!(curl("http", &proxy.places[0]).0, 0);
        let said = proxy.end();
        assert!(said.contains("/client/builder/"), "{said}");
        // Nor is one of another address anybody.
        policy(stage, address, "/**");
        let proxy = Proxy::start(stage, &["127.0.0.1:0"], &["--client", "127.0.0.2=builder"]);
        assert_ne!(curl("http", &proxy.places[0]).0, 0);
        let said = proxy.end();
        assert!(said.contains("no --client has this address"), "{said}");
    });
}

#[test]
fn a_client_trusts_the_certificate_that_was_written() {
    sandbox::as_root(|stage| {
        let Some(server) = Server::start() else {
            return println!("skipped: this machine has loopback addresses only");
        };
        let Some(https) = Https::start(stage, server.ip()) else {
            return;
        };
        let (ip, port) = (https.address.ip(), https.address.port());
        stage.write(
            "outside/p.yaml",
            format!(
                "version: 1\nnetwork_policies:\n  it:\n    binaries: [{{ path: /client/** }}]\n    \
                 endpoints:\n      - {{ host: \"{ip}\", port: {port}, protocol: rest, enforcement: enforce, \
                 rules: [{{ allow: {{ method: GET, path: /ok }} }}] }}\n"
            ),
        );
        let ca = stage.text("home/ca.pem");
        stage.write("home/ca.pem", "the last one's");
        let mut command = stage.casemate();
        command.args(["egress", "--listen", "127.0.0.1:0", "--policy"]);
        command.arg(stage.path("outside/p.yaml"));
        command.args(["--client", "127.0.0.1=builder", "--ca-out", &ca]);
        command.env("SSL_CERT_FILE", &https.authority);
        let proxy = Proxy::spawn(&mut command, &["127.0.0.1:0"]);
        let text = stage.read("home/ca.pem");
        assert_eq!(text.matches("-----BEGIN").count(), 1, "{text}");
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----"), "{text}");
        let mode = std::fs::metadata(&ca).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let left = std::fs::read_dir(stage.path("home")).unwrap().flatten();
        let left = left.filter(|own| own.file_name().to_string_lossy().starts_with("ca.pem."));
        assert_eq!(left.count(), 0);
        let curl = |method: &str, path: &str, trusted: &str| {
            let mut curl = Command::new("curl");
            curl.env_clear()
                .args(["-sS", "--noproxy", "", "-w", " %{http_code}"]);
            curl.args(["-X", method, "--cacert", trusted, "-x"]);
            curl.arg(format!("http://{}", proxy.places[0]));
            let ended = Ended::of(curl.arg(format!("https://{ip}:{port}{path}")));
            (ended.code, ended.out)
        };
        assert_eq!(curl("GET", "/ok", &ca), (0, "secret 200".to_owned()));
        for (method, path) in [("GET", "/other"), ("DELETE", "/ok")] {
            let (code, out) = curl(method, path, &ca);
            assert!(code == 0 && out.ends_with(" 403"), "{out}");
            assert!(out.contains("policy_denied"), "{out}");
        }
        // The server's own authority is not the proxy's.
        assert_eq!(curl("GET", "/ok", &https.authority).0, 60);
        let said = proxy.end();
        assert!(!said.contains("--ca-out"), "{said}");
        let mut flags = vec![
            "egress",
            "--listen",
            "127.0.0.1:0",
            "--client",
            "127.0.0.1=builder",
        ];
        let policy = stage.text("outside/p.yaml");
        flags.extend(["--policy", &policy]);
        let proxy = Proxy::spawn(stage.casemate().args(&flags), &["127.0.0.1:0"]);
        let said = proxy.end();
        assert!(said.contains("give it to them with --ca-out"), "{said}");
        let nowhere = stage.text("home/none/ca.pem");
        flags.extend(["--ca-out", &nowhere]);
        let ended = Ended::of(stage.casemate().args(&flags));
        assert_eq!(ended.code, 125);
        assert!(
            ended.err.contains("write the authority's certificate"),
            "{ended:?}"
        );
    });
}

#[test]
fn places_that_are_refused() {
    sandbox::as_root(|stage| {
        policy(stage, "192.0.2.1:1".parse().unwrap(), "/**");
        let refused = |flags: &[&str], why: &str| {
            let mut command = stage.casemate();
            command
                .args(["egress", "--policy"])
                .arg(stage.path("outside/p.yaml"));
            let ended = Ended::of(command.args(flags));
            assert!(
                ended.code == 125 && ended.err.contains(why),
                "{flags:?}: {ended:?}"
            );
        };
        let own = stage.text("home/own");
        refused(&["--listen", "127.0.0.1:0"], "could be told from others");
        refused(&["--listen", "nowhere"], "this is no address");
        refused(
            &["--listen", &own, "--metrics", "0.0.0.0:0"],
            "others than this host",
        );
        stage.symlink("elsewhere", "home/link");
        refused(
            &["--listen", &own, "--perf-log", &stage.text("home/link")],
            "open the perf log",
        );
        assert!(!stage.path("home/elsewhere").exists());
    });
}
