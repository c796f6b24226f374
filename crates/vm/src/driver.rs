//! The seam between the wall and whichever program runs the machines.
//!
//! ```text
//!   Monitor::start ───┐
//!                     ├──▶ dyn Running ── resume ⇄ pause ── snapshot ──▶ a folder
//!   Monitor::restore ─┘         │                                          │
//!        ▲                      ├── channel · metrics · end ──▶ Ended      │
//!        └──────────────────────┼──────────────────────────────────────────┘
//!   Monitor::wake ◀── its files ┴── sleep
//! ```
//!
//! A machine is paused when it has been started or restored, so that all is in place before its
//! first instruction. One that is dropped is ended.

use casemate_core::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What is answered later.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What a monitor can do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by name")]
pub struct Capabilities {
    /// Starts a kernel.
    pub boot: bool,
    /// Stops a machine where it is.
    pub pause: bool,
    /// Writes all of a machine.
    pub snapshot: bool,
    /// Writes what has changed since the last snapshot.
    pub differences: bool,
    /// Restores from a file that is read as it is needed.
    pub restore: bool,
    /// Has missing memory asked for from a process of ours (userfaultfd(2)).
    pub pages: bool,
    /// Restores many machines of one snapshot, which share what they don't change.
    pub fork: bool,
    /// Carries bytes between host and guest without a network.
    pub channel: bool,
    /// Gives machines a network.
    pub network: bool,
    /// Bounds what a machine sends and writes.
    pub rates: bool,
    /// Takes memory back that a guest doesn't use.
    pub balloon: bool,
    /// Tells what a machine uses.
    pub metrics: bool,
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// A translator in the monitor: for development and tests, no boundary to rely on.
    Tcg,
}

/// The machine's hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Board {
    /// Devices on a bus that the kernel looks through.
    Pci,
    /// As few devices as there can be, at fixed places. A kernel without its own way to measure the
    /// processor's clock needs to be told.
    Micro,
}

/// A disk of a machine, in the order in which the guest numbers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The file. One that can be written belongs to the machine alone.
    pub path: PathBuf,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// What it shows where it hasn't been written: an image, and then what was written over that.
    /// With any of these it is one of [`overlay`](crate::guest::disk::overlay).
    #[serde(default)]
    pub layers: Vec<PathBuf>,
}

impl Disk {
    /// One that is all in one file.
    pub fn whole(path: PathBuf, read_only: bool) -> Self {
        Self {
            path,
            read_only,
            layers: Vec::new(),
        }
    }
}

/// A machine to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors.
    pub vcpus: u8,
    /// Memory, MiB.
    pub memory: u32,
    /// The kernel, by its whole path.
    pub kernel: PathBuf,
    /// The file system it starts with, by its whole path.
    pub initramfs: PathBuf,
    /// What the kernel is told, besides what the board needs.
    pub command_line: String,
    /// Disks.
    pub disks: Vec<Disk>,
    /// See there.
    pub accelerator: Accelerator,
    /// See there.
    pub board: Board,
    /// Whether it has a network: that of its monitor, whose connections are the machine's.
    #[serde(default)]
    pub network: bool,
    /// How fast its disks are, all of them together.
    #[serde(default)]
    pub disk_rates: Rates,
}

/// Bounds of what is moved. Without one, there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Of bytes.
    pub bytes: Option<Rate>,
    /// Of operations, each of any size.
    pub operations: Option<Rate>,
}

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// So many a second in the long run.
    pub sustained: u64,
    /// So many in one second after idle ones; no fewer than the other.
    pub burst: u64,
}

/// Whose the memory of a restored machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Pages are the snapshot's until they are written. The next snapshot has to write all of it.
    Lent,
    /// A copy of its own, sparse or sharing blocks where the file system can: a little more work
    /// now, and the next snapshot is as cheap as the first.
    Own,
    /// A page server's, which is asked for pages as they are needed (userfaultfd(2)).
    Served,
}

/// What a snapshot's memory and disks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All of them.
    Full,
    /// What has changed since the last snapshot, or since the one that the machine was restored from.
    /// That one has to stay for as long as this one builds on it.
    Difference,
}

/// Whom a machine is for, as programs inside may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The sandbox's id.
    pub sandbox: String,
    /// Its template's.
    pub template: String,
}

