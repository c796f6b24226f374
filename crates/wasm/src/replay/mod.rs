//! Running again what was called, to prove that it comes to the same.
//!
//! ```text
//!  milestone 3 ── records of 3.calls ──▶ milestone 4 ── records of 4.calls ──▶ now
//!   state hash        digest each          state hash        digest each
//! ```
//!
//! With the history of a canister [kept](crate::store::Milestone), each checkpoint leaves a milestone:
//! what the canister was, the hash of its state, and the program that ran it; and the calls since then
//! stay. A replay begins at one of them, in either executor, and runs every call up to the last. Each
//! has to come to the answer, the instructions and the effects that it came to then, and at each
//! milestone the state has to be the one that was hashed. The first difference ends it.
//!
//! Another runtime may rightly come to something else, so it is refused before anything runs.

mod digest;
mod runtime;
mod state;

pub use digest::Digest;
pub use runtime::Runtime;
pub use state::state_hash;

use crate::executor::CanisterMemory;
use crate::guest::State;
use crate::store::{Document, Journal, Milestone, Record, StoreError};
use casemate_core::hex;
use casemate_sys::pages::Committed;
use std::path::Path;

/// A canister that calls are run again in.
pub trait Again {
    /// Why it couldn't.
    type Error;

    /// Runs what is written down, and keeps what it did.
    fn again(&mut self, record: &Record) -> Result<Digest, Self::Error>;

    /// Its heap and its stable memory.
    fn memory(&self) -> &CanisterMemory;

    /// Its globals and sizes.
    fn state(&self) -> &State;
}

/// What was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The milestone that it began at.
    pub from: u64,
    /// How many states were as they had been.
    pub milestones: u64,
    /// How many calls came to the same.
    pub calls: u64,
    /// Instructions that they took.
    pub instructions: u64,
    /// The hash of the last state.
    pub state: [u8; 32],
    /// What ran it then.
    pub runtime: Runtime,
}

/// Why nothing was proven.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E: std::error::Error> {
    /// Files.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The canister couldn't be opened, or couldn't run.
    #[error("{0}")]
    Run(E),
    /// There is nothing to replay.
    #[error("{}: {what}\nhint: a canister's calls are kept from the next checkpoint on once its history is kept", .home.display())]
    NoHistory {
        /// The canister's folder.
        home: std::path::PathBuf,
        /// What isn't there.
        what: String,
    },
    /// Another program made the calls.
    #[error(
        "checkpoint {checkpoint} was made by another runtime: {what}\nhint: replay it with that build: it was {theirs}; this is {own}"
    )]
    Runtime {
        /// Whose milestone.
        checkpoint: u64,
        /// What is different.
        what: String,
        /// It.
        theirs: Box<Runtime>,
        /// This one.
        own: Box<Runtime>,
    },
    /// A call came to something else.
    #[error("call {number} after checkpoint {checkpoint}, {method}: {what}")]
    Call {
        /// The milestone before it.
        checkpoint: u64,
        /// Counted from 1.
        number: u64,
        /// What it called.
        method: String,
        /// What is different.
        what: String,
    },
    /// Each call came to the same, but the state didn't.
    #[error("the state at checkpoint {checkpoint} is {found}, and was {expected}")]
    State {
        /// Which.
        checkpoint: u64,
        /// The hash that was written down.
        expected: String,
        /// The one that it is.
        found: String,
    },
}

/// Runs again what a canister's folder has of its history, from a milestone on (the first, if none is
/// given). `open` makes a canister as a document says.
pub fn replay<A: Again>(
    home: &Path,
    from: Option<u64>,
    mut open: impl FnMut(&Document) -> Result<A, A::Error>,
) -> Result<Replayed, ReplayError<A::Error>>
where
    A::Error: std::error::Error,
{
    let milestones = milestones(home, from)?;
    let own = Runtime::own().map_err(|what| no_history(home, what))?;
    let mut proven = Replayed {
        from: milestones.first().map_or(0, |first| first.document.journal),
        milestones: 0,
        calls: 0,
        instructions: 0,
        state: [0; 32],
        runtime: own.clone(),
    };
    for milestone in &milestones {
        if let Some(what) = milestone.runtime.difference(&own) {
            return Err(ReplayError::Runtime {
                checkpoint: milestone.document.journal,
                what,
                theirs: Box::new(milestone.runtime.clone()),
                own: Box::new(own),
            });
        }
    }
    let mut canister = None;
    for milestone in &milestones {
        let document = &milestone.document;
        let mut current = match canister.take().filter(|_| milestone.follows) {
            Some(current) => current,
            None => open(document).map_err(ReplayError::Run)?,
        };
        proven.state = hash(home, &current)?;
        let found = hex::encode(&proven.state);
        if found != milestone.state {
            return Err(ReplayError::State {
                checkpoint: document.journal,
                expected: milestone.state.clone(),
                found,
            });
        }
        proven.milestones += 1;
        let (_, records) = Journal::look(&Document::calls(home, document.journal))?;
        for (number, record) in (1..).zip(&records) {
            let again = current.again(record).map_err(ReplayError::Run)?;
            if let Some(what) = record.digest.difference(&again) {
                return Err(ReplayError::Call {
                    checkpoint: document.journal,
                    number,
                    method: named(record),
                    what,
                });
            }
            proven.calls += 1;
            proven.instructions = proven.instructions.saturating_add(again.instructions);
        }
        proven.state = hash(home, &current)?;
        canister = Some(current);
    }
    Ok(proven)
}

/// Those from one on; they have to follow each other.
fn milestones<E: std::error::Error>(
    home: &Path,
    from: Option<u64>,
) -> Result<Vec<Milestone>, ReplayError<E>> {
    let mut numbers = Milestone::list(home)?;
    if let Some(from) = from {
        if !numbers.contains(&from) {
            let what = format!("there is no milestone {from}; there are {numbers:?}");
            return Err(no_history(home, what));
        }
        numbers.retain(|number| *number >= from);
    }
    let Some(first) = numbers.first() else {
        return Err(no_history(home, "no history was kept".to_owned()));
    };
    let last = Document::read(home)?.journal;
    if let Some(missing) = (*first..=last).find(|number| !numbers.contains(number)) {
        let what = format!("checkpoint {missing} wasn't kept; there are {numbers:?}");
        return Err(no_history(home, what));
    }
    let read = |number: &u64| Milestone::read(home, *number);
    Ok(numbers.iter().map(read).collect::<Result<_, _>>()?)
}

fn no_history<E: std::error::Error>(home: &Path, what: String) -> ReplayError<E> {
    ReplayError::NoHistory {
        home: home.to_path_buf(),
        what,
    }
}

fn hash<A: Again>(home: &Path, canister: &A) -> Result<[u8; 32], StoreError> {
    let hash = |[heap, stable]: [&mut Committed; 2]| state_hash([heap, stable], canister.state());
    canister.memory().with(hash).map_err(|why| {
        StoreError::io("hash the memory of", home)(std::io::Error::other(why.to_string()))
    })
}

/// What a record called.
fn named(record: &Record) -> String {
    let callback = || "a callback".to_owned();
    record.call.entry.export().unwrap_or_else(callback)
}
