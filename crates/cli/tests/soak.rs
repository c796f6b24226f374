//! Many connections of programs that are killed at random: every one is decided as it should be,
//! and the supervisor is afterwards as it was before, in descriptors and in memory.
//!
//! Two programs connect in every way there is (`soak/inside.py`): one that the policy names, and a
//! copy of it that it doesn't. Each says what it got and should have got; the audit log and the
//! servers are asked whether they saw the same.
//!
//! `cargo xtask soak` runs the same for longer.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "soak/account.rs"]
mod account;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;
#[path = "soak/weight.rs"]
mod weight;

use account::{Account, Audit};
use sandbox::{Stage, both};
use server::{GREETING, Server};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use weight::Scale;

both!(nothing_leaks_and_nothing_is_decided_wrongly);

/// How long, in seconds, and how many connections a second; the test's own numbers are small.
const SECONDS: &str = "CASEMATE_SOAK_SECONDS";
const RATE: &str = "CASEMATE_SOAK_RATE";
const FEW: (u64, u64) = (8, 100);
/// With init and the program that starts them few enough for the fast path.
const PROGRAMS: usize = 6;
/// After this, everything that was open for a while is closed: kept connections, idle threads.
const LATEST: Duration = Duration::from_secs(120);

const PYTHON: &str = "/usr/bin/python3";
const OPENSSL: &str = "/usr/bin/openssl";

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect(name))
}

/// Where the programs connect to.
struct World {
    direct: Server,
    relayed: Server,
    /// No entry of the policy has it.
    closed: Server,
    tls: (Child, u16),
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.tls.0.kill();
        let _ = self.tls.0.wait();
    }
}

impl World {
    fn start(stage: &Stage) -> Option<Self> {
        let (direct, relayed, closed) = (Server::start()?, Server::start()?, Server::start()?);
        let tls = https(stage, &direct.ip().to_string());
        Some(Self {
            direct,
            relayed,
            closed,
            tls,
        })
    }

    fn policy(&self, stage: &Stage) -> String {
        let (host, outside) = (self.direct.ip(), stage.text("outside"));
        let endpoint =
            |port: u16, more: &str| format!("      - {{ host: \"{host}\", port: {port}{more} }}\n");
        let rest = ", protocol: rest, enforcement: enforce, access: read-only";
        format!(
            "version: 1\nfilesystem_policy: {{ include_workdir: true, read_only: [{outside}] }}\n\
             network_policies:\n  here:\n    binaries: [{{ path: {outside}/member }}]\n    endpoints:\n{}{}{}",
            endpoint(self.direct.port(), ", protocol: any"),
            endpoint(self.relayed.port(), ""),
            endpoint(self.tls.1, rest),
        )
    }

    fn config(&self, stage: &Stage, seconds: u64, rate: u64) -> String {
        serde_json::json!({
            "host": self.direct.ip().to_string(), "greeting": GREETING,
            "direct": self.direct.port(), "relayed": self.relayed.port(),
            "closed": self.closed.port(), "tls": self.tls.1,
            "member": stage.text("outside/member"), "stranger": stage.text("outside/stranger"),
            "seconds": seconds, "rate": rate, "programs": PROGRAMS,
        })
        .to_string()
    }
}

/// A server with a certificate of its own, and its port.
fn https(stage: &Stage, address: &str) -> (Child, u16) {
    stage.write("outside/https.py", include_str!("soak/https.py"));
    let outside = stage.text("outside");
    stage.outside(&format!(
        "{OPENSSL} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=soak \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:{address} \
         -keyout {outside}/key.pem -out {outside}/certificate.pem 2>/dev/null"
    ));
    let mut command = stage.command(PYTHON);
    let files = ["https.py", "certificate.pem", "key.pem"];
    command.args(files.map(|name| stage.path("outside").join(name)));
    let mut process = command.arg(address).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    let mut said = BufReader::new(process.stdout.take().unwrap());
    said.read_line(&mut port).unwrap();
    (process, port.trim().parse().unwrap())
}

