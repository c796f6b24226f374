//! A canister as queries find it: what its last turn left, whether or not it has another by now.
//!
//! ```text
//!  update ─── turn ── commit ── journal ─┬─ the view is made anew ── its caller is told
//!                                        │
//!  query ──── takes the view, waits for nobody, runs beside the update
//!             └ the memory is newer than the view by then? waits for the end of that turn
//! ```
//!
//! An update may take minutes, so a query doesn't wait for its canister. What it reads may have been
//! committed by a turn that isn't written down yet, and that may never be; so one that could have read
//! that is told to nobody before the turn has ended. With a turn that came to nothing, so did the
//! query.

use super::canister::Canister;
use super::deadline::Deadline;
use super::slot::{Slot, lock};
use super::{Ask, CanisterError, Canisters, clock};
use crate::call::{Call, Entry, Limits, Log, Principal, Statics, Status};
use crate::executor::{CanisterMemory, Code, Crash, Queries, Seat};
use crate::module::MethodKind;
use crate::store::Written;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Instructions of a query.
const INSTRUCTIONS: u64 = 5_000_000_000;
/// The longest reply of a query, bytes.
const REPLY: u64 = 3 << 20;

/// See the module.
pub(super) struct View {
    name: String,
    code: Arc<Code>,
    statics: Statics,
    queued: Vec<(Principal, u32)>,
    /// What its memory may be, bytes.
    limit: u64,
    pub(super) queries: Arc<dyn Queries>,
    memory: CanisterMemory,
    version: u64,
    /// What has to be on the disk before anybody is told of this.
    seen: Written,
}

impl View {
    /// The call that asks for this.
    pub(super) fn asked(&self, ask: Ask) -> Result<Arc<Call>, CanisterError> {
        let method = ask.method.clone();
        let entry = match kind(&self.name, &self.code, &method, "query")? {
            MethodKind::Query => Entry::Query(method),
            MethodKind::CompositeQuery => Entry::CompositeQuery(method),
            MethodKind::Update => return Err(no_method(&self.name, &self.code, &method, "query")),
        };
        if self.statics.status != Status::Running {
            return Err(CanisterError::Stopped(self.name.clone()));
        }
        let limits = Deadline::of(&ask).limits(Limits {
            instructions: INSTRUCTIONS,
            reply: REPLY,
            memory: self.limit,
            ..Limits::default()
        });
        let mut call = ask.call(entry, self.statics.clone(), limits);
        call.queued.clone_from(&self.queued);
        Ok(Arc::new(call))
    }
}

/// What kind a method of a canister is of.
pub(super) fn kind(
    name: &str,
    code: &Code,
    method: &str,
    kind: &'static str,
) -> Result<MethodKind, CanisterError> {
    let found = code.profile.method(method).map(|method| method.kind);
    found.ok_or_else(|| no_method(name, code, method, kind))
}

fn no_method(name: &str, code: &Code, method: &str, kind: &'static str) -> CanisterError {
    let methods = code.profile.methods.iter();
    let methods = methods.filter(|method| kind == "method" || method.kind != MethodKind::Update);
    CanisterError::NoMethod {
        canister: name.to_owned(),
        kind,
        method: method.to_owned(),
        methods: methods.map(|method| method.name.clone()).collect(),
    }
}

impl Canister {
    /// Makes a place to run in, if there is none, and shows it.
    fn view(&mut self) -> Result<Arc<View>, CanisterError> {
        self.warm()?;
        self.shown()
            .ok_or_else(|| Crash::Gone("it has no place".to_owned()).into())
    }

    fn shown(&self) -> Option<Arc<View>> {
        let seat = self.seat.as_ref().filter(|_| !self.is_stale)?;
        Some(Arc::new(View {
            name: self.name.clone(),
            code: self.code.clone(),
            statics: self.statics.clone(),
            queued: self.books.queued(),
            limit: self.limit(),
            queries: seat.queries(),
            memory: self.memory.clone(),
            version: self.memory.version(),
            seen: self.journal.seen(self.shop.options.durability),
        }))
    }

    /// Whether another view would say the same.
    fn is_shown_by(&self, view: &View) -> bool {
        let is_same = |seat: &dyn Seat| Arc::ptr_eq(&seat.queries(), &view.queries);
        !self.is_stale
            && self.seat.as_deref().is_some_and(is_same)
            && view.version == self.memory.version()
            && view.statics == self.statics
            && view.limit == self.limit()
            && view.queued == self.books.queued()
            && view.name == self.name
    }
}

impl Slot {
    /// A turn has ended: this is how queries find the canister.
    pub(super) fn show(&self, canister: &Canister) {
        let mut view = lock(&self.view);
        if !view.as_ref().is_some_and(|view| canister.is_shown_by(view)) {
            *view = canister.shown();
        }
    }
}

/// A canister counts as asked as long as this is.
pub(super) struct Asking(Arc<Slot>);

impl Asking {
    pub(super) fn of(slot: &Arc<Slot>) -> Self {
        slot.asking.fetch_add(1, Ordering::Relaxed);
        Self(slot.clone())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.used.store(clock::now(), Ordering::Relaxed);
        self.0.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Canisters {
    /// How a query finds a canister that may have a turn just now.
    pub(super) fn view(&self, slot: &Arc<Slot>, method: &str) -> Result<Arc<View>, CanisterError> {
        if let Some(view) = slot.view()
            && view.queries.ended().is_none()
        {
            return Ok(view);
        }
        self.with_opened(slot, true, |canister| {
            kind(&canister.name, &canister.code, method, "query")?;
            canister.view()
        })
    }

    /// Waits until all that was read by what ran on this is written down.
    ///
    /// # Errors
    /// It never was: the canister was made again meanwhile.
    pub(super) fn settled(&self, slot: &Arc<Slot>, view: &View) -> Result<(), CanisterError> {
        if view.memory.version() == view.version {
            return Ok(self.until_kept(view.seen.clone())?);
        }
        let is_same = self.with(slot, |canister| Ok(canister.memory.is(&view.memory)))?;
        match is_same {
            true => Ok(()),
            false => Err(CanisterError::Changed(slot.name.clone())),
        }
    }

    /// Writes down what queries printed, now or at the end of the turn that is under way.
    pub(super) fn printed(&self, slot: &Arc<Slot>, logs: &[Log]) -> Result<(), CanisterError> {
        if logs.is_empty() {
            return Ok(());
        }
        slot.print(logs);
        let is_free = slot.try_canister().is_some();
        match is_free {
            true => self.with(slot, |_| Ok(())),
            false => Ok(()),
        }
    }
}
