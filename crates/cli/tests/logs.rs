//! `casemate logs`: what it prints of an audit log, and in which order.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/program.rs"]
mod program;

use casemate_egress::audit::ocsf::{Kind, NetworkActivity};
use casemate_egress::audit::{Event, Outcome};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

struct Log(tempfile::TempDir);

impl Log {
    fn new() -> Self {
        let log = Self(tempfile::tempdir().unwrap());
        fs::create_dir(log.0.path().join("casemate")).unwrap();
        log
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("casemate").join(name)
    }

    fn write(&self, name: &str, lines: &[String]) {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(self.path(name));
        file.unwrap()
            .write_all((lines.join("\n") + "\n").as_bytes())
            .unwrap();
    }

    fn casemate(&self) -> Command {
        let mut command = Command::new(program::casemate());
        command
            .env_clear()
            .env("XDG_STATE_HOME", self.0.path())
            .arg("logs");
        command
    }

    #[track_caller]
    fn says(&self, flags: &[&str]) -> String {
        let output = self.casemate().args(flags).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }
}

fn event(host: &str, run: &str, outcome: Outcome, time: u64) -> String {
    let event = Event::new(Kind::Network(NetworkActivity::Open), time).sandbox(run);
    event.to(host, 443).decided(outcome, "policy", "").to_json()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}

/// The hosts that lines are about.
fn hosts(lines: &str) -> Vec<&str> {
    lines
        .lines()
        .map(|line| line.split("-> ").nth(1).unwrap().split(':').next().unwrap())
        .collect()
}

#[test]
fn all_parts_in_order_and_what_is_asked_for() {
    let (log, now) = (Log::new(), now());
    log.write(
        "audit.jsonl.2",
        &[event("a", "one", Outcome::Allowed, 1000)],
    );
    log.write(
        "audit.jsonl.1",
        &[event("b", "two", Outcome::Denied, 2000), "no event".into()],
    );
    log.write("audit.jsonl", &[event("c", "one", Outcome::Denied, now)]);
    let all = log.says(&[]);
    assert_eq!(hosts(&all), ["a", "b", "c"]);
    let first =
        "1970-01-01T00:00:01.000Z net:open allowed info [one] -> a:443 policy=- by=policy\n";
    assert!(all.starts_with(first), "{all}");
    assert_eq!(hosts(&log.says(&["--denied"])), ["b", "c"]);
    assert_eq!(hosts(&log.says(&["--name", "one"])), ["a", "c"]);
    assert_eq!(hosts(&log.says(&["--since", "1h"])), ["c"]);
    let json = log.says(&["--json", "--name", "two"]);
    assert_eq!(json.trim_end(), event("b", "two", Outcome::Denied, 2000));
}

#[test]
fn no_log_is_an_error_that_names_it() {
    let log = Log::new();
    let output = log.casemate().output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(told.contains("audit.jsonl"), "{told}");
}

#[test]
fn following_goes_on_over_a_rotation() {
    let log = Log::new();
    log.write("audit.jsonl", &[event("a", "n", Outcome::Allowed, 1000)]);
    let mut child = log
        .casemate()
        .arg("--follow")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = sync_channel(16);
    std::thread::spawn(move || {
        let lines = out.lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    let next = || lines.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(next().contains("-> a:"));
    // A line may come in pieces.
    let line = event("b", "n", Outcome::Allowed, 2000) + "\n";
    let mut file = OpenOptions::new()
        .append(true)
        .open(log.path("audit.jsonl"))
        .unwrap();
    file.write_all(&line.as_bytes()[..40]).unwrap();
    file.write_all(&line.as_bytes()[40..]).unwrap();
    assert!(next().contains("-> b:"));
    file.write_all(event("c", "n", Outcome::Allowed, 3000).as_bytes())
        .unwrap();
    file.write_all(b"\n").unwrap();
    fs::rename(log.path("audit.jsonl"), log.path("audit.jsonl.1")).unwrap();
    log.write("audit.jsonl", &[event("d", "n", Outcome::Allowed, 4000)]);
    assert!(next().contains("-> c:"));
    assert!(next().contains("-> d:"));
    child.kill().unwrap();
    child.wait().unwrap();
}
