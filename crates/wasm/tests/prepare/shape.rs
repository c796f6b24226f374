//! What a prepared module exports, and what its profile says.

use casemate_wasm::module::abi::{self, Stop};
use casemate_wasm::module::{
    EntryPoint, GlobalType, Limits, MethodKind, Pages, Profile, Segment, Table, prepare,
};
use wasmtime::{ExternType, Module, StoreLimitsBuilder, Val};

use crate::host::{Guest, engine};

const FULL: &str = r#"(module
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "stable64_size" (func $stable_size (result i64)))
  (import "ic0" "msg_reply" (func $reply_again))
  (memory (export "memory") 2 10)
  (table (export "__indirect_function_table") 4 funcref)
  (global (mut i32) (i32.const 7))
  (global i32 (i32.const 8))
  (global (mut f64) (f64.const 1.5))
  (global (export "__heap_base") (mut v128) (v128.const i64x2 1 2))
  (elem (i32.const 1) func $reply $stable_size $named)
  (data (i32.const 65536) "second page")
  (data "passive")
  (data (i32.const 3) "first")
  (data (i32.const 131072) "")
  (func $named (global.set 0 (i32.const 9)) (call $reply))
  (func $starts (i32.store (i32.const 0) (i32.const 77)))
  (func $pulls (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 7)))
  (func $pulls_nothing (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1)))
  (start $starts)
  (export "canister_init" (func $named))
  (export "canister_update set" (func $named))
  (export "canister_query get it" (func $pulls))
  (export "canister_composite_query all" (func $pulls_nothing))
  (export "canister_heartbeat" (func $reply))
  (@custom "icp:public candid:service" "service : {}")
  (@custom "icp:private secret" "hidden")
  (@custom "producers" "\00")
)"#;

#[test]
fn a_module_exports_its_entry_points_and_what_the_contract_names() {
    let prepared = prepare(FULL.as_bytes(), &Limits::default()).unwrap();
    let module = Module::new(&engine(), &prepared.code).unwrap();
    let mut exports: Vec<_> = module.exports().map(|export| export.name()).collect();
    exports.sort_unstable();
    let expected = [
        "__global_0",
        "__global_1",
        "__global_2",
        "__heap",
        "__instructions",
        "__stable",
        "__stable_reads_left",
        "__stable_writes_left",
        "__table",
        "__touched",
        "canister_composite_query all",
        "canister_heartbeat",
        "canister_init",
        "canister_query get it",
        "canister_start",
        "canister_update set",
    ];
    assert_eq!(exports, expected);
    let imports: Vec<_> = module.imports().map(|i| (i.module(), i.name())).collect();
    let expected = [
        ("ic0", "msg_reply"),
        ("ic0", "msg_reply"),
        ("__", "out_of_instructions"),
        ("__", "grow_heap"),
        ("__", "grow_stable"),
        ("__", "internal_trap"),
    ];
    assert_eq!(imports, expected);
    let memory = |name| match module.get_export(name) {
        Some(ExternType::Memory(memory)) => (memory.minimum(), memory.maximum(), memory.is_64()),
        _ => panic!("{name} is no memory"),
    };
    assert_eq!(memory("__heap"), (2, Some(10), false));
    assert_eq!(memory("__stable"), (0, Some(8_192_000), true));
    assert_eq!(memory("__touched"), (0, Some(2_000), false));
}

#[test]
fn the_profile_says_what_the_module_has() {
    let limits = Limits::default();
    let prepared = prepare(FULL.as_bytes(), &limits).unwrap();
    let profile = &prepared.profile;
    assert!(!profile.is64 && profile.has_start && profile.uses_stable);
    assert!(!profile.drops_segments);
    let heap = Pages {
        minimum: 2,
        maximum: 10,
    };
    assert_eq!(profile.heap, heap);
    let kinds = [GlobalType::I32, GlobalType::F64, GlobalType::V128];
    assert_eq!(profile.globals, kinds);
    let table = Table {
        is64: false,
        entries: 4,
    };
    assert_eq!(profile.table, Some(table));
    let methods: Vec<_> = profile
        .methods
        .iter()
        .map(|m| (m.name.as_str(), m.kind))
        .collect();
    let expected = [
        ("set", MethodKind::Update),
        ("get it", MethodKind::Query),
        ("all", MethodKind::CompositeQuery),
    ];
    assert_eq!(methods, expected);
    assert_eq!(
        profile.method("get it").unwrap().export(),
        "canister_query get it"
    );
    assert!(profile.has(EntryPoint::Init) && profile.has(EntryPoint::Heartbeat));
    assert!(!profile.has(EntryPoint::PreUpgrade));
    assert_eq!(profile.candid(), Some("service : {}"));
    assert!(profile.metadata("candid:service").unwrap().public);
    assert!(!profile.metadata("secret").unwrap().public && !profile.keeps_heap());
    assert_eq!(profile.metadata("producers"), None);
    assert_eq!(profile.imports, ["msg_reply", "stable64_size"]);
    assert_eq!(profile.initial_bytes, 16);
    // Two imports are kept, four hooks follow.
    assert_eq!(profile.function_name(6), Some("named"));
    assert_eq!(profile.function_name(7), Some("starts"));
    assert_eq!(profile.function_name(1), Some("reply_again"));
    assert_eq!(profile.function_name(2), None);
    // What was added has names, too; a guest's own name for an import goes first.
    assert_eq!(profile.function_name(12), Some("memory.grow"));
    assert_eq!(profile.function_name(13), Some("stable_size"));
    assert_eq!(profile.function_name(14), Some("stable64_grow"));
    assert_eq!(
        Profile::read(&profile.write(), &limits).as_ref(),
        Ok(profile)
    );
    let segment = |offset, bytes: &[u8]| Segment {
        offset,
        bytes: bytes.to_vec(),
    };
    let initial = [segment(65536, b"second page"), segment(3, b"first")];
    assert_eq!(prepared.initial, initial);
}

