//! A canister in an executor.

use casemate_sys::pages::PAGE;
use casemate_wasm::call::{
    Answer, Call, Entry, Failure, Limits, Pace, Pause, Principal, Ran, Statics,
};
use casemate_wasm::executor::{
    CanisterMemory, Code, Committed, Crash, Executor, InProcess, Queries, Sandboxed, Seat,
};
use casemate_wasm::guest::State;
use casemate_wasm::process::Spec;
use std::sync::Arc;
use std::time::Duration;

/// Of calls in tests: a loop without end ends soon.
const PATIENCE: Duration = Duration::from_secs(60);
const INSTRUCTIONS: u64 = 10_000_000;

pub(crate) struct Stand<'a> {
    executor: &'a dyn Executor,
    code: Arc<Code>,
    /// What is committed.
    state: State,
    memory: CanisterMemory,
    seat: Box<dyn Seat>,
    last: Option<Ran>,
    increments: u64,
}

/// The same with each executor.
pub(crate) fn each(module: &str, test: impl Fn(&mut Stand<'_>)) {
    executors(|executor| test(&mut Stand::new(executor, module)));
}

/// Each executor.
pub(crate) fn executors(mut test: impl FnMut(&dyn Executor)) {
    in_process(&mut test);
    test(&sandboxed());
}

/// The one that trusts what it runs.
pub(crate) fn in_process(mut test: impl FnMut(&dyn Executor)) {
    test(&InProcess::new(casemate_wasm::module::Limits::default()).unwrap());
}

/// The one behind the wall.
pub(crate) fn sandboxed() -> Sandboxed {
    Sandboxed::new(Spec::default(), PATIENCE)
}

impl<'a> Stand<'a> {
    /// Installs it.
    pub(crate) fn new(executor: &'a dyn Executor, module: &str) -> Self {
        let code = executor.compile(module.as_bytes()).unwrap();
        Self::of(executor, &code)
    }

    /// Installs what was compiled before.
    pub(crate) fn of(executor: &'a dyn Executor, code: &Arc<Code>) -> Self {
        let memory = CanisterMemory::new(&code.profile).unwrap();
        let seat = executor.seat(code, &memory, &State::default()).unwrap();
        let mut stand = Self {
            executor,
            code: code.clone(),
            state: State::default(),
            memory,
            seat,
            last: None,
            increments: 1,
        };
        let ran = stand.seat.initialise().unwrap();
        stand.commit(&ran);
        if code.profile.has_start {
            stand.run(Entry::Start, Vec::new()).unwrap();
        }
        stand.run(Entry::Init, Vec::new()).unwrap();
        stand
    }

    /// Gives it another place, over what is committed.
    pub(crate) fn reload(&mut self) {
        let seat = self.executor.seat(&self.code, &self.memory, &self.state);
        self.seat = seat.unwrap();
    }

    /// An update whose limits are changed, by somebody who is asked between its slices.
    pub(crate) fn update_paced(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Limits),
        mut pacer: impl FnMut(&Pause, &CanisterMemory) -> Pace,
    ) -> Ran {
        let mut call = Call::clone(&Self::call(Entry::Update(name.to_owned()), Vec::new()));
        change(&mut call.limits);
        let memory = &self.memory;
        let mut pacer = |pause: &Pause| pacer(pause, memory);
        let ran = self.seat.run(&Arc::new(call), &mut pacer).unwrap();
        if ran.result.is_ok() {
            self.commit(&ran);
        }
        ran
    }

    /// Both sides of it.
    pub(crate) fn sides(&mut self) -> (&mut dyn Seat, Arc<dyn Queries>) {
        let queries = self.seat.queries();
        (self.seat.as_mut(), queries)
    }

    /// The first bytes of a page of the heap, as it is committed.
    pub(crate) fn committed(&self, page: usize) -> [u8; PAGE] {
        page_of(&self.memory, 0, page)
    }

    /// Everything that is committed of so many pages.
    pub(crate) fn content(&self, pages: usize) -> Vec<[u8; PAGE]> {
        let both = (0..2).flat_map(|which| (0..pages).map(move |page| (which, page)));
        both.map(|(which, page)| page_of(&self.memory, which, page))
            .collect()
    }

    pub(crate) fn call(entry: Entry, argument: Vec<u8>) -> Arc<Call> {
        let mut call = Call::new(entry, Statics::of(Principal::of_canister(1)));
        call.argument = argument;
        call.limits = Limits {
            instructions: INSTRUCTIONS,
            ..Limits::default()
        };
        Arc::new(call)
    }

    /// A call to be changed, and [taken](Self::take).
    pub(crate) fn call_of(entry: Entry) -> Call {
        Call::clone(&Self::call(entry, Vec::new()))
    }

    /// What comes of a call, and what was committed of it.
    pub(crate) fn take(&mut self, call: Call) -> (Ran, Option<Committed>) {
        let ran = self.seat.run(&Arc::new(call), &mut ()).unwrap();
        let committed = ran.result.is_ok().then(|| self.commit(&ran));
        (ran, committed)
    }

    fn commit(&mut self, ran: &Ran) -> Committed {
        let committed = self.seat.commit(ran).unwrap();
        self.state = State::after(ran);
        committed
    }

    /// An update of a place that may be gone.
    pub(crate) fn try_update(&mut self, name: &str) -> Result<Ran, Crash> {
        let call = Self::call(Entry::Update(name.to_owned()), Vec::new());
        self.seat.run(&call, &mut ())
    }

    /// Another place, over what is committed.
    pub(crate) fn reopen(&mut self, executor: &dyn Executor) {
        let seat = executor.seat(&self.code, &self.memory, &self.state);
        self.seat = seat.unwrap();
    }

    fn run(&mut self, entry: Entry, argument: Vec<u8>) -> Result<Option<Answer>, Failure> {
        let ran = self
            .seat
            .run(&Self::call(entry, argument), &mut ())
            .unwrap();
        if ran.result.is_ok() {
            self.commit(&ran);
        }
        let result = ran.result.clone();
        self.last = Some(ran);
        result
    }

    pub(crate) fn update_with(&mut self, name: &str, argument: Vec<u8>) -> Result<Answer, Failure> {
        let answer = self.run(Entry::Update(name.to_owned()), argument)?;
        if name == "increment" {
            self.increments += 1;
        }
        Ok(answer.expect("an answer"))
    }

    pub(crate) fn update(&mut self, name: &str) -> Result<Answer, Failure> {
        self.update_with(name, Vec::new())
    }

    /// With no more than so many bytes of heap and stable memory.
    pub(crate) fn update_within(&mut self, memory: u64, name: &str) -> Result<(), Failure> {
        let mut call = Call::clone(&Self::call(Entry::Update(name.to_owned()), Vec::new()));
        call.limits.memory = memory;
        self.take(call).0.result.map(drop)
    }

    pub(crate) fn update_without_answer(&mut self, name: &str) -> Option<Answer> {
        self.run(Entry::Update(name.to_owned()), Vec::new())
            .unwrap()
    }

    fn ask(&mut self, name: &str) -> Result<Option<Answer>, Failure> {
        let call = Self::call(Entry::Query(name.to_owned()), Vec::new());
        let ran = self.seat.queries().query(&call, &mut ()).unwrap();
        let result = ran.result.clone();
        self.last = Some(ran);
        result
    }

    /// What comes of a query.
    pub(crate) fn ask_of(&mut self, call: Call) -> Ran {
        self.seat.queries().query(&Arc::new(call), &mut ()).unwrap()
    }

    pub(crate) fn query(&mut self, name: &str) -> Result<Answer, Failure> {
        Ok(self.ask(name)?.expect("an answer"))
    }

    pub(crate) fn query_without_answer(&mut self, name: &str) -> Option<Answer> {
        self.ask(name).unwrap()
    }

    /// What `canister_init` and each `increment` that went well added.
    pub(crate) fn increments(&self) -> u64 {
        self.increments
    }

    pub(crate) fn printed(&self) -> Vec<u8> {
        let logs = &self.last.as_ref().unwrap().effects.logs;
        logs.iter().flat_map(|log| log.text.clone()).collect()
    }

    pub(crate) fn instructions(&self) -> u64 {
        self.last.as_ref().unwrap().instructions
    }

    pub(crate) fn limit(&self) -> u64 {
        INSTRUCTIONS
    }
}

pub(crate) fn page_of(memory: &CanisterMemory, which: usize, page: usize) -> [u8; PAGE] {
    let mut bytes = [0; PAGE];
    memory.get(which, page, &mut bytes).unwrap();
    bytes
}
