//! What is on the wire.
//!
//! ```text
//!   0                                   padding
//!   kind u8 · stream u32 · length u16 · payload · 0xA5
//! ```
//!
//! Numbers are little-endian; a payload is at most [`PAYLOAD`]. The last byte is there for
//! whoever was cut off in the middle of a frame: the padding that follows a cut (see
//! [`crate::resync`]) completes the frame with zeros, and what it carried so would be taken for
//! data if a zero could end a frame.

use crate::Door;
use crate::ended::Code;

/// The longest payload, bytes.
pub(crate) const PAYLOAD: usize = 16 << 10;

/// What comes before a payload, bytes.
const HEADER: usize = 7;

/// The longest frame, bytes.
pub(crate) const FRAME: usize = HEADER + PAYLOAD + 1;

const LAST: u8 = 0xA5;

/// The version of the protocol that is spoken here.
pub(crate) const VERSION: u8 = 1;

pub(crate) type Nonce = [u8; 16];

mod kind {
    pub(super) const PADDING: u8 = 0;
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const OPEN: u8 = 3;
    pub(super) const DATA: u8 = 4;
    pub(super) const CREDIT: u8 = 5;
    pub(super) const END: u8 = 6;
    pub(super) const RESET: u8 = 7;
    pub(super) const PING: u8 = 8;
    pub(super) const PONG: u8 = 9;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// The host begins a session.
    Hello {
        nonce: Nonce,
        version: u8,
    },
    /// The guest has begun it.
    Welcome {
        nonce: Nonce,
        version: u8,
    },
    /// The host opens a stream; `None` is a door of a later version.
    Open {
        stream: u32,
        door: Option<Door>,
    },
    /// Never empty.
    Data {
        stream: u32,
        bytes: &'a [u8],
    },
    /// So much has been read, and may be sent anew. The guest's first, which may be of 0, also
    /// says that there is somebody behind the door.
    Credit {
        stream: u32,
        amount: u32,
    },
    /// This side sends no more on the stream.
    End {
        stream: u32,
    },
    /// The stream is over; of stream 0: the session.
    Reset {
        stream: u32,
        code: Code,
    },
    Ping([u8; 8]),
    Pong([u8; 8]),
}

/// What a buffer begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// A frame of so many bytes.
    Frame(Frame<'a>, usize),
    /// Nothing whole yet.
    Partial,
    /// Nothing that is a frame, and so padding too.
    Not,
}

pub(crate) fn decode(bytes: &[u8]) -> Decoded<'_> {
    let Some((&kind, rest)) = bytes.split_first() else {
        return Decoded::Partial;
    };
    if kind == kind::PADDING || kind > kind::PONG {
        return Decoded::Not;
    }
    let Some((header, rest)) = rest.split_first_chunk::<{ HEADER - 1 }>() else {
        return Decoded::Partial;
    };
    let [s0, s1, s2, s3, l0, l1] = *header;
    let stream = u32::from_le_bytes([s0, s1, s2, s3]);
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    if length > PAYLOAD {
        return Decoded::Not;
    }
    let Some((payload, rest)) = rest.split_at_checked(length) else {
        return Decoded::Partial;
    };
    match (rest.first(), meaning(kind, stream, payload)) {
        (None, _) => Decoded::Partial,
        (Some(&LAST), Some(frame)) => Decoded::Frame(frame, HEADER + length + 1),
        _ => Decoded::Not,
    }
}

fn meaning(kind: u8, stream: u32, payload: &[u8]) -> Option<Frame<'_>> {
    let frame = match kind {
        kind::HELLO | kind::WELCOME if stream == 0 => {
            let (nonce, rest) = payload.split_first_chunk()?;
            let &[version] = rest else { return None };
            let nonce = *nonce;
            match kind {
                kind::HELLO => Frame::Hello { nonce, version },
                _ => Frame::Welcome { nonce, version },
            }
        }
        kind::PING if stream == 0 => Frame::Ping(payload.try_into().ok()?),
        kind::PONG if stream == 0 => Frame::Pong(payload.try_into().ok()?),
        kind::RESET => {
            let &[code] = payload else { return None };
            let code = Code::from_wire(code);
            Frame::Reset { stream, code }
        }
        _ if stream == 0 => return None,
        kind::OPEN => Frame::Open {
            stream,
            door: Door::decode(payload),
        },
        kind::DATA if !payload.is_empty() => Frame::Data {
            stream,
            bytes: payload,
        },
        kind::CREDIT => Frame::Credit {
            stream,
            amount: u32::from_le_bytes(payload.try_into().ok()?),
        },
        kind::END if payload.is_empty() => Frame::End { stream },
        _ => return None,
    };
    Some(frame)
}

