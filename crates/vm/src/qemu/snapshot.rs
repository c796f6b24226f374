//! A machine, written to a folder.
//!
//! QEMU writes processors and devices into a file that it is handed: that takes milliseconds, as it
//! leaves out memory that others can see too (`x-ignore-shared`). Such memory is a file, and is
//! copied here while the machine stands still. Memory that was lent is QEMU's own, and goes into
//! the state.
//!
//! The folder is put together under another name, and is there once all of it is on disk.

use super::manifest::{Manifest, STATE};
use super::running::Machinery;
use super::{MEMORY, patience};
use crate::guest::disk::copy;
pub(super) use crate::monitor::blocking;
use crate::monitor::draft::Draft;
use crate::qmp::Command;
use casemate_core::error::{Error, Result};
use rustix::fd::AsFd;
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(super) async fn snapshot(machinery: &Machinery, folder: &Path) -> Result<()> {
    let draft = Draft::begin(folder)?;
    machinery.stopped(write(machinery, &draft.path)).await?;
    let (machine, version) = (machinery.machine.clone(), machinery.qmp.version().clone());
    let done = blocking(move || {
        // It runs again: nobody waits for the disk.
        draft.sync()?;
        let manifest = Manifest::of(&draft.path, machine, version)?;
        manifest.write(&draft.path)?;
        draft.finish()
    });
    done.await
}

/// Writes processors and devices into a folder, while it stands still.
pub(super) async fn write_state(machinery: &Machinery, folder: &Path) -> Result<()> {
    let state = folder.join(STATE);
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&state)
        .map_err(|error| Error::io("make", &error).on(state.display()))?;
    hand_over(machinery, &file).await?;
    machinery
        .ask(Command::new("migrate", json!({ "uri": "fd:state" })))
        .await?;
    settled(machinery).await
}

/// While it stands still.
async fn write(machinery: &Machinery, draft: &Path) -> Result<()> {
    write_state(machinery, draft).await?;
    let memory = machinery.folder.join(MEMORY);
    let (size, draft) = (u64::from(machinery.machine.memory) << 20, draft.to_owned());
    let disks = machinery.machine.disks.clone();
    blocking(move || {
        match memory.exists() {
            true => copy(&memory, &draft.join(MEMORY))?,
            false => nothing(&draft.join(MEMORY), size)?,
        }
        for (number, disk) in disks.iter().enumerate().filter(|(_, disk)| !disk.read_only) {
            copy(&disk.path, &draft.join(format!("disk{number}")))?;
        }
        Ok(())
    })
    .await
}

/// Memory of which all that isn't zero is in the state.
pub(super) fn nothing(path: &Path, size: u64) -> Result<()> {
    let fail = |error: &std::io::Error| Error::io("make", error).on(path.display());
    let file = File::create_new(path).map_err(|error| fail(&error))?;
    file.set_len(size).map_err(|error| fail(&error))
}

/// Gives QEMU a file under the name `state`, and tells it how to write or read one.
pub(super) async fn hand_over(machinery: &Machinery, file: &File) -> Result<()> {
    let shared = json!([{ "capability": "x-ignore-shared", "state": true }]);
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
