//! Stable memory in the module, against a plain model of it.

mod model;

use casemate_wasm::module::abi::{self, OS_PAGE, Stop, WASM_PAGE, WRITTEN};
use casemate_wasm::module::{Category, Limits, prepare};
use proptest::prelude::*;
use wasmtime::Engine;

use self::model::{Call, Form, HEAP_PAGES, Model, Name, STABLE_PAGES};
use crate::host::{Guest, engine};

/// A guest with a method for each call: arguments are in globals 0 to 2, the answer goes
/// to global 3, all as i64.
fn wat(is64: bool) -> String {
    let mut imports = String::new();
    let mut methods = String::new();
    for (prefix, ty) in [("stable64", "i64"), ("stable", "i32")] {
        if is64 && ty == "i32" {
            continue;
        }
        let narrow = if ty == "i32" { "i32.wrap_i64" } else { "" };
        let widen = if ty == "i32" { "i64.extend_i32_s" } else { "" };
        for (name, params, result) in [
            ("size", 0, true),
            ("grow", 1, true),
            ("read", 3, false),
            ("write", 3, false),
        ] {
            let params_text = format!(" {ty}").repeat(params);
            let result_text = if result {
                format!("(result {ty})")
            } else {
                String::new()
            };
            imports += &format!(
                "(import \"ic0\" \"{prefix}_{name}\" (func ${prefix}_{name} \
                 (param{params_text}) {result_text}))\n"
            );
            let get = |n| format!("global.get {n} {narrow} ");
            let args: String = (0..params).map(get).collect();
            let set = if result {
                format!("{widen} global.set 3")
            } else {
                String::new()
            };
            methods += &format!(
                "(func (export \"canister_update {prefix}_{name}\") \
                 {args} call ${prefix}_{name} {set})\n"
            );
        }
    }
    let index = if is64 { "i64" } else { "i32" };
    let globals = "(global (mut i64) (i64.const 0))".repeat(4);
    format!("(module {imports} (memory {index} {HEAP_PAGES}) {globals} {methods})")
}

fn guest(engine: &Engine, is64: bool, model: &Model) -> Guest {
    let limits = Limits {
        stable_pages: STABLE_PAGES,
        ..Limits::default()
    };
    let prepared = prepare(wat(is64).as_bytes(), &limits).unwrap();
    let mut guest = Guest::of(engine, prepared);
    let heap = guest.memory(abi::HEAP);
    heap.write(&mut guest.store, 0, &model.heap).unwrap();
    guest.set(abi::STABLE_READS_LEFT, model.reads_left);
    guest.set(abi::STABLE_WRITES_LEFT, model.writes_left);
    guest
}

fn call(guest: &mut Guest, call: &Call) -> Result<Option<i64>, Stop> {
    for (n, arg) in call.args.iter().enumerate() {
        guest.set(&abi::global(n), arg.cast_signed());
    }
    let prefix = match call.form {
        Form::Legacy => "stable",
        Form::Wide => "stable64",
    };
    let export = format!("canister_update {prefix}_{:?}", call.name).to_lowercase();
    guest.store.data_mut().stopped = None;
    match guest.run(&export) {
        Ok(()) if matches!(call.name, Name::Size | Name::Grow) => {
            Ok(Some(guest.get(&abi::global(3))))
        }
        Ok(()) => Ok(None),
        Err(error) => Err(guest
            .store
            .data()
            .stopped
            .unwrap_or_else(|| panic!("{error:?}"))),
    }
}

/// What the method around a call costs: its arguments, the call, its answer.
fn around(call: &Call) -> i64 {
    let args = match call.name {
        Name::Size => 0,
        Name::Grow => 1,
        Name::Read | Name::Write => 3,
    };
    let narrow = i64::from(call.form == Form::Legacy);
    let answer = i64::from(args < 2) * (2 + narrow);
    args * (2 + narrow) + Category::Call.cost(false) as i64 + answer
}

