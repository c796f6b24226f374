//! Which modules a kernel needs before it can see its disks and its host, in load order.

use super::modinfo::{self, Needs};
use super::tool::{self, Tool};
use casemate_core::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a machine can't do without.
const REQUIRED: [&str; 3] = ["virtio_blk", "virtio_console", "ext4"];
/// How its devices are found: one of them, by its kind of machine.
const BUSES: [&str; 2] = ["virtio_pci", "virtio_mmio"];
/// What is taken along where there is one. `crc32c_generic` is what ext4 asks for by an alias.
const WELCOME: [&str; 5] = [
    "crc32c_generic",
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    "overlay",
];

/// Bytes of a module; Debian's largest has 6 MiB.
const LARGEST: u64 = 64 << 20;
/// Folders below each other, and files altogether, of a tree of modules.
const DEPTH: usize = 16;
const FILES: usize = 100_000;
const DECOMPRESS: Duration = Duration::from_secs(60);

/// A module, as the kernel loads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, with `_` for `-`.
    pub name: String,
    /// The ELF file, not compressed.
    pub contents: Vec<u8>,
}

/// A kernel's modules: a folder such as `/lib/modules/6.1.0-56-cloud-amd64`.
struct Tree {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// The modules that a machine needs of this folder, each after those that it depends on. What is
/// built into the kernel, as the folder's `modules.builtin` says, is none of them.
pub fn needed(folder: &Path) -> Result<Vec<Module>> {
    let tree = Tree::read(folder)?;
    let missing = |name: &&&str| !tree.has(name);
    let lacks = |what: &str| {
        let why = format!("this kernel has no {what}, neither built in nor as a module");
        let hint = "take Debian's linux-image-cloud-amd64, or give the kernel without a folder of \
                    modules if all is built in";
        Error::rule("choose the modules of", why)
            .on(folder.display())
            .hint(hint)
    };
    if let Some(name) = REQUIRED.iter().find(missing) {
        return Err(lacks(name));
    }
    if BUSES.iter().all(|name| !tree.has(name)) {
        return Err(lacks("virtio_pci or virtio_mmio"));
    }
    let mut chosen = Chosen::default();
    // Drivers of disks come after what they may ask the kernel for.
    for name in WELCOME.iter().chain(&BUSES).chain(&REQUIRED) {
        chosen.add(name, &tree)?;
    }
    Ok(chosen.modules)
}

#[derive(Default)]
struct Chosen {
    modules: Vec<Module>,
    seen: BTreeSet<String>,
}

impl Chosen {
    /// Adds a module after what it needs. One that is built in, or only nice to have and absent,
    /// adds nothing; each is looked at once, so that a circle ends.
    fn add(&mut self, name: &str, tree: &Tree) -> Result<()> {
        let Some(file) = tree.files.get(name) else {
            return Ok(());
        };
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let contents = contents(file)?;
        let Some(Needs { depends, before }) = modinfo::needs(&contents) else {
            let why = "it is no module for a 64-bit machine";
            return Err(Error::rule("read the kernel module", why).on(file.display()));
        };
        if let Some(absent) = depends.iter().find(|name| !tree.has(name)) {
            let why = format!("it depends on {absent}, which this kernel doesn't have");
            return Err(Error::rule("load the kernel module", why).on(file.display()));
        }
        for other in before.iter().chain(&depends) {
            self.add(other, tree)?;
        }
        self.modules.push(Module {
            name: name.to_owned(),
            contents,
        });
        Ok(())
    }
}

impl Tree {
    fn read(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let kernel = folder.join("kernel");
        collect(&kernel, DEPTH, &mut files)?;
        let list = folder.join("modules.builtin");
        let list = match fs::read_to_string(&list) {
            Ok(list) => list,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io("read", &error).on(list.display())),
        };
        let built_in = list.lines().filter_map(|line| module_name(Path::new(line)));
        Ok(Self {
            files,
            built_in: built_in.collect(),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.built_in.contains(name) || self.files.contains_key(name)
    }
}

fn collect(folder: &Path, depth: usize, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let failed = |error: std::io::Error| {
        let hint = "name the folder of one kernel, such as /lib/modules/6.1.0-56-cloud-amd64";
        Error::io("list the kernel's modules in", &error)
            .on(folder.display())
            .hint(hint)
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (kind, path) = (entry.file_type().map_err(failed)?, entry.path());
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if kind.is_file() && found.len() < FILES {
            found.extend(module_name(&path).map(|name| (name, path)));
        }
    }
    Ok(())
}

/// `virtio_rng` of `…/virtio-rng.ko.xz`.
fn module_name(path: &Path) -> Option<String> {
    let (stem, rest) = path.file_name()?.to_str()?.split_once('.')?;
    let is_module = rest == "ko" || rest.starts_with("ko.");
    is_module.then(|| canonical(stem))
}

/// The kernel takes `-` and `_` in a module's name for the same.
pub(super) fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The first program has nothing to decompress with.
fn contents(file: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io("read the kernel module", &error).on(file.display());
    let open = File::open(file).map_err(failed)?;
    let tool = match file.extension().and_then(OsStr::to_str) {
        Some("xz") => Tool::XZ,
        Some("zst") => Tool::ZSTD,
        Some("gz") => Tool::GZIP,
        _ => return tool::read_bounded(open, LARGEST).map_err(failed),
    };
    let mut command = tool.command()?;
    command.args(["-d", "-c"]).stdin(open);
    let said = tool::output("decompress the kernel module", command, LARGEST, DECOMPRESS);
    said.map_err(|error| error.on(file.display()))
}

#[cfg(test)]
mod tests {
    use super::modinfo::tests::elf;
    use super::*;

