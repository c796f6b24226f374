//! A snapshot that builds on nothing any more.
//!
//! The whole files are put together in a folder beside, which then changes places with the snapshot's
//! (RENAME_EXCHANGE in renameat2(2)). Whoever is killed meanwhile leaves one or the other under the
//! name, and a folder beside that the next one removes. The snapshot's id stays, as it is the same:
//! what builds on it goes on doing so.

use super::chain::{Chain, hold};
use super::manifest::STATE;
use crate::monitor::draft::Draft;
use casemate_core::error::{Error, Result};
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Makes it whole. Machines that were restored from it before keep what they have.
pub(super) fn merge(folder: &Path) -> Result<()> {
    let held = hold(folder, FlockOperation::LockExclusive)?;
    let chain = Chain::below(held, folder)?;
    let mut manifest = chain.newest().clone();
    if manifest.parent.is_none() {
        return Ok(());
    }
    let draft = Draft::beside(folder, "merged")?;
    for name in manifest.names() {
        match chain.is_whole(&name) {
            true => link(folder, &draft.path, &name)?,
            false => chain.build(&name, &draft.path.join(&name))?,
        }
    }
    link(folder, &draft.path, STATE)?;
    manifest.parent = None;
    manifest.differences = BTreeMap::new();
    manifest.write(&draft.path)?;
    draft.sync()?;
    draft.replace()
}

/// A file that doesn't change.
fn link(from: &Path, to: &Path, name: &str) -> Result<()> {
    let (from, to) = (from.join(name), to.join(name));
    fs::hard_link(&from, &to).map_err(|error| Error::io("link", &error).on(from.display()))
}
