//! Where an instruction was before anything was put in.

use crate::program::{Program, Text};
use casemate_wasm::module::{Limits, Places, Prepared, prepare};
use std::collections::BTreeMap;
use wasmparser::{Parser, Payload};

/// Instructions of each function, by their offsets.
fn instructions(module: &[u8]) -> Vec<BTreeMap<u64, String>> {
    let bodies = Parser::new(0).parse_all(module).filter_map(|payload| {
        let Payload::CodeSectionEntry(body) = payload.unwrap() else {
            return None;
        };
        let operators = body
            .get_operators_reader()
            .unwrap()
            .into_iter_with_offsets();
        let shown = operators.map(|read| read.unwrap());
        Some(
            shown
                .map(|(operator, at)| (at as u64, format!("{operator:?}")))
                .collect(),
        )
    });
    bodies.collect()
}

/// Each instruction of the module is found from the one that it has become, and what was put in is
/// found before the one that it stands before.
fn each_is_found(module: &[u8]) {
    let Prepared {
        code,
        places,
        profile,
        ..
    } = prepare(module, &Limits::default()).unwrap();
    let places = Places::of(&places);
    let (before, after) = (instructions(module), instructions(&code));
    let first = profile.functions as usize - after.len();
    let imported = imported(module);
    for (own, (old, new)) in before.iter().zip(&after).enumerate() {
        let mut found: BTreeMap<u64, &str> = BTreeMap::new();
        let mut last = 0;
        for (at, shown) in new {
            let place = places.find((first + own) as u32, Some(*at)).unwrap();
            assert_eq!(place.function as usize, imported + own);
            let offset = place.offset.unwrap();
            assert!(offset >= last, "{offset:#x} after {last:#x}");
            last = offset;
            // What was put in comes first.
            found.insert(offset, shown);
        }
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            old.keys().collect::<Vec<_>>()
        );
        for (offset, was) in old {
            let is = found[offset];
            let changed = ["Call {", "ReturnCall {", "RefFunc {", "MemoryGrow {"];
            match changed.iter().any(|kind| was.starts_with(kind)) {
                true => assert!(is.contains("function_index"), "{was} became {is}"),
                false => assert_eq!(is, was),
            }
        }
    }
    for added in first + before.len()..profile.functions as usize {
        assert_eq!(places.find(added as u32, Some(code.len() as u64 - 1)), None);
    }
}

fn imported(module: &[u8]) -> usize {
    let sections = Parser::new(0).parse_all(module);
    let count = sections.filter_map(|payload| match payload.unwrap() {
        Payload::ImportSection(imports) => Some(imports.into_imports().count()),
        _ => None,
    });
    count.sum()
}

#[test]
fn instructions_are_found_where_they_were() {
    let text = r#"(module
      (import "ic0" "msg_reply" (func $reply))
      (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
      (memory 1)
      (func $f (param i32) (result i32)
        (loop $l
          (drop (call $grow (i64.const 1)))
          (memory.fill (i32.const 0) (i32.const 0) (i32.const 10))
          (if (local.get 0) (then (drop (memory.grow (i32.const 1)))) (else (unreachable)))
          (br_if $l (i32.div_s (i32.const 1) (local.get 0))))
        (i32.load offset=70000 (local.get 0)))
      (func (export "canister_update m") (drop (call $f (i32.const 1))) (call $reply)))"#;
    each_is_found(&wat::parse_str(text).unwrap());
    for seed in 1..40 {
        let program = Text::of(&Program::new(seed));
        each_is_found(&wat::parse_str(program).unwrap());
    }
}

#[test]
fn bytes_that_nobody_wrote_find_something_or_nothing() {
    for length in 0..200_u32 {
        let bytes: Vec<u8> = (0..length).map(|n| (n * 97 + length * 31) as u8).collect();
        let places = Places::of(&bytes);
        for function in [0, 1, 97, u32::MAX] {
            for offset in [None, Some(0), Some(1000), Some(u64::MAX)] {
                let _ = places.find(function, offset);
            }
        }
    }
    assert_eq!(
        Places::of(&[0, 5, 0, 0xff, 0xff])
            .find(1, Some(9))
            .unwrap()
            .offset,
        None
    );
}
