//! What an attempt may go for, outside of the wall: files, sockets and a process of the
//! caller, told by the variables that the attempts read.
//!
//! It is the part of the attempts' own harness that a guest without git, keys and
//! terminals can have. An attempt that needs more fails its half outside and is skipped.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::guest::{HOME, WORKSPACE};
use super::host::{Host, Places};
use super::image::USER;

/// The attempts' own program, which also plays the victim.
pub(crate) const PROGRAM: &str = "/bin/attempt";
const TOKEN: &str = "token-of-the-guest";

/// The stage of one half of an attempt; what is left of it ends with it.
pub(crate) struct Stage {
    victim: Child,
    host: Host,
}

impl Stage {
    /// Sets it anew.
    pub(crate) fn set() -> Result<Self> {
        files().context("the files of the stage")?;
        let outside_socket = format!("{HOME}/outside/host.sock");
        let places = Places {
            streams: vec![outside_socket, format!("{WORKSPACE}/before.sock")],
            datagrams: format!("{WORKSPACE}/datagram.sock"),
            receipts: format!("{WORKSPACE}/receipts"),
        };
        let host = Host::open(places, TOKEN).context("the sockets of the stage")?;
        let victim = Command::new(PROGRAM)
            .arg("--victim")
            .env_clear()
            .env("CALLER_TOKEN", TOKEN)
            .envs(places_of_files())
            .uid(USER)
            .gid(USER)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("the victim of the stage")?;
        Ok(Stage { victim, host })
    }

    /// The variables of an attempt. Outside, the victim stands in for the sandbox's init.
    pub(crate) fn environment(&self, outside: bool) -> Vec<(&'static str, String)> {
        let victim = self.victim.id().to_string();
        let mut variables = places_of_files().to_vec();
        variables.extend([
            ("ATTEMPT_TOKEN", TOKEN.to_owned()),
            ("ATTEMPT_SOCKET", format!("{HOME}/outside/host.sock")),
            ("ATTEMPT_ABSTRACT", self.host.abstract_name.clone()),
            ("ATTEMPT_PORT", self.host.port.to_string()),
            ("ATTEMPT_UDP_PORT", self.host.udp_port.to_string()),
            ("ATTEMPT_PID", victim.clone()),
        ]);
        variables.extend(outside.then_some(("ATTEMPT_INIT", victim)));
        variables
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        end_leftovers();
    }
}

fn places_of_files() -> [(&'static str, String); 4] {
    [
        ("ATTEMPT_WORKSPACE", WORKSPACE.to_owned()),
        ("ATTEMPT_SECRET", format!("{HOME}/keys/secret")),
        ("ATTEMPT_OUTSIDE", format!("{HOME}/outside")),
        ("ATTEMPT_SHARED", format!("{HOME}/shared")),
    ]
}

fn files() -> Result<()> {
    let [workspace, secret, outside, shared] = places_of_files().map(|(_, place)| place);
    let keys = format!("{HOME}/keys");
    let receipts = format!("{workspace}/receipts");
    for folder in [&workspace, &keys, &outside, &shared, &receipts] {
        let _ = fs::remove_dir_all(folder);
        own_folder(folder)?;
    }
    for repository in [".git", "vendored/library/.git"] {
        lay_out_repository(&format!("{workspace}/{repository}"))?;
    }
    for file in [
        secret.as_str(),
        &format!("{outside}/token"),
        &format!("{outside}/plain"),
    ] {
        fs::write(file, TOKEN)?;
        chown(file, Some(USER), Some(USER))?;
    }
    fs::hard_link(format!("{outside}/token"), format!("{outside}/linked"))?;
    fs::hard_link(&secret, format!("{workspace}/linked-secret"))?;
    symlink(&secret, format!("{workspace}/way-out"))?;
    Ok(symlink(&outside, format!("{workspace}/way-out-directory"))?)
}

/// What git looks for, made without git.
fn lay_out_repository(git: &str) -> Result<()> {
    for folder in ["", "hooks", "objects", "refs"] {
        own_folder(&format!("{git}/{folder}"))?;
    }
    let files = [
        ("HEAD", "ref: refs/heads/main\n"),
        ("config", "[core]\n\trepositoryformatversion = 0\n"),
        ("hooks/pre-commit", "#!/bin/sh\n"),
    ];
    for (name, contents) in files {
        let path = format!("{git}/{name}");
        fs::write(&path, contents)?;
        chown(&path, Some(USER), Some(USER))?;
    }
    Ok(())
}

/// Makes a folder and those above it below the user's home, all the user's.
fn own_folder(path: &str) -> Result<()> {
    fs::create_dir_all(path)?;
    for folder in std::path::Path::new(path).ancestors() {
        if folder.starts_with(HOME) {
            chown(folder, Some(USER), Some(USER))?;
        }
    }
    Ok(())
}

/// What an attempt left running outside of the wall must not meet the next one.
fn end_leftovers() {
    for entry in fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let owned = status
            .lines()
            .any(|line| line.starts_with(&format!("Uid:\t{USER}\t")));
        let pid = entry.file_name().to_string_lossy().parse().ok();
        if let Some(pid) = pid
            .and_then(rustix::process::Pid::from_raw)
            .filter(|_| owned)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
