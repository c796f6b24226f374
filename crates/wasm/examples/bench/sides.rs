//! The two executors behind one interface: all that this bench knows of canisters.

use super::Result;
use casemate_wasm::call::{Answer, Principal};
use casemate_wasm::canisters::{Ask, Canisters, Options, Outcome};
use casemate_wasm::executor::{Executor, InProcess, Sandboxed};
use casemate_wasm::module::Limits;
use casemate_wasm::process::Spec;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a call may take here.
const PATIENCE: Duration = Duration::from_secs(300);

/// No arguments, in Candid: Motoko's methods read them.
const NOTHING: &[u8] = b"DIDL\0\0";

/// Where guests run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    InProcess,
    /// With so many workers waiting.
    Sandboxed(u32),
}

impl Kind {
    /// Which comes first is what the other is compared with.
    pub(crate) const BOTH: [Self; 2] = [Self::InProcess, Self::Sandboxed(4)];

    fn executor(self) -> Result<Arc<dyn Executor>> {
        Ok(match self {
            Self::InProcess => Arc::new(InProcess::new(Limits::default())?),
            Self::Sandboxed(pool) => Arc::new(Sandboxed::new(
                Spec {
                    pool,
                    ..Spec::default()
                },
                PATIENCE,
            )),
        })
    }
}

/// Canisters in one executor.
pub(crate) struct Side {
    canisters: Canisters,
    executor: Arc<dyn Executor>,
    home: PathBuf,
}

impl Side {
    /// In a folder, which may hold canisters.
    pub(crate) fn open(kind: Kind, home: &Path) -> Result<Self> {
        Self::over(kind.executor()?, home)
    }

    fn over(executor: Arc<dyn Executor>, home: &Path) -> Result<Self> {
        let options = Options {
            // Checkpoints are no part of what is measured, and would be in some samples only.
            most_replayed: u64::MAX,
            ..Options::default()
        };
        Ok(Self {
            canisters: Canisters::open(home, executor.clone(), options)?,
            executor,
            home: home.to_path_buf(),
        })
    }

    /// Lets go of all canisters, and takes the folder again. The executor stays.
    pub(crate) fn again(self) -> Result<Self> {
        let Self {
            canisters,
            executor,
            home,
        } = self;
        drop(canisters);
        Self::over(executor, &home)
    }

    pub(crate) fn install(&self, name: &str, module: &[u8]) -> Result<()> {
        let outcome = self
            .canisters
            .install(name, module, Vec::new(), Principal::ANONYMOUS)?;
        answered(outcome).map(drop)
    }

    /// An update; its reply.
    pub(crate) fn call(&self, name: &str, method: &str) -> Result<Vec<u8>> {
        answered(
            self.canisters
                .call(name, Ask::new(method, NOTHING.to_vec()))?,
        )
    }

    /// A query; its reply.
    pub(crate) fn query(&self, name: &str, method: &str) -> Result<Vec<u8>> {
        answered(
            self.canisters
                .query(name, Ask::new(method, NOTHING.to_vec()))?,
        )
    }

    /// Takes a canister's worker away.
    pub(crate) fn rest(&self, name: &str) -> Result<()> {
        Ok(self.canisters.rest(name)?)
    }

    /// As a server does before it answers anybody.
    pub(crate) fn wake_all(&self) -> Result<()> {
        Ok(self.canisters.wake_all()?)
    }

    /// Takes its memory away too, once that is in its files.
    pub(crate) fn evict(&self, name: &str) -> Result<()> {
        match self.canisters.evict(name)? {
            true => Ok(()),
            false => Err(format!("{name} has something under way").into()),
        }
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        Ok(self.canisters.names()?)
    }
}

fn answered(outcome: Outcome) -> Result<Vec<u8>> {
    match outcome.result {
        Ok(Some(Answer::Reply(bytes))) => Ok(bytes),
        Ok(None) => Ok(Vec::new()),
        Ok(Some(Answer::Reject(why))) => Err(why.into()),
        Err(failure) => Err(failure.to_string().into()),
    }
}

/// Both, each in a folder of its own that goes with them.
pub(crate) struct Both {
    pub(crate) sides: [Side; 2],
    // After what is in it.
    _home: tempfile::TempDir,
}

impl Both {
    /// With one canister of this module in each.
    pub(crate) fn with(name: &str, module: &[u8]) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let make = |kind: Kind, folder: &str| -> Result<Side> {
            let side = Side::open(kind, &home.path().join(folder))?;
            side.install(name, module)?;
            Ok(side)
        };
        let [one, other] = Kind::BOTH;
        Ok(Self {
            sides: [make(one, "in-process")?, make(other, "sandboxed")?],
            _home: home,
        })
    }
}
