//! What all canisters share: the folder, what runs them, and the memory that there is.

use super::budget::Budget;
use super::phases::{Phase, Phases};
use super::{CanisterError, Options};
use crate::executor::{Code, Executor};
use crate::process::BuildId;
use crate::store::{Directory, Durability, write_whole};
use casemate_core::hex;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Shared by all canisters of a folder. The folder's lock goes with it, after the last of them.
pub(super) struct Shop {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) options: Options,
    pub(super) budget: Budget,
    pub(super) phases: Phases,
    pub(super) directory: Directory,
}

impl Shop {
    /// Keeps a module as it came, and gives its code and the hash that it is known by.
    pub(super) fn take(&self, module: &[u8]) -> Result<Arc<Code>, CanisterError> {
        let hash = hex::encode(&Sha256::digest(module));
        let kept = self.directory.module(&hash, "wasm");
        if !kept.exists() {
            let is_synced = self.options.durability == Durability::Power;
            write_whole(&kept, module, is_synced)?;
        }
        self.code(&hash)
    }

    /// A module's code: as it was compiled before by this build, or compiled now.
    pub(super) fn code(&self, hash: &str) -> Result<Arc<Code>, CanisterError> {
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
        let compile = || self.executor.compile(&bytes);
        let code = self.phases.of(Phase::Compile, compile)?;
        // What can't be kept is compiled again.
        let _ = write_whole(&kept, code.bundle.bytes(), false);
        Ok(code)
    }
}
