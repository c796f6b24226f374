//! What a user hands in, and what the process that read it makes of it.

use crate::guest::{Bundle, compile};
use crate::module::{Limits, prepare};
use casemate_sys::pages::Sealed;
use wasmparser::{Validator, WasmFeatures};

/// Small enough that no input takes long.
fn limits() -> Limits {
    Limits {
        module_bytes: 1 << 20,
        text_bytes: 1 << 16,
        ..Limits::default()
    }
}

/// Instrumented, a valid module is valid, and the same each time.
pub(super) fn modules(bytes: &[u8]) {
    let Ok(prepared) = prepare(bytes, &limits()) else {
        return;
    };
    let features = WasmFeatures::default() | WasmFeatures::MULTI_MEMORY | WasmFeatures::MEMORY64;
    let valid = Validator::new_with_features(features).validate_all(&prepared.code);
    valid.expect("what was instrumented is valid");
    let again = prepare(bytes, &limits()).expect("the same module");
    assert_eq!(again.code, prepared.code);
    assert_eq!(again.profile, prepared.profile);
    let end = prepared.profile.heap.minimum << 16;
    for segment in &prepared.initial {
        let last = segment.offset.checked_add(segment.bytes.len() as u64);
        assert!(
            last.is_some_and(|last| last <= end),
            "a segment within the heap"
        );
    }
}

/// Modules of everything that is instrumented, as text and in binary.
pub(super) fn some_modules() -> Vec<Vec<u8>> {
    const MODULES: [&str; 3] = [
        include_str!("../../tests/guests/counter.wat"),
        r#"(module (import "ic0" "msg_reply" (func $reply)) (memory i64 1 9)
            (table 2 funcref) (elem (i32.const 0) $f) (data (i64.const 8) "data") (data "passive")
            (global $g (mut f64) (f64.const 1)) (start $f)
            (func $f (local i64)
              (block (loop (br_if 1 (i64.eqz (local.get 0))) (br 0)))
              (memory.fill (i64.const 0) (i32.const 7) (i64.const 9))
              (memory.init 1 (i64.const 0) (i32.const 0) (i32.const 7)) (data.drop 1)
              (global.set $g (f64.sqrt (global.get $g))))
            (func (export "canister_update go") (call_indirect (i32.const 0)) (call $reply))
            (func (export "canister_query q") (return_call $f))
            (@custom "icp:public candid:service" "service : {}"))"#,
        r#"(module (import "ic0" "stable_write" (func (param i32 i32 i32)))
            (import "ic0" "stable_grow" (func (param i32) (result i32))) (memory 1)
            (func (export "canister_init")
              (drop (call 1 (i32.const 1))) (call 0 (i32.const 0) (i32.const 0) (i32.const 9))
              (if (i32.const 1) (then (drop (i8x16.splat (i32.const 3)))) (else unreachable))))"#,
    ];
    let binary = MODULES.map(|text| wat::parse_str(text).expect("a module"));
    let text = MODULES.map(|text| text.as_bytes().to_vec());
    binary.into_iter().chain(text).collect()
}

/// A compiler may have been taken over by what it read: nothing of what it says is believed.
pub(super) fn bundles(bytes: &[u8]) {
    let Ok(bundle) = Sealed::of("fuzz", bytes)
        .map_err(drop)
        .and_then(|file| Bundle::of(file).map_err(drop))
    else {
        return;
    };
    let _ = bundle.profile();
    let _ = bundle.initial();
}

pub(super) fn some_bundles() -> Vec<Vec<u8>> {
    let text = some_modules().pop().expect("a module");
    let prepared = prepare(&text, &limits()).expect("a module");
    vec![compile(&prepared).expect("a compiled module")]
}
