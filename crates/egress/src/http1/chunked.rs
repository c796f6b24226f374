//! The chunked coding, decoded as it arrives (RFC 9112 §7.1).
//!
//! Extensions and trailers are read, bounded and dropped: what is forwarded is framed anew.

use super::error::{Kind, Malformed};
use crate::percent::hex_value;

/// The longest line of a chunk's size, its extensions included.
pub const MAX_CHUNK_LINE: usize = 256;

/// Bytes of extensions in one body.
pub const MAX_EXTENSION_BYTES: usize = 4096;

/// Bytes of trailers.
pub const MAX_TRAILER_BYTES: usize = 8192;

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A digit of the size; how many there were.
    Size(u8),
    /// Something after the size, up to the CR.
    Extension,
    /// The LF after a size.
    SizeEnd,
    Data,
    /// CR and LF after the data.
    DataCr,
    DataLf,
    /// The first byte of a trailer line, or the CR of the last line.
    TrailerStart,
    /// Inside a trailer; whether its colon was seen.
    Trailer(bool),
    TrailerLf,
    LastLf,
    Done,
}

/// An incremental decoder. After an error it's of no use.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    size: u64,
    line: usize,
    extensions: usize,
    trailers: usize,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self {
            state: State::Size(0),
            size: 0,
            line: 0,
            extensions: 0,
            trailers: 0,
        }
    }
}

impl ChunkedDecoder {
    /// Whether the last chunk and its trailers were read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes from `input` until it's empty or the body ends; the payload is appended to
    /// `out`. Returns how many bytes were taken.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let here = usize::try_from(self.size).unwrap_or(usize::MAX);
                let taken = here.min(input.len() - at);
                out.extend_from_slice(&input[at..at + taken]);
                self.size -= taken as u64;
                at += taken;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(input[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// The state after one byte that isn't data.
    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size(0..16), digit) if hex_value(digit).is_some() => self.digit(digit),
            (State::Size(1..), b'\r') => Ok(State::SizeEnd),
            (State::Size(1..), b';') => self.extension(),
            (State::Size(_), _) => Err(Malformed::bad("a chunk size that isn't a number")),
            (State::Extension, b'\r') => Ok(State::SizeEnd),
            (State::Extension, b'\t' | 0x20..=0x7e) => self.extension(),
            (State::Extension, _) => Err(Malformed::bad("a bad byte in a chunk extension")),
            (State::SizeEnd, b'\n') => Ok(self.after_size()),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size(0)),
            (State::DataCr | State::DataLf, _) => {
                Err(Malformed::bad("a chunk is longer than its size"))
            }
            (State::TrailerStart, b'\r') => Ok(State::LastLf),
            (State::TrailerStart | State::Trailer(_), _) => self.trailer(byte),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::LastLf, b'\n') => Ok(State::Done),
            _ => Err(Malformed::bad("a bare carriage return in a chunked body")),
        }
    }

    fn digit(&mut self, digit: u8) -> Result<State, Malformed> {
        let State::Size(count) = self.state else {
            return Err(Malformed::bad("a chunk size that isn't a number"));
        };
        self.size = (self.size << 4) | u64::from(hex_value(digit).unwrap_or(0));
        // Sixteen digits can't overflow, but they could be negative for somebody else.
        if self.size > i64::MAX as u64 {
            return Err(Malformed::new(Kind::TooLarge, "a chunk is too large"));
        }
        Ok(State::Size(count + 1))
    }

    fn extension(&mut self) -> Result<State, Malformed> {
        self.line += 1;
        self.extensions += 1;
        if self.line > MAX_CHUNK_LINE || self.extensions > MAX_EXTENSION_BYTES {
            return Err(Malformed::bad("too many chunk extensions"));
        }
        Ok(State::Extension)
    }

    fn after_size(&mut self) -> State {
        self.line = 0;
        if self.size == 0 {
            State::TrailerStart
        } else {
            State::Data
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Malformed> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILER_BYTES {
            return Err(Malformed::new(
                Kind::HeadTooLarge,
                "the trailers are too long",
            ));
        }
        let named = self.state == State::Trailer(true);
        match byte {
            b'\r' if named => Ok(State::TrailerLf),
            b':' if self.state == State::Trailer(false) => Ok(State::Trailer(true)),
            b'\t' | 0x20..=0x7e | 0x80.. if named => Ok(State::Trailer(true)),
            name if !named && super::headers::is_token_byte(name) => Ok(State::Trailer(false)),
            _ => Err(Malformed::bad("a malformed trailer")),
        }
    }
}

