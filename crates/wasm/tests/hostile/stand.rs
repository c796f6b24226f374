//! A canister that honest workers made, in the hands of a hostile one.

use casemate_sys::pages::PAGE;
use casemate_wasm::call::{Answer, Call, Entry, Pace, Pause, Principal, Ran, Statics};
use casemate_wasm::executor::{CanisterMemory, Code, Crash, Executor, Sandboxed, Seat};
use casemate_wasm::guest::State;
use casemate_wasm::process::Spec;
use std::sync::Arc;
use std::time::Duration;

const COUNTER: &str = include_str!("../guests/counter.wat");

pub(crate) struct Stand {
    honest: Sandboxed,
    hostile: Sandboxed,
    code: Arc<Code>,
}

/// A canister, its hostile worker, and what it held before.
pub(crate) struct Attack<'a> {
    stand: &'a Stand,
    memory: CanisterMemory,
    state: State,
    seat: Box<dyn Seat>,
    before: Vec<(usize, usize, [u8; PAGE])>,
}

fn call(entry: Entry) -> Arc<Call> {
    let mut call = Call::new(entry, Statics::of(Principal::of_canister(1)));
    call.limits.grows_by = 48 << 20;
    call.limits.memory = 45 << 20;
    call.limits.stable_writes = 8;
    call.limits.dirty = super::taken::MOST_DIRTY;
    Arc::new(call)
}

fn update(name: &str) -> Arc<Call> {
    call(Entry::Update(name.to_owned()))
}

fn query(name: &str) -> Arc<Call> {
    call(Entry::Query(name.to_owned()))
}

/// The hostile worker knows a callback by its argument.
fn composite(name: &str, argument: Vec<u8>) -> Arc<Call> {
    let mut call = Call::clone(&call(Entry::CompositeQuery(name.to_owned())));
    call.argument = argument;
    call.limits.dirty = super::taken::MOST_LEFT;
    Arc::new(call)
}

/// Every page that holds something, of both memories.
fn content(memory: &CanisterMemory) -> Vec<(usize, usize, [u8; PAGE])> {
    let pages = |which| {
        let held = memory.held(which).unwrap();
        let runs = held.as_slice().iter().flat_map(|run| run.pages());
        runs.map(|page| (which, page, page_of(memory, which, page)))
            .collect::<Vec<_>>()
    };
    [pages(0), pages(1)].concat()
}

impl Stand {
    pub(crate) fn new(config: &str, patience: Duration) -> Self {
        let spec = Spec {
            config: config.as_bytes().to_vec(),
            pool: 1,
            ..Spec::default()
        };
        let honest = Sandboxed::new(
            Spec {
                pool: 1,
                ..Spec::default()
            },
            Duration::from_secs(60),
        );
        let module = COUNTER.replace("(memory 2 100)", "(memory 2 1000)");
        Self {
            code: honest.compile(module.as_bytes()).unwrap(),
            honest,
            hostile: Sandboxed::new(spec, patience),
        }
    }

    /// A canister that has counted to three, and a hostile worker that has it.
    pub(crate) fn attack(&self) -> Attack<'_> {
        let memory = CanisterMemory::new(&self.code.profile).unwrap();
        let first = State::default();
        let mut seat = self.honest.seat(&self.code, &memory, &first).unwrap();
        let mut last = seat.initialise().unwrap();
        seat.commit(&last).unwrap();
        for entry in [
            update("increment"),
            update("increment"),
            update("increment"),
        ] {
            last = seat.run(&entry, &mut ()).unwrap();
            seat.commit(&last).unwrap();
        }
        let state = State::after(&last);
        Attack {
            seat: self.hostile.seat(&self.code, &memory, &state).unwrap(),
            before: content(&memory),
            stand: self,
            memory,
            state,
        }
    }
}

