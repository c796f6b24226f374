//! The profile of a module that was prepared.

use wasmparser::ValType;

use super::{GlobalType, NAME_BYTES, Profile};
use crate::module::check::Checked;
use crate::module::indices::{Indices, STABLE_FUNCTIONS};
use crate::module::meter::Seen;
use crate::module::source::Source;
use crate::module::{Limits, callbacks, heap};

/// How many bytes of function names are kept in all.
const NAMES_BYTES: usize = 1 << 20;

/// What there is to know of a module that was prepared.
pub(in crate::module) fn of(
    source: &Source<'_>,
    checked: Checked<'_>,
    indices: &Indices,
    seen: Seen,
    limits: &Limits,
) -> Profile {
    let initial = source.data.iter().filter(|data| is_active(data));
    let mut imports: Vec<_> = checked.imports.iter().map(|f| f.name.to_owned()).collect();
    imports.sort_unstable();
    imports.dedup();
    Profile {
        is64: source.is64(),
        methods: checked.entries.methods,
        entry_points: checked.entries.points,
        has_start: source.start.is_some(),
        heap: heap(source, limits),
        stable_maximum: limits.stable_pages(),
        uses_stable: indices.stable.is_some(),
        globals: globals(source),
        table: callbacks(source),
        drops_segments: seen.drops_segments,
        initial_bytes: initial.map(|data| data.data.len() as u64).sum(),
        functions: indices.functions,
        instructions: seen.instructions,
        imports,
        metadata: checked.metadata,
        names: names(source, indices),
    }
}

fn is_active(data: &wasmparser::Data<'_>) -> bool {
    matches!(data.kind, wasmparser::DataKind::Active { .. })
}

fn globals(source: &Source<'_>) -> Vec<GlobalType> {
    let mutable = source.globals.iter().filter(|global| global.ty.mutable);
    let kept = |global: &wasmparser::Global<'_>| match global.ty.content_type {
        ValType::I32 => Some(GlobalType::I32),
        ValType::I64 => Some(GlobalType::I64),
        ValType::F32 => Some(GlobalType::F32),
        ValType::F64 => Some(GlobalType::F64),
        ValType::V128 => Some(GlobalType::V128),
        ValType::Ref(_) => None,
    };
    mutable.filter_map(kept).collect()
}

/// Names by new index. What is too much is left out: they are for messages only.
fn names(source: &Source<'_>, indices: &Indices) -> Vec<(u32, String)> {
    let functions = source.functions.len();
    let named = source.names.iter();
    let known = named.filter(|(index, _)| (*index as usize) < functions);
    let mut names: Vec<_> = known
        .map(|(old, name)| (indices.function(*old), *name))
        .collect();
    let stable = indices
        .stable
        .into_iter()
        .flat_map(|first| (first..).zip(STABLE_FUNCTIONS));
    names.extend(stable.chain([(indices.grow, "memory.grow")]));
    names.sort_by_key(|(index, _)| *index);
    names.dedup_by_key(|(index, _)| *index);
    let mut left = NAMES_BYTES;
    let kept = names.into_iter().map_while(|(index, name)| {
        let short = name.get(..name.floor_char_boundary(NAME_BYTES))?;
        left = left.checked_sub(short.len())?;
        Some((index, short.to_owned()))
    });
    kept.collect()
}
