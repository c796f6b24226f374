//! What must be the same on the host before and after a run: everything outside the workspace,
//! and within it what the host's tools would run or trust.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const OUTSIDE: [&str; 4] = ["home/.ssh", "outside", "shared", "input"];
/// Of a repository only what runs programs: the rest of it has to be writable for git to work.
const CARRIERS: [&str; 10] = [
    ".git/hooks",
    ".git/config",
    "vendored/library/.git/hooks",
    "vendored/library/.git/config",
    ".vscode",
    ".idea",
    ".envrc",
    ".mcp.json",
    ".github",
    ".bashrc",
];

/// Paths, with what would betray a change to them.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, Shape>);

#[derive(Debug, PartialEq)]
struct Shape {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    /// Of a directory or a socket there is nothing to read.
    text: Option<Vec<u8>>,
}

impl Snapshot {
    pub(crate) fn take(root: &Path) -> Self {
        let mut shapes = BTreeMap::new();
        for name in OUTSIDE {
            add(&root.join(name), &mut shapes);
        }
        for name in CARRIERS {
            add(&root.join("workspace").join(name), &mut shapes);
        }
        add_privileged(&root.join("workspace"), &mut shapes);
        Self(shapes)
    }
}

fn add(path: &Path, shapes: &mut BTreeMap<PathBuf, Shape>) {
    let Ok(found) = fs::symlink_metadata(path) else {
        return;
    };
    // A program of megabytes makes a failed comparison unreadable; its times and size tell enough.
    let readable = found.is_file() && found.size() < 4096;
    let shape = Shape {
        mode: found.mode(),
        owner: (found.uid(), found.gid()),
        modified: (found.mtime(), found.mtime_nsec()),
        text: readable.then(|| fs::read(path).unwrap()),
    };
    shapes.insert(path.to_owned(), shape);
    if found.is_dir() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            add(&entry.path(), shapes);
        }
    }
}

/// Programs anywhere in the workspace that run with another's rights.
fn add_privileged(directory: &Path, shapes: &mut BTreeMap<PathBuf, Shape>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let Ok(found) = entry.metadata() else {
            continue;
        };
        if found.is_dir() {
            add_privileged(&entry.path(), shapes);
        } else if found.mode() & 0o6000 != 0 {
            add(&entry.path(), shapes);
        }
    }
}
