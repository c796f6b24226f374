//! Firecracker as the monitor: for machines on a KVM that is worth its name.
//!
//! No Firecracker was at hand when this was written. It follows Firecracker's description of its API
//! (`src/firecracker/swagger/firecracker.yaml`, 1.17), and has run against nothing but the fake in
//! this crate's tests: see docs/decisions/0027-firecracker.md.
//!
//! A machine has a folder of its own, in which all names are Firecracker's. It names files by these
//! alone, without the folder, since what a snapshot says of disks and sockets is what Firecracker
//! opens when it is restored: in another folder they are others.
//!
//! ```text
//!   api.sock     Firecracker's control protocol
//!   agent.sock   the way to the guest's vsock ports
//!   log metrics  pipes that we read
//!   kernel initramfs disk0 …     links to them, or copies of a restored machine's own
//!   state memory                 what it was restored from
//!   pages.sock   where its page server listens
//!   firecracker/NAME/root        the folder in which all of this is, behind the jailer
//! ```
//!
//! - [`client`]: its API
//! - [`settings`]: what a machine can have besides; [`needs`]: which files it takes
//! - `place`: a machine's folder; [`jailer`]: what is needed to have it as Firecracker's root
//! - `bare`: a Firecracker that answers, without a machine; `boot`, `restore`: it gets one
//! - `running`: a machine that runs; `snapshot`, `manifest`, `chain`: on disk, and what it builds on
//! - `pages`: its page server; `vsock`: a connection to its guest; `counters`: what it counts
//!
//! A guest can't switch its machine off: Firecracker ends when the guest restarts
//! (`reboot(RB_AUTOBOOT)`, with `reboot=k` on the kernel's command line), and that is reported as the
//! guest's end. One that only powers off halts for ever.

mod bare;
mod boot;
mod chain;
pub mod client;
mod counters;
pub mod jailer;
mod manifest;
pub mod needs;
mod pages;
mod place;
mod restore;
mod running;
pub mod settings;
mod snapshot;
mod vsock;

pub use chain::parts;

use crate::driver::{Capabilities, Machine, Memory, Monitor, Reply, Running};
use casemate_core::error::{Error, Result};
use settings::Settings;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const API: &str = "api.sock";
const AGENT: &str = "agent.sock";
const LOG: &str = "log";
const METRICS: &str = "metrics";
const KERNEL: &str = "kernel";
const INITRAMFS: &str = "initramfs";
const STATE: &str = "state";
const MEMORY: &str = "memory";
const RANGES: &str = "memory.ranges";
const PAGES: &str = "pages.sock";

/// The vsock port at which the guest's end of the channel listens.
pub const PORT: u32 = 1024;

/// What a disk is called, by its number.
fn disk(number: usize) -> String {
    format!("disk{number}")
}

/// Firecracker.
#[derive(Debug, Clone)]
pub struct Firecracker {
    program: PathBuf,
    settings: Settings,
    /// Whether machines are to end with this process.
    dies_with_this: bool,
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
}

impl Firecracker {
    /// By its program's path. Its machines end with this process, except behind the jailer: the
    /// kernel forgets that when a process becomes another user (prctl(2), `PR_SET_PDEATHSIG`).
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            settings: Settings::default(),
            dies_with_this: true,
        }
    }

    /// What its machines have besides.
    #[must_use]
    pub fn with(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Lets its machines go on when this process ends. Who finds them then is the caller's matter.
    #[must_use]
    pub fn outliving(mut self) -> Self {
        self.dies_with_this = false;
        self
    }

    /// On PATH, or where administrators put programs.
    ///
    /// # Errors
    /// It isn't there.
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/local/bin".into()]);
        let mut found = folders.map(|folder| folder.join("firecracker"));
        found
            .find(|path| path.is_file())
            .map(Self::new)
            .ok_or_else(|| {
                Error::rule("find Firecracker", "there is no `firecracker` on PATH")
                    .hint("put a release's `firecracker` there, or use QEMU")
            })
    }

    /// What is started for a machine whose folder this is.
    ///
    /// # Errors
    /// The jailer would refuse it.
    pub fn command(&self, folder: &Path) -> Result<Command> {
        // Relative: it is started in its folder.
        let mut own: Vec<OsString> = vec!["--api-sock".into(), API.into()];
        Ok(match &self.settings.jail {
            Some(jail) => jail.command(&self.program, folder, own)?,
            None => {
                own.extend(["--id".into(), settings::NAME.into()]);
                Command {
                    program: self.program.clone(),
                    args: own,
                }
            }
        })
    }
}

impl Monitor for Firecracker {
    fn name(&self) -> &'static str {
        "firecracker"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            boot: true,
            pause: true,
            snapshot: true,
            differences: self.settings.differences,
            restore: true,
            pages: self.settings.pages.is_some(),
            fork: true,
            channel: true,
            network: self.settings.tap.is_some(),
            rates: true,
            balloon: true,
            metrics: true,
        }
    }

    fn start<'a>(&'a self, machine: &'a Machine, folder: &'a Path) -> Reply<'a, Arc<dyn Running>> {
        Box::pin(async move {
            let started = boot::boot(self, machine, folder).await?;
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
}
