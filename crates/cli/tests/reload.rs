//! A policy that changes while its run goes on.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/https.rs"]
mod https;
#[path = "support/rootfs.rs"]
mod rootfs;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;

use https::Https;
use sandbox::{Stage, both};
use server::Server;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

both!(
    connections_that_are_still_allowed_survive,
    connections_that_programs_have_themselves_end_too,
    every_way_to_write_a_file,
    links_and_bases,
    an_invalid_policy_changes_nothing_and_is_told,
    an_invalid_policy_denies_all_if_asked_to,
    what_a_sandbox_has_for_its_life,
    the_first_inspected_endpoint,
    the_first_inspected_endpoint_of_another_root,
    a_policy_that_programs_can_write,
);

const PATIENCE: Duration = Duration::from_secs(30);
const IN_FORCE: &str = "the changed policy is in force";

/// Connects when it is told to, and says what came of it.
const PROGRAM: &str = r#"
import socket, ssl, sys
kept = {}
def connect(port):
    connection = socket.create_connection((sys.argv[1], int(port)), 30)
    connection.settimeout(None)
    assert connection.recv(6, socket.MSG_WAITALL) == b'ready\n'
    return connection
print('up', flush=True)
for line in sys.stdin:
    what, port = line.split()
    try:
        if what == 'try': connect(port).close(); answer = 'yes'
        if what == 'own':
            kept[port] = connection = socket.socket()
            connection.connect((sys.argv[1], int(port)))
            assert connection.recv(6, socket.MSG_WAITALL) == b'ready\n'
            answer = 'yes' if connection.getsockname()[0] == sys.argv[1] else 'relayed'
        if what == 'hide':
            hidden = socket.socketpair()
            socket.send_fds(hidden[0], [b'x'], [kept.pop(port).detach()])
            answer = 'yes'
        if what == 'seek':
            fds = socket.recv_fds(hidden[1], 1, 1)[1]
            kept[port] = socket.socket(fileno=fds[0])
            answer = 'yes'
        if what == 'tls':
            secure = ssl.create_default_context()
            with socket.create_connection((sys.argv[1], int(port))) as connection:
                with secure.wrap_socket(connection, server_hostname=sys.argv[1]) as connection:
                    connection.sendall(b'GET /ok HTTP/1.1\r\nHost: %s:%s\r\n\r\n' % (sys.argv[1].encode(), port.encode()))
                    answer = connection.recv(12).decode().split()[1]
        if what == 'keep': kept[port] = connect(port); answer = 'yes'
        if what == 'wait': answer = 'data' if kept[port].recv(1) else 'closed'
        if what == 'use':
            kept[port].sendall(b'x')
            kept[port].shutdown(socket.SHUT_WR)
            answer = kept[port].recv(2).decode()
    except OSError:
        answer = 'no'
    print(answer, flush=True)
"#;

/// A server, or the word that there is no address for one.
macro_rules! server {
    () => {
        match Server::start() {
            Some(server) => server,
            None => return println!("skipped: this machine has loopback addresses only"),
        }
    };
}

/// A run that is told what to do.
struct Run {
    child: Child,
    stdin: ChildStdin,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Run {
    fn start(stage: &Stage, policy: &str, flags: &[&str], server: &Server) -> Self {
        Self::start_as(stage.casemate(), policy, flags, server)
    }

    fn start_as(mut command: Command, policy: &str, flags: &[&str], server: &Server) -> Self {
        command.args(["run", "--policy", policy]).args(flags);
        command.args(["--", "/usr/bin/python3", "-c", PROGRAM]);
        command.arg(server.ip().to_string());
        Self::spawn(command)
    }

    /// Waits for its first word.
    fn spawn(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let run = Self {
            stdin: child.stdin.take().unwrap(),
            out: lines(child.stdout.take().unwrap()),
            err: lines(child.stderr.take().unwrap()),
            child,
        };
        assert_eq!(run.answer(), "up");
        run
    }

    #[track_caller]
    fn answer(&self) -> String {
        self.out.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let said: Vec<_> = self.err.try_iter().collect();
            panic!("{error}; on standard error: {said:#?}")
        })
    }

    #[track_caller]
    fn ask(&mut self, what: &str, server: &Server) -> String {
        self.ask_port(what, server.port())
    }

    #[track_caller]
    fn ask_port(&mut self, what: &str, port: u16) -> String {
        writeln!(self.stdin, "{what} {port}").unwrap();
        self.answer()
    }

    /// Waits for a line on standard error.
    #[track_caller]
    fn told(&self, text: &str) -> String {
        let (started, mut said) = (Instant::now(), Vec::new());
        while started.elapsed() < PATIENCE {
            match self.err.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => said.push(line),
                Err(_) => break,
            }
        }
        panic!("{text:?} was not said, but: {said:#?}");
    }

    /// Changes the policy, and waits until it is in force.
    #[track_caller]
    fn change(&self, change: impl FnOnce()) {
        let started = Instant::now();
        change();
        self.told(IN_FORCE);
        println!("in force after {:?}", started.elapsed());
    }

    fn end(mut self) {
        drop(self.stdin);
        assert!(self.child.wait().unwrap().success());
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1024);
    thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    receiver
}

