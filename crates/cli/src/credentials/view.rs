//! Whether the program would see a file, or could change it.

use casemate_core::error::{Error, Result};
use casemate_core::spec::{Access, Grant, Root, SandboxSpec};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Folders of the host that every view has.
const SYSTEM: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];

/// Folders of which a view has its own, also where a policy names them.
const FRESH: [&str; 8] = [
    "/proc", "/sys", "/dev", "/etc", "/tmp", "/var/tmp", "/run", "/home",
];

/// Refuses a file that is in the view: the program could read the secret in it.
pub(super) fn refuse_visible(path: &Path, spec: &SandboxSpec) -> Result<()> {
    match access(path, spec)? {
        None => Ok(()),
        Some(_) => Err(
            Error::rule("read a secret", "the program could read this file")
                .on(path.display())
                .hint("move it out of the folders that the run shows, or --hide it"),
        ),
    }
}

/// Refuses a file that the program could change, or somebody else: the next run would believe it.
pub(super) fn refuse_writable(path: &Path, spec: &SandboxSpec) -> Result<()> {
    let refuse = |why: &str, hint: &str| {
        let error = Error::rule("give credentials", why).on(path.display());
        Err(error.hint(hint))
    };
    if access(path, spec)? == Some(Access::ReadWrite) {
        let hint = "move it out of the folders that are writable, or --ro it";
        return refuse("the program could change this file", hint);
    }
    let meta = std::fs::metadata(path);
    let meta = meta.map_err(|error| Error::io("give credentials", &error).on(path.display()))?;
    let own = rustix::process::geteuid().as_raw();
    if meta.mode() & 0o022 != 0 || ![own, 0].contains(&meta.uid()) {
        let hint = "it must be yours or root's, and chmod 600";
        return refuse("others can change this file", hint);
    }
    Ok(())
}

/// What the program may do with a file of the host; None if it's not in its view.
fn access(path: &Path, spec: &SandboxSpec) -> Result<Option<Access>> {
    let real = std::fs::canonicalize(path);
    let real = real.map_err(|error| Error::io("look at a file", &error).on(path.display()))?;
    let system = SYSTEM.map(|folder| (Path::new(folder), Access::ReadOnly));
    let system = system.into_iter().filter(|_| spec.root == Root::Host);
    let workdir = spec.workdir_access.map(|access| (&*spec.workdir, access));
    let kept = spec.keep.as_deref().map(|keep| (keep, Access::ReadWrite));
    let root = match &spec.root {
        Root::Directory(folder) => Some((&**folder, Access::ReadWrite)),
        Root::Host | Root::Empty | Root::Archive(_) => None,
    };
    let fresh = |own: &Grant| own.or_fresh && FRESH.iter().any(|path| own.path == Path::new(path));
    let grants = spec.grants.iter().filter(|own| !fresh(own));
    let grants = grants.map(|own| (&*own.path, own.access));
    let mut nearest: Option<(usize, Access)> = None;
    for (folder, access) in system.chain(root).chain(kept).chain(workdir).chain(grants) {
        // A folder that isn't there shows nothing.
        let Ok(folder) = std::fs::canonicalize(folder) else {
            continue;
        };
        let depth = folder.components().count();
        if real.starts_with(&folder) && nearest.is_none_or(|(known, _)| known <= depth) {
            nearest = Some((depth, access));
        }
    }
    let access = nearest.map(|(_, access)| access);
    Ok(access.filter(|access| *access != Access::Hidden))
}