/// Appends one chunk; nothing for no data, since an empty chunk is the end.
pub(super) fn encode_chunk(data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the last chunk.
pub(super) fn encode_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The payload and what is left over; nothing if the body isn't complete.
    fn decode(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
        let mut decoder = ChunkedDecoder::default();
        let mut out = Vec::new();
        let taken = decoder.decode(bytes, &mut out)?;
        Ok(decoder.is_done().then_some((out, taken)))
    }

    #[test]
    fn bodies_are_decoded_up_to_their_end() {
        let body = b"5\r\nhello\r\n0A;x=\"y\"\r\n, world 12\r\n0\r\nX-Sum: 1\r\n\r\nGET /";
        let expected = (b"hello, world 12".to_vec(), body.len() - 5);
        assert_eq!(decode(body), Ok(Some(expected)));
        assert_eq!(decode(b"0\r\n\r\n"), Ok(Some((vec![], 5))));
        assert_eq!(decode(b"5\r\nhello\r\n"), Ok(None));
    }

    #[test]
    fn what_could_be_read_otherwise_is_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"x\r\n",
            b"0x5\r\nhello",
            b"+5\r\nhello",
            b"-1\r\n",
            b" 5\r\nhello",
            b"5 \r\nhello",
            b"5\nhello",
            b"5;a\nhello",
            b"5;a\0\r\nhello",
            b"5\r\nhello0\r\n",
            b"5\r\nhello\n0\r\n",
            b"5\rhello",
            b"8000000000000000\r\n",
            b"ffffffffffffffff\r\n",
            b"10000000000000000\r\n",
            b"00000000000000005\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\n X: y\r\n\r\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\n: y\r\n\r\n",
            b"0\r\n\rX",
        ] {
            assert!(
                decode(bytes).is_err(),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let line = format!("1;{}\r\na\r\n", "x".repeat(255));
        assert!(decode(line.as_bytes()).is_ok());
        assert!(decode(format!("1;{}", "x".repeat(256)).as_bytes()).is_err());
        assert!(decode(line.repeat(17).as_bytes()).is_err());
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(2048));
        assert!(decode(trailers.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in "[0-9a;\r\nX: ]{0,60}", step in 1usize..7) {
            let whole = decode(bytes.as_bytes());
            let mut decoder = ChunkedDecoder::default();
            let (mut out, mut taken, mut failed) = (Vec::new(), 0, false);
            for piece in bytes.as_bytes().chunks(step) {
                match decoder.decode(piece, &mut out) {
                    Ok(n) => taken += n,
                    Err(_) => { failed = true; break; }
                }
            }
            prop_assert_eq!(failed, whole.is_err());
            if let Ok(Some(expected)) = whole {
                prop_assert_eq!((out, taken), expected);
            }
        }

        #[test]
        fn what_is_encoded_is_decoded(chunks: Vec<Vec<u8>>) {
            let mut encoded = Vec::new();
            chunks.iter().for_each(|chunk| encode_chunk(chunk, &mut encoded));
            encode_end(&mut encoded);
            prop_assert_eq!(decode(&encoded), Ok(Some((chunks.concat(), encoded.len()))));
        }

        #[test]
        fn payload_never_exceeds_what_came_in(bytes: Vec<u8>) {
            let mut out = Vec::new();
            let _ = ChunkedDecoder::default().decode(&bytes, &mut out);
            prop_assert!(out.len() <= bytes.len());
        }
    }
}
