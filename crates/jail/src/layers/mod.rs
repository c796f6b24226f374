//! System folders that root of a sandbox may change.
//!
//! ```text
//!  /usr inside  =  writes: the sandbox's own disk, gone with it
//!                  skeleton: empty folders of the caller's      (an ordinary user only)
//!                  /usr of the host, which nobody writes
//! ```
//!
//! Each is an overlay (overlayfs in a user namespace, Linux 5.11). The kernel copies what is changed
//! to the writes, with its owner; and before a file is made in a folder, the folder. The host's
//! root, who owns all of that, is nobody inside, and what belongs to nobody can't be copied. So:
//!
//! - Root gives its sandboxes the host's folders with other owners, by mounts that map ids
//!   (MOUNT_ATTR_IDMAP in mount_setattr(2), Linux 5.19 for overlays): there, all works.
//! - For an ordinary user, the same folders lie above the host's, empty and the user's own
//!   ([`skeleton`]). New files work, replacing files works, removing them works: that is what package
//!   managers do. To change one of the host's files in place doesn't (EOVERFLOW); it has to be
//!   replaced by a copy.

pub mod skeleton;

use casemate_core::spec::{Root, SandboxSpec};
use std::path::{Path, PathBuf};

/// Where the writes are kept in the view; covered.
pub(crate) const WRITES: &str = "/.writes";

/// Folders that programs are in.
const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];

/// What package managers write down, beside them.
const STATE: &[&str] = &["/var/lib/dpkg", "/etc/alternatives"];

/// A folder of the host's that is layered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layered {
    pub(crate) path: PathBuf,
    /// The folders of the caller's above it, if there have to be some.
    pub(crate) skeleton: Option<PathBuf>,
}

/// The folders that are layered in a view of this host.
pub(crate) fn of(spec: &SandboxSpec, has_real_root: bool) -> Vec<Layered> {
    let possible = spec.rooted && spec.root == Root::Host;
    if !possible || !has_real_root && spec.skeleton.is_none() {
        return Vec::new();
    }
    let skeleton = spec.skeleton.as_ref().filter(|_| !has_real_root);
    let layered = |path: PathBuf| Layered {
        skeleton: skeleton.map(|skeleton| beneath(skeleton, &path)),
        path,
    };
    folders().into_iter().map(layered).collect()
}

/// Those that this host has.
fn folders() -> Vec<PathBuf> {
    let all = SYSTEM.iter().chain(STATE).map(PathBuf::from);
    all.filter(|path| path.is_dir() && !path.is_symlink())
        .collect()
}

fn beneath(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
