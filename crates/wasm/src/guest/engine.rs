//! How modules are compiled and run.

use super::bundle::{Bundle, Code};
use super::memory::Creator;
use crate::met::Deed;
use crate::module::{Prepared, Profile, Segment};
use std::sync::Arc;
use wasmtime::{Config, CustomCodeMemory, Engine, Module, OptLevel, Strategy};

/// The stack that a guest may use, bytes.
const STACK: usize = 1 << 20;
/// What each memory has addresses for, bytes. An index of 32 bits reaches no more, so that its bound
/// need not be checked; one of 64 bits is only checked against this if the heap can't be larger.
pub(super) const RESERVATION: usize = 6 << 30;
/// What an offset in an instruction may reach behind it without a check, bytes.
pub(super) const GUARD: usize = 32 << 20;

/// What both sides agree on: whoever compiles, and whoever runs it.
fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .wasm_multi_memory(true)
        .wasm_memory64(true)
        .wasm_tail_call(true)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(STACK)
        .memory_reservation(RESERVATION as u64)
        .memory_guard_size(GUARD as u64)
        // None does. But it says that none is larger than the reservation, and stable memory is.
        .memory_may_move(true)
        .memory_init_cow(false);
    config
}

/// Compiles what was instrumented, into a [bundle](Bundle).
pub fn compile(prepared: &Prepared) -> wasmtime::Result<Vec<u8>> {
    Deed::Compiled.note();
    let engine = Engine::new(&config())?;
    let code = engine.precompile_module(&prepared.code)?;
    Ok(Bundle::write(prepared, &code))
}

/// A hash of how guests are compiled and run: another one may come to something else.
pub fn settings() -> wasmtime::Result<[u8; 32]> {
    use sha2::Digest;
    let mut hasher = Hashed(sha2::Sha256::new());
    let engine = Engine::new(&config())?;
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
    Ok(hasher.0.finalize().into())
}

/// SHA-256 of what a type has hashed of itself.
struct Hashed(sha2::Sha256);

impl std::hash::Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.0, bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// What runs guests, and nothing of any: made once, and as good in a forked process.
#[derive(Clone)]
pub struct Machine {
    pub(super) engine: Engine,
    pub(super) memories: Arc<Creator>,
}

impl Machine {
    /// Makes it.
    pub fn new() -> wasmtime::Result<Self> {
        let memories = Arc::new(Creator::default());
        let mut config = config();
        config.with_host_memory(memories.clone());
        config.with_custom_code_memory(Some(Arc::new(Executable)));
        Ok(Self {
            engine: Engine::new(&config)?,
            memories,
        })
    }
}

/// Compiled modules are mapped executable from their file, and nothing of theirs changes after.
struct Executable;

impl CustomCodeMemory for Executable {
    fn required_alignment(&self) -> usize {
        casemate_sys::pages::PAGE
    }

    fn publish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        // It stays as it is until it is unmapped.
        Ok(())
    }
}

/// A compiled module in this process.
#[derive(Clone)]
pub struct Image {
    pub(super) machine: Machine,
    pub(super) module: Module,
    pub(super) profile: Arc<Profile>,
    pub(super) initial: Arc<Vec<Segment>>,
    // After the module, which is in it.
    _code: Arc<Code>,
    /// Where its author knows each place of the code to be.
    pub(super) bundle: Arc<Bundle>,
}

impl Image {
    /// Maps the code of a bundle and takes it as it is.
    ///
    /// # Safety
    /// The code is run: it has to be what [`compile`] of this very build made.
    pub unsafe fn new(machine: &Machine, bundle: Arc<Bundle>) -> wasmtime::Result<Self> {
        Deed::Deserialized.note();
        let code = bundle.code()?;
        // SAFETY: as of this function; the code stays mapped, and unchanged, as long as this value,
        // which keeps it for longer than the module.
        let module = unsafe { Module::deserialize_raw(&machine.engine, code.address())? };
        Ok(Self {
            machine: machine.clone(),
            module,
            profile: Arc::new(bundle.profile()?),
            initial: Arc::new(bundle.initial()?),
            _code: Arc::new(code),
            bundle,
        })
    }
}
