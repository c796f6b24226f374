//! The published clients, unchanged, against a server of this build: `tests/sdk`.
//!
//! They come from their package indexes by the ordinary clients. On a machine that reaches none,
//! these tests say so and are skipped.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Stage, both};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

both!(python_sync_and_async, javascript);

/// The versions that `tests/sdk` is written for.
const PYTHON: &str = "e2b==2.63.0";
const JAVASCRIPT: &str = "e2b@2.51.0";

/// A server that ends with the test, and its sandboxes with it.
struct Server {
    process: Child,
    variables: Vec<(String, String)>,
}

impl Server {
    fn start(stage: &Stage) -> Self {
        let mut process = stage
            .casemate()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(stage.path("home/data"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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
        Self { process, variables }
    }

    fn run(&self, command: &mut Command) {
        let status = command.envs(self.variables.clone()).status().unwrap();
        assert!(status.success(), "{command:?}: {status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// This repository's part.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/sdk")
        .join(path)
}

/// False, and said so, if an ordinary client can't get it.
fn comes(command: &mut Command) -> bool {
    let output = command.output().unwrap();
    if !output.status.success() {
        println!(
            "skipped: {command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output.status.success()
}

fn python_sync_and_async(stage: &Stage) {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("bin/python");
    let made = Command::new("/usr/bin/python3")
        .args(["-m", "venv"])
        .arg(folder.path())
        .status();
    assert!(made.unwrap().success());
    if !comes(Command::new(&python).args(["-m", "pip", "install", "-q", PYTHON])) {
        return;
    }
    let server = Server::start(stage);
    for module in ["test_sync", "test_async"] {
        server.run(
            Command::new(&python)
                .args(["-m", "unittest", module])
                .current_dir(here("python"))
                .env("PYTHONDONTWRITEBYTECODE", "1"),
        );
    }
}

fn javascript(stage: &Stage) {
    let folder = tempfile::tempdir().unwrap();
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund", JAVASCRIPT]);
    if !comes(install.current_dir(folder.path())) {
        return;
    }
    let test = folder.path().join("sdk.test.mjs");
    std::fs::copy(here("js/sdk.test.mjs"), &test).unwrap();
    let server = Server::start(stage);
    server.run(
        Command::new("node")
            .arg("--test")
            .arg(test)
            .current_dir(folder.path()),
    );
}
