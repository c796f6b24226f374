//! Memory, tables and globals: how large, and of what.

use crate::module::refusal::Counted;
use crate::module::source::{Source, at_most};
use crate::module::{Limits, Refusal};

pub(super) fn check(source: &Source<'_>, limits: &Limits) -> Result<(), Refusal> {
    heap(source, limits)?;
    tables(source, limits)?;
    globals(source)
}

fn heap(source: &Source<'_>, limits: &Limits) -> Result<(), Refusal> {
    let minimum = source.memory.map_or(0, |memory| memory.initial);
    let limit = limits.heap_pages(source.is64());
    match minimum > limit {
        true => Err(Refusal::HeapTooLarge { minimum, limit }),
        false => Ok(()),
    }
}

fn tables(source: &Source<'_>, limits: &Limits) -> Result<(), Refusal> {
    let sizes = source.tables.iter().map(|table| table.initial);
    let entries = sizes.fold(0, u64::saturating_add);
    let hint = "take fewer function pointers";
    at_most(Counted::TableEntries, entries, limits.table_entries, hint)
}

fn globals(source: &Source<'_>) -> Result<(), Refusal> {
    let kept = |global: &wasmparser::Global<'_>| {
        !(global.ty.mutable && global.ty.content_type.is_reference_type())
    };
    match source.globals.iter().position(|global| !kept(global)) {
        Some(global) => Err(Refusal::ReferenceGlobal {
            global: u32::try_from(global).unwrap_or(u32::MAX),
        }),
        None => Ok(()),
    }
}
