//! Many streams over the one channel between a host and a machine's guest.
//!
//! A virtual machine has one wire to its host: a virtio-serial port, which carries bytes and
//! nothing else. This crate makes of it as many streams as there are connections, each with its
//! own end and its own flow control, and it makes the wire survive what happens to machines: one
//! that is restored from a snapshot wakes in the middle of a conversation with somebody who is
//! long gone.
//!
//! ```text
//!   Host::connect ── Session ── open(door) ── Stream        host
//!        │                                      │
//!       link   one task: reads, writes          │ 256 KiB of credit each way
//!        │                                      │
//!   Guest::serve ── handler(door, Stream)     Stream        guest
//! ```
//!
//! - [`frame`]: what is on the wire
//! - [`resync`]: how the two find each other again, wherever either has stopped
//! - [`window`]: how much either may send that the other hasn't read
//! - [`flow`]: one stream's state; [`shared`]: all of one session's
//! - [`link`]: the two loops between a session and the wire
//! - [`host`], [`guest`]: the two ends; [`stream`]: what both hand out
//!
//! The sides distrust each other. Each length is checked before anything is kept, what is kept is
//! bounded by the credit that was given and the number of streams, and a side that breaks a rule
//! loses its session, never more. Only the host opens streams.

mod door;
mod ended;
mod flow;
mod frame;
mod guest;
mod host;
mod link;
mod resync;
mod shared;
mod stream;
mod window;

pub use door::Door;
pub use ended::{Code, Ended, Fault, Unopened};
pub use guest::Guest;
pub use host::{Host, Session};
pub use stream::Stream;

/// The most that either side may send on a stream before the other has read it, bytes.
pub const WINDOW: u32 = 256 << 10;

/// The most that waits on a stream to be sent, bytes. A writer waits beyond it.
pub const BACKLOG: usize = 64 << 10;

/// The most streams of a session at one time.
pub const STREAMS: usize = 1024;
