//! Calls that are to be over by a time.
//!
//! A call that isn't is ended between two of its slices, and leaves nothing: the canister is free for
//! the next one. How it is sliced changes nothing of a call (see [`Pause`]), so one with a deadline has
//! shorter slices, after each of which the clock is looked at.

use super::{Ask, CanisterError};
use crate::call::{Limits, Pace, Pacer, Pause};
use std::time::Instant;

/// Instructions of a slice: some tenths of a second. As many as a call may have are fewer slices than
/// it may have.
const SLICE: u64 = 200_000_000;

/// Until when a call may run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn of(ask: &Ask) -> Self {
        Self(ask.deadline)
    }

    /// Whether it was over before the canister had a turn for the call, which came then. One that was
    /// over from the beginning says that nobody waits.
    pub(super) fn check(self, name: &str, came: Instant) -> Result<(), CanisterError> {
        match self.0 {
            Some(deadline) if deadline > came && deadline <= Instant::now() => {
                Err(CanisterError::Deadline(name.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// The time itself.
    pub(super) fn time(self) -> Option<Instant> {
        self.0
    }

    /// Whether it has passed.
    pub(super) fn is_over(self) -> bool {
        self.0.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// What a call may take, in slices after which it is looked at.
    pub(super) fn limits(self, limits: Limits) -> Limits {
        match self.0 {
            Some(_) => Limits {
                slice: limits.slice.min(SLICE),
                ..limits
            },
            None => limits,
        }
    }
}

impl Pacer for Deadline {
    fn pause(&mut self, _: &Pause) -> Pace {
        match self.is_over() {
            true => Pace::Abort,
            false => Pace::Resume,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::MOST_SLICES;

    #[test]
    fn a_deadline_takes_no_instructions_away() {
        let mut ask = Ask::new("m", Vec::new());
        assert_eq!(
            Deadline::of(&ask).limits(Limits::default()),
            Limits::default()
        );
        ask.deadline = Some(Instant::now());
        let limits = Deadline::of(&ask).limits(Limits::default());
        assert!(limits.instructions.div_ceil(limits.slice) < MOST_SLICES);
        assert_eq!(limits.instructions, Limits::default().instructions);
    }
}
