//! One call of a guest.

use super::engine::Image;
use super::host::Host;
use super::memory::{Memories, Resident, State, Written};
use super::{api, slices, trap};
use crate::call::{Call, Effects, Entry, Failure, Pacer, Ran, Value};
use crate::module::abi;
use casemate_sys::pages::{PAGE, Run, Runs};
use std::sync::Arc;
use wasmtime::{Global, Instance, InstancePre, Linker, Memory, Store, Table, Val};

/// What becomes of what a guest writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is looked for, and committed.
    Update,
    /// Nobody looks; it is forgotten after each call.
    Query,
}

/// An instance of a canister's module over its committed memory.
pub struct Guest {
    linked: InstancePre<Host>,
    memory: Resident,
    mode: Mode,
    /// What is committed: what a call that fails is set back to.
    state: State,
    live: Live,
    /// What the last call wrote, which went well and isn't committed yet, or is a query's that goes on.
    open: Option<Written>,
    /// A query that goes on here, with its next call.
    resumed: Option<Resumed>,
    // The code lies in it: last of all to go.
    image: Image,
}

/// What a guest has become that a query left.
struct Resumed {
    /// Its sizes, in pages of WebAssembly.
    sizes: [u64; 2],
    /// Pages that were put here for it.
    put: [Runs; 2],
}

/// What is there of an instance.
struct Live {
    store: Store<Host>,
    instance: Instance,
    heap: Memory,
    stable: Memory,
    touched: Memory,
    meter: Global,
    reads_left: Global,
    writes_left: Global,
    globals: Vec<Global>,
    table: Option<Table>,
}