    fn tree(modules: &[(&str, &str)], built_in: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, depends) in modules {
            let path = folder.path().join("kernel").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, elf(format!("{depends}\0").as_bytes())).unwrap();
        }
        fs::write(folder.path().join("modules.builtin"), built_in).unwrap();
        folder
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let modules = needed(folder.path()).unwrap();
        modules.into_iter().map(|module| module.name).collect()
    }

    const PLAIN: [(&str, &str); 5] = [
        ("virtio.ko", "depends="),
        ("drivers/virtio-pci.ko", "depends=virtio"),
        ("drivers/virtio_blk.ko", "depends=virtio"),
        ("drivers/virtio_console.ko", "depends=virtio"),
        ("net/virtio_net.ko", "depends=virtio"),
    ];

    #[test]
    fn each_comes_after_what_it_depends_on_and_once() {
        let tree = tree(&PLAIN, "kernel/fs/ext4/ext4.ko\n");
        let expected = [
            "virtio",
            "virtio_net",
            "virtio_pci",
            "virtio_blk",
            "virtio_console",
        ];
        assert_eq!(names(&tree), expected);
    }

    #[test]
    fn what_is_built_in_is_not_carried_along() {
        let built_in = "kernel/fs/ext4/ext4.ko\nkernel/virtio_blk.ko\nkernel/virtio_console.ko\n\
                        kernel/virtio-mmio.ko\n";
        assert!(names(&tree(&[("overlay-not.ko", "depends=")], built_in)).is_empty());
    }

    #[test]
    fn what_a_module_asks_for_comes_first_and_a_circle_ends() {
        let mut modules = PLAIN.to_vec();
        modules.push(("fs/ext4.ko", "softdep=pre: checksum other"));
        modules.push(("checksum.ko", "depends=checksum2"));
        modules.push(("checksum2.ko", "depends=checksum"));
        let names = names(&tree(&modules, ""));
        assert_eq!(&names[names.len() - 3..], ["checksum2", "checksum", "ext4"]);
    }

    #[test]
    fn a_kernel_without_disks_is_refused() {
        let error = needed(tree(&PLAIN, "").path()).unwrap_err();
        assert!(error.to_string().contains("no ext4"), "{error}");
        let error = needed(tempfile::tempdir().unwrap().path()).unwrap_err();
        assert!(error.to_string().contains("/lib/modules/"), "{error}");
    }

    #[test]
    fn a_dependency_that_is_nowhere_is_said() {
        let mut modules = PLAIN.to_vec();
        modules[2].1 = "depends=absent";
        let error = needed(tree(&modules, "kernel/ext4.ko").path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("virtio_blk.ko: it depends on absent"),
            "{error}"
        );
    }

    #[test]
    fn a_compressed_module_is_carried_plain() {
        let mut modules = PLAIN.to_vec();
        modules.push(("fs/ext4.ko.gz", "depends="));
        let tree = tree(&modules, "");
        let file = tree.path().join("kernel/fs/ext4.ko.gz");
        let plain = fs::read(&file).unwrap();
        fs::rename(&file, file.with_extension("")).unwrap();
        let mut gzip = std::process::Command::new("gzip");
        assert!(
            gzip.arg(file.with_extension(""))
                .status()
                .unwrap()
                .success()
        );
        let found = needed(tree.path()).unwrap();
        assert_eq!(found.last().unwrap().contents, plain);
    }
}
