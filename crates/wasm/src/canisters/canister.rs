//! One canister, and its turns.

use super::books::Books;
use super::budget::Held;
use super::deadline::Deadline;
use super::logbook::Logbook;
use super::message::{Parcel, Response};
use super::phases::Phase;
use super::shop::Shop;
use super::view::kind;
use super::{Ask, CanisterError, Outcome, clock};
use crate::call::{
    Call, Cause, Effects, Entry, Failure, Limits, Log, Origin, Pacer, Principal, Ran, Statics,
    Status,
};
use crate::executor::{CanisterMemory, Code, Coming, Crash, Queries, Seat};
use crate::guest::State;
use crate::module::abi::WASM_PAGE;
use crate::module::{EntryPoint, MethodKind};
use crate::replay::Digest;
use crate::store::{Checkpoint, Document, Durability, Journal, Kept, Pages, Record, load, sweep};
use casemate_core::hex;
use casemate_sys::pages::{PAGE, Runs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A journal is replaced by a checkpoint when it is as long, bytes.
const LONGEST_JOURNAL: u64 = 16 << 20;
/// How often a callback is tried whose worker crashes.
const TRIES: usize = 2;

/// What a turn leaves.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The context that it began.
    pub(super) context: u64,
    /// What is to be delivered.
    pub(super) parcels: Vec<Parcel>,
    /// What was printed.
    pub(super) logs: Vec<Log>,
}

/// A canister, opened.
pub(super) struct Canister {
    // Before what started it.
    pub(super) seat: Option<Box<dyn Seat>>,
    /// A seat that was begun to be made while the memory was loaded.
    pub(super) coming: Option<Box<dyn Coming>>,
    pub(super) name: String,
    pub(super) home: PathBuf,
    pub(super) code: Arc<Code>,
    pub(super) shop: Arc<Shop>,
    pub(super) memory: CanisterMemory,
    pub(super) document: Document,
    pub(super) statics: Statics,
    pub(super) state: State,
    pub(super) books: Books,
    pub(super) logbook: Logbook,
    pub(super) journal: Journal,
    held: Held,
    /// It was to be made again from what is stored, and couldn't be: nobody may use it.
    pub(super) is_stale: bool,
    /// Pages that were written since the last checkpoint.
    pub(super) written: [Runs; 2],
    /// Pages that the last turn wrote.
    dirtied: usize,
    /// Instructions since the last checkpoint.
    replayed: u64,
    /// Instructions since it was opened.
    instructions: u64,
}

impl Canister {
    /// Loads what is stored, and runs again what was called since.
    pub(super) fn recover(shop: &Arc<Shop>, home: PathBuf) -> Result<Self, CanisterError> {
        Self::recover_for(shop, home, false)
    }

    /// The same, for somebody who is going to ask it something.
    pub(super) fn recover_for(
        shop: &Arc<Shop>,
        home: PathBuf,
        is_asked: bool,
    ) -> Result<Self, CanisterError> {
        let began = Instant::now();
        let document = Document::read(&home)?;
        sweep(&home, &document)?;
        let (journal, records) = Journal::recover(&Document::calls(&home, document.journal))?;
        let logbook = Logbook::open(&home);
        let is_asked = is_asked || !records.is_empty();
        let mut canister = Self::at(shop, home, document, journal, logbook, is_asked)?;
        for (number, record) in (1..).zip(&records) {
            if canister.run_again(record)? != record.digest {
                return Err(CanisterError::Diverged { number });
            }
        }
        shop.phases.since(Phase::Recover, began);
        Ok(canister)
    }

