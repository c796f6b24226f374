//! Other code for a canister that is there: all of it comes about, or nothing of it does.
//!
//! ```text
//!  checkpoint ─▶ pre_upgrade (old code) ─▶ stable memory to the new ─▶ start, post_upgrade ─▶ checkpoint
//!      └──────────── whatever fails: made again from here ◀───────────────┘
//! ```
//!
//! The heap begins anew, unless the new code says by its metadata that it goes on with the old one
//! (`enhanced-orthogonal-persistence`).

use super::canister::Canister;
use super::{CanisterError, Canisters, Outcome};
use crate::call::{Entry, Principal};
use crate::executor::{CanisterMemory, Code, Crash};
use crate::guest::State;
use crate::module::EntryPoint;
use casemate_sys::pages::PAGE;
use std::sync::Arc;

/// Pages that are copied at once.
const AT_ONCE: usize = 256;
const HEAP: usize = 0;
const STABLE: usize = 1;

impl Canisters {
    /// Changes a canister's code; its stable memory stays.
    pub fn upgrade(
        &self,
        name: &str,
        module: &[u8],
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        self.change(name, module, argument, caller, true)
    }

    /// Makes a canister anew of a module, under its old name; all that it knew is gone.
    pub fn reinstall(
        &self,
        name: &str,
        module: &[u8],
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        self.change(name, module, argument, caller, false)
    }

    fn change(
        &self,
        name: &str,
        module: &[u8],
        argument: Vec<u8>,
        caller: Principal,
        stays: bool,
    ) -> Result<Outcome, CanisterError> {
        let slot = self.slot(name)?;
        let code = self.shop.take(module)?;
        self.with(&slot, |canister| {
            let under_way = canister.books.counts().1;
            if under_way > 0 {
                return Err(CanisterError::Busy(name.to_owned(), under_way));
            }
            canister.checkpoint()?;
            let outcome = canister.change(code, argument, caller, stays);
            if !matches!(&outcome, Ok(outcome) if outcome.result.is_ok()) {
                canister.reload()?;
            }
            outcome
        })
    }
}

impl Canister {
    fn change(
        &mut self,
        code: Arc<Code>,
        argument: Vec<u8>,
        caller: Principal,
        stays: bool,
    ) -> Result<Outcome, CanisterError> {
        let mut logs = Vec::new();
        let mut instructions = 0;
        if stays && self.code.profile.has(EntryPoint::PreUpgrade) {
            let outcome = self.first(Some(Entry::PreUpgrade), Vec::new(), caller)?;
            if outcome.result.is_err() {
                return Ok(outcome);
            }
            (logs, instructions) = (outcome.logs, outcome.instructions);
        }
        let keeps_heap = stays && code.profile.keeps_heap();
        if keeps_heap && self.code.profile.is64 != code.profile.is64 {
            let why = "its addresses are of another width";
            return Err(CanisterError::OtherHeap(self.name.clone(), why));
        }
        let memory = CanisterMemory::new(&code.profile).map_err(Crash::from)?;
        let mut state = State::default();
        if stays {
            copy(STABLE, &self.memory, &memory)?;
            state.stable_pages = self.state.stable_pages;
        }
        if keeps_heap {
            if self.state.heap_pages > code.profile.heap.maximum {
                let why = "it is larger than the new module's memory may be";
                return Err(CanisterError::OtherHeap(self.name.clone(), why));
            }
            copy(HEAP, &self.memory, &memory)?;
            state.heap_pages = self.state.heap_pages.max(code.profile.heap.minimum);
        }
        self.replace(code, memory, state);
        self.statics.version += 1;
        self.statics.timer = 0;
        let last = match stays {
            true => EntryPoint::PostUpgrade,
            false => EntryPoint::Init,
        };
        let mut outcome = self.first_steps(!keeps_heap, last, argument, caller)?;
        logs.append(&mut outcome.logs);
        outcome.logs = logs;
        outcome.instructions += instructions;
        if outcome.result.is_ok() {
            self.checkpoint_anew()?;
        }
        Ok(outcome)
    }
}

/// One of the two memories becomes what another canister's is.
fn copy(which: usize, from: &CanisterMemory, to: &CanisterMemory) -> Result<(), Crash> {
    from.with(|from| {
        to.with(|to| {
            let (from, to) = (&*from[which], &mut *to[which]);
            let mut bytes = vec![0; AT_ONCE * PAGE];
            for run in from.all_held()?.as_slice() {
                for page in run.pages().step_by(AT_ONCE) {
                    let pages = AT_ONCE.min(run.end - page);
                    let part = &mut bytes[..pages * PAGE];
                    from.read(page, part)?;
                    to.map(page + pages)?.write(page, part)?;
                }
            }
            Ok(())
        })
    })
}
