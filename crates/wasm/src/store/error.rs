//! What can go wrong with files.

use std::io;
use std::path::{Path, PathBuf};

/// Why something was not stored, or not found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("{tried} {}: {why}", .path.display())]
    Io {
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        why: io::Error,
    },
    /// Somebody else has the folder.
    #[error("{} belongs to process {owner}\nhint: let it end, or ask it: while `casemate serve` has the folder, commands go to it", .path.display())]
    Owned {
        /// The folder.
        path: PathBuf,
        /// Who has it.
        owner: String,
    },
    /// A file isn't what it should be.
    #[error("{}: {what} at byte {at}\nhint: the file was changed or damaged; `casemate wasm import` takes an earlier export", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// Where.
        at: u64,
    },
    /// No name for a canister.
    #[error(
        "{0:?} is no name for a canister\nhint: 1 to 64 letters, digits, `-` and `_`, beginning with a letter or digit"
    )]
    Name(String),
}

impl StoreError {
    /// For `map_err`.
    pub(crate) fn io(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |why| Self::Io { tried, path, why }
    }

    pub(crate) fn damaged(path: &Path, at: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            what: what.into(),
            at,
        }
    }
}
