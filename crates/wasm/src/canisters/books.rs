//! What a canister has begun and not ended: the books that a crash must not lose.
//!
//! ```text
//!  a request ─▶ context ─▶ calls of others ─▶ their answers ─▶ callbacks ─▶ the context's answer
//! ```
//!
//! A *context* is a call that came in and isn't over; a *call* is one that went out of a context and
//! has no answer. Both have numbers of their canister's, given in the order of its turns, so that
//! running the journal again gives the same ones: whatever is on its way between two canisters can
//! be worked out from their books, and needs no file of its own. The callee knows a request by the
//! caller's number for it, and keeps its answer until the caller has written down that it has it.
//!
//! Everything here is a function of the turns alone; nothing runs, and nothing is sent.

use super::message::{Ended, Parcel, Response};
use crate::call::{
    Answer, Call, Entry, Failure, Origin, Outgoing, Principal, Ran, RejectCode, read_result,
    write_result,
};
use crate::system::Context as Place;
use crate::wire::{Malformed, Reader, Writer};
use std::collections::{BTreeMap, VecDeque};

/// Keys of calls from outside that are remembered; the oldest is forgotten first.
const MOST_KEYS: usize = 10_000;
/// What their answers take together, bytes.
const MOST_REMEMBERED: usize = 64 << 20;

/// A call that came in and isn't over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Context {
    origin: Origin,
    caller: Principal,
    /// Cycles that came with it and weren't accepted.
    cycles: u128,
    deadline: u64,
    is_answered: bool,
    /// What all of it took so far.
    instructions: u64,
    /// Calls of it that wait for an answer.
    open: u64,
}

/// A call that went out and has no answer yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    context: u64,
    /// When an answer is of no use any more, nanoseconds since 1970.
    until: Option<u64>,
    call: Outgoing,
}

/// The books of one canister.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Books {
    next: u64,
    contexts: BTreeMap<u64, Context>,
    open: BTreeMap<u64, Open>,
    /// Answers that their callers may not have written down.
    answers: BTreeMap<(Principal, u64), Response>,
    /// How calls with a key ended.
    keyed: VecDeque<(String, Ended)>,
}

/// What the callee's books know of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    No,
    /// It is being worked on.
    Begun,
    /// Its answer.
    Answered(Response),
}

impl Books {
    /// A call came in and ran. `is_kept` says whether the journal has it: what it hasn't leaves
    /// nothing here. The number is that of its context.
    pub(super) fn begin(
        &mut self,
        origin: &Origin,
        call: &Call,
        ran: &Ran,
        is_kept: bool,
    ) -> (u64, Vec<Parcel>) {
        let number = self.next;
        let mut parcels = Vec::new();
        let mut context = Context {
            origin: origin.clone(),
            caller: call.caller,
            cycles: call.cycles.saturating_sub(ran.effects.accepted),
            deadline: call.deadline,
            is_answered: false,
            instructions: ran.instructions,
            open: 0,
        };
        if is_kept {
            self.next += 1;
            self.send(number, call, ran, &mut context, &mut parcels);
        }
        self.conclude(number, &mut context, call, ran, is_kept, &mut parcels);
        if context.open > 0 {
            self.contexts.insert(number, context);
        }
        (number, parcels)
    }