fn agree(is64: bool, calls: &[Call], reads_left: i64, writes_left: i64) {
    let mut model = Model::new(is64, reads_left, writes_left);
    let mut guest = guest(&engine(), is64, &model);
    for made in calls {
        let before = guest.get(abi::INSTRUCTIONS);
        model.spent = 0;
        let expected = model.call(made);
        assert_eq!(call(&mut guest, made), expected, "{made:?}");
        if let Err(_stopped) = expected {
            return;
        }
        let spent = before - guest.get(abi::INSTRUCTIONS);
        assert_eq!(spent, model.spent + around(made), "{made:?}");
    }
    for (name, bytes) in [
        (abi::HEAP, &model.heap),
        (abi::STABLE, &model.stable),
        (abi::TOUCHED, &model.touched),
    ] {
        let memory = guest.memory(name);
        let data = memory.data(&guest.store);
        let (there, rest) = data.split_at(bytes.len());
        assert!(there == bytes.as_slice(), "{name} differs");
        assert!(rest.iter().all(|byte| *byte == 0), "{name} goes on");
    }
    assert_eq!(guest.get(abi::STABLE_READS_LEFT), model.reads_left);
    assert_eq!(guest.get(abi::STABLE_WRITES_LEFT), model.writes_left);
}

/// Numbers near what matters: pages, ends, and the ends of the types.
fn number(wide: bool) -> impl Strategy<Value = u64> {
    let edges = [
        0,
        1,
        8,
        OS_PAGE,
        2 * OS_PAGE,
        WASM_PAGE,
        HEAP_PAGES * WASM_PAGE,
        STABLE_PAGES * WASM_PAGE,
    ];
    let near = (prop::sample::select(edges.to_vec()), -2_i64..=2)
        .prop_map(|(edge, off)| edge.saturating_add_signed(off));
    let inside = 0..STABLE_PAGES * WASM_PAGE;
    let ends = if wide { u64::MAX } else { u64::from(u32::MAX) };
    prop_oneof![4 => near, 4 => inside, 1 => (0_u64..3).prop_map(move |off| ends - off)]
}