/// A program that runs machines.
pub trait Monitor: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Makes a machine, which is paused before its first instruction. Its files are in a folder of
    /// its own, which is there and empty.
    fn start<'a>(&'a self, machine: &'a Machine, folder: &'a Path) -> Reply<'a, Arc<dyn Running>>;

    /// Makes a machine that goes on where a snapshot was taken; it is paused. The snapshot has to
    /// stay as long as the machine, and isn't changed.
    fn restore<'a>(
        &'a self,
        snapshot: &'a Path,
        folder: &'a Path,
        memory: Memory,
    ) -> Reply<'a, Arc<dyn Running>>;

    /// Makes a machine that goes on where it was put to sleep, with the files that it had there; it
    /// is paused, and can be woken again unless it was resumed. The folder may have another name by
    /// now: disks are looked for in it and above it, and their layers in a folder of their own.
    fn wake<'a>(&'a self, _folder: &'a Path, _layers: &'a Path) -> Reply<'a, Arc<dyn Running>> {
        unable("wake a machine where it was put to sleep")
    }
}

/// A machine. It is ended when this is dropped.
pub trait Running: Send + Sync {
    /// Lets it run, if it doesn't.
    fn resume(&self) -> Reply<'_, ()>;

    /// Stops it where it is, if it runs.
    fn pause(&self) -> Reply<'_, ()>;

    /// Writes all of it into a new folder, which is there whole or not at all. It is stopped
    /// meanwhile, and afterwards runs if it did before.
    fn snapshot<'a>(&'a self, folder: &'a Path) -> Reply<'a, ()>;

    /// Likewise, of one kind or the other.
    fn snapshot_as<'a>(&'a self, folder: &'a Path, kind: Kind) -> Reply<'a, ()> {
        match kind {
            Kind::Full => self.snapshot(folder),
            Kind::Difference => unable("write what has changed of a machine"),
        }
    }

    /// Takes so much memory from the guest, MiB, of what it doesn't need; at 0 it has all of it again.
    /// How far the guest goes along is up to it: this comes back when it has done so, or gets no
    /// further.
    fn balloon(&self, _mib: u32) -> Reply<'_, ()> {
        unable("take memory from a guest")
    }

    /// Tells the guest whom it is for.
    fn identify<'a>(&'a self, _who: &'a Identity) -> Reply<'a, ()> {
        unable("tell a guest whom it is for")
    }

    /// Stops it and writes into its folder what memory and disks there don't have: once it is ended,
    /// it can be woken. Resuming it undoes that.
    fn sleep(&self) -> Reply<'_, ()> {
        unable("put a machine to sleep where it is")
    }

    /// A new connection to the guest's end of the channel; the one before is over.
    fn channel(&self) -> Reply<'_, OwnedFd>;

    /// What it uses.
    fn metrics(&self) -> Reply<'_, Metrics>;

    /// What its monitor counts, in the monitor's own words: JSON, which is as hostile as a guest that
    /// has taken the monitor over.
    fn counters(&self) -> Reply<'_, String> {
        unable("ask a monitor what it counts")
    }

    /// The last lines of its console so far, oldest first. They are the guest's, escaped here: for
    /// whoever reports that it doesn't answer.
    fn console(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends it at once.
    fn end(&self);

    /// Waits until it has ended, however that comes.
    fn ended(&self) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>>;
}

/// What a monitor doesn't do.
fn unable<'a, T: Send + 'a>(what: &'static str) -> Reply<'a, T> {
    let error = Error::rule(what, "this machine's monitor can't");
    Box::pin(std::future::ready(Err(error)))
}

/// What a machine uses, of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Memory of its monitor and of itself, bytes, as far as it is there at all.
    pub resident: u64,
    /// Processor time.
    pub processor: Duration,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// The host ended it.
    Asked,
    /// The guest switched it off.
    Off,
    /// The guest restarted it, which is not for it to do.
    Restarted,
    /// The guest's kernel gave up.
    Panicked,
    /// The monitor exited with this status.
    Exited(i32),
    /// This signal ended the monitor (signal(7)).
    Killed(i32),
    /// The monitor can't be asked any more.
    Lost(String),
}

/// A machine's end, and its last words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub how: How,
    /// The last lines of its console, oldest first. They are the guest's, escaped here.
    pub console: Vec<String>,
    /// The last lines that the monitor itself said.
    pub monitor: Vec<String>,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("it was ended"),
            Self::Off => f.write_str("the guest switched it off"),
            Self::Restarted => f.write_str("the guest restarted it"),
            Self::Panicked => f.write_str("the guest's kernel panicked"),
            Self::Exited(status) => write!(f, "its monitor exited with status {status}"),
            Self::Killed(signal) => write!(f, "signal {signal} ended its monitor"),
            Self::Lost(why) => write!(f, "its monitor can't be asked any more: {why}"),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.how)?;
        for line in &self.monitor {
            write!(f, "\n  monitor: {line}")?;
        }
        for line in &self.console {
            write!(f, "\n  console: {line}")?;
        }
        Ok(())
    }
}