    /// One as a document says, before the calls since.
    pub(super) fn at(
        shop: &Arc<Shop>,
        home: PathBuf,
        document: Document,
        journal: Journal,
        logbook: Logbook,
        is_asked: bool,
    ) -> Result<Self, CanisterError> {
        let code = shop.code(&document.module)?;
        let damaged = || CanisterError::Books(Document::path(&home));
        let books = hex::decode(&document.books).ok_or_else(damaged)?;
        let books = Books::from_bytes(&books).map_err(|_| damaged())?;
        let mut statics = document.statics(&home)?;
        if statics.status == Status::Stopped && books.counts() != (0, 0) {
            statics.status = Status::Stopping;
        }
        let state = document.state(&home)?;
        let mut canister = Self::empty(shop, home, code, statics, document, journal, logbook)?;
        if is_asked {
            let executor = &canister.shop.executor;
            canister.coming = executor.summon(&canister.code, &canister.memory, &state)?;
        }
        let (home, document) = (&canister.home, &canister.document);
        canister.memory.with(|both| load(home, document, both))?;
        canister.held.become_of(bytes(&state));
        canister.state = state;
        canister.books = books;
        Ok(canister)
    }

    /// One that was just made, with nothing stored yet.
    pub(super) fn begun(
        shop: &Arc<Shop>,
        name: &str,
        home: PathBuf,
        code: Arc<Code>,
        statics: Statics,
    ) -> Result<Self, CanisterError> {
        let journal = Journal::begin(&Document::calls(&home, 0), false)?;
        let document = Document::of(&statics, &code.hash, &State::default());
        let logbook = Logbook::open(&home);
        let mut canister = Self::empty(shop, home, code, statics, document, journal, logbook)?;
        name.clone_into(&mut canister.name);
        Ok(canister)
    }

    /// One with nothing in its memory.
    fn empty(
        shop: &Arc<Shop>,
        home: PathBuf,
        code: Arc<Code>,
        statics: Statics,
        document: Document,
        journal: Journal,
        logbook: Logbook,
    ) -> Result<Self, CanisterError> {
        Ok(Self {
            seat: None,
            name: name(&home),
            home,
            memory: CanisterMemory::new(&code.profile).map_err(Crash::from)?,
            code,
            shop: shop.clone(),
            document,
            statics,
            state: State::default(),
            books: Books::default(),
            logbook,
            coming: None,
            journal,
            held: shop.budget.held(0),
            is_stale: false,
            written: Default::default(),
            dirtied: 0,
            replayed: 0,
            instructions: 0,
        })
    }

    /// Makes it again from what is stored: what is here isn't what was written down.
    pub(super) fn reload(&mut self) -> Result<(), CanisterError> {
        self.seat = None;
        self.is_stale = true;
        self.held.become_of(0);
        *self = Self::recover(&self.shop.clone(), self.home.clone())?;
        Ok(())
    }

    /// Gives its place up until it is asked again.
    pub(super) fn rest(&mut self) {
        self.seat = None;
        self.coming = None;
    }

    /// Runs a turn that is written down, and takes over what it wrote.
    pub(super) fn run_again(&mut self, record: &Record) -> Result<Digest, CanisterError> {
        let call = Arc::new(record.call.clone());
        let ran = self.run(&record.cause, &call, &mut ())?;
        self.take_note(&record.cause, &call, &ran, true);
        self.commit(&ran)?;
        Ok(Digest::of(ran.iter()))
    }

    /// It has got its name.
    pub(super) fn settle(&mut self, home: PathBuf) {
        self.logbook.moved(&home);
        self.name = name(&home);
        self.home = home;
    }

    /// A call comes in.
    pub(super) fn begin(&mut self, origin: Origin, ask: Ask) -> Result<Turn, CanisterError> {
        let entry = match kind(&self.name, &self.code, &ask.method, "method")? {
            MethodKind::Update => Entry::Update(ask.method.clone()),
            MethodKind::CompositeQuery => {
                return Err(CanisterError::OnlyAsked(self.name.clone(), ask.method));
            }
            MethodKind::Query => Entry::ReplicatedQuery(ask.method.clone()),
        };
        if !self.is_running() {
            return Err(CanisterError::Stopped(self.name.clone()));
        }
        if matches!(origin, Origin::Outside(_)) && self.code.profile.has(EntryPoint::InspectMessage)
        {
            self.inspect(&ask)?;
        }
        let mut deadline = Deadline::of(&ask);
        let call = self.prepare(entry, ask, deadline.limits(Limits::default()));
        self.paced_turn(Cause::Begins(origin), call, &mut deadline)
    }

