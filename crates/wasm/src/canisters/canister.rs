//! One canister.

use super::{CanisterError, Canisters, Options};
use crate::call::{Answer, Call, Entry, Failure, Limits, Log, Principal, Ran, Statics};
use crate::executor::{CanisterMemory, Code, Crash, Executor, Seat};
use crate::guest::State;
use crate::module::MethodKind;
use crate::store::{Document, Journal, Overlay, Record, write_overlay};
use casemate_sys::pages::{PAGE, Runs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A journal is replaced by a checkpoint when it is as long, bytes.
const LONGEST_JOURNAL: u64 = 16 << 20;
/// Or when to run it again takes as many instructions.
const MOST_REPLAYED: u64 = 2_000_000_000;
/// Instructions of a query.
const QUERY_INSTRUCTIONS: u64 = 5_000_000_000;
/// The longest reply of a query, bytes.
const QUERY_REPLY: u64 = 3 << 20;

/// What came of a call, for whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer, or why there is none.
    pub result: Result<Option<Answer>, Failure>,
    /// What it took.
    pub instructions: u64,
    /// What it printed.
    pub logs: Vec<Log>,
}

/// A canister, opened.
pub struct Canister {
    // Before what started it.
    seat: Option<Box<dyn Seat>>,
    name: String,
    home: PathBuf,
    code: Arc<Code>,
    executor: Arc<dyn Executor>,
    options: Options,
    memory: CanisterMemory,
    document: Document,
    statics: Statics,
    state: State,
    journal: Journal,
    /// Pages that were written since the last checkpoint.
    written: [Runs; 2],
    /// Instructions since then.
    replayed: u64,
}

impl Canister {
    /// Loads what is stored, and runs again what was called since.
    pub(super) fn recover(canisters: &Canisters, home: PathBuf) -> Result<Self, CanisterError> {
        let document = Document::read(&home)?;
        let code = canisters.code(&document.module)?;
        let mut memory = CanisterMemory::new(&code.profile).map_err(Crash::from)?;
        for number in &document.overlays {
            let overlay = Overlay::open(&Document::overlay(&home, *number))?;
            overlay.read(|which, page, bytes| {
                memory
                    .put(which, page, bytes)
                    .map_err(|why| why.to_string())
            })?;
        }
        let (journal, records) = Journal::recover(&Document::calls(&home, document.journal))?;
        let name = home
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let mut canister = Self {
            name: name.unwrap_or_default(),
            code,
            executor: canisters.executor.clone(),
            options: canisters.options,
            memory,
            statics: document.statics(&home)?,
            state: document.state(&home)?,
            document,
            home,
            seat: None,
            journal,
            written: Default::default(),
            replayed: 0,
        };
        for (number, record) in records.into_iter().enumerate() {
            let call = Arc::new(record.call.clone());
            let ran = canister.seat()?.run(&call)?;
            if Record::of(record.call, &ran).digest != record.digest {
                return Err(CanisterError::Diverged { number: number + 1 });
            }
            canister.commit(&ran)?;
        }
        Ok(canister)
    }

    /// What it was made from.
    #[must_use]
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// What it is.
    #[must_use]
    pub fn statics(&self) -> &Statics {
        &self.statics
    }

    /// Its globals and sizes.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Calls a method; what it changes is kept.
    pub fn call(
        &mut self,
        method: &str,
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        let kind = self.kind(method, "method")?;
        let entry = match kind {
            MethodKind::Update => Entry::Update(method.to_owned()),
            _ => Entry::ReplicatedQuery(method.to_owned()),
        };
        let call = Arc::new(self.prepare(entry, method, argument, caller, Limits::default()));
        let ran = self.ask(|seat| seat.run(&call))?;
        if ran.result.is_ok() && call.entry.keeps() {
            self.keep(&call, &ran)?;
        }
        Ok(outcome(ran))
    }

    /// Asks a method; nothing that it does is kept.
    pub fn query(
        &mut self,
        method: &str,
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        let entry = match self.kind(method, "query")? {
            MethodKind::Query => Entry::Query(method.to_owned()),
            MethodKind::CompositeQuery => Entry::CompositeQuery(method.to_owned()),
            MethodKind::Update => return Err(self.no_method(method, "query")),
        };
        let limits = Limits {
            instructions: QUERY_INSTRUCTIONS,
            reply: QUERY_REPLY,
            ..Limits::default()
        };
        let call = Arc::new(self.prepare(entry, method, argument, caller, limits));
        Ok(outcome(self.ask(|seat| seat.query(&call))?))
    }

    fn kind(&self, method: &str, kind: &'static str) -> Result<MethodKind, CanisterError> {
        let found = self.code.profile.method(method);
        found
            .map(|method| method.kind)
            .ok_or_else(|| self.no_method(method, kind))
    }

    fn no_method(&self, method: &str, kind: &'static str) -> CanisterError {
        let methods = self.code.profile.methods.iter();
        let methods =
            methods.filter(|method| kind == "method" || method.kind != MethodKind::Update);
        CanisterError::NoMethod {
            canister: self.name.clone(),
            kind,
            method: method.to_owned(),
            methods: methods.map(|method| method.name.clone()).collect(),
        }
    }

    fn prepare(
        &self,
        entry: Entry,
        method: &str,
        argument: Vec<u8>,
        caller: Principal,
        limits: Limits,
    ) -> Call {
        let mut call = Call::new(entry, self.statics.clone());
        call.argument = argument;
        method.clone_into(&mut call.method);
        call.caller = caller;
        call.time = now();
        call.limits = limits;
        call
    }

