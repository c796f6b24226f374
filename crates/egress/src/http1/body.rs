//! Bodies of every framing: decoded on the way in, framed anew on the way out.

use super::chunked::{ChunkedDecoder, encode_chunk, encode_end};
use super::error::Malformed;
use super::framing::Framing;

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to this body; the rest is the next message.
    pub consumed: usize,
    /// Whether the body is complete.
    pub done: bool,
}

/// Takes a body out of a stream.
#[derive(Clone, Debug)]
pub struct BodyDecoder(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Left(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl BodyDecoder {
    /// A decoder for one body.
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None => Inner::Left(0),
            Framing::Length(length) => Inner::Left(length),
            Framing::Chunked => Inner::Chunked(ChunkedDecoder::default()),
            Framing::UntilClose => Inner::UntilClose,
        })
    }

    /// Whether the body is complete; one that ends with the connection never is by itself.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Inner::Left(left) => *left == 0,
            Inner::Chunked(decoder) => decoder.is_done(),
            Inner::UntilClose => false,
        }
    }

    /// Appends the payload in `input` to `out`.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, Malformed> {
        let consumed = match &mut self.0 {
            Inner::Left(left) => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                out.extend_from_slice(&input[..taken]);
                *left -= taken as u64;
                taken
            }
            Inner::Chunked(decoder) => decoder.decode(input, out)?,
            Inner::UntilClose => {
                out.extend_from_slice(input);
                input.len()
            }
        };
        Ok(Progress {
            consumed,
            done: self.is_done(),
        })
    }

    /// To be called when the connection ends: an error if the body was cut off.
    pub fn close(&self) -> Result<(), Malformed> {
        match &self.0 {
            Inner::UntilClose => Ok(()),
            _ if self.is_done() => Ok(()),
            _ => Err(Malformed::bad("the body was cut off")),
        }
    }
}

/// Frames a body.
#[derive(Clone, Debug)]
pub struct BodyEncoder(Framing);

impl BodyEncoder {
    /// An encoder for one body.
    pub fn new(framing: Framing) -> Self {
        Self(framing)
    }

    /// Appends payload; more of it than the framing announced is an error of the caller's.
    pub fn encode(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let over = Malformed::bad("the body is longer than announced");
        match &mut self.0 {
            Framing::None if payload.is_empty() => {}
            Framing::None => return Err(over),
            Framing::Length(left) => {
                *left = left.checked_sub(payload.len() as u64).ok_or(over)?;
                out.extend_from_slice(payload);
            }
            Framing::Chunked => encode_chunk(payload, out),
            Framing::UntilClose => out.extend_from_slice(payload),
        }
        Ok(())
    }

    /// Appends the end; an error if the body is shorter than announced.
    pub fn end(self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self.0 {
            Framing::Chunked => encode_end(out),
            Framing::Length(1..) => {
                return Err(Malformed::bad("the body is shorter than announced"));
            }
            Framing::None | Framing::Length(0) | Framing::UntilClose => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_takes_no_byte_of_the_next_message() {
        let mut out = Vec::new();
        let mut decoder = BodyDecoder::new(Framing::Length(5));
        let first = decoder.decode(b"hel", &mut out).expect("payload");
        assert_eq!((first.consumed, first.done), (3, false));
        assert!(decoder.close().is_err());
        let second = decoder.decode(b"loGET /", &mut out).expect("payload");
        assert_eq!((second.consumed, second.done), (2, true));
        assert_eq!(out, b"hello");
        assert!(decoder.close().is_ok());

        let mut none = BodyDecoder::new(Framing::None);
        let progress = none.decode(b"GET /", &mut out).expect("nothing");
        assert_eq!((progress.consumed, progress.done), (0, true));
    }

    #[test]
    fn an_encoder_keeps_its_word() {
        let mut out = Vec::new();
        let mut encoder = BodyEncoder::new(Framing::Length(3));
        assert!(encoder.encode(b"ab", &mut out).is_ok());
        assert!(encoder.encode(b"cd", &mut out).is_err());
        assert!(encoder.clone().end(&mut out).is_err());
        assert!(encoder.encode(b"c", &mut out).is_ok());
        assert!(encoder.end(&mut out).is_ok());
        assert_eq!(out, b"abc");
        assert!(
            BodyEncoder::new(Framing::None)
                .encode(b"a", &mut out)
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn a_body_survives_new_framing(pieces: Vec<Vec<u8>>, chunked: bool) {
            let payload = pieces.concat();
            let framing = if chunked { Framing::Chunked } else { Framing::Length(payload.len() as u64) };
            let mut encoder = BodyEncoder::new(framing);
            let (mut wire, mut back) = (Vec::new(), Vec::new());
            for piece in &pieces {
                encoder.encode(piece, &mut wire).expect("as announced");
            }
            encoder.end(&mut wire).expect("as announced");
            let end = BodyDecoder::new(framing).decode(&wire, &mut back).expect("our own");
            prop_assert_eq!(end, Progress { consumed: wire.len(), done: true });
            prop_assert_eq!(back, payload);
        }
    }
}
