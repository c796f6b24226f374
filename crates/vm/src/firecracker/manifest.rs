//! What a snapshot's folder holds: `manifest.json` says it, and is written last.
//!
//! ```text
//!   manifest.json   this
//!   state           processors and devices, as Firecracker writes them
//!   memory          the guest's memory, sparse; of a difference, the pages that it is about
//!   memory.ranges   of a difference: which those are
//!   disk0 …         the disks that it could write
//! ```

use super::STATE;
use crate::driver::Machine;
use casemate_core::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest.json";
/// The longest that is read, bytes.
const LONGEST: u64 = 256 << 10;
/// Of this form.
const FORM: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    form: u32,
    /// Its own, which nothing else has.
    pub(super) id: String,
    /// Which Firecracker wrote it; another may not understand it.
    pub(super) firecracker: String,
    /// The machine, with its disks as they were named.
    pub(super) machine: Machine,
    /// What a difference builds on: other pages than its own are this one's.
    pub(super) parent: Option<Parent>,
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
    pub(super) fn of(
        folder: &Path,
        machine: Machine,
        firecracker: String,
        parent: Option<Parent>,
    ) -> Result<Self> {
        Ok(Self {
            form: FORM,
            id: id()?,
            firecracker,
            machine,
            parent,
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

    /// Reads and checks it: the state must be what it was.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let manifest = Self::glance(folder)?;
        if hash(&folder.join(STATE))? != manifest.state {
            let why = "its state isn't what was written";
            return Err(Error::rule("read the snapshot", why)
                .on(folder.display())
                .hint("the file was cut or changed; take another snapshot"));
        }
        Ok(manifest)
    }

    /// Reads it alone.
    pub(super) fn glance(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let fail = |why: String| Error::rule("read the snapshot", why).on(folder.display());
        let file =
            File::open(&path).map_err(|error| Error::io("open", &error).on(path.display()))?;
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|error| Error::io("read", &error).on(path.display()))?;
        let manifest: Self = serde_json::from_str(&text)
            .map_err(|error| fail(format!("it is none of Firecracker's: {error}")))?;
        match manifest.form {
            FORM => Ok(manifest),
            other => Err(fail(format!("it is of form {other}, not {FORM}"))),
        }
    }

    /// Whether this Firecracker may have it.
    pub(super) fn check(&self, firecracker: &str) -> Result<()> {
        if self.firecracker == firecracker {
            return Ok(());
        }
        let (theirs, ours) = (&self.firecracker, firecracker);
        let why = format!("Firecracker {theirs:?} wrote it, and this is {ours:?}");
        Err(Error::rule("restore the snapshot", why)
            .hint("install the same Firecracker again, or start the sandbox anew"))
    }
}

fn id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let flags = rustix::rand::GetRandomFlags::empty();
    // So few come at once, or none.
    rustix::rand::getrandom(&mut bytes, flags)
        .map_err(|errno| Error::errno("name a snapshot", errno.raw_os_error()))?;
    Ok(hex(&bytes))
}

fn hash(path: &Path) -> Result<String> {
    let fail = |error: &std::io::Error| Error::io("read", error).on(path.display());
    let mut file = File::open(path).map_err(|error| fail(&error))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(|error| fail(&error))?;
    Ok(hex(&hash.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