    /// It takes calls, and is woken.
    pub(super) fn is_running(&self) -> bool {
        self.statics.status == Status::Running
    }

    /// A timer goes off, or the heartbeat.
    pub(super) fn wake(&mut self, entry: Entry) -> Result<Turn, CanisterError> {
        let mut ask = Ask::new("", Vec::new());
        ask.caller = Principal::MANAGEMENT;
        let call = self.prepare(entry, ask, Limits::default());
        self.turn(Cause::Begins(Origin::Nobody), call)
    }

    /// Whether a call from outside may come in at all: `canister_inspect_message` says.
    fn inspect(&mut self, ask: &Ask) -> Result<(), CanisterError> {
        let limits = Limits {
            instructions: 200_000_000,
            ..Limits::default()
        };
        let call = Arc::new(self.prepare(Entry::Inspect, ask.clone(), limits));
        let ran = self.ask(|seat| seat.run(&call, &mut ()))?;
        self.logbook.extend(&ran.effects.logs);
        match (&ran.result, ran.effects.accepts_message) {
            (Ok(_), true) => Ok(()),
            (Ok(_), false) => Err(CanisterError::NotAccepted(
                ask.method.clone(),
                String::new(),
            )),
            (Err(why), _) => Err(CanisterError::NotAccepted(
                ask.method.clone(),
                format!(": {why}"),
            )),
        }
    }

    /// A call that this canister made was answered. An answer that nobody waits for is dropped.
    pub(super) fn answered(
        &mut self,
        number: u64,
        response: &Response,
    ) -> Result<Turn, CanisterError> {
        let ask = Ask::new("", Vec::new());
        let mut call = self.prepare(Entry::Start, ask, Limits::default());
        if !self.books.callback(number, response, &mut call) {
            return Ok(Turn::default());
        }
        call.statics.cycles = call.statics.cycles.saturating_add(call.refunded);
        for _ in 0..TRIES {
            match self.turn(Cause::Answers(number), call.clone()) {
                Err(CanisterError::Crash(_)) => {}
                turn => return turn,
            }
        }
        self.turn(Cause::Fails(number), call)
    }

    /// A turn that nobody ends.
    fn turn(&mut self, cause: Cause, call: Call) -> Result<Turn, CanisterError> {
        self.paced_turn(cause, call, &mut ())
    }

    /// Runs a call, writes it down, and takes over what it wrote.
    fn paced_turn(
        &mut self,
        cause: Cause,
        mut call: Call,
        pacer: &mut dyn Pacer,
    ) -> Result<Turn, CanisterError> {
        let mut share = self.shop.budget.share();
        call.limits.grows_by = share.bytes();
        call.limits.memory = self.limit();
        let call = Arc::new(call);
        let before = bytes(&self.state);
        if !matches!(cause, Cause::Fails(_)) {
            self.warm()?;
        }
        let mut began = Instant::now();
        let ran = self.run(&cause, &call, pacer)?;
        self.shop.phases.lap(Phase::Run, &mut began);
        self.shop.phases.ran(&ran);
        let is_kept = match &cause {
            // That it went off is kept of a timer that fails.
            Cause::Begins(_) if call.entry == Entry::Timer => true,
            Cause::Begins(_) => call.entry.keeps() && kept(&ran).is_some(),
            Cause::Answers(_) | Cause::Fails(_) => true,
        };
        if is_kept {
            // Before it is written down: a worker that was taken over can say that it wrote what it
            // hasn't got, and what never was must not be in the journal.
            if let Err(why) = self.commit(&ran) {
                self.seat = None;
                self.logbook.note(call.time, &why.to_string());
                if matches!(why, CanisterError::Crash(Crash::Torn(_))) {
                    self.reload()?;
                }
                return Err(why);
            }
            self.shop.phases.lap(Phase::Commit, &mut began);
            let record = Record::of(cause.clone(), Call::clone(&call), ran.iter());
            // Who is told of it waits for the disk, if that was asked for: see `Canisters::with`.
            if let Err(why) = self.journal.append(&record, self.shop.options.durability) {
                self.reload()?;
                return Err(why.into());
            }
            self.shop.phases.lap(Phase::Journal, &mut began);
            let grown = bytes(&self.state).saturating_sub(before);
            self.held.grow(&mut share, grown);
        }
        let turn = self.take_note(&cause, &call, &ran, is_kept);
        self.logbook.extend(&turn.logs);
        if is_kept {
            let is_long = self.journal.length() >= LONGEST_JOURNAL;
            if (is_long || self.replayed >= self.shop.options.most_replayed)
                && let Err(why) = self.checkpoint()
            {
                // Nothing is lost: the journal has it all.
                self.logbook
                    .note(call.time, &format!("write a checkpoint: {why}"));
                if self.shop.options.durability != Durability::Checkpoint {
                    // It may not be known which of the two journals counts.
                    self.reload()?;
                }
            }
        }
        Ok(turn)
    }

