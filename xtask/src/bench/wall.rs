//! The walls that are compared, each as the words before the payload.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::ground::Home;
use super::tools::{Bubblewrap, Tools};
use crate::command::last_words;

/// A way to start a program.
#[derive(Clone)]
pub(crate) struct Wall {
    /// The heading of its column.
    pub(crate) name: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Bare,
    Casemate {
        program: String,
    },
    Bubblewrap {
        program: String,
        disable_userns: bool,
    },
}

/// The walls that work for this user, and why others don't.
pub(crate) struct Standing {
    /// Bare first, then Casemate.
    pub(crate) up: Vec<Wall>,
    pub(crate) notes: Vec<String>,
}

/// Tries each wall once. Casemate has to work; a peer that doesn't is left out.
pub(crate) fn standing(tools: &Tools, home: &Home) -> Result<Standing> {
    let mut standing = Standing {
        up: vec![Wall::bare()],
        notes: Vec::new(),
    };
    let casemate = Wall::casemate(&tools.casemate);
    casemate
        .probe(home)
        .context("casemate does not run a program")?;
    standing.up.push(casemate);
    for peer in &tools.bubblewraps {
        match Wall::bubblewrap(peer, home) {
            Ok(wall) => standing.up.push(wall),
            Err(why) => standing
                .notes
                .push(format!("{} is left out: {why:#}", peer.name)),
        }
    }
    Ok(standing)
}

impl Wall {
    fn bare() -> Self {
        Wall {
            name: "bare".to_owned(),
            kind: Kind::Bare,
        }
    }

    fn casemate(program: &Path) -> Self {
        let program = program.display().to_string();
        Wall {
            name: "casemate".to_owned(),
            kind: Kind::Casemate { program },
        }
    }

    /// With `--disable-userns` where the kernel lets it, since Casemate always refuses them.
    fn bubblewrap(peer: &Bubblewrap, home: &Home) -> Result<Self> {
        let with = |disable_userns| {
            let program = peer.program.display().to_string();
            Wall {
                name: peer.name.clone(),
                kind: Kind::Bubblewrap {
                    program,
                    disable_userns,
                },
            }
        };
        let strict = with(true);
        if strict.probe(home).is_ok() {
            return Ok(strict);
        }
        with(false).probe(home).map(|()| with(false))
    }

    /// The whole command for a payload in a working directory.
    pub(crate) fn command(&self, home: &Home, directory: &Path, payload: &[&str]) -> Vec<String> {
        let mut words = match &self.kind {
            Kind::Bare => Vec::new(),
            Kind::Casemate { program } => vec![program.clone(), "run".into(), "--".into()],
            Kind::Bubblewrap {
                program,
                disable_userns,
            } => bubblewrap(program, *disable_userns, home, directory),
        };
        words.extend(payload.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Sees that a shell inside can compute: a program that merely exits well is no wall.
    fn probe(&self, home: &Home) -> Result<()> {
        let words = self.command(home, &home.empty, &["/bin/sh", "-c", "echo up $((40+2))"]);
        let out = home
            .program(&words[0])
            .args(&words[1..])
            .current_dir(&home.empty)
            .output()
            .with_context(|| format!("cannot start {}", words[0]))?;
        if !out.status.success() || out.stdout != b"up 42\n" {
            bail!(
                "`{}` ended with {}: {}",
                words.join(" "),
                out.status,
                last_words(&out)
            );
        }
        Ok(())
    }
}

/// The nearest that bubblewrap has to the default wall. It has no Landlock, no limits, and
/// no seccomp filter of its own.
fn bubblewrap(program: &str, disable_userns: bool, home: &Home, directory: &Path) -> Vec<String> {
    let mut words: Vec<String> = vec![program.into()];
    let mut add = |arguments: &[&str]| words.extend(arguments.iter().map(|a| (*a).to_owned()));
    add(&[
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
    ]);
    add(&[
        "--unshare-uts",
        "--unshare-cgroup",
        "--ro-bind",
        "/usr",
        "/usr",
    ]);
    for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        match std::fs::read_link(name) {
            Ok(target) => add(&["--symlink", &target.to_string_lossy(), name]),
            Err(_) => add(&["--ro-bind-try", name, name]),
        }
    }
    add(&[
        "--ro-bind",
        "/etc",
        "/etc",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]);
    add(&["--tmpfs", "/tmp", "--tmpfs", "/home", "--tmpfs", "/run"]);
    let directory = directory.display().to_string();
    add(&["--bind", &directory, &directory, "--chdir", &directory]);
    add(&[
        "--new-session",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        "--clearenv",
    ]);
    for (name, value) in home.environment() {
        add(&["--setenv", name, &value]);
    }
    if disable_userns {
        add(&["--disable-userns"]);
    }
    add(&["--"]);
    words
}