    /// An answer came, and its callback ran, or could not. Its context may be over with it.
    pub(super) fn go_on(&mut self, number: u64, call: &Call, ran: &Ran) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let Some(open) = self.open.remove(&number) else {
            return parcels;
        };
        let Some(mut context) = self.contexts.remove(&open.context) else {
            return parcels;
        };
        context.open = context.open.saturating_sub(1);
        context.cycles = context.cycles.saturating_sub(ran.effects.accepted);
        context.instructions = context.instructions.saturating_add(ran.instructions);
        self.send(open.context, call, ran, &mut context, &mut parcels);
        self.conclude(open.context, &mut context, call, ran, true, &mut parcels);
        if context.open > 0 {
            self.contexts.insert(open.context, context);
        }
        parcels
    }

    /// Notes the calls that a turn made.
    fn send(
        &mut self,
        number: u64,
        call: &Call,
        ran: &Ran,
        context: &mut Context,
        parcels: &mut Vec<Parcel>,
    ) {
        for outgoing in &ran.effects.calls {
            let id = self.next;
            self.next += 1;
            context.open += 1;
            let wait = |seconds: u32| call.time.saturating_add(u64::from(seconds) * 1_000_000_000);
            self.open.insert(
                id,
                Open {
                    context: number,
                    until: outgoing.timeout.map(wait),
                    call: outgoing.clone(),
                },
            );
            parcels.push(Parcel::Request {
                from: call.statics.canister,
                number: id,
                call: outgoing.clone(),
            });
        }
    }

    /// Answers a context, if this turn did, or if nothing else can.
    fn conclude(
        &mut self,
        number: u64,
        context: &mut Context,
        call: &Call,
        ran: &Ran,
        is_kept: bool,
        parcels: &mut Vec<Parcel>,
    ) {
        let result = match &ran.result {
            _ if context.is_answered => return,
            Ok(Some(answer)) => Ok(answer.clone()),
            _ if context.open > 0 => return,
            Ok(None) => Err(Failure::NoAnswer),
            Err(failure) => Err(failure.clone()),
        };
        context.is_answered = true;
        let refund = std::mem::take(&mut context.cycles);
        match &context.origin {
            Origin::Nobody => {}
            Origin::Canister(who, number) => {
                let response = Response::of(&result, refund);
                if is_kept {
                    self.answers.insert((*who, *number), response.clone());
                }
                parcels.push(Parcel::Response {
                    to: *who,
                    number: *number,
                    from: call.statics.canister,
                    response,
                });
            }
            Origin::Outside(key) => {
                let ended = Ended {
                    result: result.map(Some),
                    instructions: context.instructions,
                };
                if let (Some(key), true) = (key, is_kept) {
                    self.remember(key, &ended);
                }
                parcels.push(Parcel::Answer {
                    context: number,
                    ended,
                });
            }
        }
    }

    fn remember(&mut self, key: &str, ended: &Ended) {
        self.keyed.push_back((key.to_owned(), ended.clone()));
        let mut room = MOST_REMEMBERED;
        let newest = self.keyed.iter().rev().take(MOST_KEYS);
        let fit = newest.take_while(|(key, ended)| {
            let left = room.checked_sub(key.len() + ended.size());
            room = left.unwrap_or(0);
            left.is_some()
        });
        let fit = fit.count().max(1);
        self.keyed.drain(..self.keyed.len() - fit);
    }

    /// How the call with this key ended.
    pub(super) fn ended(&self, key: &str) -> Option<&Ended> {
        let mut found = self.keyed.iter().rev();
        found
            .find(|(known, _)| known == key)
            .map(|(_, ended)| ended)
    }

    /// The context of a call with this key that isn't over.
    pub(super) fn begun(&self, key: &str) -> Option<u64> {
        let mut contexts = self.contexts.iter();
        let same = |context: &Context| matches!(&context.origin, Origin::Outside(Some(known)) if known == key);
        contexts
            .find(|(_, context)| same(context) && !context.is_answered)
            .map(|(number, _)| *number)
    }

    /// Makes of a call with nothing the callback that takes a response. There is none if nobody
    /// waits for it.
    pub(super) fn callback(&self, number: u64, response: &Response, call: &mut Call) -> bool {
        let Some((open, context)) = self.waiting(number) else {
            return false;
        };
        let (place, callback) = match response.result {
            Ok(_) => (Place::Reply, open.call.on_reply),
            Err(_) => (Place::Reject, open.call.on_reject),
        };
        call.entry = Entry::Callback {
            context: place,
            function: callback.function,
            environment: callback.environment,
        };
        match &response.result {
            Ok(bytes) => call.argument.clone_from(bytes),
            Err((code, why)) => call.rejected = Some((*code, why.clone())),
        }
        call.caller = context.caller;
        call.is_answered = context.is_answered;
        call.deadline = context.deadline;
        call.cycles = context.cycles;
        call.refunded = response.refund.min(open.call.cycles);
        call.instructions_before = context.instructions;
        true
    }

    /// What cleans up if the callback of this call fails.
    pub(super) fn cleanup(&self, number: u64) -> Option<Entry> {
        let (open, _) = self.waiting(number)?;
        open.call.cleanup.map(|cleanup| Entry::Callback {
            context: Place::Cleanup,
            function: cleanup.function,
            environment: cleanup.environment,
        })
    }

    fn waiting(&self, number: u64) -> Option<(&Open, &Context)> {
        let open = self.open.get(&number)?;
        Some((open, self.contexts.get(&open.context)?))
    }

    /// Whether somebody waits for the answer of this call.
    pub(super) fn awaits(&self, number: u64) -> bool {
        self.open.contains_key(&number)
    }

    /// What is known of a canister's request.
    pub(super) fn known(&self, who: Principal, number: u64) -> Known {
        if let Some(response) = self.answers.get(&(who, number)) {
            return Known::Answered(response.clone());
        }
        let origin = Origin::Canister(who, number);
        let mut contexts = self.contexts.values();
        match contexts.any(|context| context.origin == origin) {
            true => Known::Begun,
            false => Known::No,
        }
    }

    /// The caller has written the answer down.
    pub(super) fn forget(&mut self, who: Principal, number: u64) {
        self.answers.remove(&(who, number));
    }

    /// Calls without an answer, and whom they call.
    pub(super) fn unanswered(&self) -> Vec<(u64, Outgoing)> {
        let open = self.open.iter();
        open.map(|(number, open)| (*number, open.call.clone()))
            .collect()
    }

    /// Answers that their callers may not have written down.
    pub(super) fn unread(&self) -> Vec<(Principal, u64)> {
        self.answers.keys().copied().collect()
    }

    /// How many calls wait for an answer, by whom they call.
    pub(super) fn queued(&self) -> Vec<(Principal, u32)> {
        let mut queued = BTreeMap::<Principal, u32>::new();
        for open in self.open.values() {
            *queued.entry(open.call.callee).or_default() += 1;
        }
        queued.into_iter().collect()
    }

    /// Calls whose answer is of no use any more.
    pub(super) fn late(&self, now: u64) -> Vec<u64> {
        let open = self.open.iter();
        let late = open.filter(|(_, open)| open.until.is_some_and(|until| until <= now));
        late.map(|(number, _)| *number).collect()
    }

    /// When the next call is late.
    pub(super) fn next_late(&self) -> Option<u64> {
        self.open.values().filter_map(|open| open.until).min()
    }

    /// Contexts that aren't over, and calls without an answer.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.contexts.len(), self.open.len())
    }

    /// Ends all that isn't over: the canister is to go.
    pub(super) fn close(&mut self, own: Principal, why: &str) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let contexts = std::mem::take(&mut self.contexts);
        self.open.clear();
        for (number, context) in contexts {
            match context.origin {
                _ if context.is_answered => {}
                Origin::Nobody => {}
                Origin::Canister(to, call) => parcels.push(Parcel::Response {
                    to,
                    number: call,
                    from: own,
                    response: Response::reject(RejectCode::DestinationInvalid, why, context.cycles),
                }),
                Origin::Outside(_) => parcels.push(Parcel::Answer {
                    context: number,
                    ended: Ended {
                        result: Ok(Some(Answer::Reject(why.to_owned()))),
                        instructions: context.instructions,
                    },
                }),
            }
        }
        parcels
    }

    /// As bytes, for a checkpoint.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u64(self.next).count(self.contexts.len());
        for (number, context) in &self.contexts {
            writer.u64(*number);
            context.origin.write(&mut writer);
            writer
                .bytes(context.caller.as_slice())
                .u128(context.cycles)
                .u64(context.deadline)
                .bool(context.is_answered)
                .u64(context.instructions)
                .u64(context.open);
        }
        writer.count(self.open.len());
        for (number, open) in &self.open {
            writer
                .u64(*number)
                .u64(open.context)
                .option(open.until, |writer, until| {
                    writer.u64(until);
                });
            open.call.write(&mut writer);
        }
        writer.count(self.answers.len());
        for ((who, number), response) in &self.answers {
            writer.bytes(who.as_slice()).u64(*number);
            response.write(&mut writer);
        }
        writer.count(self.keyed.len());
        for (key, ended) in &self.keyed {
            writer.text(key);
            write_result(&mut writer, &ended.result);
            writer.u64(ended.instructions);
        }
        writer.finish()
    }

    /// From bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(bytes);
        let next = reader.u64("a number")?;
        let contexts = reader.list("contexts", |reader| {
            let number = reader.u64("a number")?;
            let context = Context {
                origin: Origin::read(reader)?,
                caller: Principal::read(reader)?,
                cycles: reader.u128("cycles")?,
                deadline: reader.u64("a deadline")?,
                is_answered: reader.bool("whether it is answered")?,
                instructions: reader.u64("instructions")?,
                open: reader.u64("calls")?,
            };
            Ok((number, context))
        })?;
        let open = reader.list("calls", |reader| {
            let number = reader.u64("a number")?;
            let open = Open {
                context: reader.u64("a context")?,
                until: reader.option("whether it gets late", |reader| reader.u64("a time"))?,
                call: Outgoing::read(reader)?,
            };
            Ok((number, open))
        })?;
        let answers = reader.list("answers", |reader| {
            let who = Principal::read(reader)?;
            let number = reader.u64("a number")?;
            Ok(((who, number), Response::read(reader)?))
        })?;
        let keyed = reader.list("keys", |reader| {
            let key = reader.text("a key")?;
            let result = read_result(reader)?;
            let instructions = reader.u64("instructions")?;
            Ok((
                key,
                Ended {
                    result,
                    instructions,
                },
            ))
        })?;
        reader.end()?;
        Ok(Self {
            next,
            contexts: contexts.into_iter().collect(),
            open: open.into_iter().collect(),
            answers: answers.into_iter().collect(),
            keyed: keyed.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Callback, Effects, Statics};

    fn call(time: u64) -> Call {
        let mut call = Call::new(
            Entry::Update("m".to_owned()),
            Statics::of(Principal::of_canister(1)),
        );
        call.time = time;
        call.cycles = 100;
        call
    }

    fn outgoing(timeout: Option<u32>) -> Outgoing {
        let callback = Callback {
            function: 0,
            environment: 0,
        };
        Outgoing {
            callee: Principal::of_canister(2),
            method: "n".to_owned(),
            argument: vec![1],
            cycles: 5,
            timeout,
            on_reply: callback,
            on_reject: callback,
            cleanup: Some(callback),
        }
    }

    fn ran(result: Result<Option<Answer>, Failure>, calls: Vec<Outgoing>) -> Ran {
        Ran {
            result,
            instructions: 10,
            effects: Effects {
                calls,
                accepted: 30,
                ..Effects::default()
            },
            globals: Vec::new(),
            heap_pages: 0,
            stable_pages: 0,
        }
    }

    /// Something of everything.
    fn books() -> Books {
        let mut books = Books::default();
        let key = Origin::Outside(Some("key".to_owned()));
        let reply = Ok(Some(Answer::Reply(vec![7])));
        books.begin(&key, &call(0), &ran(reply.clone(), Vec::new()), true);
        let origin = Origin::Canister(Principal::of_canister(3), 9);
        books.begin(&origin, &call(0), &ran(reply, Vec::new()), true);
        let waits = ran(Ok(None), vec![outgoing(Some(2)), outgoing(None)]);
        let origin = Origin::Canister(Principal::of_canister(3), 10);
        books.begin(&origin, &call(1_000_000_000), &waits, true);
        books
    }

    #[test]
    fn they_come_back() {
        let books = books();
        assert_eq!(Books::from_bytes(&books.to_bytes()), Ok(books));
    }

    #[test]
    fn who_waits_too_long_is_known() {
        let books = books();
        assert_eq!(books.next_late(), Some(3_000_000_000));
        assert!(books.late(2_999_999_999).is_empty());
        assert_eq!(books.late(3_000_000_000).len(), 1);
        assert_eq!(books.queued(), [(Principal::of_canister(2), 2)]);
    }

    #[test]
    fn what_is_known_of_a_request() {
        let mut books = books();
        let who = Principal::of_canister(3);
        assert!(matches!(books.known(who, 9), Known::Answered(_)));
        assert_eq!(books.known(who, 10), Known::Begun);
        assert_eq!(books.known(who, 11), Known::No);
        books.forget(who, 9);
        assert_eq!(books.known(who, 9), Known::No);
    }

    #[test]
    fn a_context_is_answered_once_and_for_all() {
        let mut books = Books::default();
        let origin = Origin::Canister(Principal::of_canister(3), 1);
        let first = ran(Ok(None), vec![outgoing(None), outgoing(None)]);
        let (_, parcels) = books.begin(&origin, &call(0), &first, true);
        assert_eq!(parcels.len(), 2);
        let reply = ran(Ok(Some(Answer::Reply(vec![1]))), Vec::new());
        let numbers: Vec<u64> = books.open.keys().copied().collect();
        let parcels = books.go_on(numbers[0], &call(0), &reply);
        // What came with it, without what both turns accepted.
        assert!(
            matches!(&parcels[..], [Parcel::Response { response, .. }] if response.refund == 40),
            "{parcels:?}"
        );
        assert!(
            books
                .go_on(numbers[1], &call(0), &ran(Ok(None), Vec::new()))
                .is_empty()
        );
        assert_eq!(books.counts(), (0, 0));
        // An answer that comes twice is nobody's.
        assert!(books.go_on(numbers[1], &call(0), &reply).is_empty());
    }
}
