//! The header of a frame (RFC 6455 §5.2).

use super::WebSocketError;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client, which must mask.
    Client,
    /// A server, which must not.
    Server,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// The longest header: two bytes, eight of a length, four of a mask.
pub(super) const MAX_HEADER_BYTES: usize = 14;

/// The header of a frame that keeps to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) last: bool,
    pub(super) opcode: Opcode,
    pub(super) length: u64,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    pub(super) size: usize,
}

impl FrameHeader {
    /// Reads a header that begins `bytes`; nothing if it isn't complete. What can be refused is
    /// refused with the first bytes.
    pub(super) fn parse(bytes: &[u8], from: Role) -> Result<Option<Self>, WebSocketError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(WebSocketError::protocol("a reserved bit is set"));
        }
        let last = first & 0x80 != 0;
        let opcode = opcode(first & 0x0f)?;
        let masked = second & 0x80 != 0;
        match from {
            Role::Client if !masked => {
                return Err(WebSocketError::protocol("a client's frame isn't masked"));
            }
            Role::Server if masked => {
                return Err(WebSocketError::protocol("a server's frame is masked"));
            }
            _ => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && (!last || short > 125) {
            return Err(WebSocketError::protocol(
                "a control frame in parts, or too long",
            ));
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let size = 2 + extended + if masked { 4 } else { 0 };
        if bytes.len() < size {
            return Ok(None);
        }
        let (number, rest) = rest.split_at(extended);
        let length = number
            .iter()
            .fold(0u64, |n, byte| (n << 8) | u64::from(*byte));
        let length = match short {
            126 if length < 126 => return Err(long_winded()),
            127 if length < 1 << 16 => return Err(long_winded()),
            127 if length >> 63 != 0 => {
                return Err(WebSocketError::protocol(
                    "a length with its highest bit set",
                ));
            }
            126 | 127 => length,
            short => u64::from(short),
        };
        let mask = masked.then(|| [rest[0], rest[1], rest[2], rest[3]]);
        Ok(Some(Self {
            last,
            opcode,
            length,
            mask,
            size,
        }))
    }
}

/// The shortest form is required; others are a way to look different to different parsers.
fn long_winded() -> WebSocketError {
    WebSocketError::protocol("a length in more bytes than it needs")
}

fn opcode(bits: u8) -> Result<Opcode, WebSocketError> {
    Ok(match bits {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(WebSocketError::protocol("a frame of an unknown kind")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<FrameHeader>, WebSocketError> {
        FrameHeader::parse(bytes, Role::Server)
    }

    #[test]
    fn lengths_of_every_form_are_read() {
        let length = |bytes: &[u8]| parse(bytes).map(|header| header.map(|h| (h.length, h.size)));
        assert_eq!(length(&[0x82, 125]), Ok(Some((125, 2))));
        assert_eq!(length(&[0x82, 126, 0, 126]), Ok(Some((126, 4))));
        assert_eq!(
            length(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            Ok(Some((65536, 10)))
        );
        assert_eq!(length(&[0x82]), Ok(None));
        assert_eq!(length(&[0x82, 126, 1]), Ok(None));
    }

    #[test]
    fn headers_against_the_rules_are_refused() {
        for bytes in [
            &[0xc2, 0][..],
            &[0xa2, 0],
            &[0x92, 0],
            &[0x83, 0],
            &[0x8b, 0],
            &[0x82, 0x80],
            &[0x09, 0],
            &[0x89, 126],
            &[0x88, 127],
            &[0x82, 126, 0, 125],
            &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert!(FrameHeader::parse(&[0x82, 0], Role::Client).is_err());
        let masked = FrameHeader::parse(&[0x82, 0x80, 1, 2, 3, 4], Role::Client);
        assert_eq!(
            masked.map(|h| h.and_then(|h| h.mask)),
            Ok(Some([1, 2, 3, 4]))
        );
    }
}
