//! Messages put together from frames (RFC 6455 §5.4 to §5.6).

use super::frame::{FrameHeader, MAX_HEADER_BYTES, Opcode, Role};
use super::{Message, WebSocketError};

/// How much of one message is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a text message.
    pub text_bytes: usize,
    /// Bytes of a binary message.
    pub binary_bytes: usize,
    /// Frames of one message.
    pub fragments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes: 4 << 20,
            binary_bytes: 16 << 20,
            fragments: 4096,
        }
    }
}

/// Reads one direction of a connection. After an error or a Close it takes no more.
#[derive(Clone, Debug)]
pub struct Decoder {
    from: Role,
    limits: Limits,
    header: Vec<u8>,
    frame: Option<Frame>,
    /// The message whose fragments are being collected.
    message: Option<Partial>,
    closed: bool,
}

/// A frame whose payload is arriving.
#[derive(Clone, Debug)]
struct Frame {
    header: FrameHeader,
    taken: usize,
    /// Of control frames; others are collected in their message.
    control: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Partial {
    text: bool,
    payload: Vec<u8>,
    fragments: usize,
}

impl Decoder {
    /// A decoder of what this side sends.
    pub fn new(from: Role, limits: Limits) -> Self {
        Self {
            from,
            limits,
            header: Vec::with_capacity(MAX_HEADER_BYTES),
            frame: None,
            message: None,
            closed: false,
        }
    }

    /// Takes bytes until a message is complete or `input` is empty. Returns how many were taken.
    pub fn push(&mut self, input: &[u8]) -> Result<(usize, Option<Message>), WebSocketError> {
        let mut at = 0;
        loop {
            if self.closed && at < input.len() {
                return Err(WebSocketError::protocol("something follows the end"));
            }
            if self.frame.is_none() {
                let Some(byte) = input.get(at) else {
                    return Ok((at, None));
                };
                at += 1;
                self.header.push(*byte);
                let Some(header) = FrameHeader::parse(&self.header, self.from)? else {
                    continue;
                };
                self.header.clear();
                self.begin(header)?;
            }
            at += self.payload(&input[at..]);
            if let Some(message) = self.end()? {
                return Ok((at, Some(message)));
            }
            if self.frame.is_some() {
                return Ok((at, None));
            }
        }
    }

    /// Whether the connection may end here: after a Close, or at least between messages.
    pub fn is_idle(&self) -> bool {
        self.frame.is_none() && self.message.is_none() && self.header.is_empty()
    }

    /// Refuses by the header alone what would be refused once it's there.
    fn begin(&mut self, header: FrameHeader) -> Result<(), WebSocketError> {
        if !header.opcode.is_control() {
            let limits = self.limits;
            let message = self.continued(header.opcode)?;
            let limit = if message.text {
                limits.text_bytes
            } else {
                limits.binary_bytes
            };
            message.fragments += 1;
            if message.fragments > limits.fragments {
                return Err(WebSocketError::too_big("a message in too many parts"));
            }
            if header.length > (limit - message.payload.len()) as u64 {
                return Err(WebSocketError::too_big("a message is too long"));
            }
        }
        self.frame = Some(Frame {
            header,
            taken: 0,
            control: Vec::new(),
        });
        Ok(())
    }

    /// The message that a data frame belongs to, begun if the frame begins one.
    fn continued(&mut self, opcode: Opcode) -> Result<&mut Partial, WebSocketError> {
        let begins = opcode != Opcode::Continuation;
        match (&self.message, begins) {
            (Some(_), true) => Err(WebSocketError::protocol("a message inside another")),
            (None, false) => Err(WebSocketError::protocol("a continuation of nothing")),
            _ => Ok(self.message.get_or_insert(Partial {
                text: opcode == Opcode::Text,
                payload: Vec::new(),
                fragments: 0,
            })),
        }
    }

    /// Takes payload of the current frame, unmasked.
    fn payload(&mut self, input: &[u8]) -> usize {
        let Some(frame) = &mut self.frame else {
            return 0;
        };
        // The length was checked against a limit that fits.
        let left = frame.header.length as usize - frame.taken;
        let taken = left.min(input.len());
        let target = match &mut self.message {
            Some(message) if !frame.header.opcode.is_control() => &mut message.payload,
            _ => &mut frame.control,
        };
        match frame.header.mask {
            Some(mask) => {
                let keys = (frame.taken..).map(|index| mask[index % 4]);
                target.extend(
                    input[..taken]
                        .iter()
                        .zip(keys)
                        .map(|(byte, key)| byte ^ key),
                );
            }
            None => target.extend_from_slice(&input[..taken]),
        }
        frame.taken += taken;
        taken
    }