    /// What came of a call, and, if it was a callback and failed, of its cleanup.
    fn run(
        &mut self,
        cause: &Cause,
        call: &Arc<Call>,
        pacer: &mut dyn Pacer,
    ) -> Result<Vec<Ran>, CanisterError> {
        let number = match cause {
            Cause::Begins(_) => return Ok(vec![self.ask(|seat| seat.run(call, pacer))?]),
            Cause::Fails(_) => return Ok(vec![crashed(&self.state)]),
            Cause::Answers(number) => *number,
        };
        let mut ran = vec![self.ask(|seat| seat.run(call, &mut ()))?];
        let has_failed = ran.iter().any(|ran| ran.result.is_err());
        if let Some(entry) = self.books.cleanup(number).filter(|_| has_failed) {
            let mut cleanup = Call::clone(call);
            cleanup.entry = entry;
            cleanup.argument.clear();
            cleanup.rejected = None;
            let cleanup = Arc::new(cleanup);
            ran.push(self.ask(|seat| seat.run(&cleanup, &mut ()))?);
        }
        Ok(ran)
    }

    /// What a turn changes besides memory.
    fn take_note(&mut self, cause: &Cause, call: &Call, ran: &[Ran], is_kept: bool) -> Turn {
        let Some(first) = ran.first() else {
            return Turn::default();
        };
        if is_kept {
            self.statics.cycles = self.statics.cycles.saturating_add(call.refunded);
            if call.entry == Entry::Timer {
                self.statics.timer = 0;
            }
            if let Some(ran) = kept(ran) {
                self.take_effects(&ran.effects);
            }
        }
        let (context, parcels) = match cause {
            Cause::Begins(origin) => self.books.begin(origin, call, first, is_kept),
            Cause::Answers(number) | Cause::Fails(number) => {
                (0, self.books.go_on(*number, call, first))
            }
        };
        if self.statics.status == Status::Stopping && self.books.counts().0 == 0 {
            self.statics.status = Status::Stopped;
        }
        let mut logs = Vec::new();
        for ran in ran {
            logs.extend_from_slice(&ran.effects.logs);
            self.instructions = self.instructions.saturating_add(ran.instructions);
            self.replayed = self.replayed.saturating_add(ran.instructions);
        }
        Turn {
            context,
            parcels,
            logs,
        }
    }

    fn take_effects(&mut self, effects: &Effects) {
        if let Some(timer) = effects.timer {
            self.statics.timer = timer;
        }
        let had = self.statics.cycles.saturating_add(effects.accepted);
        let spent = effects.burned.saturating_add(effects.attached());
        self.statics.cycles = had.saturating_sub(spent);
    }

