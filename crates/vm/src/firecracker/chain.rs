//! A difference's whole memory: that of the snapshot which it builds on at last, and above it the
//! pages of each difference, the oldest first.

use super::manifest::{Kind, Manifest};
use super::{MEMORY, RANGES};
use crate::guest::disk::copy;
use crate::memory::{PAGE, Ranges};
use casemate_core::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How many differences there may be above each other.
const LONGEST: usize = 64;

/// Puts it into a new file.
pub(super) fn whole(snapshot: &Path, manifest: &Manifest, to: &Path) -> Result<()> {
    let (base, differences) = follow(snapshot, manifest)?;
    copy(&base.join(MEMORY), to)?;
    let pages = (u64::from(manifest.machine.memory) << 20) / PAGE;
    let laid = differences
        .iter()
        .rev()
        .try_for_each(|one| lay(one, to, pages));
    if laid.is_err() {
        let _ = std::fs::remove_file(to);
    }
    laid
}

/// The folders that it is made of: the one that is whole, and the others, the newest first.
fn follow(snapshot: &Path, manifest: &Manifest) -> Result<(PathBuf, Vec<PathBuf>)> {
    let fail = |why: String| Error::rule("put a snapshot's memory together", why);
    let (mut at, mut is) = (snapshot.to_owned(), manifest.clone());
    let mut differences = Vec::new();
    while let Kind::Difference { parent, folder } = is.kind {
        if differences.len() == LONGEST {
            return Err(fail(format!("it has more than {LONGEST} parts")).on(snapshot.display()));
        }
        let below = Manifest::glance(&folder)
            .map_err(|error| error.hint("a difference needs what it was told from"))?;
        if below.id != parent {
            let why = "another snapshot is where the one was that it was told from";
            return Err(fail(why.to_owned()).on(folder.display()));
        }
        if below.machine.memory != manifest.machine.memory {
            let why = "what it was told from is of another size";
            return Err(fail(why.to_owned()).on(folder.display()));
        }
        differences.push(std::mem::replace(&mut at, folder));
        is = below;
    }
    Ok((at, differences))
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
