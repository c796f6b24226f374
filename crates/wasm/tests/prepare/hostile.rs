//! Bytes that nobody's compiler made.

use std::sync::LazyLock;

use casemate_wasm::module::{Limits, Prepared, Refusal, prepare};
use proptest::prelude::*;
use wasmparser::{Validator, WasmFeatures};

use crate::program::{Dice, Program, Text};

/// Small enough that a few thousand modules are soon done.
fn limits() -> Limits {
    Limits {
        module_bytes: 1 << 20,
        ..Limits::default()
    }
}

/// Whatever was accepted has to be a module of two memories more.
fn is_valid(prepared: &Prepared) {
    let features = WasmFeatures::default() - WasmFeatures::GC;
    let valid = Validator::new_with_features(features).validate_all(&prepared.code);
    valid.expect("what was prepared is valid");
    let largest = prepared.profile.heap.minimum << 16;
    for segment in &prepared.initial {
        assert!(segment.offset + segment.bytes.len() as u64 <= largest);
    }
}

/// Modules to start from, made once.
static MODULES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let text = |seed| Text::of(&Program::new(seed));
    (1..=40)
        .map(|seed| wat::parse_str(text(seed)).unwrap())
        .collect()
});

/// Changes a few bytes, or moves, doubles or drops a run of them.
fn mutated(mut bytes: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    for _ in 0..=dice.below(3) {
        let at = 8 + dice.below(bytes.len() - 8);
        let end = (at + 1 + dice.below(16)).min(bytes.len());
        match dice.below(6) {
            0 | 1 => bytes[at] = dice.roll() as u8,
            2 => bytes[at] ^= 1 << dice.below(8),
            3 => bytes.extend_from_within(at..end),
            4 => bytes.truncate(at.max(9)),
            _ => bytes[at..end].rotate_left(1),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn random_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4) {
        let start: &[u8] = match kind {
            0 => b"",
            1 => b"\0asm\x01\0\0\0",
            2 => b"\x1f\x8b\x08",
            _ => b"(module ",
        };
        bytes.splice(0..0, start.iter().copied());
        if let Ok(prepared) = prepare(&bytes, &limits()) {
            is_valid(&prepared);
        }
    }

    #[test]
    fn mutated_modules_are_refused_or_still_valid(seed in 0..MODULES.len(), change in any::<u64>()) {
        match prepare(&mutated(MODULES[seed].clone(), change), &limits()) {
            Ok(prepared) => is_valid(&prepared),
            Err(refusal) => prop_assert!(refusal.to_string().contains("\nhint: ")),
        }
    }
}

/// Sections that are larger than they say, and counts that are larger than there is room.
#[test]
fn counts_without_items_allocate_nothing() {
    for section in 1..13 {
        // A section of six bytes: a count of 2^32 - 1, and one byte.
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        bytes.extend([section, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert!(prepare(&bytes, &limits()).is_err(), "section {section}");
    }
}

/// The work is linear in the bytes: a module twice as large takes no four times as much.
///
/// What is counted are the bytes written, since a test must not fail on a time.
#[test]
fn what_is_written_is_no_more_than_a_few_times_what_was_read() {
    let blocks = |count: usize| {
        let block = "(block (br_if 0 (i32.const 1)))";
        let wat = format!("(module (func {}))", block.repeat(count));
        let bytes = wat::parse_str(wat).unwrap();
        let written = prepare(&bytes, &limits()).unwrap().code.len();
        written as f64 / bytes.len() as f64
    };
    let small = blocks(1000);
    let large = blocks(10_000);
    assert!(large < small * 1.05 && large < 4.0, "{small} {large}");
}

#[test]
fn deep_nesting_is_fine_and_too_deep_text_is_refused() {
    let nested = |depth: usize| {
        format!(
            "(module (func {} {}))",
            "block ".repeat(depth),
            "end ".repeat(depth)
        )
    };
    assert!(prepare(nested(10_000).as_bytes(), &limits()).is_ok());
    let folded = format!(
        "(module (func {}{}))",
        "(block ".repeat(5_000),
        ")".repeat(5_000)
    );
    let refusal = prepare(folded.as_bytes(), &limits()).err();
    assert!(
        matches!(refusal, None | Some(Refusal::Text(_))),
        "{refusal:?}"
    );
    let parens = "(".repeat(900_000);
    let refusal = prepare(parens.as_bytes(), &limits()).unwrap_err();
    assert!(matches!(refusal, Refusal::Text(_)), "{refusal:?}");
}

#[test]
fn one_input_makes_one_module() {
    for bytes in MODULES.iter() {
        let [a, b] = [(); 2].map(|()| prepare(bytes, &limits()).unwrap());
        assert_eq!((a.code, a.profile), (b.code, b.profile));
    }
}