impl Guest {
    /// Makes an instance over what is committed. Nothing of the guest runs.
    pub fn new(
        image: &Image,
        memories: &Memories,
        state: State,
        mode: Mode,
    ) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(&image.machine.engine);
        api::link(&mut linker, image.profile.is64)?;
        let linked = linker.instantiate_pre(&image.module)?;
        let memory = Resident::over(memories, mode)?;
        let live = Live::new(image, &linked, &memory, &state)?;
        Ok(Self {
            image: image.clone(),
            linked,
            memory,
            mode,
            state,
            live,
            open: None,
            resumed: None,
        })
    }

    /// Puts into the heap what the module's data segments hold: before anything else, and once.
    pub fn initialise(&mut self) -> wasmtime::Result<Ran> {
        for segment in self.image.initial.iter() {
            let offset = usize::try_from(segment.offset)?;
            self.live
                .heap
                .write(&mut self.live.store, offset, &segment.bytes)?;
        }
        self.open = Some(self.memory.written()?);
        Ok(Ran {
            result: Ok(None),
            instructions: 0,
            effects: Effects::default(),
            globals: self.live.globals(),
            heap_pages: self.live.heap.size(&self.live.store),
            stable_pages: self.live.stable.size(&self.live.store),
        })
    }

    /// What is committed.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Goes on with what was committed by another instance.
    pub fn follow(&mut self, state: &State) -> wasmtime::Result<()> {
        self.forget()?;
        self.state = state.clone();
        self.live.follow(state)
    }

    /// Becomes what a query left that goes on, but for its [pages](Self::put), until its next call has
    /// ended. It began with such sizes.
    pub fn resume(&mut self, base: [u64; 2], state: &State) -> wasmtime::Result<()> {
        self.forget()?;
        self.resumed = Some(Resumed {
            sizes: [state.heap_pages, state.stable_pages],
            put: Default::default(),
        });
        self.memory.part(base)?;
        self.live = Live::new(&self.image, &self.linked, &self.memory, state)?;
        Ok(())
    }

    /// Puts pages of a query that goes on where they were: 0 is the heap, 1 stable memory.
    pub fn put(&mut self, which: usize, page: usize, bytes: &[u8]) -> wasmtime::Result<()> {
        let resumed = self.resumed.as_mut();
        let put = resumed.and_then(|resumed| resumed.put.get_mut(which));
        let put = put.ok_or_else(|| wasmtime::Error::msg("no query goes on here"))?;
        let memory = match which {
            0 => self.live.heap,
            _ => self.live.stable,
        };
        memory.write(&mut self.live.store, page.saturating_mul(PAGE), bytes)?;
        put.extend([Run {
            start: page,
            end: page + bytes.len().div_ceil(PAGE),
        }]);
        Ok(())
    }

    /// Is of what was committed alone: what a query left, or was put here, is gone.
    pub fn forget(&mut self) -> wasmtime::Result<()> {
        match self.open.is_some() || self.resumed.is_some() {
            true => self.roll_back(true),
            false => Ok(()),
        }
    }

    /// The pages that the last call wrote, if it was a query's that goes on.
    #[must_use]
    pub fn left(&self) -> Option<&Written> {
        self.open.as_ref().filter(|_| self.mode == Mode::Query)
    }

    /// Where a page of the heap is.
    pub(crate) fn heap(&self, page: usize) -> *const u8 {
        self.memory.heap.address(page)
    }

    /// Where a page of stable memory is.
    pub(crate) fn stable(&self, page: usize) -> *const u8 {
        self.memory.stable.address(page)
    }

    /// Runs a call. If it went well and [keeps](Entry::keeps) what it wrote, it is to be
    /// [committed](Self::commit) before the next one; if it is a query's that [goes on](Call::goes_on),
    /// what it wrote is [left](Self::left) until then; otherwise nothing is left of it.
    pub fn run(&mut self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> wasmtime::Result<Ran> {
        if self.open.is_some() {
            self.roll_back(true)?;
        }
        let keeps = call.entry.keeps() && self.mode == Mode::Update;
        let ended = self.pace(call, keeps, pacer);
        self.live.store.data_mut().slices.end();
        let ended = ended?;
        let taken = slices::taken(&mut self.live.store);
        let store = &mut self.live.store;
        let result = match ended {
            Ok(()) => Ok(store.data_mut().answer.take()),
            Err(End::NoMethod(name)) => Err(Failure::NoMethod(name)),
            Err(End::Trap(error)) => Err(trap::failure(&error, &call.limits, &self.image)),
        };
        let mut effects = std::mem::take(&mut store.data_mut().effects);
        effects.begun = None;
        let grew = store.data().grown > 0;
        let committed = [self.state.heap_pages, self.state.stable_pages];
        let resumed = self.resumed.as_ref();
        let [heap_pages, stable_pages] = resumed.map_or(committed, |resumed| resumed.sizes);
        let mut ran = Ran {
            result,
            instructions: taken.min(call.limits.most_instructions()),
            effects,
            globals: Vec::new(),
            heap_pages,
            stable_pages,
        };
        let goes_on = self.mode == Mode::Query && call.goes_on(&ran);
        if goes_on && let Err(why) = self.leave(call)? {
            ran.result = Err(why);
        }
        if ran.result.is_ok() && (keeps || goes_on) {
            ran.globals = self.live.globals();
            ran.heap_pages = self.live.heap.size(&self.live.store);
            ran.stable_pages = self.live.stable.size(&self.live.store);
            return Ok(ran);
        }
        if let Err(why) = &ran.result {
            let effects = std::mem::take(&mut ran.effects);
            // One that is aborted may be called again, as if it had never been.
            if *why != Failure::Aborted {
                ran.effects.logs = effects.logs;
            }
        }
        self.roll_back(grew)?;
        Ok(ran)
    }

    /// Finds what a query wrote that goes on.
    fn leave(&mut self, call: &Call) -> wasmtime::Result<Result<(), Failure>> {
        let none = Default::default();
        let put = self.resumed.as_ref().map_or(&none, |resumed| &resumed.put);
        let written = self.memory.own(put)?;
        let pages = (written.heap.pages() + written.stable.pages()) as u64;
        if pages > call.limits.dirty {
            return Ok(Err(Failure::too_much_to_keep(pages, call.limits.dirty)));
        }
        self.open = Some(written);
        Ok(Ok(()))
    }

    /// Runs a call with somebody who is asked between its slices.
    fn pace(
        &mut self,
        call: &Arc<Call>,
        keeps: bool,
        pacer: &mut dyn Pacer,
    ) -> wasmtime::Result<Result<(), End>> {
        // SAFETY: nobody else has it until this function has returned, and it is taken back then.
        let ended = unsafe { self.live.call(call, pacer) };
        if ended.is_err() || !keeps {
            return Ok(ended);
        }
        let pages = self.open.insert(self.memory.written()?).heap.pages() as u64;
        if pages <= call.limits.dirty {
            return Ok(ended);
        }
        let paused = slices::pause_before_copy(&mut self.live.store, pages);
        Ok(paused.map_err(|stop| End::Trap(stop.into())))
    }

    /// The pages that the last call wrote, which count as committed from now on: the caller takes
    /// them before anything else runs here.
    pub fn commit(&mut self, ran: &Ran) -> wasmtime::Result<Written> {
        let written = self.open.take().unwrap_or_default();
        self.memory.forget_touched()?;
        self.state = State::after(ran);
        if self.image.profile.drops_segments {
            self.renew()?;
        }
        Ok(written)
    }

    /// Forgets what the last call did.
    fn roll_back(&mut self, grew: bool) -> wasmtime::Result<()> {
        match self.open.take() {
            // What was found is not found again.
            Some(written) => self.memory.forget(&written)?,
            None => self.memory.forget_written()?,
        }
        let resumed = self.resumed.take();
        if let Some(resumed) = &resumed {
            self.memory.forget_put(&resumed.put)?;
            self.memory.join()?;
        }
        self.memory.forget_touched()?;
        match grew || resumed.is_some() || self.image.profile.drops_segments {
            true => self.renew(),
            false => self.live.restore(&self.state.globals),
        }
    }

    /// Makes the instance anew, over the same memory.
    fn renew(&mut self) -> wasmtime::Result<()> {
        self.memory.shrink(&self.state)?;
        self.live = Live::new(&self.image, &self.linked, &self.memory, &self.state)?;
        Ok(())
    }
}

