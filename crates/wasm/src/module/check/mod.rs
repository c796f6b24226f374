//! The rules for a canister's module, beyond those that make it valid Wasm.
//!
//! Each file holds the rules about one kind of item. Rules about single instructions are
//! where these are read anyway, in [`meter`](super::meter).

mod exports;
mod imports;
mod metadata;
mod segments;
mod shapes;
mod signature;

pub(super) use exports::Entries;
pub(super) use segments::initial;

use super::profile::Metadata;
use super::source::Source;
use super::{Limits, Refusal};
use crate::system::Function;

/// What a module that keeps the rules turned out to have.
pub(super) struct Checked<'a> {
    /// The system function behind each function that is imported, in order.
    pub(super) imports: Vec<&'static Function>,
    pub(super) entries: Entries<'a>,
    pub(super) metadata: Vec<Metadata>,
}

/// Holds a module against the rules.
pub(super) fn check<'a>(source: &Source<'a>, limits: &Limits) -> Result<Checked<'a>, Refusal> {
    shapes::check(source, limits)?;
    segments::check(source)?;
    Ok(Checked {
        imports: imports::check(source)?,
        entries: exports::check(source, limits)?,
        metadata: metadata::check(source, limits)?,
    })
}
