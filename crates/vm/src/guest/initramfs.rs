//! The initramfs: the first program, and the modules that it loads before it can see a disk.

use super::cpio::Archive;
use super::first;
use super::modules::Module;
use casemate_core::error::{Error, Result};
use std::io;

/// Bytes of the list that the first program has room for, less one.
const LIST: usize = (8 << 10) - 1;

/// The archive with these modules, which are loaded in this order. Equal modules make equal bytes.
pub fn archive(modules: &[Module]) -> Result<Vec<u8>> {
    let list = list(modules);
    if list.len() > LIST {
        let why = format!(
            "{} modules are more than its list has room for",
            modules.len()
        );
        return Err(Error::rule("make an initramfs", why));
    }
    written(first::program()?, modules, &list).map_err(|e| Error::io("make an initramfs", &e))
}

fn written(first: &[u8], modules: &[Module], list: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(Vec::new());
    archive.folder("dev", 0o755)?;
    // The kernel opens it for the first program, before that can mount anything.
    archive.character_device("dev/console", 0o600, (5, 1))?;
    archive.folder("root", 0o755)?;
    archive.file("init", 0o755, first)?;
    archive.folder("lib", 0o755)?;
    for (at, module) in modules.iter().enumerate() {
        archive.file(&path(at, module), 0o644, &module.contents)?;
    }
    archive.file("modules", 0o644, list)?;
    archive.finish()
}

fn path(at: usize, module: &Module) -> String {
    format!("lib/{at:02}-{}.ko", module.name)
}

/// Each path ends with a zero byte, so that the first program finds strings and copies nothing.
fn list(modules: &[Module]) -> Vec<u8> {
    let paths = modules.iter().enumerate();
    paths
        .flat_map(|(at, module)| format!("/{}\0", path(at, module)).into_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> Module {
        Module {
            name: name.to_owned(),
            contents: b"elf".to_vec(),
        }
    }

    #[test]
    fn the_list_names_what_the_archive_holds() {
        let modules = [module("virtio"), module("virtio_blk")];
        let expected = b"/lib/00-virtio.ko\0/lib/01-virtio_blk.ko\0";
        assert_eq!(list(&modules), expected);
        let archive = archive(&modules).unwrap();
        let holds = |part: &[u8]| archive.windows(part.len()).any(|window| window == part);
        assert!(holds(b"lib/01-virtio_blk.ko\0"));
        assert!(holds(expected));
        assert!(holds(first::program().unwrap()));
    }

    #[test]
    fn a_list_without_end_is_refused() {
        let modules: Vec<_> = (0..400)
            .map(|n| module(&format!("a_long_name_{n}")))
            .collect();
        let error = archive(&modules).unwrap_err();
        assert!(error.to_string().contains("400 modules"), "{error}");
    }
}
