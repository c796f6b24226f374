//! Composite queries: those that call queries of other canisters, as far as a tree of them goes.
//!
//! ```text
//!  query ─▶ method ── answers ─▶ that is all; calls that wait for their turn are never made
//!             │ calls
//!             ▼
//!           kept (executor/kept.rs) ─▶ callee: the same, one level down ─▶ callback, on what is kept
//! ```
//!
//! Calls are made one after the other, in the order in which they were performed, on the thread that
//! asks. Between two executions nothing is held but memory, so trees that call crosswise, or round in
//! a circle, wait for each other no more than plain queries do. Each execution of a method reads the
//! newest version of its canister, and its callbacks read the same; a canister that is called by
//! itself is read anew, without what its caller has written. Nothing is written down, and in the end
//! all of it is thrown away.
//!
//! The whole tree has one budget of instructions, and [limits](MOST_DEPTH) on its depth and its calls.
//! A call that they leave no room for is rejected; without instructions nothing of it can go on.

use super::deadline::Deadline;
use super::message::Response;
use super::phases::Phase;
use super::slot::Slot;
use super::view::{Asking, View};
use super::{Ask, CanisterError, Canisters, Outcome};
use crate::call::{
    Answer, Call, Effects, Entry, Failure, Log, Outgoing, Principal, Ran, RejectCode,
};
use crate::executor::{Crash, Kept, MOST_KEPT};
use crate::store;
use crate::system::Context;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Calls that may be within each other.
const MOST_DEPTH: usize = 6;
/// Calls of one tree.
const MOST_CALLS: usize = 500;

/// How a method of it ended.
type Ended = Result<Answer, Failure>;
/// Why a call was rejected.
type Rejection = (RejectCode, String);
/// What its caller is told.
type Told = Result<Vec<u8>, Rejection>;
/// What is to run, and where.
type Asked = (Arc<Slot>, Arc<View>, Arc<Call>);

/// All that comes of one query.
struct Tree<'a> {
    canisters: &'a Canisters,
    /// Instructions of all of it, and those that are left.
    limit: u64,
    left: u64,
    /// Calls that were made.
    calls: usize,
    /// At which all of it runs.
    time: u64,
    /// By which all of it has to be over.
    deadline: Deadline,
}

/// A method that isn't answered yet.
struct Frame {
    slot: Arc<Slot>,
    view: Arc<View>,
    /// What is the same for the method and its callbacks.
    call: Call,
    /// What its executions have left.
    kept: Option<Kept>,
    /// Calls that are to be made.
    calls: VecDeque<Outgoing>,
    /// What its executions have taken.
    instructions: u64,
    logs: Vec<Log>,
}

impl Canisters {
    /// Asks a composite query, and all that it asks.
    pub(super) fn compose(
        &self,
        slot: &Arc<Slot>,
        view: Arc<View>,
        call: &Call,
        deadline: Deadline,
    ) -> Result<Outcome, CanisterError> {
        let mut tree = Tree {
            canisters: self,
            limit: call.limits.instructions,
            left: call.limits.instructions,
            calls: 0,
            time: call.time,
            deadline,
        };
        let mut frame = Frame::of(slot, view, call);
        let ended = tree.run(&mut frame, call, 0);
        frame.end(self)?;
        Ok(Outcome {
            result: ended?.map(Some),
            instructions: tree.limit - tree.left,
            logs: frame.logs,
            // It has done nothing.
            kept: store::Kept::Written,
        })
    }
}

