//! The management canister (`aaaaa-aa`): what canisters and their libraries ask of the host itself
//! (Internet Computer interface specification, "The IC management canister").
//!
//! It has no books: a call that was under way when everything ended is made again. What it does
//! twice then comes to the same, but for cycles, which are only counted here.

use super::message::Response;
use super::{CanisterError, Canisters};
use crate::call::{Outgoing, Principal, RejectCode, Status};
use candid::utils::{ArgumentDecoder, ArgumentEncoder};
use candid::{CandidType, Deserialize, Nat};
use casemate_core::hex;
use sha2::{Digest, Sha256};

/// A module with nothing in it: what a canister is before its code is installed.
const EMPTY: &[u8] = b"\0asm\x01\0\0\0";
/// Values that are read of an argument, at most: it comes from a canister.
const MOST_VALUES: usize = 1 << 24;

#[derive(CandidType, Deserialize)]
struct Which {
    canister_id: candid::Principal,
}

#[derive(CandidType, Deserialize, Default)]
struct Settings {
    controllers: Option<Vec<candid::Principal>>,
    memory_allocation: Option<Nat>,
}

#[derive(CandidType, Deserialize, Default)]
struct Create {
    settings: Option<Settings>,
    amount: Option<Nat>,
}

#[derive(CandidType, Deserialize)]
struct Update {
    canister_id: candid::Principal,
    settings: Settings,
}

#[derive(CandidType, Deserialize)]
enum Mode {
    #[serde(rename = "install")]
    Install,
    #[serde(rename = "reinstall")]
    Reinstall,
    #[serde(rename = "upgrade")]
    Upgrade(candid::Reserved),
}

#[derive(CandidType, Deserialize)]
struct Install {
    mode: Mode,
    canister_id: candid::Principal,
    wasm_module: Vec<u8>,
    arg: Vec<u8>,
}

#[derive(CandidType, Deserialize)]
enum StatusIs {
    #[serde(rename = "running")]
    Running,
    #[serde(rename = "stopping")]
    Stopping,
    #[serde(rename = "stopped")]
    Stopped,
}

#[derive(CandidType)]
struct SettingsAre {
    controllers: Vec<candid::Principal>,
    compute_allocation: Nat,
    memory_allocation: Nat,
    freezing_threshold: Nat,
    reserved_cycles_limit: Nat,
    wasm_memory_limit: Nat,
}

#[derive(CandidType)]
struct StatusOf {
    status: StatusIs,
    settings: SettingsAre,
    module_hash: Option<Vec<u8>>,
    memory_size: Nat,
    cycles: Nat,
    reserved_cycles: Nat,
    idle_cycles_burned_per_day: Nat,
}

type Refused = (RejectCode, String);

impl Canisters {
    /// What a canister's call of the management canister comes to.
    pub(super) fn manage(&self, from: Principal, number: u64, call: &Outgoing) -> Response {
        let mut taken = 0;
        let result = self.managed(from, number, call, &mut taken);
        let refund = match &result {
            Ok(_) => call.cycles.saturating_sub(taken),
            Err(_) => call.cycles,
        };
        Response { result, refund }
    }

    fn managed(
        &self,
        from: Principal,
        number: u64,
        call: &Outgoing,
        taken: &mut u128,
    ) -> Result<Vec<u8>, Refused> {
        let bytes = &call.argument;
        match call.method.as_str() {
            "raw_rand" => {
                let mut random = [0; 32];
                rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
                    .map_err(|why| (RejectCode::SysTransient, why.to_string()))?;
                reply((random.to_vec(),))
            }
            "create_canister" | "provisional_create_canister_with_cycles" => {
                let (create,): (Create,) = argument(bytes)?;
                let name = name(from, number);
                let settings = create.settings.unwrap_or_default();
                let controllers = match settings.controllers {
                    Some(controllers) => controllers.iter().map(own).collect::<Result<_, _>>()?,
                    None => vec![from],
                };
                *taken = call.cycles;
                let made = self.make(&name, EMPTY, Vec::new(), controllers, from, call.cycles);
                match made {
                    // It was made before everything ended.
                    Ok(_) | Err(CanisterError::Taken(_)) => {}
                    Err(why) => return Err((why.code(), why.to_string())),
                }
                reply((Which {
                    canister_id: foreign(super::slot::principal(&name))?,
                },))
            }
            "deposit_cycles" | "provisional_top_up_canister" => {
                let (which,): (Which,) = argument(bytes)?;
                *taken = call.cycles;
                self.managing(from, &which.canister_id, false, |canisters, name| {
                    let slot = canisters.slot(name)?;
                    canisters.with(&slot, |canister| {
                        let cycles = canister.statics.cycles.saturating_add(call.cycles);
                        canister.statics.cycles = cycles;
                        canister.checkpoint()
                    })
                })?;
                reply(())
            }
            "start_canister" => self.done(from, bytes, Self::start),
            "stop_canister" => self.done(from, bytes, |canisters, name| {
                canisters.stop(name).map(drop)
            }),
            "delete_canister" => self.done(from, bytes, Self::remove),
            "uninstall_code" => self.done(from, bytes, |canisters, name| {
                canisters.reinstall(name, EMPTY, Vec::new(), from).map(drop)
            }),
            "update_settings" => {
                let (update,): (Update,) = argument(bytes)?;
                let controllers = match &update.settings.controllers {
                    Some(list) => Some(list.iter().map(own).collect::<Result<Vec<_>, _>>()?),
                    None => None,
                };
                let memory = update.settings.memory_allocation.as_ref();
                let memory = memory.and_then(|memory| u64::try_from(&memory.0).ok());
                self.managing(from, &update.canister_id, true, |canisters, name| {
                    canisters.set(name, controllers, memory)
                })?;
                reply(())
            }
            "install_code" => {
                let (install,): (Install,) = argument(bytes)?;
                let outcome =
                    self.managing(from, &install.canister_id, true, |canisters, name| {
                        let (module, argument) = (&install.wasm_module, install.arg);
                        match install.mode {
                            Mode::Upgrade(_) => canisters.upgrade(name, module, argument, from),
                            Mode::Install | Mode::Reinstall => {
                                canisters.reinstall(name, module, argument, from)
                            }
                        }
                    })?;
                match outcome.result {
                    Err(failure) => Err((failure.code(), failure.to_string())),
                    Ok(_) => reply(()),
                }
            }
            "canister_status" => {
                let (which,): (Which,) = argument(bytes)?;
                let report = self.managing(from, &which.canister_id, true, Self::report)?;
                let controllers = report.controllers.iter();
                let controllers =
                    controllers.filter_map(|who| candid::Principal::from_text(who).ok());
                reply((StatusOf {
                    status: match report.status {
                        Status::Running => StatusIs::Running,
                        Status::Stopping => StatusIs::Stopping,
                        Status::Stopped => StatusIs::Stopped,
                    },
                    settings: SettingsAre {
                        controllers: controllers.collect(),
                        compute_allocation: Nat::from(0_u8),
                        memory_allocation: Nat::from(0_u8),
                        freezing_threshold: Nat::from(0_u8),
                        reserved_cycles_limit: Nat::from(0_u8),
                        wasm_memory_limit: Nat::from(0_u8),
                    },
                    module_hash: hex::decode(&report.module),
                    memory_size: Nat::from(report.heap + report.stable),
                    cycles: Nat::from(report.cycles.parse::<u128>().unwrap_or(0)),
                    reserved_cycles: Nat::from(0_u8),
                    idle_cycles_burned_per_day: Nat::from(0_u8),
                },))
            }
            other => Err((
                RejectCode::DestinationInvalid,
                format!("the management canister has no method {other:?} here"),
            )),
        }
    }

