//! A machine, written to a folder.
//!
//! Firecracker writes into the machine's folder, as it may have no other, and what it wrote is taken
//! from there once the machine goes on. The snapshot's folder is put together under another name, and
//! is there once all of it is on disk.
//!
//! A difference is a file with holes: that what has data was written, zeros included, and nothing else
//! was, is the file system's word, which is tried first.

use super::client::model::{Create, SnapshotType};
use super::manifest::{Manifest, Parent};
use super::running::{Live, Machinery, Motion, State, failed};
use super::{MEMORY, RANGES, STATE, disk};
use crate::driver::Kind;
use crate::guest::disk::copy;
use crate::memory::{PAGE, Ranges};
use crate::monitor::blocking;
use crate::monitor::draft::Draft;
use casemate_core::error::{Error, Result};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

pub(super) async fn snapshot(machinery: &Machinery, folder: &Path, kind: Kind) -> Result<()> {
    let folder = std::path::absolute(folder)
        .map_err(|error| Error::io("find", &error).on(folder.display()))?;
    // Held to the end, so that what this one is built on, and what is built on it, is in order.
    let mut state = machinery.hold().await?;
    let live = match &mut *state {
        State::Live(live) => live,
        State::Configured(_) => {
            return Err(failed("it never ran").hint("let it run first, or start it anew"));
        }
        State::Failed => return Err(failed("its start failed")),
    };
    let draft = Draft::begin(&folder)?;
    let number = machinery.written.fetch_add(1, Ordering::Relaxed);
    let names = Names {
        state: format!("written{number}.{STATE}"),
        memory: format!("written{number}.{MEMORY}"),
    };
    let parent = match stopped(machinery, live, &names, &draft.path, kind).await {
        Ok(parent) => parent,
        Err(error) => return Err(machinery.judged(live.client.over(), error).await),
    };
    let place = machinery.place.clone();
    let (machine, version) = (machinery.machine.clone(), machinery.version.clone());
    // It runs again: nobody waits for the disk.
    let done = blocking(move || {
        let (state, memory) = (draft.path.join(STATE), draft.path.join(MEMORY));
        place.take(&names.memory, &memory)?;
        place.take(&names.state, &state)?;
        let size = u64::from(machine.memory) << 20;
        match parent {
            None => thin(&memory, size)?,
            Some(_) => list(&memory, &draft.path.join(RANGES), size)?,
        }
        draft.sync()?;
        let manifest = Manifest::of(&draft.path, machine, version, parent)?;
        manifest.write(&draft.path)?;
        draft.finish()?;
        Ok(manifest.id)
    });
    live.parent = Some(Parent {
        id: done.await?,
        folder,
    });
    Ok(())
}

/// What Firecracker calls the two files in the machine's folder.
struct Names {
    state: String,
    memory: String,
}

/// What has to be done while it stands still; it goes on afterwards if it ran. Returns what it builds on.
async fn stopped(
    machinery: &Machinery,
    live: &mut Live,
    names: &Names,
    draft: &Path,
    kind: Kind,
) -> Result<Option<Parent>> {
    let before = live.motion;
    live.turn(Motion::Stands).await?;
    let written = write(machinery, live, names, draft, kind).await;
    if before == Motion::Runs && live.client.over().is_none() {
        live.turn(Motion::Runs).await?;
    }
    written
}

async fn write(
    machinery: &Machinery,
    live: &mut Live,
    names: &Names,
    draft: &Path,
    kind: Kind,
) -> Result<Option<Parent>> {
    let (snapshot_type, parent) = match (kind, &live.parent) {
        (Kind::Full, _) => (SnapshotType::Full, None),
        (Kind::Difference, Some(parent)) => {
            let root = machinery.place.root.clone();
            blocking(move || tells_holes(&root)).await?;
            (SnapshotType::Diff, Some(parent.clone()))
        }
        (Kind::Difference, None) => {
            let why = "nothing is known that it could be told from";
            return Err(Error::rule("write what has changed of a machine", why)
                .hint("take a full snapshot first"));
        }
    };
    // From here on Firecracker counts from this one, whatever comes of it.
    live.parent = None;
    let create = Create {
        snapshot_path: PathBuf::from(&names.state),
        mem_file_path: PathBuf::from(&names.memory),
        snapshot_type,
    };
    let size = machinery.machine.memory;
    live.client.snapshot(&create, size).await?;
    let (place, draft) = (machinery.place.clone(), draft.to_owned());
    let disks = machinery.machine.disks.clone();
    blocking(move || {
        for (number, _) in disks.iter().enumerate().filter(|(_, disk)| !disk.read_only) {
            copy(&place.path(&disk(number)), &draft.join(disk(number)))?;
        }
        Ok(())
    })
    .await?;
    Ok(parent)
}

/// Whether the file system of a folder knows of each page of a file whether it was written, also with
/// zeros.
fn tells_holes(folder: &Path) -> Result<()> {
    let path = folder.join("holes");
    let tried = || {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.set_len(64 * PAGE)?;
        for page in [3, 7, 8, 40] {
            file.write_all_at(&[0; PAGE as usize], page * PAGE)?;
        }
        Ranges::of_data(&file)
    };
    let found = tried();
    let _ = fs::remove_file(&path);
    let found = found.map_err(|error| Error::io("try", &error).on(path.display()))?;
    if found == [3..4, 7..9, 40..41].into_iter().collect() {
        return Ok(());
    }
    let why = "its file system doesn't tell which pages of a file were written";
    Err(Error::rule("write what has changed of a machine", why)
        .on(folder.display())
        .hint("take a full snapshot, or keep machines on ext4, XFS or tmpfs"))
}

/// Makes holes of the zeros of a whole memory.
fn thin(memory: &Path, size: u64) -> Result<()> {
    let fail = |error: &std::io::Error| Error::io("make holes in", error).on(memory.display());
    let file = open(memory, size)?;
    let data = Ranges::of_data(&file).map_err(|error| fail(&error))?;
    data.apply(&file, &file).map_err(|error| fail(&error))
}

/// Writes down which pages a difference has.
fn list(memory: &Path, to: &Path, size: u64) -> Result<()> {
    let fail = |error: &std::io::Error| Error::io("write", error).on(to.display());
    let data = Ranges::of_data(&open(memory, size)?).map_err(|error| fail(&error))?;
    fs::write(to, data.encode()).map_err(|error| fail(&error))
}

/// A memory of this size.
fn open(memory: &Path, size: u64) -> Result<File> {
    let fail = |error: &std::io::Error| Error::io("open", error).on(memory.display());
    let file = File::options().read(true).write(true).open(memory);
    let file = file.map_err(|error| fail(&error))?;
    let length = file.metadata().map_err(|error| fail(&error))?.len();
    match length == size {
        true => Ok(file),
        false => {
            let why = format!("Firecracker wrote {length} bytes of {size}");
            Err(Error::rule("write a machine", why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_file_system_tells_holes_and_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        tells_holes(folder.path()).expect("it tells them");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_memory_that_was_cut_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = folder.path().join("memory");
        fs::write(&memory, vec![0; 8192]).expect("it is written");
        thin(&memory, 8192).expect("it is whole");
        let error = thin(&memory, 4 << 20).expect_err("it isn't").to_string();
        assert!(error.contains("8192 bytes of 4194304"), "{error}");
    }
}
