//! Frames in a stream of bytes.

use super::Malformed;

/// The longest payload, bytes.
pub const LIMIT: usize = 1 << 20;

/// The most descriptors of one frame.
pub const MAX_DESCRIPTORS: usize = 16;

/// The bytes before a payload: its length (u32), the frame's kind (u16), how many descriptors
/// belong to it (u16).
pub const HEADER: usize = 8;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is; its meaning is the matter of those who talk.
    pub kind: u16,
    /// How many descriptors belong to it.
    pub descriptors: usize,
    /// Its fields.
    pub payload: Vec<u8>,
}

impl Frame {
    /// As it goes over the wire.
    ///
    /// # Errors
    /// It is longer than the other side takes.
    pub fn encode(kind: u16, descriptors: usize, payload: &[u8]) -> Result<Vec<u8>, Malformed> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let count = u16::try_from(descriptors).unwrap_or(u16::MAX);
        check(length, count)?;
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend(length.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(payload);
        Ok(bytes)
    }
}

/// Takes a stream of bytes apart, wherever it was split.
///
/// It holds what was pushed and not taken, and reserves nothing because a header says so.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the next frame starts.
    start: usize,
    broken: Option<Malformed>,
}

impl Decoder {
    /// Adds what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        // Each byte is moved at most once for every time that the buffer doubles.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend(bytes);
    }

    /// The next whole frame, if one is there.
    ///
    /// # Errors
    /// A header is malformed; from then on, always.
    pub fn take(&mut self) -> Result<Option<Frame>, Malformed> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let waiting = &self.bytes[self.start..];
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [a, b, c, d, kind @ .., e, f] = *header;
        let (length, count) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]));
        if let Err(malformed) = check(length, count) {
            self.broken = Some(malformed);
            return Err(malformed);
        }
        let Some(payload) = rest.get(..length as usize) else {
            return Ok(None);
        };
        let frame = Frame {
            kind: u16::from_le_bytes(kind),
            descriptors: count.into(),
            payload: payload.to_vec(),
        };
        self.start += HEADER + frame.payload.len();
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            // A long frame's room isn't kept for the short ones.
            self.bytes.shrink_to(4096);
        }
        Ok(Some(frame))
    }

    /// Whether the stream could end here.
    pub fn is_between_frames(&self) -> bool {
        self.start == self.bytes.len()
    }
}

fn check(length: u32, descriptors: u16) -> Result<(), Malformed> {
    if length as usize > LIMIT {
        return Err(Malformed::TooLong(length));
    }
    if usize::from(descriptors) > MAX_DESCRIPTORS {
        return Err(Malformed::TooManyDescriptors(descriptors));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(decoder: &mut Decoder) -> Result<Vec<Frame>, Malformed> {
        std::iter::from_fn(|| decoder.take().transpose()).collect()
    }

    #[test]
    fn limits_are_exact() {
        assert!(Frame::encode(1, MAX_DESCRIPTORS, &vec![0; LIMIT]).is_ok());
        let long = Frame::encode(1, 0, &vec![0; LIMIT + 1]);
        assert_eq!(long, Err(Malformed::TooLong(LIMIT as u32 + 1)));
        let many = Frame::encode(1, MAX_DESCRIPTORS + 1, b"");
        assert_eq!(many, Err(Malformed::TooManyDescriptors(17)));
    }

    #[test]
    fn a_long_frame_is_refused_by_its_header() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; HEADER]);
        let refused = Err(Malformed::TooLong(u32::MAX));
        assert_eq!(decoder.take(), refused);
        decoder.push(&Frame::encode(1, 0, b"good").unwrap());
        assert_eq!(decoder.take(), refused);
    }

    proptest! {
        #[test]
        fn frames_come_back_wherever_they_are_split(
            frames in prop::collection::vec((any::<u16>(), 0..=16usize, any::<Vec<u8>>()), 0..8),
            cuts in prop::collection::vec(1..40usize, 1..40),
        ) {
            let mut stream = Vec::new();
            for (kind, descriptors, payload) in &frames {
                stream.extend(Frame::encode(*kind, *descriptors, payload).unwrap());
            }
            let (mut decoder, mut decoded) = (Decoder::default(), Vec::new());
            let (mut rest, mut cut) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cut.next().unwrap()));
                decoder.push(now);
                decoded.extend(all(&mut decoder).unwrap());
                rest = later;
            }
            prop_assert!(decoder.is_between_frames());
            let sent: Vec<_> = frames
                .into_iter()
                .map(|(kind, descriptors, payload)| Frame { kind, descriptors, payload })
                .collect();
            prop_assert_eq!(decoded, sent);
        }

        #[test]
        fn any_bytes_are_frames_or_refused(bytes: Vec<u8>) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            if let Ok(frames) = all(&mut decoder) {
                let length: usize = frames.iter().map(|frame| HEADER + frame.payload.len()).sum();
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(decoder.is_between_frames(), length == bytes.len());
            }
        }
    }
}