/// A policy for these servers.
fn policy(stage: &Stage, servers: &[&Server]) -> String {
    let outside = stage.text("outside");
    let mut text = format!(
        "version: 1\nfilesystem_policy: {{ include_workdir: true, read_only: [{outside}] }}\n"
    );
    text += &entries(servers);
    text
}

fn entries(servers: &[&Server]) -> String {
    let endpoints: Vec<_> = servers
        .iter()
        .map(|server| {
            format!(
                "{{ host: \"{}\", port: {}, protocol: any }}",
                server.ip(),
                server.port()
            )
        })
        .collect();
    format!(
        "network_policies:\n  here:\n    endpoints: [{}]\n    binaries: [{{ path: \"/**\" }}]\n",
        endpoints.join(", ")
    )
}

fn connections_that_are_still_allowed_survive(stage: &Stage) {
    let (one, two) = (server!(), server!());
    stage.write("outside/p.yaml", policy(stage, &[&one, &two]));
    let mut run = Run::start(stage, &stage.text("outside/p.yaml"), &[], &one);
    assert_eq!(run.ask("keep", &one), "yes");
    assert_eq!(run.ask("keep", &two), "yes");
    run.change(|| stage.write("outside/p.yaml", policy(stage, &[&one])));
    assert_eq!(run.ask("wait", &two), "no");
    assert_eq!(run.ask("try", &two), "no");
    assert_eq!(run.ask("use", &one), "x");
    run.end();
    let log = stage.read("home/.local/state/casemate/audit.jsonl");
    let changed = log
        .lines()
        .filter(|line| line.contains("\"class_uid\":5019"));
    assert_eq!(changed.count(), 1, "{log}");
}

fn connections_that_programs_have_themselves_end_too(stage: &Stage) {
    direct_connections_end(stage, stage.casemate());
    if stage.is_root() {
        // The kernel doesn't do it for this one.
        let mut weaker = stage.command("setpriv");
        weaker.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
        weaker.arg(stage.path("casemate"));
        direct_connections_end(stage, weaker);
    }
}

fn direct_connections_end(stage: &Stage, casemate: Command) {
    let (one, two, three) = (server!(), server!(), server!());
    stage.write("outside/p.yaml", policy(stage, &[&one, &two, &three]));
    let mut run = Run::start_as(casemate, &stage.text("outside/p.yaml"), &[], &one);
    for server in [&one, &two, &three] {
        assert_eq!(run.ask("own", server), "yes");
    }
    // In a message that nobody has read, where no search finds it.
    assert_eq!(run.ask("hide", &three), "yes");
    run.change(|| stage.write("outside/p.yaml", policy(stage, &[&one])));
    assert!(["no", "closed"].contains(&&*run.ask("wait", &two)));
    sandbox::wait_until(PATIENCE, "the server to see that", || two.open() == 0);
    assert_eq!(run.ask("seek", &three), "yes");
    assert!(["no", "closed"].contains(&&*run.ask("wait", &three)));
    assert_eq!(run.ask("use", &one), "x");
    run.end();
    let log = stage.read("home/.local/state/casemate/audit.jsonl");
    let ended = log
        .lines()
        .filter(|line| line.contains("no longer allows it"))
        .filter(|line| {
            let port = |server: &Server| format!("\"port\":{}", server.port());
            line.contains(&port(&two)) || line.contains(&port(&three))
        });
    assert_eq!(ended.count(), 2, "{log}");
}

