//! Classes of traffic.
//!
//! What a person waits for (a key's echo), what a program waits for (a call) and bulk (files, a
//! port's page) never share a connection, so none of them waits in a queue behind another. To
//! sandboxes HTTP/1.1 is spoken, one request a connection at a time: there is no window of flow
//! control that two streams could share, not even two of the same class.

use bytes::Bytes;
use casemate_core::node::Door;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Terminals: their output, keys, sizes.
    Pty,
    /// Calls and process streams.
    Rpc,
    /// Files there and back.
    Files,
    /// What programs inside listen on.
    Port,
}

/// How much of a first message is looked at.
const LOOK: usize = 64 << 10;
/// Flags and length of a message in a Connect stream.
const ENVELOPE: usize = 5;

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::Pty, Self::Rpc, Self::Files, Self::Port];

    /// The class, as far as the path tells it.
    pub(crate) fn of(door: Door, path: &str) -> Self {
        let Door::Agent = door else {
            return Self::Port;
        };
        match path {
            "/files" | "/files/compose" => Self::Files,
            "/process.Process/SendInput"
            | "/process.Process/StreamInput"
            | "/process.Process/Update" => Self::Pty,
            _ => Self::Rpc,
        }
    }

    /// True if only the body tells whether it's a terminal.
    pub(crate) fn is_open(door: Door, path: &str) -> bool {
        door == Door::Agent && path == "/process.Process/Start"
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pty => "pty",
            Self::Rpc => "rpc",
            Self::Files => "files",
            Self::Port => "port",
        }
    }
}

/// True if the first bytes of a `Start` ask for a terminal. It only chooses a pool: whoever deceives
/// it gets the same service.
pub(crate) fn asks_for_pty(first: &Bytes, json: bool) -> bool {
    let Some(message) = first.get(ENVELOPE..) else {
        return false;
    };
    let message = &message[..message.len().min(LOOK)];
    match json {
        // In a string, the quotes would have backslashes.
        true => message.windows(6).any(|window| window == b"\"pty\":"),
        false => has_field(message, 2),
    }
}

/// True if a message has this field of bytes at its top (protobuf's encoding, wire type 2).
fn has_field(mut message: &[u8], wanted: u64) -> bool {
    while let Some((tag, rest)) = varint(message) {
        let (field, kind) = (tag >> 3, tag & 7);
        if (field, kind) == (wanted, 2) {
            return true;
        }
        let after = match kind {
            0 => varint(rest).map(|(_, rest)| rest),
            1 => rest.get(8..),
            2 => varint(rest).and_then(|(length, rest)| rest.get(usize::try_from(length).ok()?..)),
            5 => rest.get(4..),
            _ => None,
        };
        match after {
            Some(after) => message = after,
            None => return false,
        }
    }
    false
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Class, asks_for_pty};
    use bytes::Bytes;
    use casemate_core::node::Door;
    use proptest::prelude::*;

    fn enveloped(message: &[u8]) -> Bytes {
        let length = (message.len() as u32).to_be_bytes();
        [&[0], &length[..], message].concat().into()
    }

    #[test]
    fn a_port_is_a_port_whatever_is_asked() {
        assert_eq!(Class::of(Door::Port(80), "/files"), Class::Port);
        assert_eq!(Class::of(Door::Agent, "/files"), Class::Files);
        let input = "/process.Process/StreamInput";
        assert_eq!(Class::of(Door::Agent, input), Class::Pty);
        assert_eq!(Class::of(Door::Agent, "/health"), Class::Rpc);
    }

    #[test]
    fn a_terminal_is_seen_in_json() {
        let pty = br#"{"process":{"cmd":"/bin/bash"},"pty":{"size":{"cols":80}}}"#;
        assert!(asks_for_pty(&enveloped(pty), true));
        let none = br#"{"process":{"cmd":"echo","args":["\"pty\":1"]}}"#;
        assert!(!asks_for_pty(&enveloped(none), true));
    }

    #[test]
    fn a_terminal_is_seen_in_protobuf() {
        let process = [0x0a, 3, 0x12, 1, b'x'];
        assert!(!asks_for_pty(&enveloped(&process), false));
        let with = [&process[..], &[0x12, 0]].concat();
        assert!(asks_for_pty(&enveloped(&with), false));
    }

    proptest! {
        #[test]
        fn anything_is_looked_at_without_a_panic(bytes: Vec<u8>, json: bool) {
            let _ = asks_for_pty(&Bytes::from(bytes), json);
        }
    }
}
