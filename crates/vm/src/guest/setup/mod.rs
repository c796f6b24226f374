//! Everything that machines are made from, in one folder.
//!
//! ```text
//!   Plan ──▶ kernel ─▶ initramfs ─▶ tools disk ─▶ root disk ──▶ manifest.json ──▶ the folder
//!            └──────────────── in a folder beside it ────────────────┘ (place)
//! ```
//!
//! The folder is made once and then only read: each machine gets a copy of the root disk, and the
//! rest as it is. Setting up again replaces it as a whole; machines that run keep what they have
//! open. What the manifest says of a file is checked: its size whenever the folder is opened, its
//! hash on request.

mod base;
mod manifest;
mod place;

pub use base::Root;
pub use manifest::{Manifest, Part};

use super::kernel::{Kernel, Source};
use super::{disk, initramfs};
use casemate_core::error::{Error, Result};
use manifest::{INITRAMFS, KERNEL, MANIFEST, ROOT, TOOLS, TOOLS_OF};
use place::Place;
use std::fs;
use std::path::{Path, PathBuf};

/// What to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the kernel comes from.
    pub kernel: Source,
    /// A static program that knows `--guest`.
    pub agent: PathBuf,
    /// What a machine's root disk starts with.
    pub root: Root,
    /// Bytes of the root disk; its file takes what is used of them.
    pub root_size: u64,
}

/// The folder, as it was made.
#[derive(Debug, Clone)]
pub struct Setup {
    folder: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

impl Setup {
    /// Makes the folder, or replaces one that this has made.
    ///
    /// # Errors
    /// What stood there before stands there still, also if this process is killed on the way.
    pub fn make(plan: &Plan, folder: &Path) -> Result<Self> {
        let place = Place::beside(folder, MANIFEST)?;
        let at = |name: &str| place.folder().join(name);
        let kernel = Kernel::obtain(&plan.kernel)?;
        copied(&kernel.image, &at(KERNEL))?;
        let archive = initramfs::archive(&kernel.modules)?;
        written(&at(INITRAMFS), &archive)?;
        disk::tools(&plan.agent, &at(TOOLS))?;
        let root_from = base::image(&plan.root, plan.root_size, &at(ROOT))?;
        let manifest = Manifest::of(plan, &kernel, root_from, place.folder())?;
        renamed(&at(TOOLS), &at(&manifest.tools()))?;
        keep_tools(folder, place.folder())?;
        written(&at(MANIFEST), &manifest.encoded()?)?;
        place.take(folder)?;
        Self::open(folder)
    }

    /// Opens a folder that was made before; what is missing from it, or of another size, is said.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = Manifest::read(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
        })
    }

    /// Reads all of it and compares it with what the manifest says.
    pub fn verify(&self) -> Result<()> {
        self.manifest.verify(&self.folder)
    }

    /// What QEMU boots.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join(KERNEL)
    }

    /// What it boots it with.
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join(INITRAMFS)
    }

    /// The second disk of every machine, read-only. That of an earlier setup has another name, and
    /// stays.
    pub fn tools(&self) -> PathBuf {
        self.folder.join(self.manifest.tools())
    }

    /// What each machine gets a copy of as its first disk ([`disk::copy`]).
    pub fn root(&self) -> PathBuf {
        self.folder.join(ROOT)
    }
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    let done = fs::copy(from, to);
    done.map(drop)
        .map_err(|e| Error::io("copy", &e).on(from.display()))
}

fn renamed(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io("rename", &e).on(from.display()))
}

/// Gives a new folder the tools disks of the old one: machines sleep that have them.
fn keep_tools(old: &Path, new: &Path) -> Result<()> {
    for entry in fs::read_dir(old).into_iter().flatten().flatten() {
        let (name, from) = (entry.file_name(), entry.path());
        let is_one = name.to_string_lossy().starts_with(TOOLS_OF);
        match is_one.then(|| fs::hard_link(&from, new.join(&name))) {
            Some(Err(e)) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("keep", &e).on(from.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn written(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| Error::io("write", &e).on(path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::tool::Tool;
    use super::*;

    fn plan(folder: &Path) -> Option<Plan> {
        if Tool::MKE2FS.find().is_none() {
            eprintln!("skipped: mke2fs is not on PATH");
            return None;
        }
        let root = folder.join("tree");
        fs::create_dir_all(root.join("etc")).unwrap();
        let mut image = vec![0; 0x1000];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        image[0x500..0x505].copy_from_slice(b"6.1.9");
        fs::write(folder.join("vmlinuz"), image).unwrap();
        Some(Plan {
            kernel: Source::Given {
                image: folder.join("vmlinuz"),
                modules: None,
            },
            agent: "/proc/self/exe".into(),
            root: Root::Folder(root),
            root_size: 16 << 20,
        })
    }

    #[test]
    fn a_folder_is_made_opened_and_made_again() {
        let scratch = tempfile::tempdir().unwrap();
        let Some(plan) = plan(scratch.path()) else {
            return;
        };
        let folder = scratch.path().join("vm");
        assert!(Setup::open(&folder).is_err());
        let first = Setup::make(&plan, &folder).unwrap();
        first.verify().unwrap();
        assert_eq!(first.manifest.kernel_release.as_deref(), Some("6.1.9"));
        for file in [
            first.kernel(),
            first.initramfs(),
            first.tools(),
            first.root(),
        ] {
            assert!(file.is_file(), "{}", file.display());
        }
        let other = Plan {
            root_size: 32 << 20,
            agent: "/bin/true".into(),
            ..plan
        };
        let second = Setup::make(&other, &folder).unwrap();
        assert_eq!(fs::metadata(second.root()).unwrap().len(), 32 << 20);
        let left = fs::read_dir(scratch.path()).unwrap().count();
        assert_eq!(left, 4, "the folder, its lock, the kernel and the tree");
        // What machines sleep with is there still.
        assert!(first.tools().is_file());
    }

    #[test]
    fn what_fails_leaves_what_was_there() {
        let scratch = tempfile::tempdir().unwrap();
        let Some(plan) = plan(scratch.path()) else {
            return;
        };
        let folder = scratch.path().join("vm");
        let first = Setup::make(&plan, &folder).unwrap();
        let bad = Plan {
            agent: scratch.path().join("absent"),
            ..plan
        };
        Setup::make(&bad, &folder).unwrap_err();
        assert_eq!(Setup::open(&folder).unwrap().manifest, first.manifest);
    }

    #[test]
    fn what_was_changed_is_found() {
        let scratch = tempfile::tempdir().unwrap();
        let Some(plan) = plan(scratch.path()) else {
            return;
        };
        let setup = Setup::make(&plan, &scratch.path().join("vm")).unwrap();
        let mut bytes = fs::read(setup.kernel()).unwrap();
        bytes[0] ^= 1;
        fs::write(setup.kernel(), &bytes).unwrap();
        let error = setup.verify().unwrap_err();
        assert!(error.to_string().contains("/vm/kernel"), "{error}");
        bytes.pop();
        fs::write(setup.kernel(), &bytes).unwrap();
        let error = Setup::open(&scratch.path().join("vm")).unwrap_err();
        assert!(error.to_string().contains("4095 bytes"), "{error}");
    }
}