/// The supervisor, and what its programs say.
struct Run {
    supervisor: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Run {
    fn start(stage: &Stage) -> Self {
        let mut casemate = stage.casemate();
        // The server's certificate is one that this host trusts.
        casemate
            .env("SSL_CERT_FILE", stage.path("outside/certificate.pem"))
            .env("PYTHONHOME", "/usr");
        casemate.args(["run", "--quiet", "--env", "PYTHONHOME"]);
        casemate.arg("--policy").arg(stage.path("outside/p.yaml"));
        casemate.arg("--audit").arg(stage.path("home/audit.jsonl"));
        let files = ["inside.py", "config.json"];
        casemate
            .args(["--", PYTHON])
            .args(files.map(|name| stage.path("outside").join(name)));
        casemate.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut supervisor = casemate.spawn().unwrap();
        let said = BufReader::new(supervisor.stdout.take().unwrap()).lines();
        Self { supervisor, said }
    }

    /// Takes every line into account until one that isn't about a connection.
    fn hear(&mut self, account: &mut Account) -> String {
        for line in self.said.by_ref() {
            let line = line.unwrap();
            if !line.starts_with('[') {
                return line;
            }
            account.enter(&line);
        }
        panic!("the programs inside ended early");
    }

    fn go_on(&mut self) {
        let stdin = self.supervisor.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").unwrap();
    }
}

fn nothing_leaks_and_nothing_is_decided_wrongly(stage: &Stage) {
    for program in [PYTHON, OPENSSL] {
        if !Path::new(program).exists() {
            return println!("skipped: {program} is not installed");
        }
    }
    let Some(world) = World::start(stage) else {
        return println!("skipped: this machine has loopback addresses only");
    };
    let (seconds, rate) = (number(SECONDS, FEW.0), number(RATE, FEW.1));
    let python = std::fs::read(PYTHON).unwrap();
    for name in ["member", "stranger"] {
        stage.script(&format!("outside/{name}"), &python);
    }
    stage.write("outside/inside.py", include_str!("soak/inside.py"));
    stage.write("outside/p.yaml", world.policy(stage));
    stage.write("outside/config.json", world.config(stage, seconds, rate));
    let mut run = Run::start(stage);
    let mut account = Account::default();
    let audit = Audit::follow(stage.path("home/audit.jsonl"));
    assert_eq!(run.hear(&mut account), "ready");
    let (scale, over) = (Scale::of(run.supervisor.id()), AtomicBool::new(false));
    let before = scale.settled();
    run.go_on();
    let (end, weights) = std::thread::scope(|scope| {
        let weights = scope.spawn(|| scale.watch(&over));
        let end = run.hear(&mut account);
        over.store(true, Ordering::Relaxed);
        (end, weights.join().unwrap())
    });
    let end = sandbox::report(&end);
    println!("{account}{end}");
    // Python says 1 for what it didn't expect.
    let codes = end["ended"].as_array().unwrap();
    assert!(codes.iter().all(|code| code == 0), "{end}");
    let killed = end["killed"].as_u64().unwrap();
    assert!(killed > 0, "nobody was killed");
    account.check(seconds * rate);
    let after = scale.settles_at(&before, LATEST);
    println!("before {before}, after {after}");
    run.go_on();
    assert!(run.supervisor.wait().unwrap().success());
    let seen = audit.finish();
    seen.check(&account, killed, &stage.text("outside"));
    let (reached, closed) = (
        world.direct.accepted() + world.relayed.accepted(),
        world.closed.accepted(),
    );
    let known = [world.direct.port(), world.relayed.port()].map(|port| account.reached(port));
    assert_eq!(
        closed, 0,
        "connections reached a server that the policy doesn't have"
    );
    let most = known.iter().sum::<u64>() + killed;
    assert!(
        (known.iter().sum::<u64>()..=most).contains(&(reached as u64)),
        "{reached} of {known:?}"
    );
    assert!(
        after.descriptors <= before.descriptors + weight::KEPT,
        "descriptors were left open"
    );
    weight::check(&weights);
}
