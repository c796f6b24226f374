//! What a snapshot's folder holds: `manifest.json` says it, and is written last.
//!
//! ```text
//!   manifest.json   this
//!   state           processors and devices, as QEMU writes them
//!   memory          the guest's memory, sparse
//!   disk0 …         the disks that it could write
//!   NAME.ranges     of a difference: which pages of that file are its own; others are the parent's
//! ```

use super::MEMORY;
use crate::driver::Machine;
use crate::qmp::Version;
use casemate_core::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(super) const STATE: &str = "state";
const MANIFEST: &str = "manifest.json";
/// The longest that is read, bytes.
const LONGEST: u64 = 256 << 10;
/// Of this form.
const FORM: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    form: u32,
    /// Its own, random: so that what builds on it knows it again.
    pub(super) id: String,
    /// What a difference builds on.
    pub(super) parent: Option<Parent>,
    /// Files that are differences, and the SHA-256 of what says which of their pages are their own.
    pub(super) differences: BTreeMap<String, String>,
    /// Whether the state has the memory, too, and the file has none of it.
    pub(super) has_memory_in_state: bool,
    /// Which QEMU wrote it; another may not understand it.
    pub(super) qemu: Version,
    /// The machine, with its disks as they were named.
    pub(super) machine: Machine,
    /// SHA-256 of the state.
    pub(super) state: String,
}

/// Another snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parent {
    pub(super) id: String,
    /// Where it is, by its whole path.
    pub(super) folder: PathBuf,
}

impl Manifest {
    /// Of a folder that is otherwise complete.
    pub(super) fn of(folder: &Path, machine: Machine, qemu: Version) -> Result<Self> {
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::io("name a snapshot", &errno.into()))?;
        Ok(Self {
            form: FORM,
            id: hex(&id),
            parent: None,
            differences: BTreeMap::new(),
            has_memory_in_state: false,
            qemu,
            machine,
            state: hash(&folder.join(STATE))?,
        })
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(MANIFEST);
        let fail = |error: &std::io::Error| Error::io("write", error).on(path.display());
        let mut file = File::create_new(&path).map_err(|error| fail(&error))?;
        serde_json::to_writer_pretty(&mut file, self)
            .map_err(|error| Error::rule("write", error.to_string()).on(path.display()))?;
        file.sync_all().map_err(|error| fail(&error))
    }

    /// The files that a snapshot of this machine has besides its state.
    pub(super) fn names(&self) -> Vec<String> {
        names(&self.machine)
    }

    /// Reads it, and checks what can be without its files.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let fail = |why: String| Error::rule("read the snapshot", why).on(folder.display());
        let file =
            File::open(&path).map_err(|error| Error::io("open", &error).on(path.display()))?;
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|error| Error::io("read", &error).on(path.display()))?;
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        if manifest.form != FORM {
            return Err(fail(format!("it is of form {}, not {FORM}", manifest.form)));
        }
        let names = manifest.names();
        let is_whole = manifest.differences.is_empty();
        if is_whole != manifest.parent.is_none()
            || manifest
                .differences
                .keys()
                .any(|name| !names.contains(name))
        {
            return Err(fail("it doesn't say what it builds on".to_owned()));
        }
        Ok(manifest)
    }

    /// Checks that the state is what it was.
    pub(super) fn check_state(&self, folder: &Path) -> Result<()> {
        if hash(&folder.join(STATE))? == self.state {
            return Ok(());
        }
        let why = "its state isn't what was written";
        Err(Error::rule("read the snapshot", why)
            .on(folder.display())
            .hint("the file was cut or changed; take another snapshot"))
    }

    /// Whether this QEMU may have it.
    pub(super) fn check(&self, qemu: &Version) -> Result<()> {
        if self.qemu == *qemu {
            return Ok(());
        }
        let why = format!("QEMU {} wrote it, and this is {qemu}", self.qemu);
        Err(Error::rule("restore the snapshot", why)
            .hint("install the same QEMU again, or start the sandbox anew"))
    }
}

/// The memory, and disks that can be written.
pub(super) fn names(machine: &Machine) -> Vec<String> {
    let disks = machine.disks.iter().enumerate();
    let written = disks.filter(|(_, disk)| !disk.read_only);
    let disks = written.map(|(number, _)| format!("disk{number}"));
    std::iter::once(MEMORY.to_owned()).chain(disks).collect()
}

/// What says which pages of this file are its own.
pub(super) fn ranges(name: &str) -> String {
    format!("{name}.ranges")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn hash_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hash(path: &Path) -> Result<String> {
    let fail = |error: &std::io::Error| Error::io("read", error).on(path.display());
    let mut file = File::open(path).map_err(|error| fail(&error))?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block).map_err(|error| fail(&error))? {
            0 => break,
            count => hash.update(&block[..count]),
        }
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::driver::{Accelerator, Board, Rates};

    pub(in super::super) fn manifest(folder: &Path) -> Manifest {
        std::fs::write(folder.join(STATE), b"state").expect("it is written");
        let machine = Machine {
            vcpus: 1,
            memory: 64,
            kernel: "/k".into(),
            initramfs: "/i".into(),
            command_line: String::new(),
            disks: Vec::new(),
            accelerator: Accelerator::Tcg,
            board: Board::Micro,
            network: false,
            disk_rates: Rates::default(),
        };
        let qemu = Version {
            number: (7, 2, 22),
            package: String::new(),
        };
        Manifest::of(folder, machine, qemu).expect("it is one")
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = manifest(folder.path());
        manifest.write(folder.path()).expect("it is written");
        assert_eq!(Manifest::read(folder.path()), Ok(manifest));
    }

    #[test]
    fn a_state_that_was_changed_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        manifest(folder.path())
            .write(folder.path())
            .expect("it is written");
        std::fs::write(folder.path().join(STATE), b"stale").expect("it is written");
        let manifest = Manifest::read(folder.path()).expect("it is one");
        let error = manifest
            .check_state(folder.path())
            .expect_err("it is another");
        assert!(error.to_string().contains("isn't what was written"));
    }

    #[test]
    fn a_difference_without_a_parent_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = manifest(folder.path());
        let parent = Some(Parent {
            id: whole.id.clone(),
            folder: "/p".into(),
        });
        let of = |name: &str| BTreeMap::from([(name.to_owned(), String::new())]);
        for (parent, differences, is_right) in [
            (parent.clone(), of(MEMORY), true),
            (None, of(MEMORY), false),
            (parent.clone(), BTreeMap::new(), false),
            (parent, of("../disk0"), false),
        ] {
            let manifest = Manifest {
                parent,
                differences,
                ..whole.clone()
            };
            let _ = std::fs::remove_file(folder.path().join(MANIFEST));
            manifest.write(folder.path()).expect("it is written");
            assert_eq!(
                Manifest::read(folder.path()).is_ok(),
                is_right,
                "{manifest:?}"
            );
        }
    }

    #[test]
    fn another_qemu_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = manifest(folder.path());
        assert_eq!(manifest.check(&manifest.qemu), Ok(()));
        let mut other = manifest.qemu.clone();
        other.number.1 += 1;
        manifest.check(&other).expect_err("it is another");
    }
}
