//! A machine that goes on where a snapshot was taken.

use super::bare::Bare;
use super::boot::{INTERFACE, check};
use super::client::model::{Backend, Load, MemoryBackend, NetworkOverride};
use super::manifest::{Manifest, Parent};
use super::pages::Pages;
use super::place::{Access, Place};
use super::running::Machinery;
use super::settings::{PageServer, metadata};
use super::{Firecracker, MEMORY, PAGES, STATE, chain, disk};
use crate::driver::Memory;
use crate::monitor::blocking;
use casemate_core::error::{Error, Result};
use std::path::Path;

pub(super) async fn restore(
    firecracker: &Firecracker,
    snapshot: &Path,
    folder: &Path,
    memory: Memory,
) -> Result<Machinery> {
    let settings = &firecracker.settings;
    let read = std::path::absolute(snapshot)
        .map_err(|error| Error::io("find", &error).on(snapshot.display()))?;
    let snapshot = read.clone();
    let manifest = blocking(move || Manifest::read(&read)).await?;
    check(settings, &manifest.machine)?;
    let server = page_server(firecracker, memory)?;
    let Bare {
        place,
        hull,
        client,
        version,
    } = Bare::start(firecracker, folder).await?;
    manifest.check(&version)?;
    let (there, from, of) = (place.clone(), snapshot.clone(), manifest.clone());
    let is_served = server.is_some();
    blocking(move || fill(&there, &from, &of, is_served)).await?;
    let mut pages = match server {
        Some(server) => {
            let (bound, patience) = (firecracker.dies_with_this, settings.patience);
            Some(Pages::start(server, &snapshot, &place, bound, patience).await?)
        }
        None => None,
    };
    if let Some(pages) = &mut pages {
        pages.bind(&hull.process, &hull.fate)?;
    }
    let load = load(firecracker, &manifest, memory);
    let client = match client.load(&load, manifest.machine.memory).await {
        Ok(client) => client,
        Err(error) => return Err(hull.explained(error).await),
    };
    if let (true, Some(who)) = (manifest.machine.network, &settings.identity) {
        // Snapshots hold how it is asked for, and nothing of what is answered.
        client.put_mmds(&metadata(who)).await?;
    }
    let parent = Parent {
        id: manifest.id,
        folder: snapshot,
    };
    let parent = load.track_dirty_pages.then_some(parent);
    let machine = manifest.machine;
    Ok(Machinery::restored(
        settings, machine, place, hull, client, version, parent, pages,
    ))
}

fn page_server(firecracker: &Firecracker, memory: Memory) -> Result<Option<&PageServer>> {
    let server = &firecracker.settings.pages;
    match (memory, server) {
        (Memory::Served, None) => Err(Error::rule("restore a machine", "it has no page server")),
        (Memory::Served, Some(server)) => Ok(Some(server)),
        (Memory::Lent | Memory::Own, _) => Ok(None),
    }
}

/// Puts into a machine's folder what it is restored from.
fn fill(place: &Place, snapshot: &Path, manifest: &Manifest, is_served: bool) -> Result<()> {
    place.bring(&snapshot.join(STATE), STATE, Access::Read)?;
    for (number, one) in manifest.machine.disks.iter().enumerate() {
        let name = disk(number);
        match one.read_only {
            true => place.bring(&one.path, &name, Access::Read)?,
            false => place.copy(&snapshot.join(&name), &name)?,
        }
    }
    if is_served {
        return Ok(());
    }
    if manifest.parent.is_none() {
        return place.bring(&snapshot.join(MEMORY), MEMORY, Access::Read);
    }
    chain::whole(snapshot, manifest, &place.path(MEMORY))?;
    place.give(&place.path(MEMORY))
}

fn load(firecracker: &Firecracker, manifest: &Manifest, memory: Memory) -> Load {
    let (backend_type, backend_path) = match memory {
        Memory::Lent | Memory::Own => (Backend::File, MEMORY.into()),
        Memory::Served => (Backend::Uffd, PAGES.into()),
    };
    let settings = &firecracker.settings;
    let tap = settings.tap.as_ref().filter(|_| manifest.machine.network);
    let other = tap.map(|tap| NetworkOverride {
        iface_id: INTERFACE.to_owned(),
        host_dev_name: tap.name.clone(),
    });
    Load {
        snapshot_path: STATE.into(),
        mem_backend: MemoryBackend {
            backend_type,
            backend_path,
        },
        // Memory that is lent is for machines that nobody will write again.
        track_dirty_pages: settings.differences && memory != Memory::Lent,
        resume_vm: false,
        network_overrides: other.into_iter().collect(),
        // Its name is the same in each folder.
        vsock_override: None,
        clock_realtime: None,
        huge_pages: None,
    }
}
