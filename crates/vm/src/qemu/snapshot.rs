//! A machine, written to a folder.
//!
//! ```text
//!   it runs     memory and disks are copied                              (parts)
//!   it stands   QEMU writes the state; what has changed is copied again
//!   it runs     all of it reaches the disk; the folder gets its name     (draft)
//! ```
//!
//! QEMU writes processors and devices into a file that it is handed: that takes milliseconds, as it
//! leaves out memory that others can see too (`x-ignore-shared`). Such memory is a file, and is
//! copied here. Memory that was lent is QEMU's own, and goes into the state.

use super::chain::{Chain, parent};
use super::manifest::{Manifest, Parent, STATE};
use super::parts::{Part, Source, Stamp};
use super::running::Machinery;
use super::{MEMORY, patience};
use crate::driver::{Kind, Machine};
use crate::guest::disk::copy;
use crate::monitor::blocking;
use crate::monitor::draft::Draft;
use crate::qmp::Command;
use casemate_core::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What the next difference builds on.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    pub(super) parent: Option<Parent>,
    /// When disks were last written, if it was before that.
    pub(super) stamps: BTreeMap<String, Stamp>,
}

pub(super) async fn snapshot(machinery: &Machinery, folder: &Path, kind: Kind) -> Result<()> {
    // One after another.
    let mut lineage = machinery.lineage.lock().await;
    let draft = Draft::begin(folder)?;
    let (parent_of_it, stamps) = match kind {
        Kind::Full => (None, BTreeMap::new()),
        Kind::Difference => (Some(known(&lineage)?), lineage.stamps.clone()),
    };
    let sources = sources(machinery, stamps)?;
    let whole = std::path::absolute(folder)
        .map_err(|error| Error::io("find", &error).on(folder.display()))?;
    let runs = machinery.runs().await;
    let (path, size) = (
        draft.path.clone(),
        u64::from(machinery.machine.memory) << 20,
    );
    let begun = blocking(move || {
        let chain = parent_of_it.as_ref().map(followed).transpose()?;
        let begin = |source| Part::begin(source, &path, chain.as_ref());
        let mut parts = sources.into_iter().map(begin).collect::<Result<Vec<_>>>()?;
        if !path.join(MEMORY).exists() {
            nothing(&path.join(MEMORY), size)?;
        }
        if runs {
            parts.iter_mut().try_for_each(Part::take)?;
        }
        Ok((parts, parent_of_it))
    });
    let (parts, parent_of_it) = begun.await?;
    let has_memory = machinery.memory.is_none();
    let state = made(&draft.path.join(STATE))?;
    hand_over(machinery, &state, has_memory).await?;
    let parts = machinery
        .stopped(async {
            let parts = write(machinery, parts).await?;
            // These grow; what was written over an image is little.
            copy_layered(&machinery.machine, &draft.path).await?;
            Ok(parts)
        })
        .await?;
    let (machine, version) = (machinery.machine.clone(), machinery.qmp.version().clone());
    let done = blocking(move || {
        // It runs again: nobody waits for the disk.
        let mut manifest = Manifest::of(&draft.path, machine, version)?;
        for part in &parts {
            part.finish(&draft.path, &mut manifest.differences)?;
        }
        manifest.has_memory_in_state = has_memory;
        manifest.parent = parent_of_it.filter(|_| !manifest.differences.is_empty());
        draft.sync()?;
        manifest.write(&draft.path)?;
        draft.finish()?;
        Ok(Lineage {
            parent: Some(parent(&manifest, &whole)?),
            stamps: parts.iter().filter_map(Part::stamp).collect(),
        })
    });
    *lineage = done.await?;
    Ok(())
}

fn known(lineage: &Lineage) -> Result<Parent> {
    lineage.parent.clone().ok_or_else(|| {
        let why = "it was neither written nor restored with memory of its own";
        Error::rule("write what has changed of a machine", why).hint("take a full snapshot first")
    })
}

/// The snapshot that a difference is to build on.
fn followed(parent: &Parent) -> Result<Chain> {
    let hint = "take a full snapshot";
    let chain = Chain::open(&parent.folder).map_err(|error| error.hint(hint))?;
    if chain.newest().id == parent.id {
        return Ok(chain);
    }
    let why = "another snapshot is in its place";
    Err(Error::rule("build on a snapshot", why)
        .on(parent.folder.display())
        .hint(hint))
}