fn every_way_to_write_a_file(stage: &Stage) {
    let (one, two) = (server!(), server!());
    let (first, second) = (policy(stage, &[&one]), policy(stage, &[&two]));
    let path = stage.text("outside/p.yaml");
    stage.write("outside/p.yaml", &first);
    let mut run = Run::start(stage, &path, &[], &one);
    assert_eq!(run.ask("try", &two), "no");
    // In its place.
    run.change(|| fs::write(&path, &second).unwrap());
    assert_eq!(
        (run.ask("try", &one), run.ask("try", &two)),
        ("no".into(), "yes".into())
    );
    // A new file under the same name.
    run.change(|| {
        stage.write("outside/.p.yaml.new", &first);
        fs::rename(stage.path("outside/.p.yaml.new"), &path).unwrap();
    });
    assert_eq!(
        (run.ask("try", &one), run.ask("try", &two)),
        ("yes".into(), "no".into())
    );
    // The old one moved away, and a new one made.
    run.change(|| {
        fs::rename(&path, stage.path("outside/p.yaml~")).unwrap();
        stage.write("outside/p.yaml", &second);
    });
    assert_eq!(run.ask("try", &two), "yes");
    run.end();
}

fn links_and_bases(stage: &Stage) {
    let (one, two) = (server!(), server!());
    stage.write(
        "outside/base/1.yaml",
        format!("version: 1\n{}", entries(&[&one])),
    );
    stage.write(
        "outside/base/2.yaml",
        format!("version: 1\n{}", entries(&[&two])),
    );
    stage.symlink("1.yaml", "outside/base/current");
    let outside = stage.text("outside");
    stage.write(
        "outside/p/policy.yaml",
        format!("version: 1\nextends: base/current\nfilesystem_policy: {{ include_workdir: true, read_only: [{outside}] }}\n"),
    );
    stage.symlink("p/policy.yaml", "outside/p.yaml");
    let mut run = Run::start(stage, &stage.text("outside/p.yaml"), &[], &one);
    assert_eq!(
        (run.ask("try", &one), run.ask("try", &two)),
        ("yes".into(), "no".into())
    );
    run.change(|| {
        stage.symlink("2.yaml", "outside/base/next");
        fs::rename(
            stage.path("outside/base/next"),
            stage.path("outside/base/current"),
        )
        .unwrap();
    });
    assert_eq!(
        (run.ask("try", &one), run.ask("try", &two)),
        ("no".into(), "yes".into())
    );
    // The base, by its own name.
    run.change(|| {
        stage.write(
            "outside/base/2.yaml",
            format!("version: 1\n{}", entries(&[&one, &two])),
        );
    });
    assert_eq!(
        (run.ask("try", &one), run.ask("try", &two)),
        ("yes".into(), "yes".into())
    );
    // The link to the policy.
    stage.write("outside/other.yaml", policy(stage, &[&two]));
    run.change(|| {
        stage.symlink("other.yaml", "outside/next");
        fs::rename(stage.path("outside/next"), stage.path("outside/p.yaml")).unwrap();
    });
    assert_eq!(
        (run.ask("try", &one), run.ask("try", &two)),
        ("no".into(), "yes".into())
    );
    run.end();
}

fn an_invalid_policy_changes_nothing_and_is_told(stage: &Stage) {
    let (one, two) = (server!(), server!());
    stage.write("outside/p.yaml", policy(stage, &[&one]));
    let mut run = Run::start(
        stage,
        &stage.text("outside/p.yaml"),
        &["--quiet", "--on-invalid", "keep"],
        &one,
    );
    assert_eq!(run.ask("keep", &one), "yes");
    stage.write("outside/p.yaml", "version: 1\nnetwork_polices: {}\n");
    run.told("THE OLD POLICY STAYS IN FORCE");
    run.told("unknown field `network_polices`");
    assert_eq!(
        (run.ask("try", &one), run.ask("use", &one)),
        ("yes".into(), "x".into())
    );
    // Gone is not valid either.
    fs::remove_file(stage.path("outside/p.yaml")).unwrap();
    run.told("cannot read the policy file");
    stage.write("outside/p.yaml", policy(stage, &[&two]));
    // Quiet: it is seen by its effect.
    sandbox::wait_until(PATIENCE, "the new policy", || run.ask("try", &two) == "yes");
    run.end();
    let log = stage.read("home/.local/state/casemate/audit.jsonl");
    let refused: Vec<_> = log
        .lines()
        .filter(|line| line.contains("\"class_uid\":5019") && line.contains("\"status_id\":2"))
        .collect();
    assert_eq!(refused.len(), 2, "{log}");
    assert!(refused[0].contains("network_polices"), "{log}");
}

