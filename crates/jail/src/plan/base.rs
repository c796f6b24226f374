//! The part of the host that every program needs, and the fresh part beside it.

use super::{Host, Kind, Step, etc, packages};
use crate::layers::{self, Layered};
use casemate_core::error::{Error, Result};
use casemate_core::spec::{Access, Root, SandboxSpec};
use casemate_sys::landlock::FileRights;
use std::path::{Path, PathBuf};

/// System folders, read-only. On a merged system most are symbolic links into /usr.
const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];

/// Device nodes that give nothing away (null(4), random(4), tty(4)).
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Folders of the private disk: where, under which name on the disk, and with which mode.
const PRIVATE: &[(&str, &str, u32)] = &[
    ("/tmp", "tmp", 0o1777),
    ("/var/tmp", "var-tmp", 0o1777),
    ("/run", "run", 0o755),
    ("/dev/shm", "shm", 0o1777),
];

/// The steps before any grant.
pub(super) fn steps(spec: &mut SandboxSpec, host: &Host) -> Result<Vec<Step>> {
    let mut steps = Vec::with_capacity(64);
    match &spec.root {
        Root::Host => {
            let layered = layers::of(spec, super::has_real_root(spec, host));
            steps.extend(system(&layered));
            steps.extend(etc::steps(spec, host, &layered));
            if !layered.is_empty() {
                steps.extend(packages::steps());
            }
        }
        Root::Empty => {}
        Root::Directory(path) if !path.is_dir() => {
            return Err(
                Error::rule("use as the root file system", "not a folder").on(path.display())
            );
        }
        Root::Directory(_) | Root::Archive(_) => steps.extend(etc::identity(spec, host)),
    }
    let files = std::mem::take(&mut spec.files).into_iter();
    steps.extend(files.map(|(target, contents)| Step::File { target, contents }));
    steps.extend(devices());
    steps.push(Step::Proc);
    if spec.root != Root::Empty {
        steps.extend(processors());
    }
    for (target, name, mode) in PRIVATE {
        steps.push(Step::Private {
            target: target.into(),
            name,
            mode: *mode,
            owner: None,
        });
    }
    let real_root = super::has_real_root(spec, host);
    steps.push(Step::Private {
        target: host.inner_home(),
        name: "home",
        mode: 0o700,
        owner: spec.identity.filter(|_| real_root),
    });
    if spec.rooted {
        steps.push(Step::Private {
            target: "/root".into(),
            name: "root",
            mode: 0o700,
            owner: None,
        });
    }
    Ok(steps)
}

/// What may be written in every view.
pub(super) fn rules() -> Vec<(PathBuf, FileRights)> {
    let mut rules: Vec<_> = PRIVATE
        .iter()
        .map(|(target, ..)| (PathBuf::from(target), FileRights::WRITE))
        .collect();
    rules.push(("/home".into(), FileRights::WRITE));
    rules.push(("/dev".into(), FileRights::DEVICES));
    rules.push(("/dev/mqueue".into(), FileRights::WRITE));
    rules.push(("/proc".into(), FileRights::PROC));
    rules
}

/// True if the host's file at this path is in the plain view.
pub(super) fn contains(path: &Path) -> bool {
    SYSTEM.iter().any(|folder| path.starts_with(folder))
}

/// True if a view has something of its own at this path, whatever the host has there.
pub(super) fn is_fresh(path: &Path) -> bool {
    let fresh = [
        "/proc", "/sys", "/dev", "/etc", "/tmp", "/var/tmp", "/run", "/home",
    ];
    fresh.iter().any(|folder| path == Path::new(folder))
        || DEVICES
            .iter()
            .any(|name| path == Path::new("/dev").join(name))
}

fn system(layered: &[Layered]) -> Vec<Step> {
    let is_layered = |folder: &Path| layered.iter().any(|layered| layered.path == folder);
    let mut steps: Vec<Step> = layered.iter().cloned().map(Step::Layered).collect();
    let rest = SYSTEM
        .iter()
        .filter(|folder| !is_layered(Path::new(folder)))
        .filter_map(|folder| match std::fs::read_link(folder) {
            Ok(to) => Some(Step::Symlink {
                target: folder.into(),
                to,
            }),
            Err(_) if Path::new(folder).is_dir() => {
                Some(Step::same(*folder, Access::ReadOnly, Kind::Folder))
            }
            Err(_) => None,
        });
    steps.extend(rest);
    if !layered.is_empty() {
        steps.push(Step::Cover {
            target: layers::WRITES.into(),
            kind: Kind::Folder,
        });
    }
    steps
}

fn devices() -> Vec<Step> {
    let mut steps: Vec<Step> = DEVICES
        .iter()
        .map(|name| {
            let path = Path::new("/dev").join(name);
            Step::Bind {
                source: path.clone(),
                target: path,
                access: Access::ReadWrite,
                kind: Kind::File,
                devices: true,
            }
        })
        .collect();
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, to) in links {
        steps.push(Step::Symlink {
            target: Path::new("/dev").join(name),
            to: to.into(),
        });
    }
    steps.push(Step::Terminals);
    steps.push(Step::Queues);
    steps
}

/// The one part of /sys that ordinary programs read: which processors there are.
fn processors() -> Option<Step> {
    let path = "/sys/devices/system/cpu";
    Path::new(path)
        .is_dir()
        .then(|| Step::same(path, Access::ReadOnly, Kind::Folder))
}