    /// The message that the current frame completes, if it does.
    fn end(&mut self) -> Result<Option<Message>, WebSocketError> {
        let complete = |frame: &mut Frame| frame.taken as u64 == frame.header.length;
        let Some(frame) = self.frame.take_if(complete) else {
            return Ok(None);
        };
        match frame.header.opcode {
            Opcode::Ping => Ok(Some(Message::Ping(frame.control))),
            Opcode::Pong => Ok(Some(Message::Pong(frame.control))),
            Opcode::Close => {
                self.closed = true;
                close(&frame.control).map(Some)
            }
            _ if !frame.header.last => Ok(None),
            _ => self.message.take().map(whole).transpose(),
        }
    }
}

fn whole(message: Partial) -> Result<Message, WebSocketError> {
    if !message.text {
        return Ok(Message::Binary(message.payload));
    }
    String::from_utf8(message.payload)
        .map(Message::Text)
        .map_err(|_| WebSocketError::not_text("a text message isn't UTF-8"))
}

/// RFC 6455 §5.5.1 and §7.4.
fn close(payload: &[u8]) -> Result<Message, WebSocketError> {
    let [high, low, reason @ ..] = payload else {
        return match payload {
            [] => Ok(Message::Close(None)),
            _ => Err(WebSocketError::protocol("half a code in a Close")),
        };
    };
    let code = u16::from_be_bytes([*high, *low]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(WebSocketError::protocol("a code in a Close that isn't one"));
    }
    let reason = std::str::from_utf8(reason)
        .map_err(|_| WebSocketError::not_text("the reason in a Close isn't UTF-8"))?;
    Ok(Message::Close(Some((code, reason.to_owned()))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::websocket::encode;

    const LIMITS: Limits = Limits {
        text_bytes: 20,
        binary_bytes: 30,
        fragments: 3,
    };

    fn all(from: Role, bytes: &[u8], step: usize) -> Result<Vec<Message>, WebSocketError> {
        let mut decoder = Decoder::new(from, LIMITS);
        let mut messages = Vec::new();
        for mut piece in bytes.chunks(step.max(1)) {
            while !piece.is_empty() {
                let (taken, message) = decoder.push(piece)?;
                messages.extend(message);
                piece = &piece[taken..];
            }
        }
        Ok(messages)
    }

    fn server(bytes: &[u8]) -> Result<Vec<Message>, u16> {
        all(Role::Server, bytes, bytes.len()).map_err(|error| error.code())
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let hello = || Message::Text("Hello".to_owned());
        assert_eq!(server(b"\x81\x05Hello"), Ok(vec![hello()]));
        let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(all(Role::Client, masked, 3), Ok(vec![hello()]));
        assert_eq!(server(b"\x01\x03Hel\x80\x02lo"), Ok(vec![hello()]));
        assert_eq!(
            server(b"\x89\x05Hello"),
            Ok(vec![Message::Ping(b"Hello".to_vec())])
        );
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        assert_eq!(
            server(b"\x02\x01a\x89\x00\x80\x01b\x88\x02\x03\xe8"),
            Ok(vec![
                Message::Ping(vec![]),
                Message::Binary(b"ab".to_vec()),
                Message::Close(Some((1000, String::new()))),
            ])
        );
    }

    #[test]
    fn what_breaks_the_rules_is_refused_with_its_code() {
        for (bytes, code) in [
            (&b"\x80\x01a"[..], 1002),
            (b"\x01\x01a\x81\x01b", 1002),
            (b"\x01\x01a\x02\x01b", 1002),
            (b"\x88\x01a", 1002),
            (b"\x88\x02\x03\xed", 1002),
            (b"\x88\x02\x00\x00", 1002),
            (b"\x88\x00\x89\x00", 1002),
            (b"\x88\x03\x03\xe8\xff", 1007),
            (b"\x81\x01\xff", 1007),
            (b"\x81\x03\xed\xa0\x80", 1007),
            (b"\x81\x15", 1009),
            (b"\x82\x1f", 1009),
            (b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),
            (b"\x02\x14aaaaaaaaaaaaaaaaaaaa\x80\x0b", 1009),
            (b"\x02\x00\x00\x00\x00\x00\x80\x00", 1009),
        ] {
            assert_eq!(server(bytes), Err(code), "{bytes:?}");
        }
    }

    #[test]
    fn text_may_be_cut_inside_a_character() {
        let expected = vec![Message::Text("ä".to_owned())];
        assert_eq!(server(b"\x01\x01\xc3\x80\x01\xa4"), Ok(expected));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_whatever_the_pieces(bytes: Vec<u8>, step in 1usize..9) {
            for from in [Role::Client, Role::Server] {
                prop_assert_eq!(all(from, &bytes, step), all(from, &bytes, bytes.len()));
            }
        }

        #[test]
        fn what_is_encoded_is_decoded(text in "\\PC{0,5}", data in proptest::collection::vec(any::<u8>(), 0..30), mask: [u8; 4]) {
            let messages = vec![
                Message::Text(text),
                Message::Binary(data.clone()),
                Message::Pong(data),
                Message::Close(Some((1001, "x".to_owned()))),
            ];
            for (from, mask) in [(Role::Client, Some(mask)), (Role::Server, None)] {
                let mut bytes = Vec::new();
                messages.iter().for_each(|message| encode(message, mask, &mut bytes));
                prop_assert_eq!(all(from, &bytes, 5), Ok(messages.clone()));
            }
        }
    }
}
