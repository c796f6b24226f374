//! A machine of the images that were made, from its first instruction or from where all of them are
//! ready, to the first word of its guest.

use casemate_core::error::{Error, Result};
use casemate_core::guest::{Answer, LINE, Request};
use casemate_core::sandbox::{Keep, Resources};
use casemate_mux::{Door, Host, Session};
use casemate_node::base;
use casemate_vm::driver::{Accelerator, Board, Disk, Machine, Memory, Monitor, Rates, Running};
use casemate_vm::guest::disk;
use casemate_vm::guest::setup::Setup;
use casemate_vm::qemu::Qemu;
use rustix::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// How long the guest may take to say that it is there. Its processor may be emulated, on a machine
/// that is busy.
const BOOT: Duration = Duration::from_secs(110);
/// How long it may take to do what it is told.
const OBEDIENCE: Duration = Duration::from_secs(20);
/// Bytes of randomness that tell machines apart that were the same.
const SEED: usize = 32;

/// One that runs, and the way to its guest.
pub(super) struct Life {
    pub(super) running: Arc<dyn Running>,
    pub(super) session: Session,
}

/// What machines are made from, and how.
pub(super) struct Maker<'a> {
    pub(super) setup: Setup,
    pub(super) images: &'a Path,
    pub(super) resources: Resources,
    pub(super) accelerator: Accelerator,
}

impl Maker<'_> {
    /// Makes a machine that begins as what is in `base`, or makes one go on that is asleep among its
    /// own files.
    pub(super) async fn begin(
        &self,
        base: &Path,
        own: &Path,
        asleep: Option<Keep>,
    ) -> Result<Life> {
        let folder = own.join(RUN);
        match asleep {
            Some(Keep::Memory) => {
                let life = meet(Qemu::find()?.wake(&folder, base).await?).await?;
                settle(&life.session).await?;
                Ok(life)
            }
            Some(Keep::Files) => {
                // Whoever switched it off may have been killed before.
                keep_files(own)?;
                make(&folder)?;
                self.boot(base, own).await
            }
            None if base.join(base::MANIFEST).exists() => {
                make(&folder)?;
                // Lent memory would have to be a file that the monitor may write.
                let running = Qemu::find()?.restore(base, &folder, Memory::Own).await?;
                let life = meet(running).await?;
                settle(&life.session).await?;
                // It may have been somebody's.
                tell(&life.session, &[Request::Release]).await?;
                Ok(life)
            }
            None => {
                make(&folder)?;
                let layers = base::layers(base);
                let image = layers.first().ok_or_else(|| {
                    Error::rule("make a machine", "there is no disk").on(base.display())
                })?;
                disk::overlay(image, &own.join(ROOT))?;
                self.boot(base, own).await
            }
        }
    }

    /// Makes one that others of its size begin as.
    pub(super) async fn prepare(&self) -> Result<()> {
        let scratch = self.images.join(".preparing");
        let _ = std::fs::remove_dir_all(&scratch);
        make(&scratch)?;
        let made = async {
            let (base, written) = (scratch.join("base"), scratch.join("written"));
            base::of_image(&self.setup.root(), &base)?;
            let life = self.begin(&base, &scratch, None).await?;
            // The agent is there when it answers, and what it was started from is in memory.
            greet(&life.session).await?;
            tell(&life.session, &[Request::Sync]).await?;
            life.running.snapshot(&written).await?;
            base::complete(&written, &base)?;
            let ready = base::ready(self.images, &self.resources);
            std::fs::rename(&written, &ready)
                .map_err(|error| Error::io("finish", &error).on(ready.display()))
        };
        let made = made.await;
        let _ = std::fs::remove_dir_all(&scratch);
        made
    }

    /// Starts the kernel, with the root disk that is there.
    async fn boot(&self, base: &Path, own: &Path) -> Result<Life> {
        let machine = Machine {
            vcpus: u8::try_from(self.resources.cpus).unwrap_or(u8::MAX),
            memory: u32::try_from(self.resources.memory >> 20).unwrap_or(u32::MAX),
            kernel: self.setup.kernel(),
            initramfs: self.setup.initramfs(),
            command_line: String::new(),
            disks: vec![
                Disk {
                    path: own.join(ROOT),
                    read_only: false,
                    layers: base::layers(base),
                },
                Disk::whole(self.setup.tools(), true),
            ],
            accelerator: self.accelerator,
            board: Board::Pci,
            network: true,
            disk_rates: Rates::default(),
        };
        let running = Qemu::find()?.start(&machine, &own.join(RUN)).await?;
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
    let to = draft.join("disk0");
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
