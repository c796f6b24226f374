//! The smallest host of a prepared module: hooks that grant what the test allows.

use casemate_wasm::module::abi::{self, Stop};
use casemate_wasm::module::{Limits, Prepared, prepare};
use wasmtime::{
    Caller, Config, Engine, Extern, Global, Instance, Linker, Memory, Module, Store, StoreLimits,
};

/// What the hooks do, and what they were told.
#[derive(Default)]
pub(crate) struct Grants {
    /// Added to the counter each time it runs out; none: the call ends.
    pub(crate) slice: Option<i64>,
    /// How often and how much was granted.
    pub(crate) slices: u64,
    pub(crate) granted: i64,
    /// Pages that may still be granted.
    pub(crate) heap_pages: i64,
    pub(crate) stable_pages: i64,
    /// What was asked, as `(delta, before)`.
    pub(crate) asked: Vec<(i64, i64)>,
    pub(crate) stopped: Option<Stop>,
    /// What the runtime itself refuses.
    pub(crate) limits: StoreLimits,
}

pub(crate) struct Guest {
    pub(crate) store: Store<Grants>,
    pub(crate) instance: Instance,
    pub(crate) prepared: Prepared,
}

pub(crate) fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_memory64(true);
    config.wasm_relaxed_simd(false);
    config.cranelift_nan_canonicalization(true);
    config.memory_reservation(1 << 20);
    config.memory_guard_size(1 << 16);
    Engine::new(&config).unwrap()
}

const ENDLESS: i64 = i64::MAX / 2;

impl Guest {
    pub(crate) fn new(wat: &str) -> Self {
        Self::with(wat, &Limits::default())
    }

    pub(crate) fn with(wat: &str, limits: &Limits) -> Self {
        Self::of(&engine(), prepare(wat.as_bytes(), limits).unwrap())
    }

    /// A new guest whose hooks grant everything.
    pub(crate) fn of(engine: &Engine, prepared: Prepared) -> Self {
        let module = Module::new(engine, &prepared.code).unwrap();
        let grants = Grants {
            heap_pages: i64::MAX,
            stable_pages: i64::MAX,
            ..Grants::default()
        };
        let mut store = Store::new(engine, grants);
        store.limiter(|grants| &mut grants.limits);
        let mut linker = Linker::new(engine);
        hooks(&mut linker);
        linker
            .define_unknown_imports_as_default_values(&mut store, &module)
            .unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let mut guest = Self {
            store,
            instance,
            prepared,
        };
        for segment in guest.prepared.initial.clone() {
            let at = usize::try_from(segment.offset).unwrap();
            let heap = guest.memory(abi::HEAP);
            heap.write(&mut guest.store, at, &segment.bytes).unwrap();
        }
        guest.set(abi::INSTRUCTIONS, ENDLESS);
        guest.set(abi::STABLE_READS_LEFT, ENDLESS);
        guest.set(abi::STABLE_WRITES_LEFT, ENDLESS);
        guest
    }

    pub(crate) fn memory(&mut self, name: &str) -> Memory {
        self.instance.get_memory(&mut self.store, name).unwrap()
    }

    pub(crate) fn global(&mut self, name: &str) -> Global {
        self.instance.get_global(&mut self.store, name).unwrap()
    }

    pub(crate) fn set(&mut self, name: &str, value: i64) {
        self.global(name)
            .set(&mut self.store, value.into())
            .unwrap();
    }

    pub(crate) fn get(&mut self, name: &str) -> i64 {
        self.global(name).get(&mut self.store).unwrap_i64()
    }

    /// Runs an export.
    pub(crate) fn run(&mut self, export: &str) -> wasmtime::Result<()> {
        let function = self
            .instance
            .get_typed_func::<(), ()>(&mut self.store, export)?;
        function.call(&mut self.store, ())
    }

    /// Runs an export and says why it stopped, which it has to.
    pub(crate) fn stopped(&mut self, export: &str) -> Stop {
        self.store.data_mut().stopped = None;
        assert!(self.run(export).is_err(), "{export} went on");
        self.store.data().stopped.expect("it was stopped")
    }

    /// What running an export costs.
    pub(crate) fn cost(&mut self, export: &str) -> i64 {
        self.set(abi::INSTRUCTIONS, ENDLESS);
        self.run(export).unwrap();
        ENDLESS - self.get(abi::INSTRUCTIONS)
    }
}

fn hooks(linker: &mut Linker<Grants>) {
    let hooks = abi::HOOKS;
    linker
        .func_wrap(
            hooks,
            abi::OUT_OF_INSTRUCTIONS,
            |mut caller: Caller<'_, Grants>| {
                let Some(slice) = caller.data().slice else {
                    return Err(wasmtime::Error::msg("out of instructions"));
                };
                let counter = caller
                    .get_export(abi::INSTRUCTIONS)
                    .and_then(Extern::into_global);
                let counter = counter.unwrap();
                let left = counter.get(&mut caller).unwrap_i64();
                assert!(left < 0);
                // A debt may be larger than a slice.
                let slices = left.unsigned_abs() as i64 / slice + 1;
                counter
                    .set(&mut caller, (left + slices * slice).into())
                    .unwrap();
                caller.data_mut().slices += 1;
                caller.data_mut().granted += slices * slice;
                Ok(())
            },
        )
        .unwrap();
    linker
        .func_wrap(
            hooks,
            abi::GROW_HEAP,
            |mut caller: Caller<'_, Grants>, delta: i64, before: i64| {
                let grants = caller.data_mut();
                grants.asked.push((delta, before));
                let granted = delta <= grants.heap_pages;
                grants.heap_pages -= if granted { delta } else { 0 };
                i32::from(granted)
            },
        )
        .unwrap();
    linker
        .func_wrap(
            hooks,
            abi::GROW_STABLE,
            |mut caller: Caller<'_, Grants>, delta: i64, before: i64| {
                let grants = caller.data_mut();
                grants.asked.push((delta, before));
                let granted = delta <= grants.stable_pages;
                grants.stable_pages -= if granted { delta } else { 0 };
                i32::from(granted)
            },
        )
        .unwrap();
    linker
        .func_wrap(
            hooks,
            abi::INTERNAL_TRAP,
            |mut caller: Caller<'_, Grants>, code: i32| {
                caller.data_mut().stopped = Some(Stop::from_code(code).expect("a known code"));
                Err::<(), _>(wasmtime::Error::msg("internal trap"))
            },
        )
        .unwrap();
}
