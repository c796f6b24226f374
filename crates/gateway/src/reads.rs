//! How much of a connection is read at once, as far as the other end has sent it.
//!
//! Each read wakes somebody on either side, which costs more than to copy what was read: large ones
//! are what bulk needs. But a buffer stays as large as it once was, and what a slow client leaves
//! waiting is made of such pieces, so only so many connections have them at a time. Those that come
//! while all places are taken are as good as the others, only slower.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes.
const MUCH: usize = 1 << 20;
const LITTLE: usize = 128 << 10;
/// Connections that read much, in this process.
const MOST: usize = 64;

static PLACES: Semaphore = Semaphore::const_new(MOST);

/// What a connection may read at once, for as long as it is there.
pub(crate) struct Reads {
    pub(crate) size: usize,
    _place: Option<SemaphorePermit<'static>>,
}

impl Reads {
    /// Much, if there is a place.
    pub(crate) fn new() -> Self {
        let place = PLACES.try_acquire().ok();
        Self {
            size: if place.is_some() { MUCH } else { LITTLE },
            _place: place,
        }
    }

    /// So many bytes, whoever else reads how much.
    pub(crate) fn of(size: usize) -> Self {
        Self { size, _place: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_read_less_each() {
        let all: Vec<_> = (0..=MOST).map(|_| Reads::new()).collect();
        let sum: usize = all.iter().map(|reads| reads.size).sum();
        assert!(sum <= MOST * MUCH + LITTLE);
        assert_eq!(all[MOST].size, LITTLE);
        drop(all);
        assert_eq!(Reads::new().size, MUCH);
    }
}
