//! Counting, against a count that was got by other means, on programs made from seeds.

use std::collections::BTreeSet;

use casemate_wasm::module::{Limits, abi, prepare};
use wasmtime::{Engine, Instance, Module, Store, Trap};

use crate::host::{Guest, engine};
use crate::program::{Program, Text};
use crate::reference::{Outcome, Reference, Spent};

const PROGRAMS: usize = 300;
const MAIN: &str = "canister_update main";

/// What the program does as it was written, not prepared.
fn unprepared(engine: &Engine, wat: &str) -> Outcome {
    let module = Module::new(engine, wat::parse_str(wat).unwrap()).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let main = instance.get_typed_func::<(), ()>(&mut store, MAIN).unwrap();
    main.call(&mut store, ()).unwrap();
    let mut global = |name| {
        instance
            .get_global(&mut store, name)
            .unwrap()
            .get(&mut store)
    };
    let globals = [
        global("g0").unwrap_i64() as u64,
        u64::from(global("g1").unwrap_i32() as u32),
    ];
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let memory = memory.data(&store).to_vec();
    Outcome { globals, memory }
}

fn outcome(guest: &mut Guest) -> Outcome {
    let mut global = |n| {
        let global = guest.global(&abi::global(n));
        global.get(&mut guest.store)
    };
    let globals = [
        global(0).unwrap_i64() as u64,
        u64::from(global(1).unwrap_i32() as u32),
    ];
    let memory = guest.memory(abi::HEAP);
    let memory = memory.data(&guest.store).to_vec();
    Outcome { globals, memory }
}

/// The first programs that end soon, by seed; every second is for a 64-bit memory.
fn programs() -> impl Iterator<Item = (u64, Program, Outcome, Spent)> {
    let seeds = 1..;
    let ended = seeds.filter_map(|seed| {
        let program = Program::new(seed);
        let (outcome, spent) = Reference::run(&program)?;
        Some((seed, program, outcome, spent))
    });
    ended.take(PROGRAMS)
}

#[test]
fn the_count_is_that_of_the_written_table_and_results_are_the_same() {
    let engine = engine();
    let (mut most, mut prices) = (0, BTreeSet::new());
    for (seed, program, expected, spent) in programs() {
        let wat = Text::of(&program);
        assert!(
            unprepared(&engine, &wat) == expected,
            "seed {seed}: the reference is wrong"
        );
        let prepared = prepare(wat.as_bytes(), &Limits::default()).unwrap();
        let mut guest = Guest::of(&engine, prepared);
        assert_eq!(guest.cost(MAIN), spent.instructions, "seed {seed}");
        assert!(
            outcome(&mut guest) == expected,
            "seed {seed}: prepared, it does something else"
        );
        most = most.max(spent.instructions);
        prices.extend(spent.prices);
    }
    assert!(
        most > 10_000,
        "they are more than a few instructions: {most}"
    );
    assert_eq!(prices.len(), 21, "nearly every price was paid: {prices:?}");
}

#[test]
fn slices_change_neither_the_count_nor_the_result() {
    let engine = engine();
    let mut paused = 0;
    for (seed, program, expected, spent) in programs().step_by(3) {
        let wat = Text::of(&program);
        let prepared = prepare(wat.as_bytes(), &Limits::default()).unwrap();
        let mut guest = Guest::of(&engine, prepared);
        guest.store.data_mut().slice = Some(50);
        guest.set(abi::INSTRUCTIONS, 0);
        guest.run(MAIN).unwrap();
        let left = guest.get(abi::INSTRUCTIONS);
        assert_eq!(
            guest.store.data().granted - left,
            spent.instructions,
            "seed {seed}"
        );
        assert!(outcome(&mut guest) == expected, "seed {seed}");
        paused += guest.store.data().slices;
    }
    assert!(paused > 1000, "they were paused {paused} times");
}

