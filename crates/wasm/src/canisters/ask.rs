//! What somebody outside asks of a canister, and is told.

use super::slot::Slot;
use super::{Canisters, clock};
use crate::call::{Answer, Call, Entry, Failure, Limits, Log, Principal, Statics};
use crate::store::{Durability, Kept};
use std::time::Instant;

/// A call from outside.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Which method.
    pub method: String,
    /// With what.
    pub argument: Vec<u8>,
    /// Who asks.
    pub caller: Principal,
    /// Cycles that come with it.
    pub cycles: u128,
    /// By which a retry is known: a call with a key that was made before isn't made again, and its
    /// answer is given once more.
    pub key: Option<String>,
    /// Until when its answer is waited for. A call whose turn comes later isn't begun; one that still
    /// runs is [aborted](Failure::Aborted) between two slices, and leaves nothing; one that waits for
    /// another canister goes on without anybody who waits. One whose deadline is over when it is made
    /// is begun, and nobody waits for it.
    pub deadline: Option<Instant>,
}

impl Ask {
    /// By whoever gives no name.
    #[must_use]
    pub fn new(method: &str, argument: Vec<u8>) -> Self {
        Self {
            method: method.to_owned(),
            argument,
            caller: Principal::ANONYMOUS,
            cycles: 0,
            key: None,
            deadline: None,
        }
    }

    /// By somebody.
    #[must_use]
    pub fn by(self, caller: Principal) -> Self {
        Self { caller, ..self }
    }

    /// What is to be run for it, now.
    pub(super) fn call(self, entry: Entry, statics: Statics, limits: Limits) -> Call {
        let mut call = Call::new(entry, statics);
        call.argument = self.argument;
        call.method = self.method;
        call.caller = self.caller;
        call.cycles = self.cycles;
        call.time = clock::now();
        call.limits = limits;
        call
    }
}

/// What came of a call, for whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer, or why there is none.
    pub result: Result<Option<Answer>, Failure>,
    /// What it took, with the callbacks of its calls.
    pub instructions: u64,
    /// What it printed before it waited for anything.
    pub logs: Vec<Log>,
    /// What that survives which the call did, if it went well.
    pub kept: Kept,
}

impl Canisters {
    /// What a canister's calls survive that were answered.
    pub(super) fn kept(&self, slot: &Slot) -> Kept {
        match self.shop.options.durability {
            Durability::Process => Kept::Written,
            Durability::Power => Kept::OnDisk,
            // One that is having another turn is taken for one that has news.
            Durability::Checkpoint => match slot.try_canister().as_deref() {
                Some(Some(canister)) if !canister.has_news() => Kept::Written,
                _ => Kept::Unwritten,
            },
        }
    }
}
