//! The last output of a process, in numbered chunks.

use bytes::Bytes;
use std::collections::VecDeque;

/// Bytes of output that are kept of each process.
pub(super) const LIMIT: usize = 1 << 20;
/// The largest chunk: a full ring of the largest still holds 256.
pub(super) const CHUNK: usize = LIMIT / 256;
/// Chunks that are kept however small they are, for each costs more than its bytes.
const CHUNKS: usize = 16 << 10;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
    Terminal,
}

/// What one read returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) source: Source,
    pub(super) bytes: Bytes,
}

/// Chunks `first()..next()`; a number is given once.
#[derive(Debug, Default)]
pub(super) struct Ring {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    first: u64,
}

impl Ring {
    /// The number of the oldest chunk that is kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets go of everything; numbers go on.
    pub(super) fn clear(&mut self) {
        self.first = self.next();
        self.chunks = VecDeque::new();
        self.bytes = 0;
    }

    /// The number that the next chunk gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    /// A chunk that is still kept.
    pub(super) fn get(&self, number: u64) -> Option<&Chunk> {
        let index = number.checked_sub(self.first)?;
        self.chunks.get(usize::try_from(index).ok()?)
    }

    /// Whether a chunk of the largest size can be added and everything from `wanted` on stays.
    pub(super) fn has_room(&self, wanted: u64) -> bool {
        let mut bytes = self.bytes + CHUNK;
        let mut chunks = self.chunks.len() + 1;
        let unwanted = wanted.saturating_sub(self.first);
        // Looks at no more chunks than the addition would take away.
        for chunk in self.chunks.iter().take(unwanted as usize) {
            if bytes <= LIMIT && chunks <= CHUNKS {
                return true;
            }
            bytes -= chunk.bytes.len();
            chunks -= 1;
        }
        bytes <= LIMIT && chunks <= CHUNKS
    }

    /// Adds a chunk; the oldest make room.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes.len();
        self.chunks.push_back(chunk);
        while self.bytes > LIMIT || self.chunks.len() > CHUNKS {
            let Some(oldest) = self.chunks.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes.len();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(size: usize) -> Chunk {
        Chunk {
            source: Source::Stdout,
            bytes: vec![b'x'; size].into(),
        }
    }

    fn filled(size: usize, count: usize) -> Ring {
        let mut ring = Ring::default();
        for _ in 0..count {
            ring.push(chunk(size));
        }
        ring
    }

    #[test]
    fn numbers_go_on_when_chunks_go() {
        let mut ring = filled(CHUNK, 256);
        assert_eq!((ring.first(), ring.next()), (0, 256));
        ring.push(chunk(1));
        assert_eq!((ring.first(), ring.next()), (1, 257));
        assert!(ring.get(0).is_none() && ring.get(257).is_none());
        assert_eq!(ring.get(256).unwrap().bytes.len(), 1);
        assert_eq!(ring.get(1).unwrap().bytes.len(), CHUNK);
    }

    #[test]
    fn a_cleared_ring_counts_on() {
        let mut ring = filled(7, 3);
        assert_eq!(ring.bytes(), 21);
        ring.clear();
        assert_eq!((ring.first(), ring.next(), ring.bytes()), (3, 3, 0));
        ring.push(chunk(1));
        assert!(ring.get(3).is_some());
    }

    #[test]
    fn what_is_wanted_leaves_no_room() {
        let mut ring = filled(CHUNK, 255);
        assert!(ring.has_room(0));
        ring.push(chunk(CHUNK));
        assert!(!ring.has_room(0));
        assert!(ring.has_room(1));
        ring.push(chunk(CHUNK));
        assert!(!ring.has_room(1) && ring.has_room(2) && ring.has_room(u64::MAX));
    }

    #[test]
    fn room_promised_is_room_given() {
        // Sizes of all kinds; a reader that stays at most a ring behind misses nothing.
        let mut ring = Ring::default();
        let mut position = 0;
        for step in 0..100_000u64 {
            if ring.has_room(position) {
                let size = 1 + (step.wrapping_mul(2_654_435_761) as usize >> 7) % CHUNK;
                ring.push(chunk(size));
            } else {
                position += 1 + step % 40;
            }
            assert!(ring.first() <= position.min(ring.next()));
        }
        assert!(ring.first() > 1000);
    }

    #[test]
    fn small_chunks_are_counted() {
        let ring = filled(1, CHUNKS + 5);
        assert_eq!(ring.first(), 5);
        assert!(!ring.has_room(5) && ring.has_room(6));
    }
}
