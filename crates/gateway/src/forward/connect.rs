//! Streams of Connect RPC (connectrpc.com/docs/protocol): messages in envelopes.
//!
//! Such a stream's status is always 200, and its end is a message of its own. When a sandbox dies,
//! a client that is told so in that message knows why, where a broken connection could be anything.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::json;

/// The flag of the last message.
const END: u8 = 2;
const HEAD: usize = 5;

/// Follows the messages of a stream, to know when another may follow.
#[derive(Default)]
pub(super) struct Envelopes {
    head: Vec<u8>,
    /// Of the message that has begun.
    left: usize,
    ended: bool,
}

impl Envelopes {
    /// For a response that is such a stream.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.as_bytes();
        let streams = kind.starts_with(b"application/connect+");
        (streams && !headers.contains_key(CONTENT_ENCODING)).then(Self::default)
    }

    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [flags, a, b, c, d] = self.head[..] {
                self.ended |= flags & END != 0;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.head.clear();
            }
        }
    }

    /// The end of a stream that broke off, if it did so between two messages.
    pub(super) fn end(&self, why: &str) -> Option<Bytes> {
        if self.ended || self.left > 0 || !self.head.is_empty() {
            return None;
        }
        let error = json!({"error": {"code": "unavailable", "message": why}}).to_string();
        let length = (error.len() as u32).to_be_bytes();
        Some([&[END], &length[..], error.as_bytes()].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use super::Envelopes;

    const STREAM: &[u8] = b"\x00\x00\x00\x00\x02{}\x00\x00\x00\x00\x00";

    #[test]
    fn an_end_is_put_only_between_messages() {
        let between = [0, 7, 12];
        for cut in 0..=STREAM.len() {
            for piece in 1..=STREAM.len() {
                let mut envelopes = Envelopes::default();
                STREAM[..cut]
                    .chunks(piece)
                    .for_each(|own| envelopes.follow(own));
                let ends = envelopes.end("why").is_some();
                assert_eq!(ends, between.contains(&cut), "{cut} {piece}");
            }
        }
    }

    #[test]
    fn a_stream_that_ended_has_no_other_end() {
        let mut envelopes = Envelopes::default();
        envelopes.follow(b"\x02\x00\x00\x00\x02{}");
        assert_eq!(envelopes.end("why"), None);
    }

    #[test]
    fn the_end_is_an_error_in_an_envelope() {
        let end = Envelopes::default().end("gone").unwrap();
        let text = br#"{"error":{"code":"unavailable","message":"gone"}}"#;
        assert_eq!(end[..5], [2, 0, 0, 0, text.len() as u8]);
        assert_eq!(&end[5..], text);
    }
}
