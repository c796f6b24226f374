//! WebSocket: frames checked, messages put together, text open to inspection.
//!
//! After an upgrade the proxy goes on reading: what the client says is put together into messages,
//! judged, and sent on in frames of our own making, so that the server sees exactly what was judged.
//!
//! ```text
//! bytes ──Decoder::push──▶ Message::Text ──▶ judged, credentials filled in ──encode──▶ bytes
//!                    └───▶ Binary, Ping, Pong, Close ──encode──▶ bytes
//! ```
//!
//! Compression (`permessage-deflate`) is never negotiated: [`handshake`] drops all extensions from
//! the offer and refuses a server that takes one nevertheless. That keeps text readable without a
//! decompressor, and its bombs, between the sandbox and the rules.
//!
//! Sources: RFC 6455; RFC 7692 for what is dropped.

mod decoder;
mod encode;
mod frame;
pub mod graphql;
pub mod handshake;

use std::fmt;

pub use decoder::{Decoder, Limits};
pub use encode::encode;
pub use frame::Role;

/// A whole message, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text, valid UTF-8.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// At most 125 bytes.
    Ping(Vec<u8>),
    /// At most 125 bytes.
    Pong(Vec<u8>),
    /// The end, with a code and a reason if they are given.
    Close(Option<(u16, String)>),
}

/// Why a peer is hung up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketError {
    code: u16,
    why: &'static str,
}

impl WebSocketError {
    /// The protocol was broken.
    const fn protocol(why: &'static str) -> Self {
        Self { code: 1002, why }
    }

    /// Text isn't UTF-8.
    const fn not_text(why: &'static str) -> Self {
        Self { code: 1007, why }
    }

    /// A limit was reached.
    const fn too_big(why: &'static str) -> Self {
        Self { code: 1009, why }
    }

    /// The code to close with (RFC 6455 §7.4.1).
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What is wrong, in one line.
    pub fn why(&self) -> &'static str {
        self.why
    }
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocket: {}", self.why)
    }
}

impl std::error::Error for WebSocketError {}
