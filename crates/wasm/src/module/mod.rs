//! From a guest's bytes to a module that can be run behind the wall: [`prepare`].
//!
//! ```text
//! bytes ─ decode ─ check ─┬─ Profile   what a controller must know, without the module
//!   (gzip, text)          ├─ rewrite   meter/ counts, stable/ puts stable memory inside
//!                         └─ initial   what the data segments held
//! ```
//!
//! Everything here is a pure function of the bytes and the [`Limits`]: it runs in the
//! throw-away compiler process, on input that is hostile, and the same input gives the
//! same module anywhere. What is wrong with a module is said by one [`Refusal`], which
//! names the rule, the item and what to do.
//!
//! # The prepared module
//!
//! This is the contract with whoever runs it. Names and codes are constants of [`abi`].
//! A *page* is a Wasm page (64 KiB) unless it is called an *OS page* (4 KiB).
//!
//! ## What it imports
//!
//! Only functions. Those of `ic0` that the guest imports, except the `stable*` ones,
//! with the types of [`system`](crate::system) for the guest's width. A guest may import
//! one function more than once. A memory that it imports (`env.memory`) has become its
//! own. And always all of these, from module `__`:
//!
//! | name | type | called |
//! |---|---|---|
//! | `out_of_instructions` | `() -> ()` | when `__instructions` is negative at a function's entry, at a loop's head, where 10,000 have been paid since the last of these, or before an operation of dynamic size. Returns when `__instructions` has been made ≥ 0 (the debt is in the global: grant by *adding* a slice to it); traps otherwise. If it returns with a negative counter the guest just goes on to the next check |
//! | `grow_heap` | `(delta: i64, before: i64) -> i32` | before `memory.grow` of the heap by `delta` ≥ 1 pages from `before`, only if `before + delta` is within the heap's maximum. 1: granted and booked; anything else: refused, the guest sees −1. It may trap. A granted growth has to succeed: if the memory still refuses, `internal_trap(6)` follows |
//! | `grow_stable` | `(delta: i64, before: i64) -> i32` | the same for stable memory |
//! | `internal_trap` | `(code: i32) -> ()` | when code made here can't go on; must trap. If it returns, `unreachable` follows |
//!
//! Codes of `internal_trap` ([`abi::Stop`]):
//!
//! | code | name | when |
//! |---|---|---|
//! | 1 | `StableTooBigFor32Bit` | a 32-bit stable call (`stable_size`, `_grow`, `_read`, `_write`) while stable memory is above 65,536 pages |
//! | 2 | `StableOutOfBounds` | `offset + size` of a stable read or write lies behind stable memory's end |
//! | 3 | `HeapOutOfBounds` | `src + size` or `dst + size` of it lies behind the heap's end |
//! | 4 | `StableWritesExceeded` | it would write its first byte to more OS pages than `__stable_writes_left` |
//! | 5 | `StableReadsExceeded` | the same for reads and `__stable_reads_left` |
//! | 6 | `GrowFailed` | memory that the host has granted could not be made |
//!
//! `ic0` functions of the host charge themselves ([`system::Function::overhead`](crate::system::Function)
//! and one instruction per byte) by subtracting from `__instructions`, and when that is
//! negative do what `out_of_instructions` does.
//!
//! ## What it exports
//!
//! Of the guest's own exports only the entry points (`canister_init`,
//! `canister_update NAME`, …), all `() -> ()`. Everything else that the guest exports is
//! left out. Added, always all of them unless it says otherwise:
//!
//! | name | kind | meaning |
//! |---|---|---|
//! | `__heap` | memory 0, 32- or 64-bit as in [`Profile::is64`] | the guest's memory with the guest's minimum; its maximum is the smaller of the guest's and [`Limits::heap_pages`]. A guest without a memory has one of minimum and maximum 0 |
//! | `__stable` | memory 1, 64-bit | stable memory: minimum 0, maximum [`Limits::stable_pages`]. [`Profile::uses_stable`] false: nothing reads or grows it |
//! | `__touched` | memory 2, 32-bit | bytemap: byte *i* is OS page *i* of stable memory; bit 0 ([`abi::READ`]) read, bit 1 ([`abi::WRITTEN`]) written. Minimum 0. It has to have [`abi::touched_pages`]`(stable pages)` pages whenever stable memory has that many: `stable_grow` sees to it, a host that restores stable memory grows both |
//! | `__instructions` | mutable global i64, first 0 | instructions left; each block subtracts its cost when it is entered. May be negative: by what one block costs and 10,000, for each function that is active |
//! | `__stable_reads_left` | mutable global i64, first 0 | OS pages that may still be read for the first time (bit 0 not yet set). Writing a page does not count as reading it |
//! | `__stable_writes_left` | mutable global i64, first 0 | OS pages that may still be written for the first time (bit 1 not yet set) |
//! | `__global_N` | mutable global | the guest's mutable globals, N counting only these, in the module's order, in the types of [`Profile::globals`]: i32, i64, f32, f64 or v128 |
//! | `__table` | table 0, if there is one ([`Profile::table`]) | where callbacks are found: funcref, indices 32- or 64-bit |
//! | `canister_start` | function `() -> ()`, if there is one ([`Profile::has_start`]) | what was the start section |
//!
//! There is no start section: instantiating runs nothing of the guest and writes nothing
//! to a memory. Element segments are applied as ever.
//!
//! ## Who does what
//!
//! *First install*: instantiate; write [`Prepared::initial`] to the heap in the given
//! order (all of it lies within the minimum; later segments overwrite earlier ones); run
//! `canister_start` if there is one, in the context
//! [`Start`](crate::system::Context::Start); then `canister_init`.
//!
//! *Before each call*: set `__instructions` to the first slice, both page budgets to the
//! context's, and have the bytemap clear. *After each call*: pages with bit 1 are the
//! dirty ones of stable memory. If a budget is what was set, its kind was not used at all.
//!
//! *Restoring*: instantiate, grow `__heap`, `__stable` and `__touched` with the
//! runtime's own calls (they bypass the hooks), put the pages and the globals back; do
//! *not* apply `initial`.
//!
//! *Rolling back*: memories can't shrink, so after a call that grew one and failed the
//! instance has to be replaced. The same goes for every call of a guest that drops
//! segments ([`Profile::drops_segments`]): what was dropped would stay dropped.
//!
//! # Stable memory
//!
//! A read or write charges its overhead and one instruction per byte, then returns if
//! its size is 0, wherever its offsets point. Then come the codes in this order: 1 (before
//! anything is charged), 2, 3, and 4 or 5. A first write of an OS page is charged
//! [`STABLE_PAGE_WRITE`] or [`STABLE_PAGE_WRITE_64`] on top. Bits that were set before the
//! call was stopped stay set, like the budgets: both are to be reset anyway.
//!
//! Legality: the `stable*` functions are legal in every context (see
//! [`system`](crate::system)), so the code that replaced them asks nobody.

