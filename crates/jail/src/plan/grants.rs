//! Paths that the caller or a policy brings into the view, or takes out of it.

use super::{Host, Kind, Step, base};
use casemate_core::error::{Error, Result};
use casemate_core::spec::{Access, Grant, SandboxSpec};
use casemate_sys::landlock::FileRights;
use std::path::{Path, PathBuf};

/// A grant whose path was found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The real path, without symbolic links; it appears there inside.
    pub(crate) path: PathBuf,
    /// The path as asked for, if it is a symbolic link to the real one.
    pub(crate) link: Option<PathBuf>,
    pub(crate) access: Access,
    pub(crate) kind: Kind,
}

impl Resolved {
    pub(super) fn workdir(path: &Path, access: Access) -> Self {
        Self {
            path: path.into(),
            link: None,
            access,
            kind: Kind::Folder,
        }
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        let bind = match self.access {
            Access::Hidden => Step::Cover {
                target: self.path.clone(),
                kind: self.kind,
            },
            access => Step::Bind {
                source: self.path.clone(),
                target: self.path.clone(),
                access,
                kind: self.kind,
                devices: self.path.starts_with("/dev"),
            },
        };
        let link = self.link.clone().map(|target| Step::Symlink {
            target,
            to: self.path.clone(),
        });
        [Some(bind), link].into_iter().flatten().collect()
    }

    pub(super) fn rule(&self) -> Option<(PathBuf, FileRights)> {
        let rights = match (self.access, self.path.starts_with("/dev")) {
            (Access::ReadWrite, false) => FileRights::WRITE,
            (Access::ReadWrite, true) => FileRights::DEVICES,
            _ => return None,
        };
        let rights = if self.kind == Kind::File {
            rights.for_file()
        } else {
            rights
        };
        Some((self.path.clone(), rights))
    }
}

/// Finds each grant's path, and refuses those that would open the wall.
pub(super) fn check(
    spec: &SandboxSpec,
    host: &Host,
    notes: &mut Vec<String>,
) -> Result<Vec<Resolved>> {
    let mut resolved = Vec::new();
    for grant in spec
        .grants
        .iter()
        .filter(|grant| !(grant.or_fresh && base::is_fresh(&grant.path)))
    {
        match resolve(grant, host) {
            Ok(found) => insert(&mut resolved, found),
            Err(error)
                if !grant.required
                    && error.raw_errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) =>
            {
                notes.push(format!(
                    "{}: {} does not exist and was skipped",
                    grant.origin,
                    grant.path.display()
                ));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(resolved)
}

/// Adds a grant; a later one of the same path wins.
pub(super) fn insert(grants: &mut Vec<Resolved>, grant: Resolved) {
    grants.retain(|other| other.path != grant.path);
    grants.push(grant);
}

fn resolve(grant: &Grant, host: &Host) -> Result<Resolved> {
    let refuse = |why: &str| {
        Error::rule(format!("{}: bring in", grant.origin), why).on(grant.path.display())
    };
    if grant.path.to_str().is_none() {
        return Err(refuse("the path is not UTF-8"));
    }
    let path = std::fs::canonicalize(&grant.path).map_err(|error| {
        let error =
            Error::io(format!("{}: bring in", grant.origin), &error).on(grant.path.display());
        match error.raw_errno() {
            Some(errno) if errno == rustix::io::Errno::LOOP.raw_os_error() => {
                error.hint("the path goes through symbolic links in a circle")
            }
            _ => error.hint("a path must exist on the host; inside it appears at the same place"),
        }
    })?;
    if path.to_str().is_none() {
        return Err(refuse("the real path is not UTF-8"));
    }
    for fresh in ["/proc", "/sys"] {
        if path.starts_with(fresh) && grant.access != Access::Hidden {
            return Err(refuse("a sandbox has a /proc and /sys of its own"));
        }
    }
    if grant.access == Access::ReadWrite
        && let Some(why) = too_broad(&path, host).filter(|_| !allowed_whole(&path))
    {
        return Err(refuse(why).hint("name the folders that the program needs"));
    }
    if path == Path::new("/") && grant.access == Access::Hidden {
        return Err(refuse("nothing would be left"));
    }
    if path == Path::new("/") {
        return Err(
            refuse("it is the whole file system").hint("name the folders that the program needs")
        );
    }
    if path != grant.path
        && grant.access != Access::Hidden
        && grant.path.starts_with(&host.cwd)
        && !path.starts_with(&host.cwd)
    {
        return Err(refuse(&format!(
            "it is a link out of the working folder, to {}",
            path.display()
        ))
        .hint("an earlier program may have made it; give the path that it leads to"));
    }
    let kind = if path.is_dir() {
        Kind::Folder
    } else {
        Kind::File
    };
    let link = (path != grant.path && !base::contains(&grant.path)).then(|| grant.path.clone());
    let link =
        link.filter(|link| std::fs::symlink_metadata(link).is_ok_and(|meta| meta.is_symlink()));
    Ok(Resolved {
        path,
        link,
        access: grant.access,
        kind,
    })
}

/// The shared temporary folders may be brought in on an explicit word, not by accident.
fn allowed_whole(path: &Path) -> bool {
    ["/tmp", "/var/tmp"]
        .iter()
        .any(|folder| path == Path::new(folder))
}

/// Why a folder must not be writable as a whole, if so.
pub(super) fn too_broad(path: &Path, host: &Host) -> Option<&'static str> {
    if path == Path::new("/") {
        return Some("it is the whole file system");
    }
    if host.homes.iter().any(|home| home.starts_with(path)) {
        return Some("it is or holds your home folder, with your keys in it");
    }
    if [
        "/tmp", "/var/tmp", "/run", "/var", "/home", "/mnt", "/media", "/srv",
    ]
    .iter()
    .any(|shared| path == Path::new(shared))
    {
        return Some("it is shared with the rest of the system");
    }
    let system = ["/etc", "/boot", "/proc", "/sys", "/dev", "/run"];
    if base::contains(path) && !path.starts_with("/usr/src") && !path.starts_with("/usr/local/src")
        || system.iter().any(|folder| path == Path::new(folder))
    {
        return Some("it belongs to the system");
    }
    None
}
