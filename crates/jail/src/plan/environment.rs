//! The variables that get in: an allow-list, since the rest of an environment is where keys are.

use super::grants::Resolved;
use super::{Host, base, command::Command};
use casemate_core::spec::{Access, EnvRule, Root, SandboxSpec};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Passed from the caller: how to show things, not what is known.
const PASSED: &[&str] = &[
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    "LANG",
    "LANGUAGE",
    "TZ",
];

/// Where programs are looked for when the root file system isn't the host's.
pub(super) const PLAIN_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `NAME=value` strings for execve(2).
pub(super) fn build(
    spec: &SandboxSpec,
    host: &Host,
    grants: &[Resolved],
    command: &Command,
) -> Vec<CString> {
    let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
    let mut set = |name: &str, value: &OsStr| env.insert(name.into(), value.into());
    let home = host.inner_home();
    set("HOME", home.as_os_str());
    set("USER", OsStr::new(&host.user));
    set("LOGNAME", OsStr::new(&host.user));
    set(
        "SHELL",
        OsStr::new(if Path::new("/bin/bash").exists() {
            "/bin/bash"
        } else {
            "/bin/sh"
        }),
    );
    set("PATH", &search_path(spec, host, grants));
    for (name, value) in &command.env {
        set(name, value);
    }
    for (name, value) in &host.env {
        let passed =
            PASSED.iter().any(|passed| name == passed) || name.as_bytes().starts_with(b"LC_");
        if passed {
            env.insert(name.clone(), value.clone());
        }
    }
    for rule in &spec.env {
        match rule {
            EnvRule::Set(name, value) => {
                env.insert(name.clone(), value.clone());
            }
            EnvRule::Pass(name) => {
                if let Some(value) = host.env.get(name) {
                    env.insert(name.clone(), value.clone());
                }
            }
        }
    }
    env.into_iter()
        .filter_map(|(name, value)| {
            let mut pair = name.into_vec();
            pair.push(b'=');
            pair.extend(value.into_vec());
            CString::new(pair).ok()
        })
        .collect()
}

/// The caller's PATH without the folders that aren't in the view.
fn search_path(spec: &SandboxSpec, host: &Host, grants: &[Resolved]) -> OsString {
    if matches!(spec.root, Root::Directory(_) | Root::Archive(_)) {
        return PLAIN_PATH.into();
    }
    let path = host
        .var("PATH")
        .cloned()
        .unwrap_or_else(|| PLAIN_PATH.into());
    let visible = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute() && is_visible(folder, grants));
    let mut kept: Vec<PathBuf> = Vec::new();
    for folder in visible {
        if !kept.contains(&folder) {
            kept.push(folder);
        }
    }
    std::env::join_paths(kept)
        .ok()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| PLAIN_PATH.into())
}

/// True if a host path can be seen inside.
pub(super) fn is_visible(path: &Path, grants: &[Resolved]) -> bool {
    let nearest = grants
        .iter()
        .filter(|grant| path.starts_with(&grant.path))
        .max_by_key(|grant| grant.path.components().count());
    match nearest {
        Some(grant) => grant.access != Access::Hidden,
        None => base::contains(path),
    }
}
