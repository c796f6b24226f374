//! A machine of the images that were made, from its first instruction or from where all of them are
//! ready, to the first word of its guest.

use casemate_core::error::{Error, Result};
use casemate_core::guest::{Answer, LINE, Request};
use casemate_core::sandbox::Keep;
use casemate_mux::{Door, Host, Session};
use casemate_vm::driver::{Accelerator, Board, Disk, Machine, Memory, Monitor, Rates, Running};
use casemate_vm::guest::disk;
use casemate_vm::guest::setup::Setup;
use casemate_vm::qemu::Qemu;
use rustix::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// How long the guest may take to say that it is there. Its processor may be emulated, on a machine
/// that is busy.
const BOOT: Duration = Duration::from_secs(110);
/// How long it may take to do what it is told.
const OBEDIENCE: Duration = Duration::from_secs(20);
/// Where the machine that others begin as is kept, among the images.
const READY: &str = "ready";
/// Bytes of randomness that tell machines apart that were the same.
const SEED: usize = 32;

/// How large a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Bytes.
    pub(super) memory: u64,
    pub(super) processors: u32,
}

/// One that runs, and the way to its guest.
pub(super) struct Life {
    pub(super) running: Arc<dyn Running>,
    pub(super) session: Session,
}

/// What a machine begins as.
pub(super) enum Origin<'a> {
    /// The template: where the one that is ready stands, if that is of this size; else its kernel
    /// starts.
    Images,
    /// What was written of another.
    Snapshot(&'a Path),
    /// What it was when it was put to sleep.
    Asleep(Keep),
}

/// What machines are made from, and how.
pub(super) struct Maker<'a> {
    pub(super) setup: Setup,
    pub(super) images: &'a Path,
    pub(super) size: Size,
    pub(super) accelerator: Accelerator,
}

impl Maker<'_> {
    /// Makes a machine, or makes one go on, whose files are in a folder of its own.
    pub(super) async fn begin(&self, own: &Path, origin: Origin<'_>) -> Result<Life> {
        let folder = own.join(RUN);
        match origin {
            Origin::Asleep(Keep::Memory) => {
                let life = meet(Qemu::find()?.wake(&folder).await?).await?;
                settle(&life.session).await?;
                Ok(life)
            }
            Origin::Asleep(Keep::Files) => {
                // Whoever switched it off may have been killed before.
                keep_files(own)?;
                make(&folder)?;
                self.boot(own, &folder).await
            }
            Origin::Snapshot(snapshot) if snapshot.join(ROOT).exists() => {
                make(&folder)?;
                disk::copy(&snapshot.join(ROOT), &own.join(ROOT))?;
                self.boot(own, &folder).await
            }
            Origin::Snapshot(snapshot) => {
                make(&folder)?;
                let life = restored(snapshot, &folder).await?;
                // It was somebody's.
                tell(&life.session, &[Request::Release]).await?;
                Ok(life)
            }
            Origin::Images => {
                make(&folder)?;
                let ready = ready(self.images, self.size);
                if ready.exists() {
                    return restored(&ready, &folder).await;
                }
                disk::copy(&self.setup.root(), &own.join(ROOT))?;
                self.boot(own, &folder).await
            }
        }
    }

    /// Makes one that others of its size begin as.
    pub(super) async fn prepare(&self) -> Result<()> {
        let scratch = self.images.join(".preparing");
        let _ = std::fs::remove_dir_all(&scratch);
        let folder = scratch.join(RUN);
        make(&scratch)?;
        make(&folder)?;
        let made = async {
            disk::copy(&self.setup.root(), &scratch.join(ROOT))?;
            let life = self.boot(&scratch, &folder).await?;
            // The agent is there when it answers, and what it was started from is in memory.
            greet(&life.session).await?;
            tell(&life.session, &[Request::Sync]).await?;
            life.running.snapshot(&ready(self.images, self.size)).await
        };
        let made = made.await;
        let _ = std::fs::remove_dir_all(&scratch);
        made
    }

    /// Starts the kernel, with the root disk that is there.
    async fn boot(&self, own: &Path, folder: &Path) -> Result<Life> {
        let machine = Machine {
            vcpus: u8::try_from(self.size.processors).unwrap_or(u8::MAX),
            memory: u32::try_from(self.size.memory >> 20).unwrap_or(u32::MAX),
            kernel: self.setup.kernel(),
            initramfs: self.setup.initramfs(),
            command_line: String::new(),
            disks: vec![
                Disk {
                    path: own.join(ROOT),
                    read_only: false,
                },
                Disk {
                    path: self.setup.tools(),
                    read_only: true,
                },
            ],
            accelerator: self.accelerator,
            board: Board::Pci,
            network: true,
            disk_rates: Rates::default(),
        };
        let running = Qemu::find()?.start(&machine, folder).await?;
        meet(running).await
    }
}

/// Where its monitor has what it needs, and its root disk if it was booted: one that was restored
/// has that among the monitor's.
const RUN: &str = "run";
const ROOT: &str = "root";
const RESTORED_ROOT: &str = "run/disk0";

