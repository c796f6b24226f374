//! What can go wrong with canisters.

use crate::executor::Crash;
use crate::store::StoreError;
use std::path::PathBuf;

/// Why nothing was done. The canister is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CanisterError {
    /// Files.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What runs it.
    #[error("{0}")]
    Crash(#[from] Crash),
    /// There is no canister of this name.
    #[error("there is no canister {0:?}\nhint: {hint}", hint = there_are(.1))]
    NoCanister(String, Vec<String>),
    /// The name is taken.
    #[error(
        "there is a canister {0:?} already\nhint: another --name, or `casemate wasm uninstall {0}` first, which forgets all that it knows"
    )]
    Taken(String),
    /// It has no such method.
    #[error("canister {canister:?} has no {kind} {method:?}\nhint: {hint}", hint = has(.methods))]
    NoMethod {
        /// Whose.
        canister: String,
        /// Update or query.
        kind: &'static str,
        /// Which.
        method: String,
        /// Those that it has.
        methods: Vec<String>,
    },
    /// The module isn't there any more.
    #[error("read the module {path}: {1}\nhint: it was removed from the folder; install the canister's module again", path = .0.display())]
    NoModule(PathBuf, std::io::Error),
    /// A call of the past came to something else.
    #[error(
        "call {number} of the journal came to something else than when it was made\nhint: the journal or a page of memory was damaged, or the runtime isn't deterministic; the folder was left as it is"
    )]
    Diverged {
        /// Counted from 1.
        number: usize,
    },
    /// This program can't say which it is.
    #[error("{0}")]
    Build(String),
    /// A call wanted what isn't there yet.
    #[error("the call was undone: it calls other canisters ({0}), which isn't supported yet")]
    Outgoing(String),
}

fn there_are(names: &[String]) -> String {
    match names {
        [] => "there is none yet: `casemate wasm install MODULE --name NAME`".to_owned(),
        names => format!("there are {}", names.join(", ")),
    }
}

fn has(methods: &[String]) -> String {
    match methods {
        [] => "it has none".to_owned(),
        methods => format!("it has {}", methods.join(", ")),
    }
}
