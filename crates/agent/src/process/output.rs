//! Output between the pumps that fill the ring and the subscribers that read it.

use super::end::End;
use super::ring::{Chunk, Ring};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Subscribers of one process at a time.
const SUBSCRIBERS: usize = 64;

/// The output of one process.
pub(super) struct Output {
    state: Mutex<State>,
    /// Something was added.
    news: watch::Sender<()>,
    /// Something was read.
    room: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    ring: Ring,
    /// The next chunk of each subscriber.
    positions: BTreeMap<u64, u64>,
    subscribed: u64,
    end: Option<End>,
}

impl State {
    /// The number from which on chunks are still to be read by somebody.
    fn wanted(&self) -> u64 {
        self.positions.values().copied().min().unwrap_or(u64::MAX)
    }
}

/// Where a subscriber begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// With what comes after.
    Now,
    /// With this chunk, or the oldest that is kept.
    Chunk(u64),
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Chunk(Chunk),
    /// The end, again and again.
    End(End),
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            news: watch::Sender::new(()),
            room: watch::Sender::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a chunk can be added. Another pump may be faster: [`Self::add`] asks again.
    pub(super) async fn room(&self) {
        let mut read = self.room.subscribe();
        while !self.has_room() {
            // The sender is in `self`.
            let _ = read.changed().await;
        }
    }

    fn has_room(&self) -> bool {
        let state = self.state();
        state.ring.has_room(state.wanted())
    }

    /// Adds what `read` returns, if there is room; `None`, without reading, if there isn't.
    pub(super) fn add<E>(
        &self,
        read: impl FnOnce() -> Result<Option<Chunk>, E>,
    ) -> Option<Result<Added, E>> {
        let mut state = self.state();
        if !state.ring.has_room(state.wanted()) {
            return None;
        }
        Some(read().map(|chunk| match chunk {
            Some(chunk) => {
                state.ring.push(chunk);
                drop(state);
                self.news.send_replace(());
                Added::Chunk
            }
            None => Added::Nothing,
        }))
    }

    /// Everything is added, and this is how the process ended.
    pub(super) fn finish(&self, end: End) {
        self.state().end = Some(end);
        self.news.send_replace(());
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.state().ring.bytes()
    }

    /// Lets go of what nobody is reading; the end stays.
    pub(super) fn shed(&self) {
        let mut state = self.state();
        if state.positions.is_empty() {
            state.ring.clear();
        }
    }

    /// A subscriber, unless there are too many.
    pub(super) fn subscribe(self: &Arc<Self>, from: From) -> Option<Subscriber> {
        let news = self.news.subscribe();
        let mut state = self.state();
        if state.positions.len() >= SUBSCRIBERS {
            return None;
        }
        let (first, next) = (state.ring.first(), state.ring.next());
        let (position, lost) = match from {
            From::Now => (next, 0),
            From::Chunk(number) => (number.clamp(first, next), first.saturating_sub(number)),
        };
        state.subscribed += 1;
        let id = state.subscribed;
        state.positions.insert(id, position);
        drop(state);
        let output = Arc::clone(self);
        Some(Subscriber {
            output,
            id,
            position,
            lost,
            news,
        })
    }
}

/// What came of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    Chunk,
    /// There will be no more.
    Nothing,
}

/// One reader. Its drop frees what only it wanted.
pub(super) struct Subscriber {
    output: Arc<Output>,
    id: u64,
    /// The number of the next chunk.
    pub(super) position: u64,
    /// How many chunks it asked for that were gone.
    pub(super) lost: u64,
    news: watch::Receiver<()>,
}

impl Subscriber {
    /// The next chunk, or the end. Nothing is lost if this is given up.
    pub(super) async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.take() {
                return item;
            }
            // The sender is in `self.output`.
            let _ = self.news.changed().await;
        }
    }

    fn take(&mut self) -> Option<Item> {
        let mut state = self.output.state();
        let Some(chunk) = state.ring.get(self.position).cloned() else {
            return state.end.clone().map(Item::End);
        };
        self.position += 1;
        state.positions.insert(self.id, self.position);
        drop(state);
        self.output.room.send_replace(());
        Some(Item::Chunk(chunk))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.output.state().positions.remove(&self.id);
        self.output.room.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::{CHUNK, Source};
    use super::*;
    use std::convert::Infallible;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn chunk(size: usize) -> Chunk {
        Chunk {
            source: Source::Stdout,
            bytes: vec![b'x'; size].into(),
        }
    }

    fn add(output: &Output, size: usize) -> bool {
        output
            .add(|| Ok::<_, Infallible>(Some(chunk(size))))
            .is_some()
    }

    fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn with_nobody_there_the_oldest_makes_room() {
        let output = Arc::new(Output::new());
        for _ in 0..1000 {
            assert!(add(&output, CHUNK));
        }
        let late = output.subscribe(From::Chunk(10)).unwrap();
        assert_eq!((late.position, late.lost), (744, 734));
        let now = output.subscribe(From::Now).unwrap();
        assert_eq!((now.position, now.lost), (1000, 0));
        let ahead = output.subscribe(From::Chunk(2000)).unwrap();
        assert_eq!((ahead.position, ahead.lost), (1000, 0));
    }

    #[test]
    fn the_slowest_holds_the_program_up_until_it_reads_or_leaves() {
        let output = Arc::new(Output::new());
        let mut slow = output.subscribe(From::Now).unwrap();
        let mut fast = output.subscribe(From::Now).unwrap();
        let mut added = 0;
        while add(&output, CHUNK) {
            added += 1;
            assert!(matches!(ready(fast.next()), Some(Item::Chunk(_))));
        }
        assert_eq!(added, 256);
        assert!(ready(output.room()).is_none());
        assert!(matches!(ready(slow.next()), Some(Item::Chunk(_))));
        assert!(ready(output.room()).is_some() && add(&output, CHUNK));
        assert!(!add(&output, CHUNK));
        drop(slow);
        assert!(add(&output, CHUNK));
    }

    #[test]
    fn the_end_comes_after_everything() {
        let output = Arc::new(Output::new());
        let mut subscriber = output.subscribe(From::Now).unwrap();
        assert!(ready(subscriber.next()).is_none());
        assert!(add(&output, 3));
        let end = End::failed("gone");
        output.finish(end.clone());
        assert_eq!(ready(subscriber.next()), Some(Item::Chunk(chunk(3))));
        assert_eq!(ready(subscriber.next()), Some(Item::End(end.clone())));
        let mut late = output.subscribe(From::Now).unwrap();
        assert_eq!(ready(late.next()), Some(Item::End(end)));
    }

    #[test]
    fn subscribers_are_counted() {
        let output = Arc::new(Output::new());
        let mut all: Vec<_> = (0..SUBSCRIBERS)
            .map(|_| output.subscribe(From::Now))
            .collect();
        assert!(all.iter().all(Option::is_some));
        assert!(output.subscribe(From::Now).is_none());
        all.pop();
        assert!(output.subscribe(From::Now).is_some());
    }
}
