//! A difference's whole memory: that of the snapshot which it builds on at last, and above it the
//! pages of each difference, the oldest first.

use super::manifest::{Manifest, Parent};
use super::{MEMORY, RANGES};
use crate::guest::disk::copy;
use crate::memory::{PAGE, Ranges};
use casemate_core::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How many there may be below one.
const LONGEST: usize = 64;

/// Puts it into a new file.
pub(super) fn whole(snapshot: &Path, manifest: &Manifest, to: &Path) -> Result<()> {
    let mut parts = follow(snapshot, manifest)?;
    let base = parts.pop().unwrap_or_else(|| snapshot.to_owned());
    copy(&base.join(MEMORY), to)?;
    let pages = (u64::from(manifest.machine.memory) << 20) / PAGE;
    let laid = parts.iter().rev().try_for_each(|part| lay(part, to, pages));
    if laid.is_err() {
        let _ = std::fs::remove_file(to);
    }
    laid
}

/// The folders of the snapshots that one is made of, itself first; the last is whole.
///
/// # Errors
/// One of them isn't there any more, or is another.
pub fn parts(snapshot: &Path) -> Result<Vec<PathBuf>> {
    follow(snapshot, &Manifest::glance(snapshot)?)
}

fn follow(snapshot: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>> {
    let fail = |why: &str| Error::rule("put a snapshot's memory together", why);
    let mut parts = vec![snapshot.to_owned()];
    let mut next = manifest.parent.clone();
    while let Some(Parent { id, folder }) = next {
        if parts.len() > LONGEST {
            let why = format!("it builds on more than {LONGEST} others");
            return Err(fail(&why).on(snapshot.display()));
        }
        let below = Manifest::glance(&folder)
            .map_err(|error| error.hint("a difference needs what it was told from"))?;
        if below.id != id {
            let why = "another snapshot is where the one was that it was told from";
            return Err(fail(why).on(folder.display()));
        }
        if below.machine.memory != manifest.machine.memory {
            let why = "what it was told from is of another size";
            return Err(fail(why).on(folder.display()));
        }
        next = below.parent;
        parts.push(folder);
    }
    Ok(parts)
}

/// Lays one difference's pages over a whole memory.
fn lay(difference: &Path, whole: &Path, pages: u64) -> Result<()> {
    let fail = |path: &Path, error: &std::io::Error| Error::io("read", error).on(path.display());
    let path = difference.join(RANGES);
    let listed = File::open(&path).map_err(|error| fail(&path, &error))?;
    let mut bytes = Vec::new();
    listed
        .take(Ranges::longest(pages))
        .read_to_end(&mut bytes)
        .map_err(|error| fail(&path, &error))?;
    let ranges = Ranges::decode(&bytes, pages).map_err(|error| error.on(path.display()))?;
    let path = difference.join(MEMORY);
    let from = File::open(&path).map_err(|error| fail(&path, &error))?;
    let length = from.metadata().map_err(|error| fail(&path, &error))?.len();
    if length != pages * PAGE {
        let why = format!("it has {length} bytes of {}", pages * PAGE);
        return Err(Error::rule("read", why).on(path.display()));
    }
    let to = File::options().read(true).write(true).open(whole);
    let to = to.map_err(|error| fail(whole, &error))?;
    ranges
        .apply(&from, &to)
        .map_err(|error| fail(whole, &error))
}