    /// Does with a canister what has no other argument, and nothing to tell.
    fn done(
        &self,
        from: Principal,
        bytes: &[u8],
        work: impl FnOnce(&Self, &str) -> Result<(), CanisterError>,
    ) -> Result<Vec<u8>, Refused> {
        let (which,): (Which,) = argument(bytes)?;
        self.managing(from, &which.canister_id, true, work)?;
        reply(())
    }

    /// Does something with a canister for one who may.
    fn managing<T>(
        &self,
        from: Principal,
        which: &candid::Principal,
        by_controller: bool,
        work: impl FnOnce(&Self, &str) -> Result<T, CanisterError>,
    ) -> Result<T, Refused> {
        let which = own(which)?;
        let name = self.name_of(which).ok_or_else(|| {
            let why = format!("there is no canister {which}");
            (RejectCode::DestinationInvalid, why)
        })?;
        let told = |why: CanisterError| (why.code(), why.to_string());
        let slot = self.slot(&name).map_err(told)?;
        let may = self.with(&slot, |canister| {
            Ok(which == from || canister.statics.controllers.contains(&from))
        });
        if by_controller && !may.map_err(told)? {
            let why = format!("only controllers of the canister {which} can do that");
            return Err((RejectCode::CanisterError, why));
        }
        work(self, &name).map_err(told)
    }

    /// Changes who controls a canister, and what it may have of memory.
    pub fn set(
        &self,
        name: &str,
        controllers: Option<Vec<Principal>>,
        memory: Option<u64>,
    ) -> Result<(), CanisterError> {
        let slot = self.slot(name)?;
        self.with(&slot, |canister| {
            if let Some(controllers) = controllers {
                canister.statics.controllers = controllers;
            }
            if let Some(memory) = memory {
                canister.document.memory = memory;
            }
            canister.statics.version += 1;
            canister.checkpoint()
        })
    }
}

/// What a canister is called that another one made: the same if it is made again.
fn name(from: Principal, number: u64) -> String {
    let mut hasher = Sha256::new();
    hasher.update(from.as_slice());
    hasher.update(number.to_be_bytes());
    format!("c-{}", hex::encode(&hasher.finalize()[..10]))
}

fn own(who: &candid::Principal) -> Result<Principal, Refused> {
    Principal::new(who.as_slice()).map_err(|why| (RejectCode::CanisterError, why.to_string()))
}

fn foreign(who: Principal) -> Result<candid::Principal, Refused> {
    candid::Principal::try_from_slice(who.as_slice())
        .map_err(|why| (RejectCode::SysFatal, why.to_string()))
}

fn argument<T: for<'a> ArgumentDecoder<'a>>(bytes: &[u8]) -> Result<T, Refused> {
    let mut config = candid::DecoderConfig::new();
    config
        .set_decoding_quota(MOST_VALUES)
        .set_skipping_quota(MOST_VALUES);
    candid::utils::decode_args_with_config(bytes, &config).map_err(|why| {
        let why = format!("the argument can't be read: {why}");
        (RejectCode::CanisterError, why)
    })
}

fn reply(values: impl ArgumentEncoder) -> Result<Vec<u8>, Refused> {
    candid::encode_args(values).map_err(|why| (RejectCode::SysFatal, why.to_string()))
}