fn sources(machinery: &Machinery, mut stamps: BTreeMap<String, Stamp>) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    if let Some(memory) = &machinery.memory {
        let path = machinery.folder.join(MEMORY);
        let file = memory.try_clone();
        sources.push(Source {
            name: MEMORY.to_owned(),
            file: file.map_err(|error| Error::io("open", &error).on(path.display()))?,
            path,
            since: None,
            is_mapped: true,
        });
    }
    let disks = machinery.machine.disks.iter().enumerate();
    let whole = disks.filter(|(_, disk)| !disk.read_only && disk.layers.is_empty());
    for (number, disk) in whole {
        let (name, path) = (format!("disk{number}"), disk.path.clone());
        let file = File::open(&path);
        sources.push(Source {
            file: file.map_err(|error| Error::io("open", &error).on(path.display()))?,
            since: stamps.remove(&name),
            name,
            path,
            is_mapped: false,
        });
    }
    Ok(sources)
}

/// Copies disks that are laid over others.
async fn copy_layered(machine: &Machine, draft: &Path) -> Result<()> {
    let disks = machine.disks.iter().enumerate();
    let layered = disks.filter(|(_, disk)| !disk.read_only && !disk.layers.is_empty());
    let copies: Vec<_> = layered
        .map(|(number, disk)| (disk.path.clone(), draft.join(format!("disk{number}"))))
        .collect();
    blocking(move || copies.iter().try_for_each(|(from, to)| copy(from, to))).await
}

/// Memory of which all that isn't zero is in the state.
pub(super) fn nothing(path: &Path, size: u64) -> Result<()> {
    let made = made(path)?;
    made.set_len(size)
        .map_err(|error| Error::io("make", &error).on(path.display()))
}

fn made(path: &Path) -> Result<File> {
    let mut options = File::options();
    let made = options.write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| Error::io("make", &error).on(path.display()))
}

/// Writes processors and devices, while it stands still.
pub(super) async fn write_state(machinery: &Machinery, folder: &Path) -> Result<()> {
    let state = made(&folder.join(STATE))?;
    hand_over(machinery, &state, machinery.memory.is_none()).await?;
    machinery
        .stopped(write(machinery, Vec::new()))
        .await
        .map(drop)
}

/// While it stands still. What is said to the guest meanwhile waits in QEMU.
async fn write(machinery: &Machinery, mut parts: Vec<Part>) -> Result<Vec<Part>> {
    machinery
        .ask(Command::new("migrate", json!({ "uri": "fd:state" })))
        .await?;
    settled(machinery).await?;
    blocking(move || {
        parts.iter_mut().try_for_each(Part::take)?;
        Ok(parts)
    })
    .await
}

/// Gives QEMU a file under the name `state`, and tells it how to write or read one, which may have the
/// memory too.
pub(super) async fn hand_over(machinery: &Machinery, file: &File, has_memory: bool) -> Result<()> {
    let shared = json!([{ "capability": "x-ignore-shared", "state": !has_memory }]);
    let capabilities = json!({ "capabilities": shared });
    machinery
        .ask(Command::new("migrate-set-capabilities", capabilities))
        .await?;
    // Nothing else waits for the disk.
    let unbounded = json!({ "max-bandwidth": 1_u64 << 40 });
    machinery
        .ask(Command::new("migrate-set-parameters", unbounded))
        .await?;
    let mut command = Command::new("getfd", json!({ "fdname": "state" }));
    command.descriptor = Some(file.as_fd());
    machinery.ask(command).await?;
    Ok(())
}

/// Waits until a state is written or read.
pub(super) async fn settled(machinery: &Machinery) -> Result<()> {
    let patience = patience(machinery.machine.memory);
    let deadline = Instant::now() + patience;
    let fail = |why: String| Error::rule("move a machine's state", why);
    loop {
        let answer = machinery.ask(Command::plain("query-migrate")).await?;
        match answer["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => return Err(fail(reason(&answer))),
            _ if Instant::now() > deadline => break,
            _ => sleep(Duration::from_millis(1)).await,
        }
    }
    // So that it isn't written to any more.
    let _ = machinery.ask(Command::plain("migrate_cancel")).await;
    Err(fail(format!(
        "it took longer than {} s",
        patience.as_secs()
    )))
}

fn reason(answer: &Value) -> String {
    let why = answer["error-desc"].as_str();
    crate::qmp::short(why.unwrap_or("QEMU doesn't say why"))
}
