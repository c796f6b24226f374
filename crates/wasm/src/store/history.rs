//! Milestones: checkpoints that stay, so that the calls since then can be run again.
//!
//! ```text
//!  7.milestone   the document of checkpoint 7, the hash of its state, and what runs it
//!  7.calls       the calls since, up to checkpoint 8
//! ```
//!
//! Files of pages that a milestone's document mentions stay too, and nothing in them is given back.
//!
//! Where only so many are to stay, the oldest go when a newer one counts: each milestone before the
//! files that only it mentions, and the older before the newer. So those that are there follow each
//! other whatever ends it, and each can be gone back to.

use super::{Document, StoreError, disk, sweep, write_whole};
use crate::replay::{Runtime, state_hash};
use casemate_core::hex;
use casemate_sys::pages::Committed;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// How much stays of a canister's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum History {
    /// Nothing that isn't there already.
    #[default]
    Nothing,
    /// All of it, from the next checkpoint on.
    All,
    /// So many checkpoints, the newest, with the calls after them.
    Last(NonZeroU32),
}

impl History {
    /// Whether one begins with the next checkpoint.
    pub(super) fn begins(self) -> bool {
        self != Self::Nothing
    }

    /// Forgets what isn't to stay any longer.
    pub(super) fn trim(self, home: &Path, is_synced: bool) -> Result<(), StoreError> {
        let Self::Last(count) = self else {
            return Ok(());
        };
        let numbers = Milestone::list(home)?;
        let first = numbers.len().saturating_sub(count.get() as usize);
        match numbers.get(first) {
            Some(first_that_stays) if first > 0 => {
                Milestone::forget(home, *first_that_stays, is_synced)
            }
            _ => Ok(()),
        }
    }
}

/// A checkpoint that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Milestone {
    version: u32,
    /// What made the calls before it, and makes those after it.
    pub runtime: Runtime,
    /// Its state is what the calls since the one before came to, and nothing else changed it.
    pub follows: bool,
    /// The [hash of its state](state_hash), in hexadecimal digits.
    pub state: String,
    /// The canister then.
    pub document: Document,
}

impl Milestone {
    /// Of a canister as it is now.
    pub(super) fn of(
        home: &Path,
        document: &Document,
        memories: [&Committed; 2],
        follows: bool,
    ) -> Result<Self, StoreError> {
        let path = Self::path(home, document.journal);
        let failed = |what: String| StoreError::io("make", &path)(std::io::Error::other(what));
        let state = document.state(home)?;
        let state = state_hash(memories, &state).map_err(|why| failed(why.to_string()))?;
        Ok(Self {
            version: VERSION,
            runtime: Runtime::own().map_err(failed)?,
            follows,
            state: hex::encode(&state),
            document: document.clone(),
        })
    }

    /// Where one is in a canister's folder.
    #[must_use]
    pub fn path(home: &Path, number: u64) -> PathBuf {
        home.join(format!("{number}.milestone"))
    }

    /// The numbers of those in a canister's folder, in order.
    pub fn list(home: &Path) -> Result<Vec<u64>, StoreError> {
        let entries = std::fs::read_dir(home).map_err(StoreError::io("list", home))?;
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(StoreError::io("list", home))?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".milestone"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads one.
    pub fn read(home: &Path, number: u64) -> Result<Self, StoreError> {
        let path = Self::path(home, number);
        let bytes = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
        let damaged = |at: u64, what: String| StoreError::damaged(&path, at, what);
        let milestone: Self = serde_json::from_slice(&bytes)
            .map_err(|why| damaged(why.column() as u64, why.to_string()))?;
        if milestone.version != VERSION {
            let what = format!("version {} isn't known", milestone.version);
            return Err(damaged(0, what));
        }
        match milestone.document.journal == number {
            true => Ok(milestone),
            false => Err(damaged(0, "it is of another checkpoint".to_owned())),
        }
    }

    /// Forgets those before one, and the files that only they mention. What it is stopped in goes
    /// with the next sweep; with `is_synced`, after a power cut as well.
    pub fn forget(home: &Path, before: u64, is_synced: bool) -> Result<(), StoreError> {
        for number in Self::list(home)? {
            if number < before {
                disk::remove(&Self::path(home, number))?;
                if is_synced {
                    disk::sync_folder(home)?;
                }
            }
        }
        sweep(home, &Document::read(home)?)
    }

    /// Writes it.
    pub(super) fn write(&self, home: &Path, is_synced: bool) -> Result<(), StoreError> {
        // Strings and numbers have nothing that could fail.
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_whole(&Self::path(home, self.document.journal), &bytes, is_synced)
    }
}
