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
mod support;

use island::Island;
use packages::{npm, python};
use pty::Seat;
use sandbox::{Ended, Stage, both, report, wait_until};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{PATIENCE, filtered, works};

both!(
    python_sync_and_async,
    python_by_domain,
    javascript,
    javascript_by_domain,
    command_line,
    command_line_by_domain,
);

/// The versions that `tests/sdk` is written for.
const PYTHON: &str = "e2b==2.63.0";
const JAVASCRIPT: &str = "e2b@2.51.0";
const COMMAND_LINE: &str = "@e2b/cli@2.19.0";
/// A domain that no resolver has an opinion of.
const DOMAIN: &str = "sbx.test";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A server that ends with the test, and its sandboxes with it.
struct Server<'a> {
    stage: &'a Stage,
    /// Where it and its clients are.
    island: Option<Island>,
    process: Child,
    variables: Vec<(String, String)>,
}

impl<'a> Server<'a> {
    /// One that is known by its URL.
    fn start(stage: &'a Stage) -> Self {
        let mut command = stage.casemate();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        Self::of(stage, None, command)
    }

    /// One that is known by a domain: at https's own port as root, at another as a user.
    fn by_domain(stage: &'a Stage) -> Option<Self> {
        let island = Island::new(stage)?;
        let listen = if stage.is_root() {
            "127.0.0.1:443"
        } else {
            "127.0.0.1:3000"
        };
        let mut command = island.command(stage.uid(), &stage.workspace(), stage.path("casemate"));
        command
            .args(["serve", "--listen", listen, "--domain", DOMAIN])
            .args(["--tls", "self", "--dns", "127.0.0.1:53"])
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("HOME", stage.path("home"));
        Some(Self::of(stage, Some(island), command))
    }

    fn of(stage: &'a Stage, island: Option<Island>, mut command: Command) -> Self {
        let data = stage.path("home/data");
        let command = command.arg("--data").arg(data);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("export ").map(str::to_owned))
            .expect("the variables");
        let pairs = line.split_whitespace().map(|pair| pair.split_once('='));
        let variables = pairs
            .map(|pair| pair.unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // What else it says must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            stage,
            island,
            process,
            variables,
        }
    }

    /// A client, in a folder and with nothing but the variables that the server printed.
    fn client(&self, folder: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.island {
            Some(island) => island.command(0, folder, program),
            None => {
                let mut command = Command::new(program);
                command.env_clear().current_dir(folder);
                command
            }
        };
        command
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("HOME", self.stage.path("outside"))
            .envs(self.variables.clone());
        command
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
        self.stage.end_processes();
    }
}

/// This repository's part.
fn here(path: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sdk");
    tests.join(path)
}

fn python_tests(server: &Server<'_>, package: &Path) {
    for module in ["test_sync", "test_async"] {
        works(
            server
                .client(&here("python"), package.join("venv/bin/python"))
                .args(["-m", "unittest", module])
                .env("PYTHONDONTWRITEBYTECODE", "1"),
        );
    }
}

fn python_sync_and_async(stage: &Stage) {
    if let Some(package) = python(PYTHON) {
        python_tests(&Server::start(stage), package.path());
    }
}

fn python_by_domain(stage: &Stage) {
    if let Some(package) = python(PYTHON)
        && let Some(server) = Server::by_domain(stage)
    {
        python_tests(&server, package.path());
    }
}

fn javascript_tests(server: &Server<'_>, package: &Path) {
    let test = package.join("sdk.test.mjs");
    std::fs::copy(here("js/sdk.test.mjs"), &test).unwrap();
    works(server.client(package, "node").arg("--test").arg(test));
}

fn javascript(stage: &Stage) {
    if let Some(package) = npm(&[JAVASCRIPT]) {
        javascript_tests(&Server::start(stage), package.path());
    }
}

fn javascript_by_domain(stage: &Stage) {
    if let Some(package) = npm(&[JAVASCRIPT])
        && let Some(server) = Server::by_domain(stage)
    {
        javascript_tests(&server, package.path());
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
