//! Which proposals of Wasm a guest may use, and the name of one that it may not.

use wasmparser::{Validator, WasmFeatures};

use super::Refusal;
use super::refusal::quoted;

/// What a guest may use.
///
/// Whatever is not deterministic (relaxed SIMD, threads) or widens the runtime's attack
/// surface without a guest that needs it (GC, exceptions, host references) is off.
pub(super) const ON: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::MEMORY64);

/// Their names.
pub(crate) fn names() -> Vec<String> {
    let names = ON.iter_names();
    names.map(|(name, _)| name.to_ascii_lowercase()).collect()
}

/// What is off and has a name: the proposal, how compilers turn it on, and its bits.
const OFF: &[(&str, &str, WasmFeatures)] = &[
    (
        "references to values of the host (externref)",
        "externref",
        WasmFeatures::GC_TYPES,
    ),
    ("threads", "-matomics", WasmFeatures::THREADS),
    ("relaxed SIMD", "-mrelaxed-simd", WasmFeatures::RELAXED_SIMD),
    (
        "more than one memory",
        "-mmultimemory",
        WasmFeatures::MULTI_MEMORY,
    ),
    (
        "extended constant expressions",
        "-mextended-const",
        WasmFeatures::EXTENDED_CONST,
    ),
    ("exceptions", "-fwasm-exceptions", WasmFeatures::EXCEPTIONS),
    (
        "legacy exceptions",
        "-fwasm-exceptions",
        WasmFeatures::LEGACY_EXCEPTIONS.union(WasmFeatures::EXCEPTIONS),
    ),
    (
        "typed function references",
        "--enable-function-references",
        WasmFeatures::FUNCTION_REFERENCES,
    ),
    (
        "garbage collection",
        "--enable-gc",
        WasmFeatures::GC
            .union(WasmFeatures::GC_TYPES)
            .union(WasmFeatures::FUNCTION_REFERENCES),
    ),
    (
        "custom page sizes",
        "--page-size",
        WasmFeatures::CUSTOM_PAGE_SIZES,
    ),
    (
        "wide arithmetic",
        "-mwide-arithmetic",
        WasmFeatures::WIDE_ARITHMETIC,
    ),
    (
        "stack switching",
        "--enable-stack-switching",
        WasmFeatures::STACK_SWITCHING
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::EXCEPTIONS),
    ),
];

/// The refusal for what validation found: a proposal that is off, if one is the reason.
///
/// The reason is the first with which validation no longer stops at the same place. If
/// all of them together don't help, none is asked: who sends a large module that is
/// broken at its end has it validated twice and not a dozen times.
pub(super) fn name(bytes: &[u8], error: &wasmparser::Error) -> Refusal {
    let offset = error.offset();
    let helps = |bits| {
        let mut validator = Validator::new_with_features(ON.union(bits));
        let stops = validator.validate_all(bytes).err();
        stops.map(|error| error.offset()) != Some(offset)
    };
    let all = OFF.iter().map(|(_, _, bits)| *bits).collect();
    let asked = if helps(all) { OFF } else { &[] };
    match asked.iter().find(|(_, _, bits)| helps(*bits)) {
        Some(&(feature, flag, _)) => Refusal::Feature {
            feature,
            offset,
            flag,
        },
        None => Refusal::Invalid {
            offset,
            reason: quoted(error.message()),
        },
    }
}