fn an_invalid_policy_denies_all_if_asked_to(stage: &Stage) {
    let one = server!();
    stage.write("outside/p.yaml", policy(stage, &[&one]));
    let mut run = Run::start(
        stage,
        &stage.text("outside/p.yaml"),
        &["--on-invalid", "deny-all"],
        &one,
    );
    assert_eq!(run.ask("keep", &one), "yes");
    stage.write("outside/p.yaml", "nonsense");
    run.told("EVERYTHING IS DENIED");
    assert_eq!(
        (run.ask("wait", &one), run.ask("try", &one)),
        ("no".into(), "no".into())
    );
    run.change(|| stage.write("outside/p.yaml", policy(stage, &[&one])));
    assert_eq!(run.ask("try", &one), "yes");
    run.end();
}

fn what_a_sandbox_has_for_its_life(stage: &Stage) {
    let one = server!();
    let text = policy(stage, &[&one]);
    stage.write("outside/p.yaml", &text);
    let mut run = Run::start(stage, &stage.text("outside/p.yaml"), &[], &one);
    run.change(|| {
        stage.write(
            "outside/p.yaml",
            text.replace("read_only: [", "read_only: [/opt, "),
        )
    });
    run.told("filesystem_policy changed, which applies from the next run");
    assert_eq!(run.ask("try", &one), "yes");
    run.end();
}

fn the_first_inspected_endpoint(stage: &Stage) {
    let one = server!();
    let Some(https) = Https::start(stage, one.ip()) else {
        return;
    };
    stage.write("outside/p.yaml", policy(stage, &[&one]));
    let mut casemate = stage.casemate();
    // What the proxy trusts.
    casemate.env("SSL_CERT_FILE", &https.authority);
    let mut run = Run::start_as(casemate, &stage.text("outside/p.yaml"), &[], &one);
    let port = https.address.port();
    assert_eq!(run.ask_port("tls", port), "no");
    let endpoint = |path: &str| {
        format!(
            "  inspected:\n    binaries: [{{ path: \"/**\" }}]\n    endpoints:\n      - {{ host: \"{}\", port: {port}, protocol: rest, enforcement: enforce, rules: [{{ allow: {{ method: GET, path: {path} }} }}] }}\n",
            https.address.ip()
        )
    };
    let text = policy(stage, &[&one]);
    run.change(|| stage.write("outside/p.yaml", format!("{text}{}", endpoint("/ok"))));
    assert_eq!(run.ask_port("tls", port), "200");
    run.change(|| stage.write("outside/p.yaml", format!("{text}{}", endpoint("/other"))));
    assert_eq!(run.ask_port("tls", port), "403");
    run.end();
}

fn the_first_inspected_endpoint_of_another_root(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    rootfs::folder(stage, "outside/root");
    let text = |protocol: &str| {
        format!(
            "version: 1\nnetwork_policies:\n  it:\n    endpoints: [{{ host: a.example, port: 80, {protocol} }}]\n    binaries: [{{ path: /bin/busybox }}]\n"
        )
    };
    stage.write("outside/p.yaml", text("protocol: any"));
    let mut command = stage.casemate();
    command.args(["run", "--root", &stage.text("outside/root")]);
    command.args(["--policy", &stage.text("outside/p.yaml")]);
    command.args(["--", "sh", "-c", "echo up; cat; echo ${SSL_CERT_FILE-none}"]);
    let mut run = Run::spawn(command);
    stage.write("outside/p.yaml", text("protocol: rest, access: full"));
    run.told("THE OLD POLICY STAYS IN FORCE");
    run.told("it doesn't trust the authority");
    run.change(|| stage.write("outside/p.yaml", text("protocol: tcp")));
    drop(run.stdin);
    assert_eq!(run.out.recv_timeout(PATIENCE).unwrap(), "none");
    assert!(run.child.wait().unwrap().success());
}

fn a_policy_that_programs_can_write(stage: &Stage) {
    let (one, two) = (server!(), server!());
    stage.write("ws/p.yaml", policy(stage, &[&one]));
    let mut run = Run::start(stage, "p.yaml", &[], &one);
    run.told("programs inside can write there");
    stage.write("ws/p.yaml", policy(stage, &[&two]));
    // Longer than a change takes: nothing is waited for, so nothing can be said but this.
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        (run.ask("try", &one), run.ask("try", &two)),
        ("yes".into(), "no".into())
    );
    run.end();
}
