//! How a canister comes to be: put together beside the others, and then given its name.

use super::{Canister, CanisterError, Canisters, Outcome};
use crate::call::{Entry, Principal, Statics};
use crate::module::EntryPoint;
use crate::store::write_whole;
use casemate_core::hex;
use sha2::{Digest, Sha256};

/// Cycles that a new canister has: here they are only counted.
const CYCLES: u128 = 100_000_000_000_000;

impl Canisters {
    /// Makes a canister of a module: its data, its start function, `canister_init`. There is one
    /// afterwards if all of that went well, and nothing otherwise.
    pub fn install(
        &mut self,
        name: &str,
        module: &[u8],
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        if self.directory.home(name)?.exists() {
            return Err(CanisterError::Taken(name.to_owned()));
        }
        let hash = hex::encode(&Sha256::digest(module));
        let kept = self.directory.module(&hash, "wasm");
        if !kept.exists() {
            write_whole(&kept, module, false)?;
        }
        let code = self.code(&hash)?;
        let mut statics = Statics::of(principal(name));
        statics.controllers = vec![caller];
        statics.cycles = CYCLES;
        statics.version = 1;
        let workshop = self.directory.workshop(name)?;
        let made = Canister::begin(self, name, workshop.clone(), code, statics)
            .and_then(|canister| first_steps(canister, argument, caller));
        let (mut canister, outcome) = match made {
            Ok((canister, outcome)) if outcome.result.is_ok() => (canister, outcome),
            other => {
                let _ = std::fs::remove_dir_all(&workshop);
                return other.map(|(_, outcome)| outcome);
            }
        };
        canister.settle(self.directory.settle(&workshop, name)?);
        self.open.insert(name.to_owned(), canister);
        Ok(outcome)
    }
}

/// Runs what comes before the first call, up to a failure.
fn first_steps(
    mut canister: Canister,
    argument: Vec<u8>,
    caller: Principal,
) -> Result<(Canister, Outcome), CanisterError> {
    let mut outcome = canister.first(None, Vec::new(), caller)?;
    let has_start = canister.code().profile.has_start;
    let has_init = canister.code().profile.has(EntryPoint::Init);
    let steps = [
        has_start.then_some((Entry::Start, Vec::new())),
        has_init.then_some((Entry::Init, argument)),
    ];
    for (entry, argument) in steps.into_iter().flatten() {
        let step = canister.first(Some(entry), argument, caller)?;
        outcome.instructions += step.instructions;
        outcome.logs.extend(step.logs);
        outcome.result = step.result.map(|_| None);
        if outcome.result.is_err() {
            return Ok((canister, outcome));
        }
    }
    canister.checkpoint()?;
    Ok((canister, outcome))
}

/// A canister's own: the same for the same name.
fn principal(name: &str) -> Principal {
    let mut number = [0; 8];
    number.copy_from_slice(&Sha256::digest(name)[..8]);
    Principal::of_canister(u64::from_be_bytes(number))
}
