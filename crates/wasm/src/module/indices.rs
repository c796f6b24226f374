//! Which index everything has in the prepared module.
//!
//! ```text
//! functions: the guest's imports, but for stable memory | hooks | the guest's | added
//! globals:   the guest's | __instructions | __stable_reads_left | __stable_writes_left
//! memories:  __heap | __stable | __touched
//! ```

use super::source::Source;
use crate::system::{Category, Function};

pub(super) const HEAP: u32 = 0;
pub(super) const STABLE: u32 = 1;
pub(super) const TOUCHED: u32 = 2;

/// Functions that are imported beyond the guest's own: the hooks.
const HOOKS: u32 = 4;
/// Functions that are added behind the guest's own, without those of stable memory.
pub(super) const ADDED: u32 = 3;
/// Those of stable memory: what they replace, in the order in which they are added.
pub(super) const STABLE_FUNCTIONS: [&str; 8] = [
    "stable64_size",
    "stable64_grow",
    "stable64_read",
    "stable64_write",
    "stable_size",
    "stable_grow",
    "stable_read",
    "stable_write",
];
/// Functions beyond the guest's own, at most.
pub(super) const ADDED_FUNCTIONS: u32 = HOOKS + ADDED + STABLE_FUNCTIONS.len() as u32;

/// Where what was there, and what is added, stands in the prepared module.
pub(super) struct Indices {
    pub(super) is64: bool,
    /// Where the guest's imports went.
    imports: Vec<u32>,
    /// The first function that the guest defines.
    defined: u32,
    pub(super) out_of_instructions: u32,
    pub(super) grow_heap: u32,
    pub(super) grow_stable: u32,
    pub(super) internal_trap: u32,
    /// `(n) -> n`, charging for it: for sizes of 32 and of 64 bits.
    pub(super) charge32: u32,
    pub(super) charge64: u32,
    /// In place of `memory.grow`.
    pub(super) grow: u32,
    /// The first of [`STABLE_FUNCTIONS`], if these are added.
    pub(super) stable: Option<u32>,
    /// All functions.
    pub(super) functions: u32,
    pub(super) instructions: u32,
    pub(super) reads_left: u32,
    pub(super) writes_left: u32,
}

impl Indices {
    /// `imports` are the functions that the guest imports, which have been checked.
    pub(super) fn new(source: &Source<'_>, imports: &[&'static Function]) -> Self {
        let kept = imports.iter().filter(|function| !is_native(function));
        let kept = count(kept.count());
        let defined = kept + HOOKS;
        let added = defined + count(source.bodies.len());
        let uses_stable = imports.iter().any(|function| is_native(function));
        let stable = uses_stable.then_some(added + ADDED);
        let globals = count(source.globals.len());
        Self {
            is64: source.is64(),
            imports: place(imports, stable.unwrap_or_default()),
            defined,
            out_of_instructions: kept,
            grow_heap: kept + 1,
            grow_stable: kept + 2,
            internal_trap: kept + 3,
            charge32: added,
            charge64: added + 1,
            grow: added + 2,
            stable,
            functions: stable.map_or(added + ADDED, |first| first + count(STABLE_FUNCTIONS.len())),
            instructions: globals,
            reads_left: globals + 1,
            writes_left: globals + 2,
        }
    }

    /// Functions that the guest defines.
    pub(super) fn own(&self) -> std::ops::Range<u32> {
        self.defined..self.charge32
    }

    /// Functions that the module imports.
    pub(super) fn imported(&self) -> u32 {
        count(self.imports.len())
    }

    /// Where a function of the module went.
    pub(super) fn function(&self, old: u32) -> u32 {
        let imported = count(self.imports.len());
        match self.imports.get(old as usize) {
            Some(new) => *new,
            None => old - imported + self.defined,
        }
    }
}

/// Whether code in the module takes the function's place.
pub(super) fn is_native(function: &Function) -> bool {
    function.category == Category::Native
}

fn place(imports: &[&'static Function], stable: u32) -> Vec<u32> {
    let mut kept = 0..;
    let place = |function: &&Function| {
        let native = STABLE_FUNCTIONS
            .iter()
            .position(|name| *name == function.name);
        match native {
            Some(at) => stable + count(at),
            None => kept.next().unwrap_or_default(),
        }
    };
    imports.iter().map(place).collect()
}

/// Counts here are bounded by the format, far below 32 bits.
fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
