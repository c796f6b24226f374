//! `canister.json`: what a canister is, and which files hold the rest of it.

use super::StoreError;
use super::write_whole;
use crate::call::{Principal, Statics, Status};
use crate::guest::State;
use casemate_core::hex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// A canister as it was at its last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    version: u32,
    /// Its principal, as text.
    pub canister: String,
    /// SHA-256 of its module, in hexadecimal digits.
    pub module: String,
    /// Who may change it.
    pub controllers: Vec<String>,
    /// It takes no calls.
    pub is_stopped: bool,
    /// Grows with every change of code or settings.
    pub changes: u64,
    /// Its cycles, in decimal digits: they don't fit into a number of JSON.
    pub cycles: String,
    /// When its timer goes off, nanoseconds since 1970; 0 for never.
    pub timer: u64,
    /// What it may have of memory, bytes.
    pub memory: u64,
    /// It wants to be woken: there is a heartbeat.
    pub has_heartbeat: bool,
    /// It has calls of others that aren't answered.
    pub is_waiting: bool,
    /// What it has begun and not ended, in hexadecimal digits.
    pub books: String,
    /// Globals and sizes.
    state: String,
    /// Its memory: these overlays, the oldest first.
    pub overlays: Vec<u64>,
    /// The calls since: this journal.
    pub journal: u64,
}

impl Document {
    /// Of what is known of a canister, without any file.
    #[must_use]
    pub fn of(statics: &Statics, module: &[u8; 32], state: &State) -> Self {
        Self {
            version: VERSION,
            canister: statics.canister.to_string(),
            module: hex::encode(module),
            controllers: statics
                .controllers
                .iter()
                .map(Principal::to_string)
                .collect(),
            is_stopped: statics.status != Status::Running,
            changes: statics.version,
            cycles: statics.cycles.to_string(),
            timer: statics.timer,
            memory: 0,
            has_heartbeat: false,
            is_waiting: false,
            books: String::new(),
            state: hex::encode(&state.to_bytes()),
            overlays: Vec::new(),
            journal: 0,
        }
    }

    /// Where it is in a canister's folder.
    #[must_use]
    pub fn path(home: &Path) -> PathBuf {
        home.join("canister.json")
    }

    /// An overlay's file.
    #[must_use]
    pub fn overlay(home: &Path, number: u64) -> PathBuf {
        home.join(format!("{number}.pages"))
    }

    /// A journal's file.
    #[must_use]
    pub fn calls(home: &Path, number: u64) -> PathBuf {
        home.join(format!("{number}.calls"))
    }

    /// Reads that of a canister.
    pub fn read(home: &Path) -> Result<Self, StoreError> {
        let path = Self::path(home);
        let bytes = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
        let document: Self = serde_json::from_slice(&bytes)
            .map_err(|why| StoreError::damaged(&path, why.column() as u64, why.to_string()))?;
        match document.version {
            VERSION => Ok(document),
            other => Err(StoreError::damaged(
                &path,
                0,
                format!("version {other} isn't known"),
            )),
        }
    }

    /// Writes it: from now on, this is the canister.
    pub fn write(&self, home: &Path, is_synced: bool) -> Result<(), StoreError> {
        // Strings and numbers have nothing that could fail.
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_whole(&Self::path(home), &bytes, is_synced)
    }

    /// As it goes into an archive: without files, which are others elsewhere.
    pub(super) fn carried(&self) -> Vec<u8> {
        let carried = Self {
            overlays: Vec::new(),
            journal: 0,
            ..self.clone()
        };
        // Strings and numbers have nothing that could fail.
        serde_json::to_vec_pretty(&carried).unwrap_or_default()
    }

    /// What doesn't change while a call runs.
    pub fn statics(&self, home: &Path) -> Result<Statics, StoreError> {
        let damaged = |what: String| StoreError::damaged(&Self::path(home), 0, what);
        let who = |text: &String| {
            let who = text.parse::<Principal>();
            who.map_err(|why| damaged(why.to_string()))
        };
        Ok(Statics {
            canister: who(&self.canister)?,
            controllers: self.controllers.iter().map(who).collect::<Result<_, _>>()?,
            status: match self.is_stopped {
                true => Status::Stopped,
                false => Status::Running,
            },
            version: self.changes,
            cycles: self
                .cycles
                .parse()
                .map_err(|_| damaged("no number of cycles".to_owned()))?,
            timer: self.timer,
        })
    }

    /// Globals and sizes.
    pub fn state(&self, home: &Path) -> Result<State, StoreError> {
        let damaged = |what: String| StoreError::damaged(&Self::path(home), 0, what);
        let bytes = hex::decode(&self.state).ok_or_else(|| damaged("no state".to_owned()))?;
        State::from_bytes(&bytes).map_err(|why| damaged(why.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Value;

    #[test]
    fn it_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut statics = Statics::of(Principal::of_canister(3));
        statics.controllers.push(Principal::ANONYMOUS);
        statics.cycles = u128::MAX;
        let state = State {
            globals: vec![Value::F64(1)],
            heap_pages: 2,
            stable_pages: 3,
        };
        let mut document = Document::of(&statics, &[7; 32], &state);
        document.overlays = vec![1, 2];
        document.journal = 2;
        document.write(folder.path(), true).unwrap();
        let found = Document::read(folder.path()).unwrap();
        assert_eq!(found, document);
        assert_eq!(found.statics(folder.path()).unwrap(), statics);
        assert_eq!(found.state(folder.path()).unwrap(), state);
    }

    #[test]
    fn what_is_damaged_is_said() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{", "{}", r#"{"version":1}"#] {
            std::fs::write(Document::path(folder.path()), text).unwrap();
            let said = Document::read(folder.path()).unwrap_err().to_string();
            assert!(said.contains("canister.json: "), "{said}");
        }
    }
}
