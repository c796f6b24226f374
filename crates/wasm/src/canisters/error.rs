//! What can go wrong with canisters.

use crate::call::RejectCode;
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
    #[error("canister {canister:?} has no {kind} {method:?}\nhint: {hint}", hint = has(.method, .methods))]
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
    /// It doesn't take calls.
    #[error("canister {0:?} is stopped\nhint: `casemate wasm start {0}`")]
    Stopped(String),
    /// What a query read was never written down.
    #[error(
        "canister {0:?} was made again while it was asked\nhint: ask again; `casemate wasm logs {0}` says why"
    )]
    Changed(String),
    /// `canister_inspect_message` said no.
    #[error(
        "{0:?} was not accepted by the canister's inspect_message{1}\nhint: it may take such a call from other callers only; nothing was run"
    )]
    NotAccepted(String, String),
    /// A composite query, in a call.
    #[error(
        "{1:?} of canister {0:?} is a composite query, which can only be asked, by `query` or by another composite query\nhint: a plain query can be called as well"
    )]
    OnlyAsked(String, String),
    /// There is no answer yet.
    #[error(
        "canister {0:?} didn't answer in time, and it isn't known yet what comes of the call\nhint: it goes on; with the same idempotency key it can be asked for again"
    )]
    Late(String),
    /// Its turn didn't come in time.
    #[error(
        "deadline exceeded, nothing was changed: canister {0:?} was busy until then\nhint: the call was not begun, and can be made again"
    )]
    Deadline(String),
    /// There is no answer, and nothing happens that would bring it.
    #[error(
        "canister {0:?} waits for an answer that nothing here will give\nhint: a canister that it called is stopped or waits itself; `casemate wasm status` says which calls are open"
    )]
    Waits(String),
    /// What it has begun can't be read.
    #[error(
        "{path}: what the canister has begun and not ended can't be read\nhint: the file was changed or damaged; `casemate wasm import` takes an earlier export", path = .0.display()
    )]
    Books(PathBuf),
    /// Its code can't be changed now.
    #[error(
        "canister {0:?} has {1} calls under way, which could not go on with other code, or elsewhere\nhint: `casemate wasm stop {0}` lets them end"
    )]
    Busy(String, usize),
    /// The new code's memory is of another width.
    #[error(
        "canister {0:?} keeps its heap when its code is changed, and the new module can't take it: {1}\nhint: `casemate wasm reinstall` begins anew"
    )]
    OtherHeap(String, &'static str),
}

impl CanisterError {
    /// As a canister is told of it.
    #[must_use]
    pub fn code(&self) -> RejectCode {
        match self {
            Self::NoCanister(..) | Self::NoMethod { .. } => RejectCode::DestinationInvalid,
            Self::Store(_) | Self::Crash(_) | Self::NoModule(..) | Self::Deadline(_) => {
                RejectCode::SysTransient
            }
            _ => RejectCode::CanisterError,
        }
    }
}

fn there_are(names: &[String]) -> String {
    match names {
        [] => "there is none yet: `casemate wasm install MODULE --name NAME`".to_owned(),
        names => format!("there are {}", names.join(", ")),
    }
}

fn has(method: &str, methods: &[String]) -> String {
    // They are the module's words.
    let shown = |name: &String| name.escape_debug().to_string();
    let methods: Vec<String> = methods.iter().map(shown).collect();
    let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
    match methods.as_slice() {
        [] => "it has none".to_owned(),
        methods => crate::near::hint(method, "it has", methods),
    }
}
