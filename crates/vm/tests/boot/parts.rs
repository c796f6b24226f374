//! What machines of these tests are made from.

use casemate_vm::guest::kernel::{DEBIAN, Kernel, Source};
use casemate_vm::guest::{Package, disk, initramfs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT_SIZE: u64 = 64 << 20;

/// Files that last as long as the test.
pub(crate) struct Parts {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) root: PathBuf,
    tree: PathBuf,
}

impl Parts {
    /// `None` after saying what is missing.
    pub(crate) fn gather() -> Option<Self> {
        for program in ["qemu-system-x86_64", "mke2fs", "apt-get", "dpkg-deb"] {
            if !there(program) {
                return skip(&format!("{program} is not on PATH"));
            }
        }
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        let package = DEBIAN.to_owned();
        let source = Source::Debian {
            package,
            cache: cache.clone(),
        };
        let kernel = match Kernel::obtain(&source) {
            Ok(kernel) => kernel,
            Err(why) => return skip(&why.to_string()),
        };
        let busybox = match Package::obtain("busybox-static", &cache) {
            Ok(package) => ["bin/busybox", "usr/bin/busybox"].map(|path| package.root.join(path)),
            Err(why) => return skip(&why.to_string()),
        };
        let folder = tempfile::tempdir().unwrap();
        let initramfs = folder.path().join("initramfs");
        fs::write(&initramfs, initramfs::archive(&kernel.modules).unwrap()).unwrap();
        let busybox = busybox.iter().find(|file| file.is_file()).unwrap();
        let tree = tree(folder.path(), busybox);
        let parts = Self {
            root: folder.path().join("root.ext4"),
            folder,
            kernel: kernel.image,
            initramfs,
            tree,
        };
        Some(parts.with_root(|_| ()))
    }

    /// The same with another root disk.
    pub(crate) fn with_root(self, change: impl FnOnce(&Path)) -> Self {
        change(&self.tree);
        let _ = fs::remove_file(&self.root);
        let contents = disk::Contents::Folder(self.tree.clone());
        disk::filled(&contents, &self.root, ROOT_SIZE, disk::Purpose::Root).unwrap();
        self
    }

    /// A tools disk with the agent; `None` after saying that there is none.
    pub(crate) fn tools(&self) -> Option<PathBuf> {
        let image = self.folder.path().join("tools.ext4");
        disk::tools(&agent(self.folder.path())?, &image).unwrap();
        Some(image)
    }

    /// A tools disk with nothing on it.
    pub(crate) fn empty_tools(&self) -> PathBuf {
        let image = self.folder.path().join("no-tools.ext4");
        let nothing = self.folder.path().join("nothing");
        fs::create_dir(&nothing).unwrap();
        disk::filled(
            &disk::Contents::Folder(nothing),
            &image,
            4 << 20,
            disk::Purpose::Tools,
        )
        .unwrap();
        image
    }
}

/// The agent of this build, without what only a debugger reads; `None` after saying that there is
/// none. Its own tests have it built; a test of another package can't.
fn agent(folder: &Path) -> Option<PathBuf> {
    let named = std::env::var_os("CASEMATE_AGENT_BIN").map(PathBuf::from);
    let built = std::env::current_exe().unwrap();
    let built = built.ancestors().nth(2).unwrap().join("casemate-agent");
    let agent = named.unwrap_or(built);
    if !agent.is_file() {
        let why = "build it with cargo build -p casemate-agent";
        return skip(&format!("{} is not there: {why}", agent.display()));
    }
    let small = folder.join("agent");
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(&small)
        .arg(&agent)
        .status();
    if !stripped.is_ok_and(|status| status.success()) {
        fs::copy(&agent, &small).unwrap();
    }
    Some(small)
}

/// The smallest root in which a shell runs.
fn tree(folder: &Path, busybox: &Path) -> PathBuf {
    let root = folder.join("root");
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "run", "root"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "echo", "uname", "mount", "ps", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    root
}

fn there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .into_iter()
        .any(|folder| folder.join(program).is_file())
}

pub(crate) fn skip<T>(why: &str) -> Option<T> {
    eprintln!("skipped: {why}");
    None
}
