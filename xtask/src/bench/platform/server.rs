//! A server to be measured.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::client::Client;
use super::way::Way;

/// What a server has to say besides.
const LOG: &str = "log";

/// A `casemate serve` with a folder of its own; it ends with this.
pub(in crate::bench) struct Server {
    process: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    key: String,
}

impl Server {
    /// Starts one that keeps up to so many sandboxes ready.
    pub(super) fn start(program: &Path, warm: usize) -> Result<Self> {
        Self::start_with(program, warm, &[])
    }

    /// The same, with these flags.
    pub(in crate::bench) fn start_with(
        program: &Path,
        warm: usize,
        flags: &[OsString],
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let mut process = Command::new(program)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--drain",
                "kill",
                "--warm",
            ])
            .arg(warm.to_string())
            .args(flags)
            .arg("--data")
            .arg(folder.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(log(folder.path())?)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let out = process.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(out).lines();
        let mut value = |name: &str| {
            for line in lines.by_ref() {
                let line = line?;
                let words = line.split_whitespace();
                let found = words.filter_map(|word| word.strip_prefix(name)).next();
                if let Some(found) = found {
                    return Ok(found.to_owned());
                }
            }
            let log = std::fs::read_to_string(folder.path().join(LOG)).unwrap_or_default();
            anyhow::bail!("the server doesn't say {name}: {log}")
        };
        let address = value("http://")?;
        let key = value("E2B_API_KEY=")?;
        Ok(Self {
            process,
            folder,
            address: address.parse().context("the server's address")?,
            key,
        })
    }

    /// The way to a door of a sandbox.
    pub(super) fn way(&self, sandbox: &str, port: u16) -> Result<Way> {
        let (id, token) = sandbox.split_once(' ').context("no token")?;
        let headers = format!(
            "E2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: {port}\r\nX-Access-Token: {token}\r\n"
        );
        Ok(Way {
            address: self.address,
            headers,
        })
    }

    /// The most memory that it ever had, KiB.
    pub(super) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.context("no VmHWM")?.parse().context("VmHWM")
    }

    pub(in crate::bench) fn client(&self) -> Result<Client> {
        Client::new(self.address, self.key.clone())
    }

    /// The process that keeps a sandbox.
    pub(in crate::bench) fn keeper(&self, sandbox: &str) -> Result<u32> {
        let id = sandbox.split(' ').next().unwrap_or(sandbox);
        let file = self
            .folder
            .path()
            .join("data/sandboxes")
            .join(id)
            .join("keeper.json");
        let text =
            std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let value: serde_json::Value = serde_json::from_slice(&text)?;
        let pid = value["pid"].as_u64().context("no pid")?;
        Ok(u32::try_from(pid)?)
    }
}

fn log(folder: &Path) -> Result<File> {
    File::create(folder.join(LOG)).context("cannot make a log")
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}
