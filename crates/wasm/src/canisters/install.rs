//! How a canister comes to be: put together beside the others, and then given its name.

use super::canister::Canister;
use super::slot::principal;
use super::{CanisterError, Canisters, Outcome};
use crate::call::{Entry, Principal, Statics, Status};
use crate::executor::Code;
use crate::module::EntryPoint;
use crate::store::Kept;
use std::sync::Arc;

/// Cycles that a new canister has: here they are only counted.
const CYCLES: u128 = 100_000_000_000_000;

impl Canisters {
    /// Makes a canister of a module: its data, its start function, `canister_init`. There is one
    /// afterwards if all of that went well, and nothing otherwise.
    pub fn install(
        &self,
        name: &str,
        module: &[u8],
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        self.make(name, module, argument, vec![caller], caller, CYCLES)
    }

    /// The same, for whomever and with whatever it begins.
    pub(super) fn make(
        &self,
        name: &str,
        module: &[u8],
        argument: Vec<u8>,
        controllers: Vec<Principal>,
        caller: Principal,
        cycles: u128,
    ) -> Result<Outcome, CanisterError> {
        if self.shop.directory.home(name)?.exists() {
            return Err(CanisterError::Taken(name.to_owned()));
        }
        let code = self.shop.take(module)?;
        let mut statics = Statics::of(principal(name));
        statics.controllers = controllers;
        statics.cycles = cycles;
        statics.version = 1;
        let workshop = self.shop.directory.workshop(name)?;
        let made = self.put_together(name, &workshop, code, statics, argument, caller);
        let (mut canister, outcome) = match made {
            Ok((canister, outcome)) if outcome.result.is_ok() => (canister, outcome),
            other => {
                let _ = std::fs::remove_dir_all(&workshop);
                return other.map(|(_, outcome)| outcome);
            }
        };
        canister.settle(self.shop.directory.settle(&workshop, name)?);
        let slot = self.post.add(name, canister);
        // Notes its timer.
        self.with(&slot, |_| Ok(()))?;
        Ok(outcome)
    }

    fn put_together(
        &self,
        name: &str,
        workshop: &std::path::Path,
        code: Arc<Code>,
        statics: Statics,
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<(Canister, Outcome), CanisterError> {
        let home = workshop.to_path_buf();
        let mut canister = Canister::begun(&self.shop, name, home, code, statics)?;
        let outcome = canister.first_steps(true, EntryPoint::Init, argument, caller)?;
        if outcome.result.is_ok() {
            canister.checkpoint()?;
        }
        Ok((canister, outcome))
    }

    /// Takes no more calls, and lets those under way end.
    pub fn stop(&self, name: &str) -> Result<Status, CanisterError> {
        let slot = self.slot(name)?;
        self.with(&slot, |canister| {
            canister.statics.status = match canister.books.counts() {
                (0, _) => Status::Stopped,
                _ => Status::Stopping,
            };
            canister.checkpoint()?;
            Ok(canister.statics.status)
        })
    }

    /// Takes calls again.
    pub fn start(&self, name: &str) -> Result<(), CanisterError> {
        let slot = self.slot(name)?;
        self.with(&slot, |canister| {
            canister.statics.status = Status::Running;
            canister.checkpoint()
        })
    }
}

impl Canister {
    /// Runs what comes before the first call of its code, up to a failure.
    pub(super) fn first_steps(
        &mut self,
        has_new_heap: bool,
        last: EntryPoint,
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        let mut outcome = Outcome {
            result: Ok(None),
            instructions: 0,
            logs: Vec::new(),
            kept: Kept::Written,
        };
        if has_new_heap {
            outcome = self.first(None, Vec::new(), caller)?;
        }
        let profile = &self.code.profile;
        let entry = match last {
            EntryPoint::PostUpgrade => Entry::PostUpgrade,
            _ => Entry::Init,
        };
        let steps = [
            profile.has_start.then_some((Entry::Start, Vec::new())),
            profile.has(last).then_some((entry, argument)),
        ];
        for (entry, argument) in steps.into_iter().flatten() {
            let step = self.first(Some(entry), argument, caller)?;
            outcome.instructions += step.instructions;
            outcome.logs.extend(step.logs);
            outcome.result = step.result.map(|_| None);
            if outcome.result.is_err() {
                break;
            }
        }
        Ok(outcome)
    }
}
