//! A machine that goes on where a snapshot was taken.

use super::arguments::{Arguments, Origin};
use super::chain::Chain;
use super::manifest::{Manifest, STATE};
use super::parts::Stamp;
use super::running::Machinery;
use super::snapshot::{Lineage, hand_over, settled};
use super::{MEMORY, Qemu};
use crate::driver::{Machine, Memory};
use crate::guest::disk::overlay;
use crate::monitor::blocking;
use crate::qmp::Command;
use casemate_core::error::{Error, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

pub(super) async fn restore(
    qemu: &Qemu,
    snapshot: &Path,
    folder: &Path,
    memory: Memory,
) -> Result<Machinery> {
    if memory == Memory::Served {
        let why = "QEMU asks no page server for memory";
        return Err(Error::rule("restore a machine", why));
    }
    let (from, to) = (snapshot.to_owned(), folder.to_owned());
    let Built {
        chain,
        memory,
        origin,
        stamps,
    } = blocking(move || Built::of(&from, &to, memory)).await?;
    let manifest = chain.newest();
    let mut machine = manifest.machine.clone();
    for (number, disk) in machine.disks.iter_mut().enumerate() {
        if !disk.read_only {
            disk.path = folder.join(format!("disk{number}"));
            disk.layers = layers(snapshot, number, disk.layers.len());
        }
    }
    let arguments = Arguments {
        machine: &machine,
        memory,
        origin,
    };
    let command_line = arguments.list()?;
    let mut machinery = Machinery::start(qemu, machine, command_line, folder, origin).await?;
    load(&machinery, manifest, snapshot).await?;
    if origin == Origin::Own {
        let parent = Some(chain.as_parent()?);
        *machinery.lineage.get_mut() = Lineage { parent, stamps };
    }
    Ok(machinery)
}

/// Gives a machine that waits for its state the one that is in this folder.
pub(super) async fn load(machinery: &Machinery, manifest: &Manifest, from: &Path) -> Result<()> {
    manifest.check(machinery.qmp.version())?;
    let state = from.join(STATE);
    let file = File::open(&state).map_err(|error| Error::io("open", &error).on(state.display()))?;
    hand_over(machinery, &file, manifest.has_memory_in_state).await?;
    let incoming = json!({ "uri": "fd:state" });
    machinery
        .ask(Command::new("migrate-incoming", incoming))
        .await?;
    settled(machinery).await
}

/// Disks that were laid over others, and how many those were.
fn layered(machine: &Machine) -> impl Iterator<Item = (usize, usize)> {
    let disks = machine.disks.iter().enumerate();
    let layered = disks.filter(|(_, disk)| !disk.read_only && !disk.layers.is_empty());
    layered.map(|(number, disk)| (number, disk.layers.len()))
}

/// What a disk is laid over that begins as one of a snapshot, which itself was laid over so many:
/// those are in the snapshot's folder, too.
fn layers(snapshot: &Path, number: usize, below: usize) -> Vec<PathBuf> {
    let disk = format!("disk{number}");
    let names = (0..below).map(|layer| format!("{disk}.{layer}"));
    let names = names.chain((below > 0).then(|| disk.clone()));
    names.map(|name| snapshot.join(name)).collect()
}

/// The files of a machine to be.
struct Built {
    chain: Chain,
    memory: PathBuf,
    origin: Origin,
    stamps: BTreeMap<String, Stamp>,
}

impl Built {
    fn of(snapshot: &Path, folder: &Path, memory: Memory) -> Result<Self> {
        let chain = Chain::open(snapshot)?;
        chain.newest().check_state(snapshot)?;
        let mut stamps = BTreeMap::new();
        let (mut at, mut origin) = (folder.join(MEMORY), Origin::Own);
        for (number, below) in layered(&chain.newest().machine) {
            let base = layers(snapshot, number, below);
            overlay(&base[0], &folder.join(format!("disk{number}")))?;
        }
        for name in chain.newest().names() {
            if layered(&chain.newest().machine).any(|(number, _)| name == format!("disk{number}")) {
                continue;
            }
            let path = folder.join(&name);
            if name == MEMORY && memory == Memory::Lent && chain.is_whole(MEMORY) {
                (at, origin) = (snapshot.join(MEMORY), Origin::Lent);
                continue;
            }
            // Memory that has to be put together is nobody else's.
            chain.build(&name, &path)?;
            let stamp = File::open(&path).and_then(|file| Stamp::begin(&file));
            let stamp = stamp.map_err(|error| Error::io("open", &error).on(path.display()))?;
            stamps.extend(stamp.map(|stamp| (name, stamp)));
        }
        check_length(&at, u64::from(chain.newest().machine.memory) << 20)?;
        Ok(Self {
            chain,
            memory: at,
            origin,
            stamps,
        })
    }
}

/// QEMU would make a shorter one longer, also one that is lent.
fn check_length(memory: &Path, length: u64) -> Result<()> {
    let fail = |error: &std::io::Error| Error::io("open", error).on(memory.display());
    if memory.metadata().map_err(|error| fail(&error))?.len() == length {
        return Ok(());
    }
    let why = format!("its memory hasn't the machine's {length} bytes");
    Err(Error::rule("restore a machine", why).on(memory.display()))
}
