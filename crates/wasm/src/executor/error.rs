//! What can go wrong beside what a guest does wrong.

use crate::guest::BundleError;
use casemate_sys::pages;

/// Why nothing came of a call: the state is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum Crash {
    /// The module is refused, or the call: the place is as good as before.
    #[error("{0}")]
    Refused(String),
    /// The runtime failed.
    #[error("the Wasm runtime failed: {0:#}")]
    Runtime(wasmtime::Error),
    /// Memory couldn't be made or read.
    #[error("a canister's memory: {0}")]
    Pages(#[from] pages::Error),
    /// What was compiled isn't what it should be.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// The committed memory is of two versions: it has to be made anew from what is stored.
    #[error("a canister's memory was only committed in part: {0}")]
    Torn(String),
    /// A composite query waited, and updates wrote meanwhile what it would still have read.
    #[error(
        "updates wrote more of the canister, while it waited for the answers of its calls, than is put aside for it\nhint: ask again; a query that calls others should need less of what updates write"
    )]
    Overtaken,
    /// The place is no longer good: it has to be made anew.
    #[error("the canister's place is gone: {0}")]
    Gone(String),
}

impl From<wasmtime::Error> for Crash {
    fn from(error: wasmtime::Error) -> Self {
        Self::Runtime(error)
    }
}
