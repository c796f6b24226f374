//! What a worker says of the slices of a call, compared with what can be.

use crate::call::{Call, Failure, MOST_SLICES, Next, Pause};
use crate::guest::PER_WASM_PAGE;
use crate::module::Profile;
use crate::worker::message::Done;

/// The slices of a call that runs in a worker.
pub(super) struct Slices<'a> {
    call: &'a Call,
    profile: &'a Profile,
    /// Slices that it has used up.
    used: u64,
    /// Instructions that it had taken when it was heard of last.
    instructions: u64,
    /// Pages that it is about to copy.
    copied: Option<u64>,
    is_aborted: bool,
}

impl<'a> Slices<'a> {
    pub(super) fn of(call: &'a Call, profile: &'a Profile) -> Self {
        Self {
            call,
            profile,
            used: 0,
            instructions: 0,
            copied: None,
            is_aborted: false,
        }
    }

    /// It says that it waits.
    pub(super) fn pause(&mut self, pause: &Pause) -> Result<(), &'static str> {
        if self.is_aborted || self.copied.is_some() {
            return Err("a pause after the end");
        }
        if pause.slices != self.used + 1 {
            return Err("slices that can't be");
        }
        let limits = &self.call.limits;
        let grows = pause.instructions >= self.instructions;
        let possible = match pause.next {
            Next::Slice => {
                self.used += 1;
                // It has used up all that it was given, and has more to come.
                self.used < MOST_SLICES
                    && grows
                    && pause.instructions > self.given(self.used)
                    && pause.instructions <= limits.instructions
            }
            Next::Copy { pages } => {
                let most = self.profile.heap.maximum * PER_WASM_PAGE as u64;
                self.copied = Some(pages);
                let is_dirty = pages > limits.dirty && pages <= most;
                grows && is_dirty && self.call.entry.keeps()
            }
        };
        self.instructions = pause.instructions;
        match possible {
            true => Ok(()),
            false => Err("a pause that can't be"),
        }
    }

    /// It is told to end it.
    pub(super) fn abort(&mut self) {
        self.is_aborted = true;
    }

    /// It says that this came of it.
    pub(super) fn end(&self, done: &Done) -> Result<(), &'static str> {
        let ran = &done.ran;
        let last = self.used + 1;
        let overdraft = self.call.limits.most_instructions() - self.call.limits.instructions;
        let fails_by = |failure: &dyn Fn(&Failure) -> bool| ran.result.as_ref().is_err_and(failure);
        let copied = done.heap.pages() as u64;
        let rules = [
            (
                fails_by(&|why| *why == Failure::Aborted) == self.is_aborted,
                "an end that it was not told to come to",
            ),
            (
                !self.is_aborted || ran.effects.logs.is_empty(),
                "lines of a call that was aborted",
            ),
            (
                !fails_by(&|why| matches!(why, Failure::Slices { .. })) || last == MOST_SLICES,
                "more slices than it had",
            ),
            (
                ran.instructions >= self.instructions,
                "fewer instructions than it had taken",
            ),
            (
                ran.result.is_err()
                    || ran.instructions <= self.given(last).saturating_add(overdraft),
                "more instructions than its slices have",
            ),
            (
                self.is_aborted
                    || match self.copied {
                        Some(pages) => pages == copied,
                        None => copied <= self.call.limits.dirty,
                    },
                "other pages than it waited for",
            ),
        ];
        let broken = rules.into_iter().find(|(holds, _)| !holds);
        broken.map_or(Ok(()), |(_, what)| Err(what))
    }

    /// The instructions of so many slices.
    fn given(&self, slices: u64) -> u64 {
        let limits = &self.call.limits;
        let all = limits.slice.max(1).saturating_mul(slices);
        all.min(limits.instructions)
    }
}
