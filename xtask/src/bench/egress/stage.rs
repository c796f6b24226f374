//! Where connections go to and come from: servers on this host's own address, and a sandbox with a
//! policy that knows them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::inside::Found;
use crate::artifacts::{self, Program};

/// See the module.
pub(super) struct Stage {
    pub(super) folder: tempfile::TempDir,
    pub(super) casemate: PathBuf,
    xtask: PathBuf,
    /// What the policy calls plain bytes.
    pub(super) direct: SocketAddr,
    /// What is relayed.
    pub(super) relayed: SocketAddr,
}

/// What a run needs besides.
#[derive(Default)]
pub(super) struct Run<'a> {
    /// Instead of this program.
    pub(super) executable: Option<&'a Path>,
    /// A folder of state that knows nothing yet.
    pub(super) cold: bool,
    /// Write down how long the phases take.
    pub(super) timed: bool,
    pub(super) arguments: Vec<String>,
}

/// What the supervisor takes, in KiB.
pub(super) struct Memory {
    /// Of its own, before the first connection and after the last. Its code isn't counted: that is
    /// the file's, dropped while nothing happens and taken up again.
    pub(super) before: u64,
    pub(super) after: u64,
    /// Altogether, at most.
    pub(super) most: u64,
}

/// For longer than the supervisor takes to come to rest.
const REST: Duration = Duration::from_millis(150);

impl Stage {
    pub(super) fn new() -> Result<Self> {
        let address = own_address()?;
        let [casemate] = artifacts::built([Program::Casemate])?;
        let folder = tempfile::Builder::new()
            .prefix("casemate-egress-")
            .tempdir_in("/var/tmp")?;
        let stage = Stage {
            casemate,
            xtask: std::env::current_exe()?,
            direct: serve(address)?,
            relayed: serve(address)?,
            folder,
        };
        std::fs::write(stage.policy(), stage.policy_text())?;
        Ok(stage)
    }

    fn policy(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    /// What took how long in the run that was timed last.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.path().join("perf.jsonl")
    }

    fn policy_text(&self) -> String {
        // A pattern: what is written out would be hashed ahead.
        let entry = |name: &str, to: SocketAddr, protocol: &str| {
            format!(
                "  {name}:\n    name: {name}\n    endpoints:\n      - {{ host: \"{}\", port: {}{protocol} }}\n    \
                 binaries: [ {{ path: \"/**\" }} ]\n",
                to.ip(),
                to.port(),
            )
        };
        let (direct, relayed) = (
            entry("direct", self.direct, ", protocol: any"),
            entry("relayed", self.relayed, ""),
        );
        format!("version: 1\nnetwork_policies:\n{direct}{relayed}")
    }

    /// Runs the program without a sandbox.
    pub(super) fn bare(&self, arguments: &[String]) -> Result<Found> {
        let output = Command::new(&self.xtask)
            .arg("egress-inside")
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(
            output.status.success(),
            "without a sandbox: {}",
            output.status
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs the program in a sandbox.
    pub(super) fn run(&self, run: &Run<'_>) -> Result<(Found, Memory)> {
        let state = self.folder.path().join("state");
        if run.cold && state.exists() {
            std::fs::remove_dir_all(&state)?;
        }
        let executable = run.executable.unwrap_or(&self.xtask);
        let mut command = Command::new(&self.casemate);
        command
            .env("XDG_STATE_HOME", &state)
            .args(["run", "--quiet", "--policy"])
            .arg(self.policy());
        if run.timed {
            let _ = std::fs::remove_file(self.log());
            command.arg("--perf-log").arg(self.log());
        }
        for granted in [self.folder.path(), executable] {
            command.arg("--ro").arg(granted);
        }
        command
            .arg("--")
            .arg(executable)
            .args(["egress-inside", "--pause"]);
        let mut child = command
            .args(&run.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start casemate")?;
        let mut said = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let before = settled(child.id());
        if let Some(stdin) = &mut child.stdin {
            stdin.write_all(b"\n")?;
        }
        line.clear();
        said.read_line(&mut line)?;
        let memory = Memory {
            before,
            after: kib(child.id(), "RssAnon:").unwrap_or(before),
            most: kib(child.id(), "VmHWM:").unwrap_or(before),
        };
        drop(child.stdin.take());
        let status = child.wait()?;
        if !status.success() {
            bail!("casemate run {:?}: {status}", run.arguments);
        }
        let found = serde_json::from_str(&line).context("the program said something else")?;
        Ok((found, memory))
    }

    /// A program like this one, of this size, that no other has been.
    pub(super) fn large(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::copy(&self.xtask, &path)?;
        let mut file = std::fs::OpenOptions::new().append(true).open(&path)?;
        let mut left = bytes.saturating_sub(file.metadata()?.len());
        let filler = name.bytes().cycle().take(1 << 20).collect::<Vec<_>>();
        while left > 0 {
            let count = left.min(filler.len() as u64);
            file.write_all(&filler[..count as usize])?;
            left -= count;
        }
        Ok(path)
    }
}

/// The memory of a process's own, when that has stopped to change.
fn settled(pid: u32) -> u64 {
    let mut last = None;
    loop {
        let now = kib(pid, "RssAnon:");
        if now.is_none() || now == last {
            return now.unwrap_or(0);
        }
        last = now;
        std::thread::sleep(REST);
    }
}

fn kib(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The address that this host has for others: loopback is never reachable from a sandbox.
fn own_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // Documentation (RFC 5737); nothing is sent.
    socket.connect("198.51.100.1:9").context("no route")?;
    let address = socket.local_addr()?.ip();
    ensure!(!address.is_loopback(), "it has no address but loopback");
    Ok(address)
}

/// A server that says as many bytes as it is asked for, in eight bytes.
fn serve(address: IpAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((address, 0))?;
    let own = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || say(stream));
        }
    });
    Ok(own)
}

/// A thread that says little needs little memory: there may be a thousand of them.
fn wanted_at_once(wanted: u64) -> usize {
    wanted.min(256 << 10) as usize
}

/// Until the other side ends, which is how most of them say that they want nothing.
fn say(mut stream: TcpStream) {
    while once(&mut stream).is_ok() {}
    // The side that ended first would keep its port for a minute, and there are more connections
    // than ports.
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
}

fn once(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut wanted = [0; 8];
    stream.read_exact(&mut wanted)?;
    let (mut left, bytes) = (
        u64::from_be_bytes(wanted),
        vec![7; wanted_at_once(u64::from_be_bytes(wanted))],
    );
    while left > 0 {
        let count = left.min(bytes.len() as u64);
        stream.write_all(&bytes[..count as usize])?;
        left -= count;
    }
    Ok(())
}
