//! Messages written as one frame each.

use super::Message;
use super::frame::Opcode;

/// The longest payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: usize = 125;

/// Appends the message in one frame. A client's mask must be random (RFC 6455 §5.3): it keeps the
/// sender from choosing the bytes that are seen on the way.
pub fn encode(message: &Message, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    match message {
        Message::Text(text) => frame(Opcode::Text, text.as_bytes(), mask, out),
        Message::Binary(data) => frame(Opcode::Binary, data, mask, out),
        Message::Ping(data) => frame(Opcode::Ping, cut(data), mask, out),
        Message::Pong(data) => frame(Opcode::Pong, cut(data), mask, out),
        Message::Close(None) => frame(Opcode::Close, &[], mask, out),
        Message::Close(Some((code, reason))) => {
            let mut end = reason.len().min(MAX_CONTROL_BYTES - 2);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            let mut payload = code.to_be_bytes().to_vec();
            payload.extend_from_slice(&reason.as_bytes()[..end]);
            frame(Opcode::Close, &payload, mask, out);
        }
    }
}

fn cut(data: &[u8]) -> &[u8] {
    &data[..data.len().min(MAX_CONTROL_BYTES)]
}

fn frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    out.push(0x80 | opcode.bits());
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..=125 => out.push(masked | length as u8),
        length @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    match mask {
        Some(mask) => {
            out.extend_from_slice(&mask);
            let masked = payload.iter().zip(mask.iter().cycle());
            out.extend(masked.map(|(byte, key)| byte ^ key));
        }
        None => out.extend_from_slice(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(message: &Message, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(message, mask, &mut out);
        out
    }

    #[test]
    fn the_examples_of_the_rfc_are_written() {
        let hello = Message::Text("Hello".to_owned());
        assert_eq!(encoded(&hello, None), b"\x81\x05Hello");
        assert_eq!(
            encoded(&hello, Some([0x37, 0xfa, 0x21, 0x3d])),
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
        let long = encoded(&Message::Binary(vec![0; 256]), None);
        assert_eq!(long[..4], [0x82, 0x7e, 1, 0]);
        let longer = encoded(&Message::Binary(vec![0; 65536]), None);
        assert_eq!(longer[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn control_frames_stay_short_and_valid() {
        let close = encoded(&Message::Close(Some((1008, "ä".repeat(100)))), None);
        assert_eq!(close[1], 124);
        assert!(std::str::from_utf8(&close[4..]).is_ok());
        assert_eq!(encoded(&Message::Ping(vec![0; 200]), None)[1], 125);
    }
}
