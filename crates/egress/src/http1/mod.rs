//! HTTP/1.1 heads and bodies, read so that nobody upstream can read them differently.
//!
//! The proxy judges a request and forwards it to a server with another parser. If the two disagree
//! on where a message ends, the sandbox gets a second request past the judge (request smuggling).
//! Two things prevent that: whatever is ambiguous is refused, and what goes out is written anew
//! from the parsed form, never copied.
//!
//! ```text
//! bytes ──HeadScanner──▶ head ──RequestHead::parse──▶ judged ──RequestHead::write──▶ bytes
//!                        body ──BodyDecoder────────▶ plain  ──BodyEncoder───────▶ bytes
//! ```
//!
//! The parser is our own rather than `httparse` with checks around it: that one takes bare line
//! feeds, leading empty lines and much else by design, so the checks would be a parser again.
//!
//! Sources: RFC 9110 and RFC 9112; the sections are named where they matter.

mod body;
mod chunked;
mod error;
mod framing;
mod headers;
mod request;
mod response;
mod scan;
mod write;

pub use body::{BodyDecoder, BodyEncoder, Progress};
pub use chunked::{ChunkedDecoder, MAX_CHUNK_LINE, MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES};
pub use error::{Kind, Malformed};
pub use framing::Framing;
pub use headers::{Header, Headers};
pub use request::{RequestHead, RequestTarget};
pub use response::ResponseHead;
pub use scan::{HeadScanner, Limits};
pub use write::Forward;
pub(crate) use write::is_of_connection;

/// The version of a message; nothing else is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    fn parse(text: &[u8]) -> Result<Self, Malformed> {
        match text {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', ..] => Err(Malformed::version()),
            _ => Err(Malformed::bad("the version isn't one of HTTP")),
        }
    }
}