enum End {
    NoMethod(String),
    Trap(wasmtime::Error),
}

impl Live {
    fn new(
        image: &Image,
        linked: &InstancePre<Host>,
        memory: &Resident,
        state: &State,
    ) -> wasmtime::Result<Self> {
        crate::met::Deed::Instantiated.note();
        let mut store = Store::new(&image.machine.engine, Host::new());
        let instance = image
            .machine
            .memories
            .lend(memory, || linked.instantiate(&mut store))?;
        let missing = |name: &str| wasmtime::Error::msg(format!("the module has no {name}"));
        let mut memory = |name: &str| {
            let found = instance.get_memory(&mut store, name);
            found.ok_or_else(|| missing(name))
        };
        let (heap, stable, touched) = (
            memory(abi::HEAP)?,
            memory(abi::STABLE)?,
            memory(abi::TOUCHED)?,
        );
        let mut global = |name: &str| {
            let found = instance.get_global(&mut store, name);
            found.ok_or_else(|| missing(name))
        };
        let meter = global(abi::INSTRUCTIONS)?;
        let reads_left = global(abi::STABLE_READS_LEFT)?;
        let writes_left = global(abi::STABLE_WRITES_LEFT)?;
        let globals = (0..image.profile.globals.len())
            .map(|n| global(&abi::global(n)))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        let table = instance.get_table(&mut store, abi::TABLE);
        let host = store.data_mut();
        host.heap = Some(heap);
        host.meter = Some(meter);
        let mut live = Self {
            store,
            instance,
            heap,
            stable,
            touched,
            meter,
            reads_left,
            writes_left,
            globals,
            table,
        };
        live.follow(state)?;
        Ok(live)
    }

    /// Makes sizes and globals what was committed.
    fn follow(&mut self, state: &State) -> wasmtime::Result<()> {
        self.grow_to(self.heap, state.heap_pages)?;
        self.grow_to(self.stable, state.stable_pages)?;
        self.grow_to(self.touched, abi::touched_pages(state.stable_pages))?;
        self.restore(&state.globals)
    }

