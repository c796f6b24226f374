//! The first message of TLS, read without answering it.
//!
//! A connection that nobody needs to look into is spliced, but not before it said whom it wants to
//! talk to: the server name in the ClientHello must be a host that the policy allows. The bytes are
//! kept and handed on as they are.
//!
//! ```text
//! bytes ──HelloReader::push──▶ NeedMore … ──▶ ClientHello { server_name, alpn, ech }
//!                     └── into_bytes() ──▶ everything read so far, for the server or for rustls
//! ```
//!
//! The name narrows where a spliced connection leads; it proves nothing of what is said inside. The
//! address that is dialled is the one that was resolved for the allowed name, and that is the fence.
//!
//! Sources: RFC 8446 §4.1.2, §5.1; RFC 6066 §3 (server name); RFC 7301 (ALPN); RFC 8701 (GREASE);
//! RFC 9849 (Encrypted Client Hello).

mod parse;
mod reader;

use std::fmt;

pub use parse::{ClientHello, Ech};
pub use reader::{HelloReader, MAX_HELLO_BYTES, Progress};

/// Why the bytes aren't a ClientHello that can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHello(pub &'static str);

impl fmt::Display for InvalidHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a TLS ClientHello that can be judged: {}", self.0)
    }
}

impl std::error::Error for InvalidHello {}