    /// Asks the seat. One that crashes is made anew for the next call; this one came to nothing.
    fn ask(
        &mut self,
        ask: impl FnOnce(&mut dyn Seat) -> Result<Ran, Crash>,
    ) -> Result<Ran, CanisterError> {
        let asked = self.seat().and_then(|seat| Ok(ask(seat)?));
        if asked.is_err() {
            self.seat = None;
        }
        asked
    }

    fn seat(&mut self) -> Result<&mut dyn Seat, CanisterError> {
        let seat = match self.seat.take() {
            Some(seat) => seat,
            None => self.executor.seat(&self.code, &self.memory, &self.state)?,
        };
        Ok(self.seat.insert(seat).as_mut())
    }

    /// Writes a call down, and then takes over what it wrote.
    fn keep(&mut self, call: &Call, ran: &Ran) -> Result<(), CanisterError> {
        if let Some(outgoing) = ran.effects.calls.first() {
            self.seat = None;
            let what = format!("{}.{}", outgoing.callee, outgoing.method);
            return Err(CanisterError::Outgoing(what));
        }
        let record = Record::of(call.clone(), ran);
        let written = self.journal.append(&record, self.options.durability);
        if let Err(why) = written {
            // The seat takes the call for done.
            self.seat = None;
            return Err(why.into());
        }
        self.commit(ran)?;
        match self.journal.length() >= LONGEST_JOURNAL || self.replayed >= MOST_REPLAYED {
            true => self.checkpoint(),
            false => Ok(()),
        }
    }

    /// Takes over what the seat's last call wrote.
    fn commit(&mut self, ran: &Ran) -> Result<(), CanisterError> {
        let Some(seat) = &mut self.seat else {
            return Err(Crash::Gone("there is no seat".to_owned()).into());
        };
        let committed = seat.commit(ran, &mut self.memory)?;
        self.written[0].extend(committed.heap.as_slice().iter().copied());
        self.written[1].extend(committed.stable.as_slice().iter().copied());
        self.replayed = self.replayed.saturating_add(ran.instructions);
        self.state = State {
            globals: ran.globals.clone(),
            heap_pages: ran.heap_pages,
            stable_pages: ran.stable_pages,
        };
        if let Some(timer) = ran.effects.timer {
            self.statics.timer = timer;
        }
        let had = self.statics.cycles.saturating_add(ran.effects.accepted);
        self.statics.cycles = had.saturating_sub(ran.effects.burned);
        Ok(())
    }

    /// Writes what was written since the last one, and begins another journal.
    pub fn checkpoint(&mut self) -> Result<(), CanisterError> {
        let is_synced = self.options.durability == crate::store::Durability::Power;
        let number = self.document.journal + 1;
        let pages = std::mem::take(&mut self.written);
        let runs = [pages[0].as_slice(), pages[1].as_slice()];
        let overlay = Document::overlay(&self.home, number);
        let calls = Document::calls(&self.home, number);
        // Left by one that didn't come to its end.
        let _ = std::fs::remove_file(&overlay);
        let _ = std::fs::remove_file(&calls);
        let memory = &self.memory;
        let page = |which, page, into: &mut [u8; PAGE]| memory.get(which, page, into);
        write_overlay(&overlay, runs, page, is_synced)?;
        let journal = Journal::begin(&calls, is_synced)?;
        let mut document = Document::of(&self.statics, &self.code.hash, &self.state);
        document.overlays.clone_from(&self.document.overlays);
        document.overlays.push(number);
        document.journal = number;
        document.write(&self.home, is_synced)?;
        let _ = std::fs::remove_file(Document::calls(&self.home, self.document.journal));
        self.document = document;
        self.journal = journal;
        self.replayed = 0;
        Ok(())
    }

    /// One that was just made, with its first checkpoint.
    pub(super) fn begin(
        canisters: &Canisters,
        name: &str,
        home: PathBuf,
        code: Arc<Code>,
        statics: Statics,
    ) -> Result<Self, CanisterError> {
        let state = State::default();
        let journal = Journal::begin(&Document::calls(&home, 0), false)?;
        let document = Document::of(&statics, &code.hash, &state);
        Ok(Self {
            name: name.to_owned(),
            memory: CanisterMemory::new(&code.profile).map_err(Crash::from)?,
            home,
            code,
            executor: canisters.executor.clone(),
            options: canisters.options,
            document,
            statics,
            state,
            seat: None,
            journal,
            written: Default::default(),
            replayed: 0,
        })
    }

    /// Runs what comes before the first call; a failure is the installation's.
    pub(super) fn first(
        &mut self,
        entry: Option<Entry>,
        argument: Vec<u8>,
        caller: Principal,
    ) -> Result<Outcome, CanisterError> {
        let limits = Limits {
            instructions: 300_000_000_000,
            ..Limits::default()
        };
        let ran = match entry {
            None => self.ask(|seat| seat.initialise())?,
            Some(entry) => {
                let call = Arc::new(self.prepare(entry, "", argument, caller, limits));
                self.ask(|seat| seat.run(&call))?
            }
        };
        if ran.result.is_ok() {
            self.commit(&ran)?;
        }
        Ok(outcome(ran))
    }

    /// It has got its name.
    pub(super) fn settle(&mut self, home: PathBuf) {
        self.home = home;
    }
}

fn outcome(ran: Ran) -> Outcome {
    Outcome {
        result: ran.result,
        instructions: ran.instructions,
        logs: ran.effects.logs,
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