impl Tree<'_> {
    /// Runs a method, and its callbacks, until it is answered or can't be any more.
    fn run(
        &mut self,
        frame: &mut Frame,
        call: &Call,
        depth: usize,
    ) -> Result<Ended, CanisterError> {
        let mut ran = self.execute(frame, call.clone())?;
        loop {
            let next = match ran.result {
                Ok(Some(answer)) => return Ok(Ok(answer)),
                Ok(None) => frame.calls.pop_front().ok_or(Failure::NoAnswer),
                Err(why) => frame.calls.pop_front().ok_or(why),
            };
            let mut next = match next {
                Ok(next) => next,
                Err(why) => return Ok(Err(why)),
            };
            let told = self.call(frame, &mut next, depth);
            ran = self.call_back(frame, &next, told)?;
        }
    }

    /// One execution. What it leaves takes the place of what was kept, if it went well.
    fn execute(&mut self, frame: &mut Frame, mut call: Call) -> Result<Ran, CanisterError> {
        let out = Failure::Instructions { limit: self.limit };
        if self.left == 0 {
            return Ok(failed(out));
        }
        if self.deadline.is_over() {
            return Ok(failed(Failure::Aborted));
        }
        call.limits.instructions = self.left;
        call.limits.dirty = MOST_KEPT as u64;
        call.time = self.time;
        call.instructions_before = frame.instructions;
        call.queued = frame.queued();
        let (call, before) = (Arc::new(call), frame.kept.as_ref());
        let run = || {
            frame
                .view
                .queries
                .converse(&call, before, &mut self.deadline)
        };
        let ran = self.canisters.shop.phases.of(Phase::Query, run);
        let (mut ran, kept) = match ran {
            Ok(ran) => ran,
            Err(why) => {
                frame.crashed(self.canisters, &why);
                return Err(why.into());
            }
        };
        self.left = self.left.saturating_sub(ran.instructions);
        frame.instructions = frame.instructions.saturating_add(ran.instructions);
        frame.logs.append(&mut ran.effects.logs);
        if let Err(Failure::Instructions { .. }) = ran.result {
            // Not what was left of them.
            ran.result = Err(out);
            self.left = 0;
        }
        if ran.result.is_ok() {
            frame.kept = kept.or(frame.kept.take());
            frame.calls.extend(std::mem::take(&mut ran.effects.calls));
        }
        Ok(ran)
    }

    /// Makes a call. Whatever goes wrong with it is a rejection.
    fn call(&mut self, from: &Frame, out: &mut Outgoing, depth: usize) -> Told {
        let failed = |why: CanisterError| (why.code(), why.to_string());
        let (slot, view, call) = self.ask(from, out, depth)?;
        let _asking = Asking::of(&slot);
        let mut frame = Frame::of(&slot, view, &call);
        let ended = self.run(&mut frame, &call, depth + 1);
        frame.end(self.canisters).map_err(failed)?;
        Response::of(&ended.map_err(failed)?, 0).result
    }

    /// What a call is to run, and where.
    fn ask(&mut self, from: &Frame, out: &mut Outgoing, depth: usize) -> Result<Asked, Rejection> {
        let refused = |code, why: String| Err((code, why));
        if depth >= MOST_DEPTH {
            let why = format!(
                "calls of a composite query are within each other at most {MOST_DEPTH} deep"
            );
            return refused(RejectCode::CanisterError, why);
        }
        if self.calls >= MOST_CALLS {
            let why = format!("a composite query makes at most {MOST_CALLS} calls in all");
            return refused(RejectCode::CanisterError, why);
        }
        self.calls += 1;
        let callee = out.callee;
        if callee == Principal::MANAGEMENT {
            let why = "a query can't call the management canister".to_owned();
            return refused(RejectCode::DestinationInvalid, why);
        }
        let Some(slot) = self.canisters.slot_of(callee) else {
            let why = format!("there is no canister {callee}");
            return refused(RejectCode::DestinationInvalid, why);
        };
        let mut ask = Ask::new(&out.method, std::mem::take(&mut out.argument));
        ask.caller = from.call.statics.canister;
        ask.deadline = self.deadline.time();
        let asked = self.canisters.view(&slot, &ask.method).and_then(|view| {
            let call = view.asked(ask)?;
            Ok((slot, view, call))
        });
        asked.map_err(|why| (why.code(), why.to_string()))
    }

    /// Hands over what came of a call, and cleans up if that fails.
    fn call_back(
        &mut self,
        frame: &mut Frame,
        out: &Outgoing,
        told: Told,
    ) -> Result<Ran, CanisterError> {
        let mut call = frame.call.clone();
        let (context, callback) = match told {
            Ok(bytes) => {
                call.argument = bytes;
                (Context::CompositeReply, out.on_reply)
            }
            Err(why) => {
                call.rejected = Some(why);
                (Context::CompositeReject, out.on_reject)
            }
        };
        let entry = |context, callback: crate::call::Callback| Entry::Callback {
            context,
            function: callback.function,
            environment: callback.environment,
        };
        call.entry = entry(context, callback);
        let ran = self.execute(frame, call)?;
        if let (Err(_), Some(cleanup)) = (&ran.result, out.cleanup) {
            let mut call = frame.call.clone();
            call.entry = entry(Context::CompositeCleanup, cleanup);
            self.execute(frame, call)?;
        }
        Ok(ran)
    }
}

impl Frame {
    fn of(slot: &Arc<Slot>, view: Arc<View>, call: &Call) -> Self {
        let mut own = Call::new(call.entry.clone(), call.statics.clone());
        own.caller = call.caller;
        own.method.clone_from(&call.method);
        own.deadline = call.deadline;
        own.limits = call.limits;
        Self {
            slot: slot.clone(),
            view,
            call: own,
            kept: None,
            calls: VecDeque::new(),
            instructions: 0,
            logs: Vec::new(),
        }
    }

    /// Its calls that are to be made, by whom they call.
    fn queued(&self) -> Vec<(Principal, u32)> {
        let mut queued = BTreeMap::<Principal, u32>::new();
        for call in &self.calls {
            *queued.entry(call.callee).or_default() += 1;
        }
        queued.into_iter().collect()
    }

    /// Writes down what it printed, and waits for what it read.
    fn end(&self, canisters: &Canisters) -> Result<(), CanisterError> {
        canisters.printed(&self.slot, &self.logs)?;
        canisters.settled(&self.slot, &self.view)
    }

    /// It couldn't be run. The place is made anew, unless it is as good as before.
    fn crashed(&self, canisters: &Canisters, why: &Crash) {
        if matches!(why, Crash::Refused(_) | Crash::Overtaken) {
            return;
        }
        let _ = canisters.with(&self.slot, |canister| {
            canister.crashed(&self.view.queries, why);
            Ok(())
        });
    }
}

fn failed(why: Failure) -> Ran {
    Ran {
        result: Err(why),
        instructions: 0,
        effects: Effects::default(),
        globals: Vec::new(),
        heap_pages: 0,
        stable_pages: 0,
    }
}
