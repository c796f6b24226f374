//! QEMU as the monitor: it runs on any machine, with KVM where that is worth something, else by
//! translating the guest's instructions.
//!
//! A running machine has a folder of its own, in which all names are QEMU's:
//!
//! ```text
//!   memory       the guest's memory, shared with QEMU: a snapshot copies it, sparse
//!   disk0 …      disks that it can write, if they were restored
//!   qmp.sock     QEMU's control protocol
//!   agent.sock   the other end of the guest's virtio-serial port `casemate.agent`
//! ```
//!
//! - [`arguments`]: a machine as QEMU's command line; [`clock`]: what a micro board's kernel is told
//! - [`running`]: a machine that runs; [`event`]: what QEMU says of its end; [`balloon`]: memory that
//!   it gives back
//! - [`snapshot`]: a machine on disk: its memory and disks ([`parts`]); [`manifest`]: what it was
//! - [`chain`]: snapshots that build on others; [`merge`]: on none any more; [`restore`]: back
//! - [`sleep`]: a machine on disk where it is, without copies
//!
//! See docs/decisions/0025-qemu.md and 0030-differences.md for why it is used as it is.

mod arguments;
mod balloon;
mod chain;
mod clock;
mod event;
mod manifest;
mod merge;
mod parts;
mod restore;
mod running;
mod sleep;
mod snapshot;

use crate::driver::{Capabilities, Machine, Memory, Monitor, Reply, Running};
use arguments::{Arguments, Origin};
use casemate_core::error::{Error, Result};
use running::Machinery;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the guest's memory is, in the machine's folder or the snapshot's.
const MEMORY: &str = "memory";
const QMP: &str = "qmp.sock";
const AGENT: &str = "agent.sock";

/// What the guest's end of the channel is called.
pub const PORT: &str = "casemate.agent";

/// How long QEMU may take for what needs no memory to be moved.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to move so much memory, MiB. Slow disks and busy machines are to pass.
fn patience(memory: u32) -> Duration {
    PATIENCE + Duration::from_millis(u64::from(memory) * 40)
}

/// QEMU.
#[derive(Debug, Clone)]
pub struct Qemu {
    program: PathBuf,
    /// Whether machines are to end with this process.
    dies_with_this: bool,
}

impl Qemu {
    /// By its program's path. Its machines end with this process.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            dies_with_this: true,
        }
    }

    /// Lets its machines go on when this process ends. Who finds them then is the caller's matter.
    #[must_use]
    pub fn outliving(mut self) -> Self {
        self.dies_with_this = false;
        self
    }

    /// Where this system has it, if it does.
    pub fn find() -> Result<Self> {
        let name = format!("qemu-system-{}", std::env::consts::ARCH);
        let places = ["/usr/bin", "/usr/local/bin", "/usr/libexec"];
        let found = places.map(|place| Path::new(place).join(&name));
        let found = found.into_iter().find(|path| path.is_file());
        found.map(Self::new).ok_or_else(|| {
            Error::rule("find QEMU", format!("there is no {name}"))
                .hint("install it: on Debian, the package qemu-system-x86")
        })
    }
}

/// Makes a snapshot that builds on others whole, so that those may be removed. Whoever is killed
/// meanwhile leaves it as it was, or whole.
///
/// # Errors
/// It can't be read, or not be written; it is as it was.
pub async fn merge(snapshot: &Path) -> Result<()> {
    let snapshot = snapshot.to_owned();
    crate::monitor::blocking(move || merge::merge(&snapshot)).await
}

impl Monitor for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            boot: true,
            pause: true,
            snapshot: true,
            differences: true,
            restore: true,
            pages: false,
            fork: true,
            channel: true,
            network: true,
            rates: true,
            balloon: true,
            metrics: true,
        }
    }

    fn start<'a>(&'a self, machine: &'a Machine, folder: &'a Path) -> Reply<'a, Arc<dyn Running>> {
        Box::pin(async move {
            let arguments = Arguments {
                machine,
                memory: folder.join(MEMORY),
                origin: Origin::Kernel,
            };
            let command_line = arguments.list()?;
            let origin = arguments.origin;
            let started =
                Machinery::start(self, machine.clone(), command_line, folder, origin).await?;
            Ok(Arc::new(started) as Arc<dyn Running>)
        })
    }

    fn restore<'a>(
        &'a self,
        snapshot: &'a Path,
        folder: &'a Path,
        memory: Memory,
    ) -> Reply<'a, Arc<dyn Running>> {
        Box::pin(async move {
            let restored = restore::restore(self, snapshot, folder, memory).await?;
            Ok(Arc::new(restored) as Arc<dyn Running>)
        })
    }

    fn wake<'a>(&'a self, folder: &'a Path, layers: &'a Path) -> Reply<'a, Arc<dyn Running>> {
        Box::pin(async move {
            let woken = sleep::wake(self, folder, layers).await?;
            Ok(Arc::new(woken) as Arc<dyn Running>)
        })
    }
}
