//! A machine that rests where its files are.
//!
//! Memory and disks are files that QEMU writes in place, so all that is missing of a machine that
//! stands still is what its processors and devices are. That goes into a folder beside them, and is
//! removed before the machine's next instruction: from there on memory is of another moment. Whoever
//! is killed meanwhile leaves either a machine that can be woken, or one that has run.

use super::arguments::{Arguments, Origin};
use super::manifest::Manifest;
use super::running::Machinery;
use super::snapshot::{nothing, write_state};
use super::{AGENT, MEMORY, QMP, Qemu, restore};
use crate::driver::{Disk, Running as _};
use crate::monitor::blocking;
use crate::monitor::draft::Draft;
use casemate_core::error::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where the rest of it is, in its folder.
const ASLEEP: &str = "asleep";

pub(super) async fn sleep(machinery: &Machinery) -> Result<()> {
    machinery.pause().await?;
    let draft = Draft::begin(&machinery.folder.join(ASLEEP))?;
    write_state(machinery, &draft.path).await?;
    let has_memory = machinery.memory.is_none();
    let (machine, version) = (machinery.machine.clone(), machinery.qmp.version().clone());
    let written = blocking(move || {
        let mut manifest = Manifest::of(&draft.path, machine, version)?;
        manifest.has_memory_in_state = has_memory;
        manifest.write(&draft.path)?;
        draft.finish()
    });
    written.await
}

pub(super) async fn wake(qemu: &Qemu, folder: &Path, layers: &Path) -> Result<Machinery> {
    let asleep = folder.join(ASLEEP);
    let (manifest, own) = {
        let (asleep, own) = (asleep.clone(), folder.to_owned());
        blocking(move || {
            let manifest = Manifest::read(&asleep)?;
            manifest.check_state(&asleep)?;
            let memory = own.join(MEMORY);
            if !memory.exists() {
                // It was lent, so all of it is in the state.
                nothing(&memory, u64::from(manifest.machine.memory) << 20)?;
            }
            for socket in [QMP, AGENT] {
                removed(fs::remove_file(own.join(socket)), &own)?;
            }
            Ok((manifest, own))
        })
        .await?
    };
    let mut machine = manifest.machine.clone();
    for disk in machine.disks.iter_mut().filter(|disk| !disk.read_only) {
        disk.path = found(disk, &own)?;
        for layer in &mut disk.layers {
            *layer = layers.join(layer.file_name().unwrap_or_default());
        }
    }
    let arguments = Arguments {
        machine: &machine,
        memory: own.join(MEMORY),
        origin: Origin::Own,
    };
    let command_line = arguments.list()?;
    let machinery = Machinery::start(qemu, machine, command_line, folder, Origin::Own).await?;
    restore::load(&machinery, &manifest, &asleep).await?;
    Ok(machinery)
}

/// Where a disk of a machine is whose folder may have another name by now.
fn found(disk: &Disk, folder: &Path) -> Result<PathBuf> {
    let name = disk.path.file_name().unwrap_or_default();
    let places = [Some(folder), folder.parent()];
    let mut places = places.into_iter().flatten().map(|place| place.join(name));
    places.find(|path| path.is_file()).ok_or_else(|| {
        let why = format!("its disk {} isn't there", name.display());
        Error::rule("wake a machine", why).on(folder.display())
    })
}

/// It is about to run, and can't be woken any more.
pub(super) fn forget(folder: &Path) -> Result<()> {
    let asleep = folder.join(ASLEEP);
    if !asleep.exists() {
        return Ok(());
    }
    // In one step: half of it must not be taken for all.
    let past = folder.join(".awake");
    removed(fs::remove_dir_all(&past), &past)?;
    removed(fs::rename(&asleep, &past), &asleep)?;
    removed(fs::remove_dir_all(&past), &past)
}

fn removed(done: std::io::Result<()>, path: &Path) -> Result<()> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("remove what a machine was", &error).on(path.display()))
        }
        _ => Ok(()),
    }
}
