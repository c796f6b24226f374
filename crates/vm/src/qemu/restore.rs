//! A machine that goes on where a snapshot was taken.

use super::arguments::{Arguments, Origin};
use super::manifest::{Manifest, STATE};
use super::running::Machinery;
use super::snapshot::{blocking, hand_over, settled};
use super::{MEMORY, Qemu};
use crate::driver::Memory;
use crate::guest::disk;
use crate::qmp::Command;
use casemate_core::error::{Error, Result};
use serde_json::json;
use std::fs::File;
use std::path::Path;

pub(super) async fn restore(
    qemu: &Qemu,
    manifest: &Manifest,
    snapshot: &Path,
    folder: &Path,
    memory: Memory,
) -> Result<Machinery> {
    let mut machine = manifest.machine.clone();
    let mut copies = Vec::new();
    for (number, disk) in machine.disks.iter_mut().enumerate() {
        if !disk.read_only {
            let name = format!("disk{number}");
            disk.path = folder.join(&name);
            copies.push(name);
        }
    }
    let (at, origin) = match memory {
        Memory::Lent => (snapshot.join(MEMORY), Origin::Lent),
        Memory::Own => (folder.join(MEMORY), Origin::Own),
        Memory::Served => {
            let why = "QEMU asks no page server for memory";
            return Err(Error::rule("restore a machine", why));
        }
    };
    if memory == Memory::Own {
        copies.push(MEMORY.to_owned());
    }
    let (from, to) = (snapshot.to_owned(), folder.to_owned());
    let copied = blocking(move || {
        let copy = |name: &String| disk::copy(&from.join(name), &to.join(name));
        copies.iter().try_for_each(copy)
    });
    copied.await?;
    let arguments = Arguments {
        machine: &machine,
        memory: at,
        origin,
    };
    let command_line = arguments.list()?;
    let machinery = Machinery::start(qemu, machine, command_line, folder).await?;
    load(&machinery, manifest, snapshot).await?;
    Ok(machinery)
}

/// Gives a machine that waits for its state the one that is in this folder.
pub(super) async fn load(machinery: &Machinery, manifest: &Manifest, from: &Path) -> Result<()> {
    manifest.check(machinery.qmp.version())?;
    let state = from.join(STATE);
    let file = File::open(&state).map_err(|error| Error::io("open", &error).on(state.display()))?;
    hand_over(machinery, &file).await?;
    let incoming = json!({ "uri": "fd:state" });
    machinery
        .ask(Command::new("migrate-incoming", incoming))
        .await?;
    settled(machinery).await
}
