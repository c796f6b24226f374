//! What the tests need of the world: QEMU, a kernel of the distribution's with its modules, and
//! themselves as the first program in an initramfs.
//!
//! A kernel's package is looked for in `CASEMATE_TEST_KERNEL` (a folder into which one was unpacked:
//! with `boot/` and `lib/modules/`), then on this system; else Debian's is fetched.

pub(crate) mod first;
pub(crate) mod uffd;

use casemate_vm::driver::{Accelerator, Board, Machine, Monitor, Rates, Running};
use casemate_vm::guest::kernel::{DEBIAN, Kernel, Source};
use casemate_vm::guest::modules;
use casemate_vm::qemu::Qemu;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Machines are translated here, on whatever processor this has.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct World {
    pub(crate) qemu: Qemu,
    pub(crate) folder: TempDir,
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl World {
    /// `None`, and a word why, if this machine lacks something.
    pub(crate) fn find() -> Option<Self> {
        let skipped = |why: &str| {
            println!("skipped: {why}");
            None
        };
        let Ok(qemu) = Qemu::find() else {
            return skipped("there is no QEMU");
        };
        let named = std::env::var_os("CASEMATE_TEST_KERNEL").map(PathBuf::from);
        let roots = named.into_iter().chain([PathBuf::from("/")]);
        let found = roots.into_iter().find_map(|root| kernel(&root));
        let Some((kernel, modules)) = found.or_else(fetched) else {
            return skipped("there is no kernel with its modules");
        };
        let folder = tempfile::tempdir().expect("a folder");
        let first = std::env::current_exe().expect("it is there");
        let initramfs = folder.path().join("initramfs");
        fs::write(&initramfs, archive(&first, &modules)).expect("it is written");
        Some(Self {
            qemu,
            folder,
            kernel,
            initramfs,
        })
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine {
            vcpus: 1,
            memory: 256,
            kernel: self.kernel.clone(),
            initramfs: self.initramfs.clone(),
            command_line: first::WORDS.to_owned(),
            disks: Vec::new(),
            accelerator: Accelerator::Tcg,
            board: Board::Pci,
            network: false,
            disk_rates: Rates::default(),
        }
    }

    /// A new folder for a machine.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).expect("a folder");
        path
    }

    /// One that runs and answers.
    pub(crate) async fn boot(&self, name: &str, machine: &Machine) -> (Arc<dyn Running>, Line) {
        let place = self.place(name);
        let started = self.qemu.start(machine, &place).await;
        let running = started.unwrap_or_else(|error| panic!("{error}"));
        running.resume().await.expect("it runs");
        let mut line = Line::of(&*running).await;
        assert_eq!(line.ask("echo hello").await, "hello");
        (running, line)
    }
}

/// Debian's, which is fetched once.
fn fetched() -> Option<(PathBuf, PathBuf)> {
    let source = Source::Debian {
        package: DEBIAN.to_owned(),
        cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages"),
    };
    let image = Kernel::obtain(&source).ok()?.image;
    kernel(image.parent()?.parent()?)
}

/// A kernel below a folder, and its modules.
fn kernel(root: &Path) -> Option<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(root.join("boot")).ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let modules = root
            .join("lib/modules")
            .join(name.strip_prefix("vmlinuz-")?);
        modules.is_dir().then(|| (entry.path(), modules))
    })
}

/// An initramfs (`Documentation/driver-api/early-userspace/buffer-format.rst`).
fn archive(first: &Path, folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut names = String::new();
    add(
        &mut bytes,
        "init",
        0o100_755,
        &fs::read(first).expect("it runs"),
    );
    for module in modules::needed(folder).expect("a kernel's modules") {
        add(&mut bytes, &module.name, 0o100_644, &module.contents);
        names += &format!("{}\n", module.name);
    }
    add(&mut bytes, "modules", 0o100_644, names.as_bytes());
    add(&mut bytes, "TRAILER!!!", 0, &[]);
    bytes
}

fn add(archive: &mut Vec<u8>, name: &str, mode: u32, contents: &[u8]) {
    let (length, name_length) = (contents.len(), name.len() + 1);
    let inode = archive.len();
    write!(
        archive,
        "070701{inode:08X}{mode:08X}{0:08X}{0:08X}{1:08X}{0:08X}{length:08X}{0:08X}{0:08X}{0:08X}{0:08X}{name_length:08X}{0:08X}{name}\0",
        0, 1
    )
    .expect("memory takes it");
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(contents);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// A talk with the first program.
pub(crate) struct Line(BufReader<UnixStream>);

impl Line {
    pub(crate) async fn of(running: &dyn Running) -> Self {
        let socket = running.channel().await.expect("it listens");
        let socket = std::os::unix::net::UnixStream::from(socket);
        Self(BufReader::new(
            UnixStream::from_std(socket).expect("a socket"),
        ))
    }

    pub(crate) async fn say(&mut self, words: &str) {
        let words = format!("{words}\n");
        let said = self.0.get_mut().write_all(words.as_bytes());
        said.await.expect("it is taken");
    }

    pub(crate) async fn hear(&mut self) -> String {
        let mut answer = String::new();
        let heard = timeout(PATIENCE, self.0.read_line(&mut answer)).await;
        heard.expect("in time").expect("an answer");
        answer.trim_end().to_owned()
    }

    pub(crate) async fn ask(&mut self, words: &str) -> String {
        self.say(words).await;
        self.hear().await
    }

    pub(crate) async fn ticks(&mut self) -> u64 {
        self.ask("tick").await.parse().expect("a number")
    }
}
