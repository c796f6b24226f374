//! A canister in one file, to carry elsewhere.
//!
//! ```text
//!  magic · version u32
//!  kind u32 · length u32 · CRC-32 of the body u32 · body      parts, in this order:
//!    1  document            canister.json, without the files that it mentions
//!    2  module              as it came
//!    3  pages               memory u32 · first u64 · count u32 · their bytes, deflated
//!    4  end                 SHA-256 of everything before this part
//! ```
//!
//! A document or a module of more than [`LONGEST`] bytes is several parts. Pages come in order, the
//! heap's first, and without those that are zero: what is sparse stays so. Neither end keeps more
//! than a part and the document in memory.
//!
//! Whoever has made an archive may have made any other: [`import`] believes no length, no count and
//! no order, takes no path from it, and what it makes is put together beside the canisters, so that
//! nothing is there if anything is wrong.

mod export;
mod import;
mod part;

pub use export::export;
pub use import::import;

const MAGIC: &[u8; 16] = b"casemate archive";
const VERSION: u32 = 1;
/// The longest body of a part, bytes.
const LONGEST: usize = 1 << 20;
/// The longest document, bytes.
const LONGEST_DOCUMENT: usize = 256 << 20;
/// The longest module, bytes.
const LONGEST_MODULE: u64 = 1 << 30;

/// Kinds of parts.
mod kind {
    pub(super) const DOCUMENT: u32 = 1;
    pub(super) const MODULE: u32 = 2;
    pub(super) const PAGES: u32 = 3;
    pub(super) const END: u32 = 4;
}

#[cfg(test)]
mod tests;
