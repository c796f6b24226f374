//! A module and the calls that are made of it, all of a seed.

use arbitrary::Unstructured;
use casemate_wasm::call::{Call, Entry, Principal, RejectCode, Statics};
use casemate_wasm::module::Profile;
use casemate_wasm::system::{Context, FUNCTIONS, Function, Number};
use std::fmt::Write;
use std::sync::Arc;
use wasm_smith::{Config, InstructionKind, InstructionKinds};

/// Of each call: a loop without end ends soon.
const INSTRUCTIONS: u64 = 200_000;
/// Of heap and stable memory together, bytes: a heap of all that 32 bits reach, and a little.
const MEMORY: u64 = (4 << 30) + (8 << 20);
/// Calls after the first ones.
const CALLS: u64 = 8;

pub(crate) struct Program {
    pub(crate) module: Vec<u8>,
    random: Random,
}

/// What is done with a canister.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Initialise,
    Run(Arc<Call>),
    Query(Arc<Call>),
}

impl Program {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        // Some of what can be made of random bytes is refused, by rules that have tests of their own.
        loop {
            let module = module(&mut random);
            let limits = casemate_wasm::module::Limits::default();
            if casemate_wasm::module::prepare(&module, &limits).is_ok() {
                return Self { module, random };
            }
        }
    }

    pub(crate) fn steps(mut self, profile: &Profile) -> Vec<Step> {
        let random = &mut self.random;
        let mut steps = vec![Step::Initialise];
        if profile.has_start {
            steps.push(Step::Run(call(random, Entry::Start)));
        }
        steps.push(Step::Run(call(random, Entry::Init)));
        for _ in 0..CALLS {
            let name = ["a", "b"][random.below(2)].to_owned();
            steps.push(match random.below(8) {
                0 => Step::Run(call(random, Entry::Heartbeat)),
                1 => Step::Run(call(random, Entry::ReplicatedQuery("q".to_owned()))),
                2 | 3 => Step::Query(call(random, Entry::Query("q".to_owned()))),
                4 => Step::Run(call(random, callback())),
                _ => Step::Run(call(random, Entry::Update(name))),
            });
        }
        steps.push(Step::Run(call(random, Entry::PreUpgrade)));
        steps
    }
}

fn callback() -> Entry {
    Entry::Callback {
        context: Context::Reject,
        function: 0,
        environment: 7,
    }
}

fn call(random: &mut Random, entry: Entry) -> Arc<Call> {
    let mut statics = Statics::of(Principal::of_canister(1));
    statics.cycles = random.next().into();
    statics.controllers = vec![Principal::ANONYMOUS];
    let mut call = Call::new(entry, statics);
    call.argument = random.bytes(64);
    call.time = random.next();
    call.cycles = random.next().into();
    call.rejected = Some((RejectCode::CanisterError, "no".to_owned()));
    call.limits.instructions = INSTRUCTIONS;
    call.limits.memory = MEMORY;
    Arc::new(call)
}

fn module(random: &mut Random) -> Vec<u8> {
    let is64 = random.below(4) == 0;
    let memory = match (is64, random.below(3)) {
        (true, _) => "i64 1 40",
        (false, 0) => "1 40",
        // Nearly whatever a program makes an address of is one.
        (false, _) => "65535",
    };
    // All but those of tables, which are fixed once a module is loaded. Where one may return, most of
    // what follows is never reached, and where there are vectors, there is little else.
    let mut instructions = vec![
        InstructionKind::Numeric,
        InstructionKind::Parametric,
        InstructionKind::Variable,
        InstructionKind::Memory,
    ];
    if random.below(2) == 0 {
        instructions.push(InstructionKind::Control);
    }
    if random.below(4) == 0 {
        instructions.push(InstructionKind::Vector);
    }
    let config = Config {
        available_imports: Some(wat::parse_str(imports(random, is64)).unwrap()),
        exports: Some(wat::parse_str(exports(memory)).unwrap()),
        allowed_instructions: InstructionKinds::new(&instructions),
        disallow_traps: random.below(4) != 0,
        max_data_segments: 3,
        max_element_segments: 2,
        max_elements: 4,
        max_funcs: 14,
        max_globals: 6,
        max_imports: 8,
        max_instructions: 80,
        max_memories: 1,
        max_table_elements: 16,
        max_tables: 1,
        memory64_enabled: is64,
        min_funcs: 2,
        min_imports: 2,
        custom_descriptors_enabled: false,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    let bytes = random.bytes_of(8_192);
    let module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes));
    module.unwrap().to_bytes()
}

/// Some functions of the System API: few, so that each is called often.
fn imports(random: &mut Random, is64: bool) -> String {
    let mut text = "(module ".to_owned();
    let known: Vec<&Function> = FUNCTIONS.iter().filter(|f| f.exists(is64)).collect();
    for _ in 0..8 {
        let function = known[random.below(known.len())];
        let name = function.name;
        write!(text, r#"(import "ic0" "{name}" (func "#).unwrap();
        for (word, numbers) in [
            ("param", function.params(is64).collect::<Vec<_>>()),
            ("result", function.results(is64).collect()),
        ] {
            for number in numbers {
                let number = match number {
                    Number::I32 => "i32",
                    Number::I64 => "i64",
                };
                write!(text, "({word} {number})").unwrap();
            }
        }
        text.push_str("))");
    }
    text + ")"
}

fn exports(memory: &str) -> String {
    let mut text = format!(r#"(module (memory (export "heap") {memory})"#);
    for name in [
        "init",
        "pre_upgrade",
        "heartbeat",
        "update a",
        "update b",
        "query q",
    ] {
        write!(text, r#"(func (export "canister_{name}"))"#).unwrap();
    }
    text + ")"
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        self.bytes_of(length)
    }

    fn bytes_of(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