    /// Takes over what the seat's last call wrote.
    pub(super) fn commit(&mut self, ran: &[Ran]) -> Result<(), CanisterError> {
        let Some(ran) = kept(ran) else {
            return Ok(());
        };
        let Some(seat) = &mut self.seat else {
            return Err(Crash::Gone("there is no seat".to_owned()).into());
        };
        let committed = seat.commit(ran)?;
        self.dirtied = committed.heap.pages() + committed.stable.pages();
        self.written[0].extend(committed.heap.as_slice().iter().copied());
        self.written[1].extend(committed.stable.as_slice().iter().copied());
        self.state = State::after(ran);
        Ok(())
    }

    /// What ran a query crashed. The place is made anew, unless another has taken its place already.
    pub(super) fn crashed(&mut self, queries: &Arc<dyn Queries>, why: &Crash) {
        self.logbook.note(clock::now(), &why.to_string());
        let is_its = |seat: &mut Box<dyn Seat>| Arc::ptr_eq(&seat.queries(), queries);
        self.seat.take_if(is_its);
    }

    /// A call with all that it may be asked about.
    pub(super) fn prepare(&self, entry: Entry, ask: Ask, limits: Limits) -> Call {
        let mut call = ask.call(entry, self.statics.clone(), limits);
        call.queued = self.books.queued();
        call
    }

    pub(super) fn limit(&self) -> u64 {
        match self.document.memory {
            0 => Limits::default().memory,
            bytes => bytes,
        }
    }

    /// Asks the seat. One that crashes is made anew for the next call; this one came to nothing.
    pub(super) fn ask(
        &mut self,
        ask: impl FnOnce(&mut dyn Seat) -> Result<Ran, Crash>,
    ) -> Result<Ran, CanisterError> {
        self.warm()?;
        let asked = self.seat().and_then(|seat| Ok(ask(seat)?));
        if let Err(why) = &asked {
            self.seat = None;
            self.logbook.note(clock::now(), &why.to_string());
        }
        asked
    }

    /// Makes a place to run in, if there is none. That there can't be one is noted, and that one ended
    /// in which nothing ran: it costs nobody's call.
    pub(super) fn warm(&mut self) -> Result<(), CanisterError> {
        if let Some(why) = self.seat.as_ref().and_then(|seat| seat.ended()) {
            self.seat = None;
            self.logbook.note(clock::now(), &why.to_string());
        }
        if self.seat.is_some() {
            return Ok(());
        }
        let made = self.seat().map(drop);
        if let Err(why) = &made {
            self.logbook.note(clock::now(), &why.to_string());
        }
        made
    }

    /// The process that it runs in, if that is another one and hasn't ended.
    pub(super) fn process(&self) -> Option<u32> {
        let seat = self.seat.as_ref().filter(|seat| seat.ended().is_none())?;
        seat.process()
    }

    fn seat(&mut self) -> Result<&mut dyn Seat, CanisterError> {
        let seat = match self.seat.take() {
            Some(seat) => seat,
            None => {
                let begun = self.coming.take();
                let shop = &self.shop;
                shop.phases.of(Phase::Instantiate, || {
                    // One that came to nothing is nobody's fault yet.
                    let seat = begun.and_then(|begun| begun.seat().ok());
                    let make = || shop.executor.seat(&self.code, &self.memory, &self.state);
                    seat.map_or_else(make, Ok)
                })?
            }
        };
        Ok(self.seat.insert(seat).as_mut())
    }

    /// Writes what was written since the last one, and begins another journal.
    pub(super) fn checkpoint(&mut self) -> Result<(), CanisterError> {
        let follows = self.shop.options.durability != Durability::Checkpoint;
        self.step(follows, false)
    }

    /// Writes all of memory: it is another than before.
    pub(super) fn checkpoint_anew(&mut self) -> Result<(), CanisterError> {
        self.step(false, true)
    }

