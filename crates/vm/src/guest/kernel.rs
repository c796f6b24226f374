//! The kernel of a machine, and where it comes from.

use super::debian::Package;
use super::modules::{self, Module};
use casemate_core::error::{Error, Result};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of an image that its header may point into, and a release behind that.
const START: u64 = 0x1_0200 + LONGEST as u64;
/// Bytes of a release.
const LONGEST: usize = 64;

/// Where a kernel comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The user's own.
    Given {
        /// A bzImage, or a vmlinux with an entry for PVH.
        image: PathBuf,
        /// The folder of its modules, such as `/lib/modules/6.1.0`; none if all is built in.
        modules: Option<PathBuf>,
    },
    /// A package of Debian, or one that depends on it, such as [`DEBIAN`]: fetched with apt as the
    /// host is configured, and not installed.
    Debian {
        /// The package's name.
        package: String,
        /// A folder that packages are unpacked in; one that is there already is not fetched again.
        cache: PathBuf,
    },
}

/// The kernel that Debian makes for virtual machines.
pub const DEBIAN: &str = "linux-image-cloud-amd64";

/// A kernel, and what it needs beyond itself.
#[derive(Debug)]
pub struct Kernel {
    /// What it was taken from: a path, or a package with its version.
    pub from: String,
    /// What QEMU boots.
    pub image: PathBuf,
    /// As `uname -r` in the machine, where the image says it.
    pub release: Option<String>,
    /// In load order.
    pub modules: Vec<Module>,
}

impl Kernel {
    /// Finds it, and fetches it if that is needed.
    pub fn obtain(source: &Source) -> Result<Self> {
        match source {
            Source::Given { image, modules } => {
                Self::new(image.display().to_string(), image, modules.as_deref())
            }
            Source::Debian { package, cache } => {
                let Package { name, root } = Package::kernel(package, cache)?;
                let image = only(&root.join("boot"), "vmlinuz-")?;
                // Where /lib is a link to /usr/lib, packages name the latter.
                let modules = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path));
                let modules = modules.iter().find(|folder| folder.is_dir());
                let modules = modules.map(|folder| only(folder, "")).transpose()?;
                Self::new(name, &image, modules.as_deref())
            }
        }
    }

    fn new(from: String, image: &Path, modules: Option<&Path>) -> Result<Self> {
        let modules = modules.map(modules::needed).transpose()?;
        Ok(Self {
            from,
            release: release(image)?,
            image: image.to_owned(),
            modules: modules.unwrap_or_default(),
        })
    }
}

/// The only entry of a folder that starts so.
fn only(folder: &Path, start: &str) -> Result<PathBuf> {
    let failed = |error| Error::io("list", &error).on(folder.display());
    let mut found = None;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with(start) {
            continue;
        }
        if found.replace(entry.path()).is_some() {
            let why = format!("there are several of {start}*");
            return Err(Error::rule("find the kernel in", why).on(folder.display()));
        }
    }
    let none = || Error::rule("find the kernel in", format!("there is no {start}*"));
    found.ok_or_else(|| none().on(folder.display()))
}

/// The release that a bzImage's header points at (the kernel's Documentation/arch/x86/boot.rst,
/// `kernel_version`); a vmlinux has no such place.
fn release(image: &Path) -> Result<Option<String>> {
    let failed = |error| Error::io("read the kernel", &error).on(image.display());
    let file = File::open(image).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(START).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.get(0x202..0x206) == Some(b"HdrS") {
        return Ok(release_of(&bytes));
    }
    if bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let why = "it is neither a bzImage nor an ELF file";
    let hint = "give a kernel for x86-64 such as /boot/vmlinuz-…";
    Err(Error::rule("read the kernel", why)
        .on(image.display())
        .hint(hint))
}

fn release_of(image: &[u8]) -> Option<String> {
    let place = image.get(0x20e..0x210)?;
    let start = usize::from(u16::from_le_bytes([place[0], place[1]])) + 0x200;
    let text = image.get(start..)?.iter().take(LONGEST);
    let word = text.take_while(|byte| byte.is_ascii_graphic());
    let word: String = word.map(|byte| char::from(*byte)).collect();
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(contents: &[u8]) -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("vmlinuz");
        fs::write(&image, contents).unwrap();
        let modules = None;
        (folder, Source::Given { image, modules })
    }

    fn linux() -> Vec<u8> {
        let mut bytes = vec![0; 0x1000];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        bytes[0x500..0x50c].copy_from_slice(b"6.1.0-56 (me");
        bytes
    }

    #[test]
    fn its_release_is_in_its_header() {
        let (_folder, source) = image(&linux());
        let kernel = Kernel::obtain(&source).unwrap();
        assert_eq!(kernel.release.as_deref(), Some("6.1.0-56"));
        assert!(kernel.modules.is_empty());
    }

    #[test]
    fn a_header_that_points_nowhere_says_nothing() {
        let mut bytes = linux();
        bytes[0x20e..0x210].copy_from_slice(&[0xff, 0xff]);
        let (_folder, source) = image(&bytes);
        assert_eq!(Kernel::obtain(&source).unwrap().release, None);
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let (_folder, source) = image(b"#!/bin/sh\n");
        let error = Kernel::obtain(&source).unwrap_err();
        assert!(error.to_string().contains("neither a bzImage"), "{error}");
    }

    #[test]
    fn two_kernels_are_not_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["vmlinuz-1", "vmlinuz-2"] {
            fs::write(folder.path().join(name), linux()).unwrap();
        }
        assert!(only(folder.path(), "vmlinuz-").is_err());
        assert!(
            only(folder.path(), "vmlinuz-2")
                .unwrap()
                .ends_with("vmlinuz-2")
        );
        assert!(only(folder.path(), "config-").is_err());
    }
}