#[test]
fn indices_still_mean_what_they_meant() {
    let mut guest = Guest::new(FULL);
    let mut heap = [0; 12];
    let memory = guest.memory(abi::HEAP);
    memory.read(&guest.store, 0, &mut heap).unwrap();
    assert_eq!(&heap, b"\0\0\0first\0\0\0\0", "start has not run");
    guest.run("canister_start").unwrap();
    assert_eq!(memory.data(&guest.store)[0], 77);
    guest.run("canister_update set").unwrap();
    let set = guest.global("__global_0").get(&mut guest.store);
    assert_eq!(set.unwrap_i32(), 9);
    guest.run("canister_query get it").unwrap();
    assert_eq!(&memory.data(&guest.store)[..7], b"passive");
    // An active segment is dropped once it was applied.
    assert!(guest.run("canister_composite_query all").is_err());

    let table = guest
        .instance
        .get_table(&mut guest.store, abi::TABLE)
        .unwrap();
    let mut call = |index| {
        let entry = table.get(&mut guest.store, index).unwrap();
        let function = *entry.as_func().unwrap().unwrap();
        let results = function.ty(&guest.store).results().len();
        let mut values = vec![Val::I32(0); results];
        function.call(&mut guest.store, &[], &mut values).unwrap();
        values
    };
    assert!(call(1).is_empty());
    // The function that took the place of stable64_size.
    assert_eq!(call(2)[0].unwrap_i64(), 0);
    assert!(call(3).is_empty());
}

#[test]
fn an_imported_memory_becomes_the_guests_own() {
    let wat = r#"(module (import "env" "memory" (memory i64 1)) (data (i64.const 5) "x")
      (table i64 2 funcref))"#;
    let guest = Guest::new(wat);
    let profile = &guest.prepared.profile;
    assert!(profile.is64);
    let heap = Pages {
        minimum: 1,
        maximum: 98_304,
    };
    assert_eq!(profile.heap, heap);
    assert_eq!(profile.table.map(|table| table.is64), Some(true));
}

#[test]
fn a_guest_without_anything_has_an_empty_heap() {
    let mut guest = Guest::new("(module)");
    let heap = guest.memory(abi::HEAP);
    assert_eq!(heap.ty(&guest.store).maximum(), Some(0));
    assert_eq!(guest.prepared.profile.table, None);
}

#[test]
fn dropped_segments_are_told_of() {
    let dropping = |wat: &str| Guest::new(wat).prepared.profile.drops_segments;
    assert!(dropping(
        r#"(module (memory 1) (data "x") (func (data.drop 0)))"#
    ));
    assert!(dropping(
        "(module (table 1 funcref) (elem func 0) (func (elem.drop 0)))"
    ));
    assert!(!dropping(r#"(module (memory 1) (data "x"))"#));
}

/// Grows by what is in global 0 and puts the answer into global 1.
fn grows(index: &str) -> String {
    format!(
        r#"(module (memory {index} 1 5)
      (global (mut {index}) ({index}.const 0)) (global (mut {index}) ({index}.const 0))
      (func (export "canister_update grow")
        (global.set 1 (memory.grow (global.get 0)))))"#
    )
}

#[test]
fn the_host_is_asked_before_the_heap_grows() {
    for index in ["i32", "i64"] {
        let mut guest = Guest::new(&grows(index));
        guest.store.data_mut().heap_pages = 3;
        let mut grow = |delta: i64| {
            let value = |n: i64| match index {
                "i32" => Val::I32(n as i32),
                _ => Val::I64(n),
            };
            guest
                .global("__global_0")
                .set(&mut guest.store, value(delta))
                .unwrap();
            guest.run("canister_update grow").unwrap();
            match guest.global("__global_1").get(&mut guest.store) {
                Val::I32(n) => i64::from(n),
                other => other.unwrap_i64(),
            }
        };
        assert_eq!(grow(0), 1);
        assert_eq!(grow(2), 1);
        assert_eq!(grow(2), -1, "the host has one page left");
        assert_eq!(grow(1), 3);
        assert_eq!(grow(-1), -1);
        assert_eq!(grow(2), -1, "above the maximum");
        assert_eq!(grow(0), 4);
        let asked = [(2, 1), (2, 3), (1, 3)];
        assert_eq!(guest.store.data().asked, asked, "only what may be");
    }
}

#[test]
fn memory_that_was_granted_and_cannot_be_made_ends_the_call() {
    let mut guest = Guest::new(&grows("i32"));
    let limits = StoreLimitsBuilder::new().memory_size(2 << 16).build();
    guest.store.data_mut().limits = limits;
    guest
        .global("__global_0")
        .set(&mut guest.store, Val::I32(4))
        .unwrap();
    assert_eq!(guest.stopped("canister_update grow"), Stop::GrowFailed);
}