#[test]
fn what_never_ends_is_ended() {
    for body in [
        "(loop (br 0))",
        "(loop (block) (br 0))",
        "(call $method)",
        "(return_call $method)",
        "(loop (if (i32.const 1) (then (br 1))))",
        "(loop (br_table 0 0 (i32.const 9)))",
    ] {
        let wat = format!(r#"(module (func $method (export "canister_update main") {body}))"#);
        let mut guest = Guest::new(&wat);
        guest.set(abi::INSTRUCTIONS, 1000);
        let error = guest.run(MAIN).unwrap_err();
        assert!(
            format!("{error:?}").contains("out of instructions"),
            "{body}: {error:?}"
        );
        let left = guest.get(abi::INSTRUCTIONS);
        assert!((-10..0).contains(&left), "{body}: overdrawn by {left}");
    }
}

#[test]
fn a_bulk_operation_does_not_begin_without_what_it_costs() {
    let wat = r#"(module (memory 1) (func (export "canister_update main")
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 60000))))"#;
    let mut guest = Guest::new(wat);
    guest.set(abi::INSTRUCTIONS, 60_000);
    assert!(guest.run(MAIN).is_err());
    let heap = guest.memory(abi::HEAP);
    assert_eq!(heap.data(&guest.store)[0], 0);
    guest.set(abi::INSTRUCTIONS, 60_103);
    guest.run(MAIN).unwrap();
    assert_eq!(heap.data(&guest.store)[59_999], 1);
}

#[test]
fn what_has_neither_loops_nor_calls_is_looked_at_too() {
    let step = "(if (i32.const 1) (then (drop (i32.const 1))))".repeat(10_000);
    let wat = format!(r#"(module (func (export "canister_update main") {step}))"#);
    let mut guest = Guest::new(&wat);
    guest.set(abi::INSTRUCTIONS, 31_000);
    assert!(guest.run(MAIN).is_err());
    let left = guest.get(abi::INSTRUCTIONS);
    assert!((-10_000..0).contains(&left), "overdrawn by {left}");
    assert_eq!(guest.cost(MAIN), 50_000);
}

#[test]
fn structures_may_take_and_give_values() {
    let wat = r#"(module (global (mut i32) (i32.const 0))
      (func (export "canister_update main") (local i32)
        i32.const 5 i32.const 0
        loop $again (param i32 i32) (result i32)
          local.set 0
          block (param i32) (result i32 i32)
            i32.const 1 i32.sub
            local.get 0 i32.const 7 i32.add
          end
          local.tee 0
          local.get 0 i32.const 21 i32.lt_u br_if $again
          i32.add
        end
        global.set 0))"#;
    let mut guest = Guest::new(wat);
    // Three rounds of 12, the constants, and what follows the last round.
    assert_eq!(guest.cost(MAIN), 3 * 12 + 2 + 3);
    let result = guest.global("__global_0").get(&mut guest.store);
    assert_eq!(result.unwrap_i32(), 2 + 21);
}

#[test]
fn traps_stay_what_they_are() {
    let engine = engine();
    for (body, trap) in [
        ("unreachable", Trap::UnreachableCodeReached),
        (
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            Trap::IntegerDivisionByZero,
        ),
        (
            "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
            Trap::IntegerOverflow,
        ),
        (
            "(drop (i32.trunc_f32_s (f32.const nan)))",
            Trap::BadConversionToInteger,
        ),
        (
            "(drop (i32.load (i32.const 65533)))",
            Trap::MemoryOutOfBounds,
        ),
        (
            "(memory.fill (i32.const 65530) (i32.const 0) (i32.const 7))",
            Trap::MemoryOutOfBounds,
        ),
        ("(call_indirect (i32.const 0))", Trap::IndirectCallToNull),
        ("(call_indirect (i32.const 9))", Trap::TableOutOfBounds),
        ("(call_indirect (i32.const 1))", Trap::BadSignature),
        ("(call $main)", Trap::StackOverflow),
    ] {
        let wat = format!(
            r#"(module (memory 1 1) (table 2 funcref) (elem (i32.const 1) $other)
              (func $other (param i32)) (func $main (export "{MAIN}") {body}))"#
        );
        let module = Module::new(&engine, wat::parse_str(&wat).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let main = instance.get_typed_func::<(), ()>(&mut store, MAIN).unwrap();
        let before = main.call(&mut store, ()).unwrap_err();
        let after = Guest::new(&wat).run(MAIN).unwrap_err();
        for error in [before, after] {
            assert_eq!(error.downcast_ref::<Trap>(), Some(&trap), "{body}");
        }
    }
}
