//! Values of Candid as JSON, both ways.
//!
//! | Candid | JSON |
//! |---|---|
//! | `null`, `reserved` | `null` |
//! | `bool`, `text` | itself |
//! | `nat…`, `int…` | a number, or its digits as a string if it is beyond ±(2⁵³ − 1) |
//! | `float…` | a number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `opt` | `null` or the value; a value that can itself be `null` stands in a list: `[null]` |
//! | `vec` | a list |
//! | `blob` | its bytes as hexadecimal digits |
//! | `record` | an object; one whose fields are numbered from 0 is a list |
//! | `variant` | an object of one: `{"tag": value}`, with `null` if the tag has no value |
//! | `principal`, `service` | its text |
//! | `func` | `"principal.method"` |
//!
//! Fields whose names aren't known have their numbers as keys. Arguments are a list; what is no list
//! is a single one. A reply of one value is that value, any other one a list.

mod read;
mod write;

pub(super) use read::read;
pub(super) use write::write;

/// Numbers up to this one are the same for every reader of JSON.
const SAFE: u64 = (1 << 53) - 1;