/// Puts the files of a machine that was switched off where one is booted from.
pub(super) fn keep_files(own: &Path) -> Result<()> {
    let fail =
        |error: std::io::Error| Error::io("keep a machine's files", &error).on(own.display());
    let restored = own.join(RESTORED_ROOT);
    if restored.exists() {
        std::fs::rename(restored, own.join(ROOT)).map_err(fail)?;
    }
    match std::fs::remove_dir_all(own.join(RUN)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fail(error)),
        _ => Ok(()),
    }
}

/// Writes the disk of a machine that runs into a new folder, which is there whole or not at all:
/// others are booted from it. It stands still meanwhile.
pub(super) async fn write_files(life: &Life, own: &Path, folder: &Path) -> Result<()> {
    tell(&life.session, &[Request::Sync]).await?;
    let restored = own.join(RESTORED_ROOT);
    let root = match restored.exists() {
        true => restored,
        false => own.join(ROOT),
    };
    let draft = folder.with_extension("new");
    let _ = std::fs::remove_dir_all(&draft);
    make(&draft)?;
    life.running.pause().await?;
    let to = draft.join(ROOT);
    let copied = tokio::task::spawn_blocking(move || disk::copy(&root, &to)).await;
    life.running.resume().await?;
    copied.map_err(|error| Error::rule("copy a machine's disk", error.to_string()))??;
    std::fs::rename(&draft, folder)
        .map_err(|error| Error::io("finish", &error).on(folder.display()))
}

/// Makes a folder for nobody else.
fn make(folder: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|error| Error::io("make a machine's folder", &error).on(folder.display()))
}

/// One that goes on where a snapshot was taken, and isn't the only one.
async fn restored(snapshot: &Path, folder: &Path) -> Result<Life> {
    // Lent memory would have to be a file that the monitor may write.
    let running = Qemu::find()?.restore(snapshot, folder, Memory::Own).await?;
    let life = meet(running).await?;
    settle(&life.session).await?;
    Ok(life)
}

/// Where a machine of this size stands ready.
fn ready(images: &Path, size: Size) -> PathBuf {
    let mib = size.memory >> 20;
    images.join(format!("{READY}-{mib}-{}", size.processors))
}

/// Waits until the agent is well.
async fn greet(session: &Session) -> Result<()> {
    let mut stream = session.open(Door::Agent).map_err(unmet)?;
    let greeted = async {
        let hello = b"GET /health HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n";
        stream.write_all(hello).await?;
        let mut answer = Vec::new();
        stream.take(LINE as u64).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 2"))
    };
    let greeted = tokio::time::timeout(BOOT, greeted).await;
    match greeted.map_err(std::io::Error::from).flatten() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::rule("wait for the guest's agent", "it isn't well")),
        Err(error) => Err(Error::io("wait for the guest's agent", &error)),
    }
}

/// Lets a machine go on, and waits for a word of its guest.
async fn meet(running: Arc<dyn Running>) -> Result<Life> {
    let channel = stream(running.channel().await?)?;
    running.resume().await?;
    let session = tokio::select! {
        session = Host::connect(channel, BOOT) => session,
        ended = running.ended() => {
            return Err(Error::rule("start a virtual machine", ended.to_string()));
        }
    };
    let session = session.map_err(unmet)?;
    Ok(Life { running, session })
}

fn unmet(why: impl std::fmt::Display) -> Error {
    Error::rule("reach the guest", why.to_string())
}

fn stream(socket: OwnedFd) -> Result<UnixStream> {
    let fail = |error: std::io::Error| Error::io("take the machine's channel", &error);
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true).map_err(fail)?;
    UnixStream::from_std(socket).map_err(fail)
}

/// Tells a guest what has changed while it stood still: the time, and that it isn't the only one of
/// its kind.
async fn settle(session: &Session) -> Result<()> {
    let mut seed = [0; SEED];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::errno("read random bytes", errno.raw_os_error()))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let requests = [
        Request::AddEntropy {
            hex: casemate_core::hex::encode(&seed),
        },
        Request::SetClock {
            seconds: now.as_secs().cast_signed(),
            nanoseconds: now.subsec_nanos(),
        },
    ];
    tell(session, &requests).await
}

/// Tells process 1 of the guest to do things, in order.
pub(super) async fn tell(session: &Session, requests: &[Request]) -> Result<()> {
    let step = "tell the guest";
    let fail = |error: std::io::Error| Error::io(step, &error);
    let stream = session.open(Door::Control).map_err(unmet)?;
    let mut stream = BufReader::new(stream);
    let told = async {
        for request in requests {
            let mut line = serde_json::to_vec(request).map_err(|error| fail(error.into()))?;
            line.push(b'\n');
            stream.write_all(&line).await.map_err(fail)?;
            let mut answer = Vec::new();
            let mut bounded = (&mut stream).take(LINE as u64);
            bounded.read_until(b'\n', &mut answer).await.map_err(fail)?;
            match serde_json::from_slice(&answer) {
                Ok(Answer::Failed(why)) => {
                    return Err(Error::rule(step, why.escape_debug().to_string()));
                }
                Ok(_) => {}
                Err(error) => return Err(fail(error.into())),
            }
        }
        Ok(())
    };
    let told = tokio::time::timeout(OBEDIENCE, told).await;
    told.map_err(|_| Error::rule(step, "it gave no answer in time"))?
}
