//! What a folder of parts says of itself.

use super::super::kernel::Kernel;
use super::super::tool;
use super::Plan;
use casemate_core::error::{Error, Result};
use casemate_core::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const KERNEL: &str = "kernel";
pub(super) const INITRAMFS: &str = "initramfs";
/// While it is made; then its name tells which it is.
pub(super) const TOOLS: &str = "tools.ext4";
/// What the names of tools disks begin with.
pub(super) const TOOLS_OF: &str = "tools-";
pub(super) const ROOT: &str = "root.ext4";

/// Of this form.
const VERSION: u32 = 2;
/// Bytes of a manifest.
const LARGEST: u64 = 1 << 20;
const REMEDY: &str = "`casemate vm setup` makes it, or makes it again";

/// What is in the folder, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The program's version that made it.
    pub made_by: String,
    /// What the kernel calls itself, if its file says so.
    pub kernel_release: Option<String>,
    /// What the initramfs loads, in this order.
    pub modules: Vec<String>,
    /// See the part.
    pub kernel: Part,
    /// See the part.
    pub initramfs: Part,
    /// See the part.
    pub tools: Part,
    /// See the part.
    pub root: Part,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it was made from.
    pub from: String,
    /// Bytes.
    pub size: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Of files that have just been made.
    pub(super) fn of(
        plan: &Plan,
        kernel: &Kernel,
        root_from: String,
        folder: &Path,
    ) -> Result<Self> {
        let part = |name: &str, from: String| Part::of(&folder.join(name), from);
        let modules: Vec<_> = kernel.modules.iter().map(|m| m.name.clone()).collect();
        Ok(Self {
            version: VERSION,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_release: kernel.release.clone(),
            kernel: part(KERNEL, kernel.from.clone())?,
            initramfs: part(INITRAMFS, format!("{} modules", modules.len()))?,
            modules,
            tools: part(TOOLS, plan.agent.display().to_string())?,
            root: part(ROOT, root_from)?,
        })
    }

    pub(super) fn encoded(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|e| Error::rule("write the manifest", e.to_string()))
    }

    pub(super) fn read(folder: &Path) -> Result<Self> {
        let (step, path) = (
            "read what virtual machines are made from",
            folder.join(MANIFEST),
        );
        let failed = |e: io::Error| Error::io(step, &e).on(path.display()).hint(REMEDY);
        let bytes = File::open(&path).and_then(|file| tool::read_bounded(file, LARGEST));
        let manifest: Self = serde_json::from_slice(&bytes.map_err(failed)?).map_err(|e| {
            Error::rule(step, e.to_string())
                .on(path.display())
                .hint(REMEDY)
        })?;
        if manifest.version != VERSION {
            let why = format!("it is of version {}, not {VERSION}", manifest.version);
            return Err(Error::rule(step, why).on(path.display()).hint(REMEDY));
        }
        for (name, part) in manifest.parts() {
            part.check_size(&folder.join(&name))?;
        }
        Ok(manifest)
    }

    pub(super) fn verify(&self, folder: &Path) -> Result<()> {
        let mut parts = self.parts().into_iter();
        parts.try_for_each(|(name, part)| part.verify(&folder.join(name)))
    }

    /// What the tools disk is called: machines that sleep find theirs, whatever was set up since.
    pub(super) fn tools(&self) -> String {
        let id: String = self.tools.sha256.chars().take(16).collect();
        format!("{TOOLS_OF}{id}.ext4")
    }

    fn parts(&self) -> [(String, &Part); 4] {
        [
            (KERNEL.to_owned(), &self.kernel),
            (INITRAMFS.to_owned(), &self.initramfs),
            (self.tools(), &self.tools),
            (ROOT.to_owned(), &self.root),
        ]
    }
}

impl Part {
    fn of(path: &Path, from: String) -> Result<Self> {
        let (size, sha256) = hash(path).map_err(|e| Error::io("read", &e).on(path.display()))?;
        Ok(Self { from, size, sha256 })
    }

    fn check_size(&self, path: &Path) -> Result<()> {
        let step = "look at a part of virtual machines";
        let facts = fs::metadata(path);
        let facts = facts.map_err(|e| Error::io(step, &e).on(path.display()).hint(REMEDY))?;
        match facts.len() == self.size {
            true => Ok(()),
            false => {
                let why = format!(
                    "it has {} bytes, and was made with {}",
                    facts.len(),
                    self.size
                );
                Err(Error::rule(step, why).on(path.display()).hint(REMEDY))
            }
        }
    }

    fn verify(&self, path: &Path) -> Result<()> {
        let step = "verify a part of virtual machines";
        match hash(path).map_err(|e| Error::io(step, &e).on(path.display()))? {
            (_, found) if found == self.sha256 => Ok(()),
            (_, found) => {
                let why = format!("its SHA-256 is {found}, and was {}", self.sha256);
                Err(Error::rule(step, why).on(path.display()).hint(REMEDY))
            }
        }
    }
}

fn hash(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut room = vec![0; 1 << 20];
    loop {
        match file.read(&mut room)? {
            0 => return Ok((size, hex::encode(&hash.finalize()))),
            read => {
                hash.update(&room[..read]);
                size += read as u64;
            }
        }
    }
}