impl Attack<'_> {
    pub(crate) fn update(&mut self, name: &str) -> Result<Option<Answer>, Crash> {
        let ran = self.seat.run(&update(name), &mut ())?;
        self.seat.commit(&ran)?;
        Ok(ran.result.unwrap())
    }

    /// An update that is ended when it waits for the first time.
    pub(crate) fn abort(&mut self, name: &str) -> Crash {
        let mut pacer = |_: &Pause| Pace::Abort;
        self.seat.run(&update(name), &mut pacer).expect_err(name)
    }

    /// An update that waits while a query is made.
    pub(crate) fn cross(&mut self, name: &str, other: &str) -> [Crash; 2] {
        let queries = self.seat.queries();
        let mut crash = None;
        let mut pacer = |_: &Pause| {
            crash = queries.query(&query(other), &mut ()).err();
            Pace::Resume
        };
        let ended = self.seat.run(&update(name), &mut pacer);
        [ended.expect_err(name), crash.expect(other)]
    }

    pub(crate) fn initialise(&mut self) -> Crash {
        self.seat.initialise().unwrap_err()
    }

    /// A call that no frame has room for.
    pub(crate) fn update_with_too_much(&mut self) -> Crash {
        let mut call = Call::clone(&update("malformed"));
        call.argument = vec![0; 5 << 20];
        self.seat.run(&Arc::new(call), &mut ()).unwrap_err()
    }

    pub(crate) fn query(&mut self, name: &str) -> Result<Option<Answer>, Crash> {
        Ok(self
            .seat
            .queries()
            .query(&query(name), &mut ())?
            .result
            .unwrap())
    }

    /// A composite query, and its callback if it calls.
    pub(crate) fn compose(&mut self, name: &str) -> Result<(), Crash> {
        let queries = self.seat.queries();
        let (_, kept) = queries.converse(&composite(name, Vec::new()), None, &mut ())?;
        let Some(kept) = kept else { return Ok(()) };
        let callback = composite(name, b"goes on".to_vec());
        queries.converse(&callback, Some(&kept), &mut ()).map(drop)
    }

    /// Whether the heap begins with so many pages of the hostile worker's.
    pub(crate) fn has_taken(&self, pages: usize) -> bool {
        (0..pages).all(|page| page_of(&self.memory, 0, page) == [0xee; PAGE])
    }

    /// The worker is dead, nothing has changed, and another one goes on from there.
    pub(crate) fn ends(mut self, name: &str, crash: &Crash, why: &str) {
        assert!(crash.to_string().contains(why), "{name}: {crash}");
        if matches!(crash, Crash::Torn(_)) {
            assert!(
                name.contains("many") || name.contains("within"),
                "{name}: {crash}"
            );
            // Its owner makes it anew.
            self.memory = CanisterMemory::new(&self.stand.code.profile).unwrap();
            for (which, page, bytes) in &self.before {
                self.memory.put(*which, *page, bytes).unwrap();
            }
        }
        let gone = self.seat.run(&update("increment"), &mut ()).unwrap_err();
        assert!(matches!(gone, Crash::Gone(_)), "{name}: {gone}");
        let gone = gone.to_string();
        let process = gone
            .split_once("\nprocess ")
            .and_then(|(_, rest)| rest.split_once(':'));
        let process: i32 = process.unwrap().0.parse().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        assert!(
            stat.is_err() || stat.unwrap().contains(") Z "),
            "{name}: {gone}"
        );
        assert!(
            content(&self.memory) == self.before,
            "{name}: memory has changed"
        );
        let stand = self.stand;
        let mut seat = stand
            .honest
            .seat(&stand.code, &self.memory, &self.state)
            .unwrap();
        let told = |ran: Ran| match ran.result.unwrap().unwrap() {
            Answer::Reply(bytes) => {
                let numbers = bytes.chunks(8).map(|chunk| chunk.try_into().unwrap());
                numbers.map(u64::from_le_bytes).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(
            told(seat.queries().query(&query("get"), &mut ()).unwrap()),
            [3, 10, 3],
            "{name}"
        );
        let ran = seat.run(&update("increment"), &mut ()).unwrap();
        seat.commit(&ran).unwrap();
        assert_eq!(told(ran), [4, 11, 4], "{name}");
        assert_eq!(
            told(seat.queries().query(&query("get"), &mut ()).unwrap()),
            [4, 11, 4],
            "{name}"
        );
    }
}

fn page_of(memory: &CanisterMemory, which: usize, page: usize) -> [u8; PAGE] {
    let mut bytes = [0; PAGE];
    memory.get(which, page, &mut bytes).unwrap();
    bytes
}
