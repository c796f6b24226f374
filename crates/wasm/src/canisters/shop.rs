//! What all canisters share: the folder, what runs them, and the memory that there is.

use super::budget::Budget;
use super::codes::{self, Codes};
use super::phases::{Phase, Phases};
use super::{CanisterError, Options};
use crate::executor::{Code, Executor};
use crate::process::BuildId;
use crate::store::{Directory, Durability, StoreError, write_whole};
use casemate_core::hex;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

/// Shared by all canisters of a folder. The folder's lock goes with it, after the last of them.
pub(super) struct Shop {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) options: Options,
    pub(super) budget: Budget,
    pub(super) phases: Phases,
    pub(super) directory: Directory,
    pub(super) codes: Codes,
}

impl Shop {
    /// Keeps a module as it came, and gives its code and the hash that it is known by.
    pub(super) fn take(&self, module: &[u8]) -> Result<Arc<Code>, CanisterError> {
        let hash = hex::encode(&Sha256::digest(module));
        let kept = self.directory.module(&hash, "wasm");
        // One that a power cut damaged is written again.
        if std::fs::read(&kept).ok().as_deref() != Some(module) {
            let is_synced = self.options.durability == Durability::Power;
            write_whole(&kept, module, is_synced)?;
        }
        self.code(&hash)
    }

    /// A module's code: what another canister has of it, or as it was compiled before by this build,
    /// or compiled now.
    pub(super) fn code(&self, hash: &str) -> Result<Arc<Code>, CanisterError> {
        if let Some(code) = self.codes.get(hash) {
            return Ok(code);
        }
        let build = BuildId::own().map_err(|why| CanisterError::Build(why.to_string()))?;
        let kept = self.directory.module(hash, &hex::encode(&build.0[..16]));
        let code = match codes::read(&kept, hash) {
            Some(code) => Arc::new(code),
            None => self.compile(hash, &kept)?,
        };
        Ok(self.codes.share(hash, code))
    }

    fn compile(&self, hash: &str, kept: &Path) -> Result<Arc<Code>, CanisterError> {
        let path = self.directory.module(hash, "wasm");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(why) => return Err(CanisterError::NoModule(path, why)),
        };
        if hex::encode(&Sha256::digest(&bytes)) != hash {
            let what = "a module with another hash than its name says";
            return Err(StoreError::damaged(&path, 0, what).into());
        }
        let compile = || self.executor.compile(&bytes);
        let code = self.phases.of(Phase::Compile, compile)?;
        // What can't be kept is compiled again.
        let _ = codes::keep(kept, &code);
        Ok(code)
    }
}