    fn grow_to(&mut self, memory: Memory, pages: u64) -> wasmtime::Result<()> {
        let has = memory.size(&self.store);
        match pages.checked_sub(has) {
            Some(0) | None => Ok(()),
            Some(more) => memory.grow(&mut self.store, more).map(drop),
        }
    }

    /// # Safety
    /// The pacer isn't used by anybody else until it is taken back, nor gone.
    unsafe fn call(&mut self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> Result<(), End> {
        // SAFETY: the caller's.
        unsafe { self.prepare(call, pacer) }.map_err(End::Trap)?;
        match &call.entry {
            Entry::Callback {
                function,
                environment,
                ..
            } => self.call_back(*function, *environment).map_err(End::Trap),
            entry => {
                let name = entry.export().unwrap_or_default();
                let found = self
                    .instance
                    .get_typed_func::<(), ()>(&mut self.store, &name);
                let Ok(function) = found else {
                    return Err(End::NoMethod(name));
                };
                function.call(&mut self.store, ()).map_err(End::Trap)
            }
        }
    }

    /// # Safety
    /// As of [`call`](Self::call).
    unsafe fn prepare(&mut self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> wasmtime::Result<()> {
        let number = |number: u64| Val::I64(i64::try_from(number).unwrap_or(i64::MAX));
        let limits = call.limits;
        let pages = self.heap.size(&self.store) + self.stable.size(&self.store);
        let host = self.store.data_mut();
        host.begin(call.clone());
        let room = limits.memory.saturating_sub(pages * abi::WASM_PAGE);
        host.left = host.left.min(room);
        // SAFETY: the caller's.
        let first = unsafe { host.slices.begin(&limits, pacer) };
        self.meter.set(&mut self.store, Val::I64(first))?;
        self.reads_left
            .set(&mut self.store, number(limits.stable_reads))?;
        self.writes_left
            .set(&mut self.store, number(limits.stable_writes))
    }

    fn call_back(&mut self, function: u64, environment: u64) -> wasmtime::Result<()> {
        let nothing = || {
            wasmtime::Error::new(super::trap::Stop::Contract(
                "call_new",
                format!("there is no function {function} in the table to call back"),
            ))
        };
        let table = self.table.ok_or_else(nothing)?;
        let found = table.get(&mut self.store, function).ok_or_else(nothing)?;
        let function = found.as_func().flatten().copied().ok_or_else(nothing)?;
        match function.typed::<u64, ()>(&self.store) {
            Ok(wide) => wide.call(&mut self.store, environment),
            Err(_) => {
                let narrow = function
                    .typed::<u32, ()>(&self.store)
                    .map_err(|_| nothing())?;
                let environment = u32::try_from(environment).map_err(|_| nothing())?;
                narrow.call(&mut self.store, environment)
            }
        }
    }

    fn globals(&mut self) -> Vec<Value> {
        let store = &mut self.store;
        self.globals
            .iter()
            .map(|global| value(global.get(&mut *store)))
            .collect()
    }

    fn restore(&mut self, values: &[Value]) -> wasmtime::Result<()> {
        for (global, value) in self.globals.iter().zip(values) {
            global.set(&mut self.store, val(*value))?;
        }
        Ok(())
    }
}

fn value(val: Val) -> Value {
    match val {
        Val::I32(bits) => Value::I32(bits),
        Val::I64(bits) => Value::I64(bits),
        Val::F32(bits) => Value::F32(bits),
        Val::F64(bits) => Value::F64(bits),
        Val::V128(bits) => Value::V128(bits.as_u128()),
        // No global that can change is a reference: validation sees to it.
        _ => Value::I32(0),
    }
}

fn val(value: Value) -> Val {
    match value {
        Value::I32(bits) => Val::I32(bits),
        Value::I64(bits) => Val::I64(bits),
        Value::F32(bits) => Val::F32(bits),
        Value::F64(bits) => Val::F64(bits),
        Value::V128(bits) => Val::V128(bits.into()),
    }
}
