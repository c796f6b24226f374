//! Where a copy-on-write root keeps its writes.
//!
//! overlayfs writes into two folders below the one that the caller names. If the program could
//! write that folder by another way, it could put links in their place, and the next run would
//! write wherever those lead.

use super::grants::Resolved;
use casemate_core::error::{Error, Result};
use casemate_core::spec::{Access, Root, SandboxSpec};
use std::path::Path;

/// Refuses a folder that can't be what it should.
pub(super) fn check(spec: &SandboxSpec, grants: &[Resolved]) -> Result<()> {
    let Some(keep) = &spec.keep else {
        return Ok(());
    };
    let refuse = |why: &str| Error::rule("use --keep", why).on(keep.display());
    let Root::Directory(root) = &spec.root else {
        return Err(refuse("an archive is unpacked anew for each run")
            .hint("unpack it into a folder and give that to --root"));
    };
    let real = std::fs::canonicalize(keep).map_err(|error| {
        Error::io("use --keep", &error)
            .on(keep.display())
            .hint("it is a folder that exists")
    })?;
    let root = std::fs::canonicalize(root)
        .map_err(|error| Error::io("use --root", &error).on(root.display()))?;
    if !real.is_dir() {
        return Err(refuse("it is not a folder"));
    }
    if real.starts_with(&root) || root.starts_with(&real) {
        return Err(refuse("it overlaps the folder of --root"));
    }
    let writable = grants
        .iter()
        .filter(|grant| grant.access == Access::ReadWrite);
    let mut open: Vec<&Path> = writable.map(|grant| grant.path.as_path()).collect();
    if spec.workdir_access == Some(Access::ReadWrite) {
        open.push(&spec.workdir);
    }
    if let Some(folder) = open.iter().find(|folder| real.starts_with(folder)) {
        let why = format!("the program may write {}, which holds it", folder.display());
        return Err(refuse(&why).hint("keep the writes beside the working folder, not in it"));
    }
    for name in ["upper", "work"] {
        let path = real.join(name);
        if path.is_symlink() || path.exists() && !path.is_dir() {
            return Err(refuse(&format!("{name} in it is not a folder")));
        }
    }
    Ok(())
}