    fn step(&mut self, follows: bool, is_anew: bool) -> Result<(), CanisterError> {
        let step = Checkpoint {
            home: &self.home,
            before: &self.document,
            journal: &self.journal,
            is_synced: self.shop.options.durability == Durability::Power,
            history: self.shop.options.history,
            follows,
        };
        let pages = match is_anew {
            true => Pages::All,
            false => Pages::Since([&self.written[0], &self.written[1]]),
        };
        let next = self.document_now();
        let written = self
            .memory
            .with(|[heap, stable]| step.write(next, pages, [heap, stable]));
        let (document, journal) = written?;
        self.document = document;
        self.journal = journal;
        self.written = Default::default();
        self.replayed = 0;
        Ok(())
    }

    /// There is something that no checkpoint has.
    pub(super) fn has_news(&self) -> bool {
        let is_written = self.written.iter().any(|runs| !runs.is_empty());
        is_written || self.replayed > 0 || !self.journal.is_empty()
    }

    /// What is to be said of it now, but for its files.
    pub(super) fn document_now(&self) -> Document {
        let mut document = Document::of(&self.statics, &self.code.hash, &self.state);
        document.memory = self.document.memory;
        document.has_heartbeat = self.code.profile.has(EntryPoint::Heartbeat);
        document.is_waiting = self.books.counts() != (0, 0) || !self.books.unread().is_empty();
        document.books = hex::encode(&self.books.to_bytes());
        document
    }

    /// Runs what comes before the first call of its code; a failure is the installation's.
    pub(super) fn first(
        &mut self,
        entry: Option<Entry>,
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        let limits = Limits {
            instructions: 300_000_000_000,
            stable_reads: (8 << 30) / PAGE as u64,
            stable_writes: (8 << 30) / PAGE as u64,
            memory: self.limit(),
            ..Limits::default()
        };
        let mut share = self.shop.budget.share();
        let before = bytes(&self.state);
        let ran = match entry {
            None => self.ask(|seat| seat.initialise())?,
            Some(entry) => {
                let mut ask = Ask::new("", argument);
                ask.caller = caller;
                let mut call = self.prepare(entry, ask, limits);
                call.limits.grows_by = share.bytes();
                let call = Arc::new(call);
                self.ask(|seat| seat.run(&call, &mut ()))?
            }
        };
        let outcome = Outcome {
            result: ran.result.clone(),
            instructions: ran.instructions,
            logs: ran.effects.logs.clone(),
            // What comes of it is a checkpoint, or nothing.
            kept: Kept::Written,
        };
        self.logbook.extend(&outcome.logs);
        if ran.result.is_ok() {
            self.take_effects(&ran.effects);
            self.commit(std::slice::from_ref(&ran))?;
            let grown = bytes(&self.state).saturating_sub(before);
            self.held.grow(&mut share, grown);
        }
        Ok(outcome)
    }

    /// Ready to go on with other code: the memory is another's.
    pub(super) fn replace(&mut self, code: Arc<Code>, memory: CanisterMemory, state: State) {
        self.rest();
        self.held.become_of(bytes(&state));
        self.code = code;
        self.memory = memory;
        self.state = state;
        self.written = Default::default();
    }

    /// Instructions since it was opened, and pages that the last turn wrote.
    pub(super) fn work(&self) -> (u64, usize) {
        (self.instructions, self.dirtied)
    }
}

/// Of a call and its cleanup, the one whose changes are kept.
fn kept(ran: &[Ran]) -> Option<&Ran> {
    ran.iter().find(|ran| ran.result.is_ok())
}

/// The memory of a canister, bytes.
pub(super) fn bytes(state: &State) -> u64 {
    (state.heap_pages + state.stable_pages).saturating_mul(WASM_PAGE)
}

fn crashed(state: &State) -> Ran {
    Ran {
        result: Err(Failure::Crashed),
        instructions: 0,
        effects: Effects::default(),
        globals: Vec::new(),
        heap_pages: state.heap_pages,
        stable_pages: state.stable_pages,
    }
}

fn name(home: &Path) -> String {
    let name = home.file_name();
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
