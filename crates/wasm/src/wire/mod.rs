//! What is said between processes of this wall, of which one may be hostile.
//!
//! ```text
//!  connection  a stream socket: whole frames, their descriptors, deadlines
//!      │
//!    frame     [length u32][kind u16][descriptors u16][payload]      at most 1 MiB
//!      │
//!    field     numbers, byte strings and texts in a payload           every length has a bound
//!
//!    hello     the first frame: which build of which program is this
//! ```
//!
//! All of it is written by hand: what comes from a worker is decoded by code whose every bound can be
//! read, that returns errors and never panics. Numbers are little-endian. A malformed frame is the
//! end of its connection: after it, nobody knows where the next one would begin.

mod connection;
mod field;
mod frame;
mod hello;

pub use connection::{Broken, Connection, Descriptors};
pub use field::{Reader, Writer};
pub use frame::{Decoder, Frame, HEADER, LIMIT, MAX_DESCRIPTORS};
pub use hello::Hello;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A frame announces more than [`LIMIT`] bytes.
    #[error("a frame announces {0} bytes, and {LIMIT} is the most")]
    TooLong(u32),
    /// A frame announces more than [`MAX_DESCRIPTORS`].
    #[error("a frame announces {0} descriptors, and {MAX_DESCRIPTORS} is the most")]
    TooManyDescriptors(u16),
    /// Descriptors arrived that no frame announced, or fewer than one did.
    #[error("a frame's descriptors aren't those that it announces")]
    Descriptors,
    /// A message of a kind that means nothing here.
    #[error("a message of a kind that means nothing here")]
    Meaningless,
    /// A field isn't what it should be.
    #[error("{what}, at byte {at}: {fault}")]
    Field {
        /// Where it begins.
        at: usize,
        /// What was to be read there.
        what: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The payload ends within it.
    #[error("it is cut")]
    Cut,
    /// It is longer than it may be.
    #[error("it is {0} bytes long, more than it may be")]
    TooLong(u64),
    /// It isn't UTF-8.
    #[error("it isn't UTF-8")]
    NotText,
    /// Its value means nothing.
    #[error("it has a value that means nothing")]
    Meaningless,
    /// Bytes follow the last field.
    #[error("bytes follow the last field")]
    Trailing,
}
