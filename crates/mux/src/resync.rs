//! How the two find each other again, wherever either has stopped.
//!
//! A machine that is restored goes on where its snapshot was taken, which may be in the middle of
//! a frame, and the host that it spoke with is gone; nor does a guest see that a host has left and
//! another come. So each session begins with a silence that no frame contains: [`SILENCE`] zeros,
//! then the host's hello.
//!
//! Whatever a guest was reading, the zeros end it: a frame that was cut off gets a wrong last
//! byte, and between frames a zero is nothing that belongs to a session. From there on the guest
//! takes nothing but a hello after more zeros than fit into a payload. Whoever writes data on a
//! stream can't forge that, as a frame's header and last byte are around it.
//!
//! The other way it is simpler: what the guest still had to say may be cut anywhere, so the host
//! throws all away until it finds its own nonce in a welcome, which only a guest that has read the
//! hello knows.

use crate::frame::{Decoded, Frame, Nonce, PAYLOAD, VERSION, decode, encode};

/// How many zeros begin a session.
pub(crate) const SILENCE: usize = PAYLOAD + 16;

/// How many of them the guest needs to have seen: more than fit into a frame. What is left of
/// them may have been eaten by whoever held the channel before.
const ENOUGH: usize = PAYLOAD + 1;

/// What the host sends first.
pub(crate) fn hello(nonce: Nonce, out: &mut Vec<u8>) {
    out.resize(out.len() + SILENCE, 0);
    let version = VERSION;
    encode(Frame::Hello { nonce, version }, out);
}

/// What the guest answers.
pub(crate) fn welcome(nonce: Nonce, out: &mut Vec<u8>) {
    out.resize(out.len() + SILENCE, 0);
    let version = VERSION;
    encode(Frame::Welcome { nonce, version }, out);
}

/// A guest that waits for a hello.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    zeros: usize,
}

/// A session's begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) nonce: Nonce,
    pub(crate) version: u8,
}

impl Listening {
    /// Looks through what came; says how much of it is done with, and what was found behind that.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> (usize, Option<Begin>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if byte == 0 {
                self.zeros = self.zeros.saturating_add(1);
                at += 1;
                continue;
            }
            if self.zeros >= ENOUGH {
                match decode(&bytes[at..]) {
                    Decoded::Frame(Frame::Hello { nonce, version }, length) => {
                        return (at + length, Some(Begin { nonce, version }));
                    }
                    Decoded::Partial => return (at, None),
                    _ => {}
                }
            }
            self.zeros = 0;
            at += 1;
        }
        (at, None)
    }
}

/// A host that waits for its welcome.
#[derive(Debug)]
pub(crate) struct Awaiting {
    /// What a welcome of this nonce begins with.
    begins: Vec<u8>,
}

impl Awaiting {
    pub(crate) fn new(nonce: Nonce) -> Self {
        let mut begins = Vec::new();
        encode(Frame::Welcome { nonce, version: 0 }, &mut begins);
        // Version and last byte.
        begins.truncate(begins.len() - 2);
        Self { begins }
    }

    /// As [`Listening::look`]; finds the guest's version.
    pub(crate) fn look(&self, bytes: &[u8]) -> (usize, Option<u8>) {
        let length = self.begins.len();
        let mut at = 0;
        while let Some(window) = bytes[at..].get(..length) {
            if window != self.begins {
                at += 1;
                continue;
            }
            match decode(&bytes[at..]) {
                Decoded::Frame(Frame::Welcome { version, .. }, length) => {
                    return (at + length, Some(version));
                }
                Decoded::Partial => return (at, None),
                _ => at += 1,
            }
        }
        (at, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: Nonce = [9; 16];
    const FOUND: Option<Begin> = Some(Begin {
        nonce: NONCE,
        version: VERSION,
    });

    #[test]
    fn a_hello_is_heard_after_any_part_of_a_frame() {
        let mut whole = Vec::new();
        let bytes = &[1; PAYLOAD];
        encode(Frame::Data { stream: 1, bytes }, &mut whole);
        for cut in (0..whole.len()).step_by(997).chain([1, 2, 6, 7, 8]) {
            let mut bytes = whole[..cut].to_vec();
            hello(NONCE, &mut bytes);
            let (_, found) = Listening::default().look(&bytes);
            assert_eq!(found, FOUND, "cut at {cut}");
        }
    }

    #[test]
    fn a_hello_inside_of_data_is_none() {
        let mut forged = vec![0; PAYLOAD - 25];
        let version = VERSION;
        let nonce = NONCE;
        encode(Frame::Hello { nonce, version }, &mut forged);
        assert_eq!(forged.len(), PAYLOAD);
        let mut bytes = Vec::new();
        for _ in 0..3 {
            let data = Frame::Data {
                stream: 1,
                bytes: &forged,
            };
            encode(data, &mut bytes);
        }
        assert_eq!(Listening::default().look(&bytes).1, None);
    }

    #[test]
    fn a_welcome_of_another_nonce_is_thrown_away() {
        let mut bytes = Vec::new();
        welcome([1; 16], &mut bytes);
        assert_eq!(Awaiting::new(NONCE).look(&bytes).1, None);
        welcome(NONCE, &mut bytes);
        let found = Awaiting::new(NONCE).look(&bytes);
        assert_eq!(found, (bytes.len(), Some(VERSION)));
    }

    proptest! {
        #[test]
        fn it_is_found_in_whatever_pieces_it_comes(
            noise in proptest::collection::vec(any::<u8>(), 0..300),
            pieces in proptest::collection::vec(1_usize..5000, 1..40),
        ) {
            let (mut bytes, mut welcomed) = (noise.clone(), noise);
            hello(NONCE, &mut bytes);
            welcome(NONCE, &mut welcomed);
            let mut listening = Listening::default();
            let heard = fed(&bytes, &pieces, |bytes| listening.look(bytes));
            prop_assert_eq!(heard, FOUND);
            let awaiting = Awaiting::new(NONCE);
            let answered = fed(&welcomed, &pieces, |bytes| awaiting.look(bytes));
            prop_assert_eq!(answered, Some(VERSION));
        }
    }

    fn fed<T>(
        mut bytes: &[u8],
        pieces: &[usize],
        mut look: impl FnMut(&[u8]) -> (usize, Option<T>),
    ) -> Option<T> {
        let mut held = Vec::new();
        for piece in pieces.iter().cycle() {
            let (now, rest) = bytes.split_at((*piece).min(bytes.len()));
            bytes = rest;
            held.extend_from_slice(now);
            let (done, found) = look(&held);
            held.drain(..done);
            if found.is_some() || now.is_empty() {
                return found;
            }
        }
        None
    }
}
