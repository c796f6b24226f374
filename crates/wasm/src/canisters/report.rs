//! What there is to say of a canister.

use super::slot::Slot;
use super::{CanisterError, Canisters, clock};
use crate::call::{Log, Principal, Status};
use crate::store::Durability;
use casemate_core::hex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A canister, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it is called.
    pub name: String,
    /// Its principal.
    pub canister: String,
    /// SHA-256 of its module, in hexadecimal digits.
    pub module: String,
    /// Whether it takes calls.
    pub status: Status,
    /// Who may change it.
    pub controllers: Vec<String>,
    /// Grows with every change of code or settings.
    pub version: u64,
    /// Its cycles, in decimal digits.
    pub cycles: String,
    /// The heap, bytes.
    pub heap: u64,
    /// Stable memory, bytes.
    pub stable: u64,
    /// Its methods, and what kind each is of.
    pub methods: Vec<(String, &'static str)>,
    /// When its timer goes off, nanoseconds since 1970; 0 for never.
    pub timer: u64,
    /// Its timer should have gone off.
    pub is_overdue: bool,
    /// Calls that came in and aren't over.
    pub contexts: usize,
    /// Calls that went out and aren't answered.
    pub calls: usize,
    /// Instructions since it was opened.
    pub instructions: u64,
    /// Pages of 4 KiB that its last turn wrote.
    pub dirtied: usize,
    /// Bytes of the calls since its last checkpoint.
    pub journal: u64,
    /// The process that it runs in, if it is in one of its own.
    pub process: Option<u32>,
    /// The memory of that process, bytes.
    pub resident: Option<u64>,
}

/// A canister that could make room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// What it is called.
    pub name: String,
    /// When it last had a turn, nanoseconds since 1970.
    pub used: u64,
    /// The process that it runs in.
    pub process: Option<u32>,
    /// The memory of that process, bytes.
    pub resident: Option<u64>,
}

impl Canisters {
    /// What there is to say of a canister.
    pub fn report(&self, name: &str) -> Result<Report, CanisterError> {
        let slot = self.slot(name)?;
        self.with(&slot, |canister| {
            let statics = &canister.statics;
            let (contexts, calls) = canister.books.counts();
            let (instructions, dirtied) = canister.work();
            let methods = canister.code.profile.methods.iter();
            Ok(Report {
                name: canister.name.clone(),
                canister: statics.canister.to_string(),
                module: hex::encode(&canister.code.hash),
                status: statics.status,
                controllers: statics
                    .controllers
                    .iter()
                    .map(Principal::to_string)
                    .collect(),
                version: statics.version,
                cycles: statics.cycles.to_string(),
                heap: canister.state.heap_pages << 16,
                stable: canister.state.stable_pages << 16,
                methods: methods
                    .map(|method| (method.name.clone(), method.kind.name()))
                    .collect(),
                timer: statics.timer,
                is_overdue: statics.timer > 0 && statics.timer < clock::now(),
                contexts,
                calls,
                instructions,
                dirtied,
                journal: canister.journal.length(),
                process: canister.process(),
                resident: canister.seat.as_ref().and_then(|seat| seat.resident()),
            })
        })
    }

    /// The last lines that a canister printed, or that there were to say of it.
    pub fn logs(&self, name: &str) -> Result<Vec<Log>, CanisterError> {
        let slot = self.slot(name)?;
        self.with(&slot, |canister| Ok(canister.logbook.lines()))
    }

    /// Canisters that are opened and have nothing under way.
    #[must_use]
    pub fn idle(&self) -> Vec<Idle> {
        let slots = self.slots();
        slots.iter().filter_map(idle).collect()
    }

    /// Lets a canister's process go, and keeps its memory: its next call makes another.
    pub fn rest(&self, name: &str) -> Result<(), CanisterError> {
        let slot = self.slot(name)?;
        self.with(&slot, |canister| {
            canister.rest();
            Ok(())
        })
    }

    /// Before an end in good order: what isn't written becomes checkpoints. Only with
    /// [`Durability::Checkpoint`] is there any of that.
    pub fn save(&self) -> Result<(), CanisterError> {
        if self.shop.options.durability != Durability::Checkpoint {
            return Ok(());
        }
        for slot in self.slots() {
            if let Some(canister) = slot.canister().as_mut().filter(|one| one.has_news()) {
                canister.checkpoint()?;
            }
        }
        Ok(())
    }

    /// Lets a canister's process and memory go, unless it has something under way. It is opened again
    /// when it is asked for.
    pub fn evict(&self, name: &str) -> Result<bool, CanisterError> {
        let slot = self.slot(name)?;
        let Some(mut place) = slot.try_canister() else {
            return Ok(false);
        };
        if slot.has_post() || slot.asking.load(Ordering::Relaxed) > 0 {
            return Ok(false);
        }
        if let Some(canister) = &mut *place {
            for (who, number) in slot.take_read() {
                canister.books.forget(who, number);
            }
            if canister.books.counts() != (0, 0) || !canister.books.unread().is_empty() {
                return Ok(false);
            }
            if canister.has_news() {
                canister.checkpoint()?;
            }
        }
        Ok(slot.close(&mut place))
    }
}

fn idle(slot: &Arc<Slot>) -> Option<Idle> {
    let place = slot.try_canister()?;
    let canister = place.as_ref()?;
    if canister.books.counts() != (0, 0) || slot.has_post() {
        return None;
    }
    Some(Idle {
        name: slot.name.clone(),
        used: slot.used.load(Ordering::Relaxed),
        process: canister.process(),
        resident: canister.seat.as_ref().and_then(|seat| seat.resident()),
    })
}