/// Adds a frame to what is to be sent.
///
/// Data must be no more than [`PAYLOAD`].
pub(crate) fn encode(frame: Frame<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let (kind, stream) = match frame {
        Frame::Hello { .. } => (kind::HELLO, 0),
        Frame::Welcome { .. } => (kind::WELCOME, 0),
        Frame::Open { stream, .. } => (kind::OPEN, stream),
        Frame::Data { stream, .. } => (kind::DATA, stream),
        Frame::Credit { stream, .. } => (kind::CREDIT, stream),
        Frame::End { stream } => (kind::END, stream),
        Frame::Reset { stream, .. } => (kind::RESET, stream),
        Frame::Ping(_) => (kind::PING, 0),
        Frame::Pong(_) => (kind::PONG, 0),
    };
    out.push(kind);
    out.extend(stream.to_le_bytes());
    out.extend([0, 0]);
    match frame {
        Frame::Hello { nonce, version } | Frame::Welcome { nonce, version } => {
            out.extend(nonce);
            out.push(version);
        }
        Frame::Open { door, .. } => {
            if let Some(door) = door {
                door.encode(out);
            }
        }
        Frame::Data { bytes, .. } => out.extend(bytes),
        Frame::Credit { amount, .. } => out.extend(amount.to_le_bytes()),
        Frame::End { .. } => {}
        Frame::Reset { code, .. } => out.push(code.to_wire()),
        Frame::Ping(token) | Frame::Pong(token) => out.extend(token),
    }
    let length = out.len() - start - HEADER;
    debug_assert!(length <= PAYLOAD, "data is cut into frames");
    out[start + HEADER - 2..start + HEADER].copy_from_slice(&(length as u16).to_le_bytes());
    out.push(LAST);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(frame: Frame<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        bytes
    }

    #[test]
    fn frames_come_back_as_they_were() {
        let data = vec![7; PAYLOAD];
        for frame in [
            Frame::Hello {
                nonce: [3; 16],
                version: 1,
            },
            Frame::Welcome {
                nonce: [0; 16],
                version: 9,
            },
            Frame::Open {
                stream: 1,
                door: Some(Door::Port(80)),
            },
            Frame::Data {
                stream: u32::MAX,
                bytes: &data,
            },
            Frame::Credit {
                stream: 5,
                amount: 0,
            },
            Frame::End { stream: 2 },
            Frame::Reset {
                stream: 0,
                code: Code::Other(77),
            },
            Frame::Ping([1; 8]),
            Frame::Pong([0; 8]),
        ] {
            let bytes = encoded(frame);
            assert_eq!(decode(&bytes), Decoded::Frame(frame, bytes.len()));
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end]), Decoded::Partial);
            }
        }
    }

    #[test]
    fn a_frame_that_zeros_complete_is_none() {
        let whole = encoded(Frame::Data {
            stream: 1,
            bytes: b"abcdef",
        });
        for cut in 1..whole.len() {
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + FRAME, 0);
            assert_eq!(decode(&bytes), Decoded::Not, "cut at {cut}");
        }
    }

    #[test]
    fn nonsense_is_none() {
        for bytes in [
            &[0][..],
            &[10],
            &[4, 1, 0, 0, 0, 1, 0x40],
            &[4, 1, 0, 0, 0, 0, 0, LAST],
            &[4, 0, 0, 0, 0, 1, 0, 9, LAST],
            &[6, 1, 0, 0, 0, 1, 0, 9, LAST],
            &[5, 1, 0, 0, 0, 1, 0, 9, LAST],
            &[1, 0, 0, 0, 0, 1, 0, 9, LAST],
        ] {
            assert_eq!(decode(bytes), Decoded::Not, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }
}
