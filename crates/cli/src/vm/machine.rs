//! A machine of the images that were made, from its first instruction or from where all of them are
//! ready, to the first word of its guest.

use casemate_core::error::{Error, Result};
use casemate_core::guest::{Answer, LINE, Request};
use casemate_mux::{Door, Host, Session};
use casemate_vm::driver::{Accelerator, Board, Disk, Machine, Memory, Monitor, Running};
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

/// Makes a machine in a folder of its own. It goes on where the one that is ready stands, if that is
/// of this size; else its kernel starts.
pub(super) async fn begin(
    setup: &Setup,
    images: &Path,
    own: &Path,
    size: Size,
    accelerator: Accelerator,
) -> Result<Life> {
    let folder = own.join("run");
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(|error| Error::io("make a machine's folder", &error).on(folder.display()))?;
    let ready = ready(images, size);
    if ready.exists() {
        // Lent memory would have to be a file that the monitor may write.
        let running = Qemu::find()?.restore(&ready, &folder, Memory::Own).await?;
        let life = meet(running).await?;
        settle(&life.session).await?;
        return Ok(life);
    }
    boot(setup, own, &folder, size, accelerator).await
}

/// Where a machine of this size stands ready.
fn ready(images: &Path, size: Size) -> PathBuf {
    let mib = size.memory >> 20;
    images.join(format!("{READY}-{mib}-{}", size.processors))
}

/// Makes one that others of its size begin as.
pub(super) async fn prepare(
    setup: &Setup,
    images: &Path,
    size: Size,
    accelerator: Accelerator,
) -> Result<()> {
    let scratch = images.join(".preparing");
    let _ = std::fs::remove_dir_all(&scratch);
    let folder = scratch.join("run");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| Error::io("make a machine's folder", &error).on(folder.display()))?;
    let made = async {
        let life = boot(setup, &scratch, &folder, size, accelerator).await?;
        // The agent is there when it answers, and what it was started from is in memory.
        let mut stream = life.session.open(Door::Agent).map_err(unmet)?;
        let greeted = async {
            let hello = b"GET /health HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n";
            stream.write_all(hello).await?;
            let mut answer = Vec::new();
            (&mut stream)
                .take(LINE as u64)
                .read_to_end(&mut answer)
                .await?;
            Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 2"))
        };
        let greeted = tokio::time::timeout(BOOT, greeted).await;
        match greeted.map_err(std::io::Error::from).flatten() {
            Ok(true) => {}
            Ok(false) => return Err(Error::rule("wait for the guest's agent", "it isn't well")),
            Err(error) => return Err(Error::io("wait for the guest's agent", &error)),
        }
        drop(stream);
        tell(&life.session, &[Request::Sync]).await?;
        life.running.snapshot(&ready(images, size)).await
    };
    let made = made.await;
    let _ = std::fs::remove_dir_all(&scratch);
    made
}

async fn boot(
    setup: &Setup,
    own: &Path,
    folder: &Path,
    size: Size,
    accelerator: Accelerator,
) -> Result<Life> {
    let root = own.join("root");
    disk::copy(&setup.root(), &root)?;
    let machine = Machine {
        vcpus: u8::try_from(size.processors).unwrap_or(u8::MAX),
        memory: u32::try_from(size.memory >> 20).unwrap_or(u32::MAX),
        kernel: setup.kernel(),
        initramfs: setup.initramfs(),
        command_line: String::new(),
        disks: vec![
            Disk {
                path: root,
                read_only: false,
            },
            Disk {
                path: setup.tools(),
                read_only: true,
            },
        ],
        accelerator,
        board: Board::Pci,
        network: true,
    };
    let running = Qemu::find()?.start(&machine, folder).await?;
    meet(running).await
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
async fn tell(session: &Session, requests: &[Request]) -> Result<()> {
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
