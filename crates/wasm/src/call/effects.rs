//! What a call asks of the world.

use super::Principal;

/// A line that a canister printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its bytes; they need not be text.
    pub text: Vec<u8>,
}

/// A function of a module's table, and what it is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callback {
    /// Its place in the table.
    pub function: u64,
    /// What it is called with.
    pub environment: u64,
}

/// A call of another canister.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Whom.
    pub callee: Principal,
    /// Which of its methods.
    pub method: String,
    /// With what.
    pub argument: Vec<u8>,
    /// The cycles that go with it.
    pub cycles: u128,
    /// How long an answer is waited for, seconds; without one, for ever.
    pub timeout: Option<u32>,
    /// What takes the reply.
    pub on_reply: Callback,
    /// What takes a rejection.
    pub on_reject: Callback,
    /// What cleans up if either of them fails.
    pub cleanup: Option<Callback>,
}

/// What is to come of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// What it printed. Kept of calls that fail as well.
    pub logs: Vec<Log>,
    /// Cycles that it took of those that came with it.
    pub accepted: u128,
    /// Cycles that it burned.
    pub burned: u128,
    /// What is to be certified, at most 32 bytes.
    pub certified: Option<Vec<u8>>,
    /// When the timer is to go off, nanoseconds since 1970; 0 for never.
    pub timer: Option<u64>,
    /// The message may come in (`canister_inspect_message`).
    pub accepts_message: bool,
    /// Calls of other canisters.
    pub calls: Vec<Outgoing>,
    /// One that isn't performed yet.
    pub(crate) begun: Option<Outgoing>,
}

impl Effects {
    /// The cycles of all calls.
    #[must_use]
    pub fn attached(&self) -> u128 {
        let calls = self.calls.iter().chain(&self.begun);
        calls.map(|call| call.cycles).sum()
    }
}
