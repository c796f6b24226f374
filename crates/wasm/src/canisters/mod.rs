//! Canisters that stay: installed, called, and there again after every process has ended.
//!
//! ```text
//!  call ─▶ seat: run ─▶ journal: append ─▶ seat: commit ─▶ answer
//!            │ trap: nothing is written        │
//!            └ crash: the seat is made anew    └ what was written, for the next checkpoint
//! ```
//!
//! [`Canisters`] is the owner of a folder ([`Directory`]). A canister is opened when it is first
//! asked for: its pages are loaded and the calls since are run again, each of which has to come to
//! what it came to before. An update is written down before anybody is told of it; a query and a call
//! that failed leave nothing.
//!
//! [`Directory`]: crate::store::Directory

mod canister;
mod error;
mod install;

pub use canister::{Canister, Outcome};
pub use error::CanisterError;

use crate::executor::{Code, Executor};
use crate::process::BuildId;
use crate::store::{Directory, Durability, write_whole};
use casemate_core::hex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What becomes of canisters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// When a call counts as done.
    pub durability: Durability,
}

/// All canisters of a folder.
pub struct Canisters {
    // In the order in which they go: workers, who started them, and the folder's lock last.
    open: BTreeMap<String, Canister>,
    executor: Arc<dyn Executor>,
    options: Options,
    directory: Directory,
}

impl Canisters {
    /// Takes a folder, which is made if it isn't there.
    pub fn open(
        path: &Path,
        executor: Arc<dyn Executor>,
        options: Options,
    ) -> Result<Self, CanisterError> {
        Ok(Self {
            directory: Directory::open(path)?,
            executor,
            options,
            open: BTreeMap::new(),
        })
    }

    /// Their names.
    pub fn names(&self) -> Result<Vec<String>, CanisterError> {
        Ok(self.directory.names()?)
    }

    /// The one of this name.
    pub fn get(&mut self, name: &str) -> Result<&mut Canister, CanisterError> {
        let home = self.directory.home(name)?;
        if !self.open.contains_key(name) {
            if !home.is_dir() {
                let near = self.names()?;
                return Err(CanisterError::NoCanister(name.to_owned(), near));
            }
            let canister = Canister::recover(self, home)?;
            self.open.insert(name.to_owned(), canister);
        }
        let found = self.open.get_mut(name);
        found.ok_or_else(|| CanisterError::NoCanister(name.to_owned(), Vec::new()))
    }

    /// Removes one, and all that it knew.
    pub fn remove(&mut self, name: &str) -> Result<(), CanisterError> {
        if !self.directory.home(name)?.is_dir() {
            return Err(CanisterError::NoCanister(name.to_owned(), self.names()?));
        }
        self.open.remove(name);
        Ok(self.directory.remove(name)?)
    }

    /// A module's code: as it was compiled before by this build, or compiled now.
    fn code(&self, hash: &str) -> Result<Arc<Code>, CanisterError> {
        let build = BuildId::own().map_err(|why| CanisterError::Build(why.to_string()))?;
        let kept = self.directory.module(hash, &hex::encode(&build.0[..16]));
        if let Some(code) = std::fs::read(&kept)
            .ok()
            .and_then(|bytes| Code::of(hash, &bytes).ok())
        {
            return Ok(Arc::new(code));
        }
        let path = self.directory.module(hash, "wasm");
        let bytes = std::fs::read(&path).map_err(|why| CanisterError::NoModule(path, why))?;
        let code = self.executor.compile(&bytes)?;
        // What can't be kept is compiled again.
        let _ = write_whole(&kept, code.bundle.bytes(), false);
        Ok(code)
    }
}
