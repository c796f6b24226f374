//! A server for published clients, and the tests of `tests/sdk` that those are.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use crate::island::Island;
use crate::sandbox::Stage;
use crate::support::works;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The versions that `tests/sdk` is written for.
pub(crate) const PYTHON: &str = "e2b==2.63.0";
pub(crate) const JAVASCRIPT: &str = "e2b@2.51.0";
/// A domain that no resolver has an opinion of.
const DOMAIN: &str = "sbx.test";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A server that ends with the test, and its sandboxes with it.
pub(crate) struct Server<'a> {
    pub(crate) stage: &'a Stage,
    /// Where it and its clients are.
    island: Option<Island>,
    process: Child,
    pub(crate) variables: Vec<(String, String)>,
}

impl<'a> Server<'a> {
    /// One that is known by its URL.
    pub(crate) fn start(stage: &'a Stage) -> Self {
        Self::with(stage, &[])
    }

    /// The same, with these flags.
    pub(crate) fn with(stage: &'a Stage, flags: &[&str]) -> Self {
        let mut command = stage.casemate();
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags);
        Self::of(stage, None, command)
    }

    /// One that is known by a domain: at https's own port as root, at another as a user.
    pub(crate) fn by_domain(stage: &'a Stage) -> Option<Self> {
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
    pub(crate) fn client(&self, folder: &Path, program: impl AsRef<OsStr>) -> Command {
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
pub(crate) fn here(path: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sdk");
    tests.join(path)
}

/// Those of Python in these modules.
pub(crate) fn python_tests(server: &Server<'_>, package: &Path, modules: &[&str]) {
    for module in modules {
        works(
            server
                .client(&here("python"), package.join("venv/bin/python"))
                .args(["-m", "unittest"])
                .arg(module)
                .env("PYTHONDONTWRITEBYTECODE", "1"),
        );
    }
}

/// Those of JavaScript in these files.
pub(crate) fn javascript_tests(server: &Server<'_>, package: &Path, files: &[&str]) {
    for file in files {
        let test = package.join(file);
        std::fs::copy(here("js").join(file), &test).unwrap();
        works(server.client(package, "node").arg("--test").arg(test));
    }
}