pub mod abi;
mod added;
mod check;
mod decode;
mod features;
mod indices;
mod limits;
mod meter;
mod places;
mod profile;
mod refusal;
mod rewrite;
mod source;
mod stable;

pub(crate) use features::names as features;
use indices::{ADDED_FUNCTIONS, Indices};
pub use limits::Limits;
pub use meter::cost::{COSTS, Category, Cost, STABLE_PAGE_WRITE, STABLE_PAGE_WRITE_64};
pub use places::{Place, Places};
pub use profile::{
    EntryPoint, GlobalType, Metadata, Method, MethodKind, PROFILE_BYTES, Pages, Profile,
    ProfileError, Table,
};
pub use refusal::{Counted, Named, Refusal};
use source::Source;

/// A module that can be run, and what has to be known to run it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The module.
    pub code: Vec<u8>,
    /// What there is to know of it.
    pub profile: Profile,
    /// What a new heap begins with.
    pub initial: Vec<Segment>,
    /// Where in the module its code was: for [`Places`].
    pub places: Vec<u8>,
}

/// Bytes that a new heap begins with, at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where in the heap.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// Makes the module that is run out of what a user handed in: Wasm, packed or as text.
pub fn prepare(bytes: &[u8], limits: &Limits) -> Result<Prepared, Refusal> {
    let bytes = decode::decode(bytes, limits)?;
    let source = Source::read(&bytes, limits)?;
    let checked = check::check(&source, limits)?;
    let indices = Indices::new(&source, &checked.imports);
    let rewrite::Rewritten { code, seen, places } =
        rewrite::rewrite(&source, &checked, &indices, limits)?;
    let initial = check::initial(&source.data);
    let profile = profile::of(&source, checked, &indices, seen, limits);
    Ok(Prepared {
        code,
        profile,
        initial,
        places,
    })
}

/// The guest's memory in the prepared module: none of no pages if it declares none.
fn heap(source: &Source<'_>, limits: &Limits) -> Pages {
    let limit = limits.heap_pages(source.is64());
    match source.memory {
        Some(memory) => Pages {
            minimum: memory.initial,
            maximum: memory.maximum.map_or(limit, |maximum| maximum.min(limit)),
        },
        None => Pages {
            minimum: 0,
            maximum: 0,
        },
    }
}

/// Table 0, if callbacks can be in it.
fn callbacks(source: &Source<'_>) -> Option<Table> {
    let table = source.tables.first()?;
    (table.element_type == wasmparser::RefType::FUNCREF).then_some(Table {
        is64: table.table64,
        entries: table.initial,
    })
}