fn calls(is64: bool) -> impl Strategy<Value = Vec<Call>> {
    let form = match is64 {
        true => Just(Form::Wide).boxed(),
        false => prop_oneof![Just(Form::Wide), Just(Form::Legacy)].boxed(),
    };
    let call = form.prop_flat_map(|form| {
        let wide = form == Form::Wide;
        let copies = (
            prop_oneof![Just(Name::Read), Just(Name::Write)],
            [number(wide), number(wide), number(wide)],
        );
        // Reads and writes that lie inside go on; others end the sequence.
        let heap = HEAP_PAGES * WASM_PAGE;
        let inside = (
            prop_oneof![Just(Name::Read), Just(Name::Write)],
            (0..heap - 9000, 0..heap - 9000, 0_u64..9000),
        )
            .prop_map(|(name, (a, b, c))| (name, [a, b, if c % 3 == 0 { 8 } else { c }]));
        let grows = (Just(Name::Grow), [0_u64..3, 0_u64..1, 0_u64..1]);
        let too_far = (Just(Name::Grow), [number(wide), number(wide), number(wide)]);
        let size = Just((Name::Size, [0; 3]));
        prop_oneof![1 => copies, 8 => inside, 2 => grows, 1 => too_far, 1 => size]
            .prop_map(move |(name, args)| Call { form, name, args })
    });
    let first = Call {
        form: Form::Wide,
        name: Name::Grow,
        args: [HEAP_PAGES, 0, 0],
    };
    prop::collection::vec(call, 1..25).prop_map(move |mut calls| {
        calls.insert(0, first.clone());
        calls
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn it_does_what_the_model_does(
        (is64, calls) in any::<bool>().prop_flat_map(|is64| (Just(is64), calls(is64))),
        reads in 0_i64..120,
        writes in 0_i64..120,
    ) {
        agree(is64, &calls, reads, writes);
    }
}

fn wide(name: Name, args: [u64; 3]) -> Call {
    Call {
        form: Form::Wide,
        name,
        args,
    }
}

#[test]
fn pages_are_counted_once_and_budgets_are_exact() {
    let writes = [
        wide(Name::Grow, [1, 0, 0]),
        wide(Name::Write, [4090, 0, 12]),
        wide(Name::Write, [0, 5, 8192]),
        wide(Name::Read, [0, 0, 8192]),
        wide(Name::Write, [8191, 0, 1]),
    ];
    agree(false, &writes, 2, 2);
    agree(true, &writes, 2, 2);
    let model = Model::new(false, 0, 1);
    let mut guest = guest(&engine(), false, &model);
    call(&mut guest, &wide(Name::Grow, [1, 0, 0])).unwrap();
    let two_pages = call(&mut guest, &wide(Name::Write, [4095, 0, 2]));
    assert_eq!(two_pages, Err(Stop::StableWritesExceeded));
    let read = call(&mut guest, &wide(Name::Read, [0, 0, 1]));
    assert_eq!(read, Err(Stop::StableReadsExceeded));
    // Of nothing there is nothing to count, wherever it is.
    assert_eq!(
        call(&mut guest, &wide(Name::Read, [0, u64::MAX, 0])),
        Ok(None)
    );
}

#[test]
fn the_host_is_asked_before_stable_memory_grows() {
    let model = Model::new(false, 0, 0);
    let mut guest = guest(&engine(), false, &model);
    guest.store.data_mut().stable_pages = 2;
    let mut grow = |pages, form| {
        let made = Call {
            form,
            name: Name::Grow,
            args: [pages, 0, 0],
        };
        call(&mut guest, &made)
    };
    assert_eq!(grow(2, Form::Legacy), Ok(Some(0)));
    assert_eq!(grow(1, Form::Wide), Ok(Some(-1)));
    assert_eq!(grow(0, Form::Wide), Ok(Some(2)));
    assert_eq!(grow(5, Form::Wide), Ok(Some(-1)));
    assert_eq!(grow(u64::MAX, Form::Wide), Ok(Some(-1)));
    assert_eq!(guest.store.data().asked, [(2, 0), (1, 2)]);
}

#[test]
fn the_32_bit_forms_stop_at_4_gib() {
    let prepared = prepare(wat(false).as_bytes(), &Limits::default()).unwrap();
    let mut guest = Guest::of(&engine(), prepared);
    let legacy = |name| Call {
        form: Form::Legacy,
        name,
        args: [1, 0, 0],
    };
    let grow = |pages| wide(Name::Grow, [pages, 0, 0]);
    assert_eq!(call(&mut guest, &grow(65_536)), Ok(Some(0)));
    assert_eq!(call(&mut guest, &legacy(Name::Size)), Ok(Some(65_536)));
    assert_eq!(call(&mut guest, &legacy(Name::Grow)), Ok(Some(-1)));
    assert_eq!(call(&mut guest, &grow(1)), Ok(Some(65_536)));
    for name in [Name::Size, Name::Grow, Name::Read, Name::Write] {
        let stopped = call(&mut guest, &legacy(name));
        assert_eq!(stopped, Err(Stop::StableTooBigFor32Bit), "{name:?}");
    }
    // One page of bytemap covers 4,096 of stable memory.
    let touched = guest.memory(abi::TOUCHED);
    assert_eq!(touched.size(&guest.store), abi::touched_pages(65_537));
    let far = wide(Name::Write, [65_536 * WASM_PAGE + 5, 0, 3]);
    assert_eq!(call(&mut guest, &far), Ok(None));
    let page = (65_536 * WASM_PAGE / OS_PAGE) as usize;
    assert_eq!(
        touched.data(&guest.store)[page - 1..=page + 1],
        [0, WRITTEN, 0]
    );
}

#[test]
fn stable_memory_that_was_granted_and_cannot_be_made_ends_the_call() {
    let model = Model::new(false, 0, 0);
    let mut guest = guest(&engine(), false, &model);
    let limits = wasmtime::StoreLimitsBuilder::new()
        .memory_size(2 << 16)
        .build();
    guest.store.data_mut().limits = limits;
    let stopped = call(&mut guest, &wide(Name::Grow, [3, 0, 0]));
    assert_eq!(stopped, Err(Stop::GrowFailed));
}

#[test]
fn a_copy_waits_for_its_slices_and_a_size_of_no_sense_does_not_add_to_them() {
    let model = Model::new(true, 100, 100);
    let mut guest = guest(&engine(), true, &model);
    call(&mut guest, &wide(Name::Grow, [1, 0, 0])).unwrap();
    guest.store.data_mut().slice = Some(1000);
    guest.set(abi::INSTRUCTIONS, 0);
    let write = wide(Name::Write, [0, 0, 20_000]);
    assert_eq!(call(&mut guest, &write), Ok(None));
    let left = guest.get(abi::INSTRUCTIONS);
    let grants = guest.store.data();
    let spent = grants.granted - left;
    assert_eq!(spent, around(&write) + 20 + 20_000 + 5 * 4_000);
    // Entering the method, the copy's size, and what its pages cost.
    assert_eq!(grants.slices, 3);
    for size in [u64::MAX, 1 << 63, (1 << 63) + 1] {
        let stopped = call(&mut guest, &wide(Name::Write, [0, 0, size]));
        assert_eq!(stopped, Err(Stop::StableOutOfBounds));
        let spent = guest.store.data().granted - guest.get(abi::INSTRUCTIONS);
        assert!(spent > 1 << 48, "charged, and not paid back");
    }
}
