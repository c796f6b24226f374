//! Where canisters are: in a folder, which one process has at a time.
//!
//! A command asks the server that has the folder, if one has. Otherwise it takes the folder itself, as
//! soon as no other command has it.

use super::owned::Owned;
use crate::{printer, state};
use anyhow::bail;
use casemate_core::limits::parse_duration;
use casemate_wasm::canisters::{CanisterError, Options};
use casemate_wasm::executor::{Executor, InProcess, Sandboxed};
use casemate_wasm::module::Limits;
use casemate_wasm::process::Spec;
use casemate_wasm::store::{Durability, History, StoreError};
use casemate_wasm_http::{Owner, Remote};
use clap::{Args, ValueEnum};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a worker may take for one call: as many instructions as a call may have, on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// After so long it is looked again whether the folder is free.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where guests run.
#[derive(Clone, Copy, ValueEnum)]
enum Where {
    /// Each in a process of its own, behind the wall
    Sandboxed,
    /// In this process: only for modules that you trust
    InProcess,
}

/// When a call counts as done.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kept {
    /// When it is written: it survives the end of every process
    Process,
    /// When it is on the disk: it survives a power cut
    Power,
    /// When it has run: it is lost if anything dies before the next checkpoint
    Checkpoint,
}

impl Kept {
    pub(crate) fn durability(self) -> Durability {
        match self {
            Self::Process => Durability::Process,
            Self::Power => Durability::Power,
            Self::Checkpoint => Durability::Checkpoint,
        }
    }
}

// What all of these commands take; a doc comment would take the place of what is said of each.
#[derive(Args)]
pub(super) struct Common {
    /// The folder of the canisters [default: casemate/wasm in XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where guests run [default: sandboxed]
    #[arg(long, value_enum, value_name = "WHERE")]
    executor: Option<Where>,
    /// When a call counts as done [default: process]
    #[arg(long, value_enum, value_name = "WHEN")]
    durability: Option<Kept>,
    /// Keep checkpoints and the calls after them, for `casemate wasm replay`: all of them, or the last N
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true)]
    keep_history: Option<Option<NonZeroU32>>,
    /// Wait so long for another command that has the folder
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = waiting)]
    wait: Duration,
}

/// What is kept by a flag that may have a number.
pub(crate) fn history(flag: Option<Option<NonZeroU32>>) -> History {
    match flag {
        None => History::Nothing,
        Some(None) => History::All,
        Some(Some(count)) => History::Last(count),
    }
}

/// A time, or none.
fn waiting(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => parse_duration(text),
    }
}

impl Common {
    /// Where they are, and what is to become of them.
    fn place(self) -> anyhow::Result<(PathBuf, Arc<dyn Executor>, Options, Instant)> {
        let folder = self.data.or_else(|| Some(state::folder()?.join("wasm")));
        let Some(folder) = folder else {
            bail!(
                "find the folder of the canisters: neither XDG_STATE_HOME nor HOME is set\nhint: --data DIR"
            );
        };
        let executor: Arc<dyn Executor> = match self.executor {
            Some(Where::InProcess) => Arc::new(InProcess::new(Limits::default())?),
            Some(Where::Sandboxed) | None => {
                let spec = Spec {
                    pool: 1,
                    ..Spec::default()
                };
                Arc::new(Sandboxed::new(spec, PATIENCE))
            }
        };
        let options = Options {
            durability: self.durability.map(Kept::durability).unwrap_or_default(),
            is_alone: true,
            history: history(self.keep_history),
            ..Options::default()
        };
        let until = Instant::now() + self.wait;
        Ok((folder, executor, options, until))
    }

    /// Whoever has the canisters.
    pub(super) fn owner(self) -> anyhow::Result<Box<dyn Owner>> {
        let is_told =
            self.executor.is_some() || self.durability.is_some() || self.keep_history.is_some();
        let (folder, executor, options, until) = self.place()?;
        loop {
            if let Some(remote) = Remote::find(&folder)? {
                if is_told {
                    printer::note(
                        "a server has the canisters: its own executor, durability and history hold",
                    );
                }
                return Ok(Box::new(remote));
            }
            match own(&folder, &executor, options, until)? {
                Some(owned) => return Ok(Box::new(owned)),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }
}

/// Takes the folder; `None` if another process has it, and may have given it back by then.
pub(crate) fn own(
    folder: &Path,
    executor: &Arc<dyn Executor>,
    options: Options,
    until: Instant,
) -> Result<Option<Owned>, CanisterError> {
    match Owned::open(folder, Arc::clone(executor), options) {
        Err(CanisterError::Store(StoreError::Owned { .. })) if Instant::now() < until => Ok(None),
        Err(error) => Err(error),
        Ok(owned) => Ok(Some(owned)),
    }
}
