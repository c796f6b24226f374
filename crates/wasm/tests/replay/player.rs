//! A canister that is nothing but a seat, and what it has to be run again.

use casemate_sys::pages::Runs;
use casemate_wasm::call::{Call, Cause, Entry, Origin, Principal, Ran, Statics};
use casemate_wasm::executor::{CanisterMemory, Crash, Executor, InProcess, Sandboxed, Seat};
use casemate_wasm::guest::State;
use casemate_wasm::process::Spec;
use casemate_wasm::replay::{Again, Digest, state_hash};
use casemate_wasm::store::{
    Checkpoint, Document, Durability, History, Journal, Pages, Record, StoreError, load,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const COUNTER: &str = include_str!("../guests/counter.wat");
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn executors() -> [Box<dyn Executor>; 2] {
    [
        Box::new(InProcess::new(Default::default()).unwrap()),
        Box::new(Sandboxed::new(Spec::default(), PATIENCE)),
    ]
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Crash(#[from] Crash),
}

pub(crate) struct Player {
    memory: CanisterMemory,
    seat: Box<dyn Seat>,
    state: State,
    hash: [u8; 32],
    written: [Runs; 2],
}

impl Player {
    fn new(
        executor: &dyn Executor,
        load: impl FnOnce(&CanisterMemory) -> Result<State, Failed>,
    ) -> Result<Self, Failed> {
        let code = executor.compile(COUNTER.as_bytes())?;
        let memory = CanisterMemory::new(&code.profile).unwrap();
        let state = load(&memory)?;
        Ok(Self {
            seat: executor.seat(&code, &memory, &state)?,
            memory,
            state,
            hash: code.hash,
            written: Default::default(),
        })
    }

    pub(crate) fn open(
        home: &Path,
        document: &Document,
        executor: &dyn Executor,
    ) -> Result<Self, Failed> {
        Self::new(executor, |memory| {
            memory.with(|both| load(home, document, both))?;
            Ok(document.state(home)?)
        })
    }

    fn take(&mut self, ran: &Ran) -> Result<(), Crash> {
        if ran.result.is_ok() {
            let committed = self.seat.commit(ran)?;
            self.written[0].extend(committed.heap.as_slice().iter().copied());
            self.written[1].extend(committed.stable.as_slice().iter().copied());
            self.state = State::after(ran);
        }
        Ok(())
    }

    fn checkpoint(
        &mut self,
        home: &Path,
        before: &Document,
        journal: &Journal,
        follows: bool,
    ) -> (Document, Journal) {
        let step = Checkpoint {
            home,
            before,
            journal,
            is_synced: false,
            history: History::All,
            follows,
        };
        let next = Document::of(&statics(), &self.hash, &self.state);
        let [heap, stable] = std::mem::take(&mut self.written);
        let pages = Pages::Since([&heap, &stable]);
        self.memory
            .with(|[heap, stable]| step.write(next, pages, [heap, stable]))
            .unwrap()
    }
}

impl Again for Player {
    type Error = Failed;

    fn again(&mut self, record: &Record) -> Result<Digest, Failed> {
        let ran = self.seat.run(&Arc::new(record.call.clone()), &mut ())?;
        let digest = Digest::of([&ran]);
        self.take(&ran)?;
        Ok(digest)
    }

    fn memory(&self) -> &CanisterMemory {
        &self.memory
    }

    fn state(&self) -> &State {
        &self.state
    }
}

fn statics() -> Statics {
    Statics::of(Principal::of_canister(1))
}

/// Three milestones, with four calls, three and two after them; the last one stands for itself. The
/// hash of what they came to.
pub(crate) fn past(home: &Path, executor: &dyn Executor) -> [u8; 32] {
    let mut player = Player::new(executor, |_| Ok(State::default())).unwrap();
    let ran = player.seat.initialise().unwrap();
    player.take(&ran).unwrap();
    let init = Arc::new(Call::new(Entry::Init, statics()));
    let ran = player.seat.run(&init, &mut ()).unwrap();
    player.take(&ran).unwrap();
    let mut document = Document::of(&statics(), &player.hash, &player.state);
    let mut journal = Journal::begin(&Document::calls(home, 0), false).unwrap();
    for (follows, methods) in [
        (false, &["increment", "increment", "echo", "grow"][..]),
        (true, &["increment", "add_and_trap", "echo"]),
        (false, &["increment", "increment"]),
    ] {
        (document, journal) = player.checkpoint(home, &document, &journal, follows);
        for method in methods {
            let mut call = Call::new(Entry::Update((*method).to_owned()), statics());
            call.argument = vec![7; 5000];
            call.limits.instructions = 10_000_000;
            let ran = player.seat.run(&Arc::new(call.clone()), &mut ()).unwrap();
            let record = Record::of(Cause::Begins(Origin::Nobody), call, [&ran]);
            let written = journal.append(&record, Durability::Process).unwrap();
            let _ = written.wait().unwrap();
            player.take(&ran).unwrap();
        }
    }
    let state = &player.state;
    player
        .memory
        .with(|[heap, stable]| state_hash([heap, stable], state))
        .unwrap()
}
