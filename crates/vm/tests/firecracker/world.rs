//! What the tests need of the world: a Firecracker, real or not, and what a machine is made from.

use crate::guest;
use casemate_vm::driver::{Accelerator, Board, Ended, Machine, Monitor, Rates, Running};
use casemate_vm::firecracker::Firecracker;
use casemate_vm::firecracker::settings::Settings;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) settings: Settings,
    pub(crate) program: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    memory: u32,
}

impl World {
    /// One in which Firecracker is a fake that misbehaves so: see `fake::Will`.
    pub(crate) fn fake(will: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("firecracker-fake");
        script(&program, "firecracker", will);
        let (kernel, initramfs) = (folder.path().join("k"), folder.path().join("i"));
        for path in [&kernel, &initramfs] {
            fs::write(path, "it boots nothing").expect("it is written");
        }
        Self {
            folder,
            settings: Settings::default(),
            program,
            kernel,
            initramfs,
            memory: 32,
        }
    }

    /// One with a real Firecracker; `None`, and a word why, if there is none.
    pub(crate) fn real() -> Option<Self> {
        let named = |name| std::env::var_os(name).map(PathBuf::from);
        let (Some(program), Some(kernel)) = (named("FIRECRACKER_BIN"), named("FIRECRACKER_KERNEL"))
        else {
            println!(
                "skipped: FIRECRACKER_BIN and FIRECRACKER_KERNEL name no Firecracker and kernel"
            );
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let initramfs = folder.path().join("initramfs");
        fs::write(&initramfs, guest::archive()).expect("it is written");
        Some(Self {
            folder,
            settings: Settings::default(),
            program,
            kernel,
            initramfs,
            memory: 256,
        })
    }

    pub(crate) fn firecracker(&self) -> Firecracker {
        Firecracker::new(&self.program).with(self.settings.clone())
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine {
            vcpus: 1,
            memory: self.memory,
            kernel: self.kernel.clone(),
            initramfs: self.initramfs.clone(),
            command_line: guest::WORDS.to_owned(),
            disks: Vec::new(),
            accelerator: Accelerator::Kvm,
            board: Board::Micro,
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
        let started = self.firecracker().start(machine, &place).await;
        let running = started.unwrap_or_else(|error| panic!("{error}"));
        let resumed = running.resume().await;
        resumed.unwrap_or_else(|error| panic!("{error}"));
        let line = Line::of(&*running).await;
        (running, line)
    }
}

/// A program that is one of this program's ignored tests. Whoever starts it leaves it nothing of its
/// environment, so that it carries its own.
pub(crate) fn script(path: &Path, test: &str, will: &str) {
    let own = std::env::current_exe().expect("it runs");
    let text = format!(
        "#!/bin/sh\nFAKE_ARGS=\"$*\" FAKE_WILL='{will}' exec '{}' --ignored --exact {test} --nocapture\n",
        own.display()
    );
    fs::write(path, text).expect("it is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

pub(crate) async fn how_it_ended(running: &dyn Running) -> Ended {
    timeout(PATIENCE, running.ended()).await.expect("it ends")
}

/// A talk with the guest.
pub(crate) struct Line(BufReader<UnixStream>);

impl Line {
    /// When the guest listens.
    pub(crate) async fn of(running: &dyn Running) -> Self {
        let reached = async {
            loop {
                match running.channel().await {
                    Ok(socket) => return socket,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let socket = timeout(PATIENCE, reached).await.expect("it listens");
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

    /// Nothing at the end.
    pub(crate) async fn hear(&mut self) -> String {
        let mut answer = String::new();
        let heard = timeout(PATIENCE, self.0.read_line(&mut answer)).await;
        let _ = heard.expect("in time");
        answer.trim_end().to_owned()
    }

    pub(crate) async fn ask(&mut self, words: &str) -> String {
        self.say(words).await;
        self.hear().await
    }
}
