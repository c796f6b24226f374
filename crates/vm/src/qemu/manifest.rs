//! What a snapshot's folder holds: `manifest.json` says it, and is written last.
//!
//! ```text
//!   manifest.json   this
//!   state           processors and devices, as QEMU writes them
//!   memory          the guest's memory, sparse
//!   disk0 …         the disks that it could write
//! ```

use crate::driver::Machine;
use crate::qmp::Version;
use casemate_core::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub(super) const STATE: &str = "state";
const MANIFEST: &str = "manifest.json";
/// The longest that is read, bytes.
const LONGEST: u64 = 256 << 10;
/// Of this form.
const FORM: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    form: u32,
    /// Which QEMU wrote it; another may not understand it.
    pub(super) qemu: Version,
    /// The machine, with its disks as they were named.
    pub(super) machine: Machine,
    /// SHA-256 of the state.
    pub(super) state: String,
}

impl Manifest {
    /// Of a folder that is otherwise complete.
    pub(super) fn of(folder: &Path, machine: Machine, qemu: Version) -> Result<Self> {
        Ok(Self {
            form: FORM,
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

    /// Reads and checks it: the state must be what it was.
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
        if hash(&folder.join(STATE))? != manifest.state {
            return Err(fail("its state isn't what was written".to_owned())
                .hint("the file was cut or changed; take another snapshot"));
        }
        Ok(manifest)
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
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Accelerator, Board};

    fn manifest(folder: &Path) -> Manifest {
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
        let error = Manifest::read(folder.path()).expect_err("it is another");
        assert!(error.to_string().contains("isn't what was written"));
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
