//! The published clients, unchanged, against a server of this build: `tests/sdk`.
//!
//! By one URL, and by a domain with names and certificates of its own, in a network of its own. They
//! come from their package indexes by the ordinary clients. On a machine that reaches none, these
//! tests say so and are skipped.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/island.rs"]
mod island;
#[path = "support/packages.rs"]
mod packages;
#[path = "support/pty.rs"]
mod pty;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/sdk.rs"]
mod sdk;
mod support;

use packages::{npm, python};
use pty::Seat;
use sandbox::{Ended, Stage, both, report, wait_until};
use sdk::{JAVASCRIPT, PYTHON, Server, javascript_tests, python_tests};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{PATIENCE, filtered};

const MODULES: [&str; 2] = ["test_sync", "test_async"];
const FILES: [&str; 1] = ["sdk.test.mjs"];

both!(
    python_sync_and_async,
    python_by_domain,
    javascript,
    javascript_by_domain,
    command_line,
    command_line_by_domain,
);

/// The version that this is written for.
const COMMAND_LINE: &str = "@e2b/cli@2.19.0";
fn python_sync_and_async(stage: &Stage) {
    if let Some(package) = python(PYTHON) {
        python_tests(&Server::start(stage), package.path(), &MODULES);
    }
}

fn python_by_domain(stage: &Stage) {
    if let Some(package) = python(PYTHON)
        && let Some(server) = Server::by_domain(stage)
    {
        python_tests(&server, package.path(), &MODULES);
    }
}

fn javascript(stage: &Stage) {
    if let Some(package) = npm(&[JAVASCRIPT]) {
        javascript_tests(&Server::start(stage), package.path(), &FILES);
    }
}

fn javascript_by_domain(stage: &Stage) {
    if let Some(package) = npm(&[JAVASCRIPT])
        && let Some(server) = Server::by_domain(stage)
    {
        javascript_tests(&server, package.path(), &FILES);
    }
}

/// E2B's command line.
struct CommandLine<'a> {
    server: &'a Server<'a>,
    program: PathBuf,
}

impl CommandLine<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let workspace = self.server.stage.workspace();
        let mut command = self.server.client(&workspace, "/usr/bin/env");
        command.arg("node").arg(&self.program).args(args);
        command
    }

    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let ended = Ended::of(self.command(args).stdin(Stdio::null()));
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        ended.out
    }

    /// The sandboxes in this state.
    #[track_caller]
    fn listed(&self, state: &str) -> Vec<String> {
        let said = self.says(&["sandbox", "list", "-s", state, "-f", "json"]);
        let list = report(&said);
        let ids = list.as_array().unwrap().iter();
        ids.map(|one| one["sandboxId"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn command_line(stage: &Stage) {
    if let Some(package) = npm(&[COMMAND_LINE]) {
        // It's the stage's user who sits at the terminal.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(package.path(), open).unwrap();
        let server = Server::start(stage);
        let own = CommandLine::of(&server, package.path());
        own.a_life();
        own.a_terminal();
    }
}

fn command_line_by_domain(stage: &Stage) {
    if let Some(package) = npm(&[COMMAND_LINE])
        && let Some(server) = Server::by_domain(stage)
    {
        CommandLine::of(&server, package.path()).a_life();
    }
}

impl<'a> CommandLine<'a> {
    fn of(server: &'a Server<'a>, package: &Path) -> Self {
        let program = package.join("node_modules/.bin/e2b");
        Self { server, program }
    }

    fn a_life(&self) {
        assert_eq!(self.listed("running"), [""; 0]);
        let made = self.says(&["sandbox", "create", "--detach", "--timeout", "300", "base"]);
        let id = made.trim();
        assert_eq!(self.listed("running"), [id]);
        let info = report(&self.says(&["sandbox", "info", id, "-f", "json"]));
        assert_eq!(
            (&info["templateId"], &info["cpuCount"]),
            (&"base".into(), &2.into())
        );

        assert_eq!(self.says(&["sandbox", "exec", id, "echo", "hi"]), "hi\n");
        let script = "pwd; echo $A";
        let flags = ["sandbox", "exec", "-c", "/tmp", "-e", "A=b", id, "sh", "-c"];
        assert_eq!(self.says(&[&flags[..], &[script]].concat()), "/tmp\nb\n");
        let failed = Ended::of(&mut self.command(&["sandbox", "exec", id, "sh", "-c", "exit 3"]));
        assert_eq!(failed.code, 3, "{failed:?}");
        let mut cat = self.command(&["sandbox", "exec", id, "cat"]);
        assert_eq!(filtered(&mut cat, b"piped".to_vec()), b"piped");
        let left = Ended::of(&mut self.command(&["sandbox", "exec", "-b", id, "sleep", "100"]));
        assert!(left.err.trim().parse::<u32>().is_ok(), "its pid: {left:?}");

        let logs = self.says(&["sandbox", "logs", id, "--format", "json"]);
        assert!(logs.contains(r#""message":"created""#), "{logs}");
        let metrics = self.says(&["sandbox", "metrics", id, "--format", "json"]);
        let lines = metrics.lines().filter(|line| !line.is_empty());
        assert!(
            lines
                .map(report)
                .all(|sample| sample["memTotal"] == 512 << 20)
        );

        self.says(&["sandbox", "pause", id]);
        assert_eq!(self.listed("paused"), [id]);
        self.says(&["sandbox", "resume", id]);
        assert_eq!(self.listed("running"), [id]);
        let templates = self.says(&["template", "list", "-f", "json"]);
        assert_eq!(report(&templates)[0]["templateID"], "base");
        let none = self.says(&["sandbox", "snapshot", "list"]);
        assert!(none.contains("No snapshots"), "{none}");

        self.says(&["sandbox", "kill", id]);
        let unknown = Ended::of(&mut self.command(&["sandbox", "kill", id]));
        assert!(unknown.err.contains("wasn't found"), "{unknown:?}");
        self.says(&["sandbox", "create", "--detach"]);
        self.says(&["sandbox", "kill", "--all"]);
        assert_eq!(self.listed("running"), [""; 0]);
    }

    /// `sandbox create` at a terminal, and then `sandbox connect`.
    fn a_terminal(&self) {
        let mut words: Vec<_> = self.server.variables.iter().collect();
        words.sort();
        let words: Vec<_> = words
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let program = self.program.to_str().unwrap();
        let seat = |args: &[&str]| {
            let words = words.iter().map(String::as_str);
            let words = words.chain(["node", program]).chain(args.iter().copied());
            Seat::start(self.server.stage, "/usr/bin/env", words)
        };
        let mut first = seat(&["sandbox", "create"]);
        first.expect("$ ");
        first.type_in("echo it is $((6 * 7))\n");
        first.expect("it is 42");
        let ids = self.listed("running");
        let mut second = seat(&["sandbox", "connect", &ids[0]]);
        second.expect("$ ");
        second.type_in("echo and $((7 * 9)); exit\n");
        second.expect("and 63");
        assert!(second.end().success());
        // Who created it lets it end with the terminal, after a second.
        first.type_in("exit\n");
        assert!(first.end().success());
        wait_until(PATIENCE, "the sandbox to end", || {
            self.listed("running").is_empty()
        });
    }
}
