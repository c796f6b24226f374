//! Candid: what arguments and replies mean.
//!
//! ```text
//!  "(1, \"x\")" ─ syntax ─┐
//!  [1, "x"]     ─ json ───┼─▶ values of the method's types ─ candid ─▶ bytes ─▶ call
//!  bytes        ──────────┘                                                     │
//!  "(1 : nat)"  ◀─ print ─┬─ values ◀── candid ◀──────────────── bytes ◀────────┘
//!  1            ◀─ json ──┘
//! ```
//!
//! The types come from the canister: the text of `candid:service`, which its compiler hands over.
//! That text is hostile, like replies, and both are read in the controller. So the texts are read
//! here and not by the `candid_parser` crate, which panics on some (decision 20): a text has a
//! [longest length](LONGEST_TEXT), its types and values are [nested](DEEPEST) and [named](MOST_TYPES)
//! within bounds, and reading takes time in proportion to its length. The `candid` crate holds the
//! types, and writes and reads the bytes, within a [quota](QUOTA).
//!
//! Whatever goes through here runs on a stack of its own: how deep the crate goes into types depends
//! on the canister.

mod fault;
mod interface;
mod json;
mod message;
mod names;
mod print;
mod syntax;
mod token;
mod types;
mod value;
mod wording;

pub use fault::{Fault, Place};
pub use message::{Argument, Form, Of, argument, reply};

/// The longest text of an interface, and of an argument, bytes.
pub const LONGEST_TEXT: usize = 1 << 20;
/// How deep types and values are nested at most.
pub const DEEPEST: usize = 64;
/// Types that an interface may name.
pub const MOST_TYPES: usize = 4000;
/// Fields that a record may have, and tags that a variant may have.
pub const MOST_FIELDS: usize = 1000;
/// Arguments and results that a method may have.
pub const MOST_ARGUMENTS: usize = 100;
/// The digits of the longest number: the time to read or print one grows with their square.
pub const LONGEST_NUMBER: usize = 5000;
/// Work that reading a reply may take, in units of the `candid` crate: about 4 for each value, and
/// one for each byte of a text.
pub const QUOTA: usize = 16 << 20;
/// The longest text that a reply is printed as, bytes.
pub const LONGEST_PRINT: usize = 64 << 20;

#[cfg(test)]
mod tests;
