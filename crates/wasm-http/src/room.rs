//! Threads to wait in: as many as there are, and fairly.
//!
//! A canister has a share of them; who finds none waits in its line. So a canister whose calls take
//! long holds up its own callers, and nobody else's.

use crate::fault::{Fault, Kind};
use crate::settings::Settings;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// See the module.
pub(crate) struct Room {
    all: Arc<Semaphore>,
    lines: Mutex<HashMap<String, Weak<Line>>>,
    of_one: usize,
    waiting: usize,
    grace: Duration,
}

/// Those who ask one canister.
struct Line {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A place to work in, until this is dropped.
struct Place {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    // The line is there as long as somebody is in it.
    _line: Arc<Line>,
}

impl Room {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            all: Arc::new(Semaphore::new(settings.calls)),
            lines: Mutex::default(),
            of_one: settings.calls_of_one,
            waiting: settings.waiting,
            grace: settings.grace,
        }
    }

    /// Does what takes long, for whoever asks a canister; nobody waits for it for long after the
    /// deadline, but what was begun comes to its end.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        name: &str,
        deadline: Instant,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let place = self.enter(name, deadline).await?;
        let span = tracing::Span::current();
        let job = tokio::task::spawn_blocking(move || {
            let done = span.in_scope(work);
            drop(place);
            done
        });
        // What knows the deadline says by itself what became of it.
        match timeout_at(deadline + self.grace, job).await {
            Ok(Ok(done)) => done,
            Ok(Err(panicked)) => Err(Fault::new(Kind::Broken, panicked.to_string())),
            Err(_) => {
                let why = "no answer in time, and it isn't known yet what comes of it";
                Err(Fault::new(Kind::Late, why).hint(
                    "it may still be done; with the same Idempotency-Key, a call that is made again \
                     is not done twice",
                ))
            }
        }
    }

    async fn enter(&self, name: &str, deadline: Instant) -> Result<Place, Fault> {
        let line = self.line(name);
        let waiting = Waiting::new(&line.waiting);
        if waiting.before >= self.waiting {
            let why = format!("{} calls wait for canister {name:?} already", self.waiting);
            return Err(Fault::new(Kind::Busy, why));
        }
        let own = timeout_at(deadline, Arc::clone(&line.places).acquire_owned()).await;
        let own = own.map_err(|_| never_began())?;
        let all = timeout_at(deadline, Arc::clone(&self.all).acquire_owned()).await;
        let all = all.map_err(|_| never_began())?;
        drop(waiting);
        let closed = |_| Fault::new(Kind::Busy, "the server is stopping");
        Ok(Place {
            _all: all.map_err(closed)?,
            _own: own.map_err(closed)?,
            _line: line,
        })
    }

    fn line(&self, name: &str) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(name).and_then(Weak::upgrade) {
            return line;
        }
        // As seldom as the map has doubled, so that nobody pays for all of it each time.
        if lines.len() == lines.capacity() {
            lines.retain(|_, line| line.strong_count() > 0);
        }
        let line = Arc::new(Line {
            places: Arc::new(Semaphore::new(self.of_one)),
            waiting: AtomicUsize::new(0),
        });
        lines.insert(name.to_owned(), Arc::downgrade(&line));
        line
    }
}

fn never_began() -> Fault {
    let mut fault = Fault::new(Kind::Late, "its turn didn't come in time; nothing was done");
    fault.reject_code = Some(2);
    fault
}

/// Somebody in a line.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        let before = count.fetch_add(1, Ordering::Relaxed);
        Self { count, before }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn room() -> Arc<Room> {
        Arc::new(Room::new(&Settings {
            calls: 3,
            calls_of_one: 2,
            waiting: 1,
            grace: Duration::from_millis(10),
            ..Settings::default()
        }))
    }

    /// Fills all places of a canister; they are free when what this returns is dropped.
    async fn fill(room: &Arc<Room>, name: &'static str, count: usize) -> Vec<mpsc::SyncSender<()>> {
        let mut held = Vec::new();
        for _ in 0..count {
            let (release, held_until) = mpsc::sync_channel::<()>(1);
            let (begun, begins) = tokio::sync::oneshot::channel();
            let room = Arc::clone(room);
            tokio::task::spawn_local(async move {
                room.work(name, later(), move || {
                    let _ = begun.send(());
                    let _ = held_until.recv();
                    Ok(())
                })
                .await
            });
            begins.await.unwrap();
            held.push(release);
        }
        held
    }

    #[tokio::test]
    async fn a_slow_canister_holds_up_nobody_else() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let room = room();
                let slow = fill(&room, "slow", 2).await;
                assert_eq!(room.work("fast", later(), || Ok(7)).await, Ok(7));
                // One may wait, and gives up at its deadline; a second one is turned away.
                let soon = Instant::now() + Duration::from_millis(100);
                let first = room.work("slow", soon, || Ok(()));
                let second = async {
                    tokio::task::yield_now().await;
                    room.work("slow", later(), || Ok(())).await
                };
                let (first, second) = tokio::join!(first, second);
                let (first, second) = (first.unwrap_err(), second.unwrap_err());
                assert_eq!((first.kind, first.reject_code), (Kind::Late, Some(2)));
                assert_eq!((second.kind, second.retry_after), (Kind::Busy, Some(1)));
                drop(slow);
                assert_eq!(room.work("slow", later(), || Ok(8)).await, Ok(8));
            })
            .await;
    }

    #[tokio::test]
    async fn what_is_late_still_comes_to_its_end() {
        let room = room();
        let (done, ended) = tokio::sync::oneshot::channel();
        let (go_on, goes_on) = mpsc::sync_channel::<()>(1);
        let soon = Instant::now() + Duration::from_millis(50);
        let late = room
            .work("slow", soon, move || {
                let _ = goes_on.recv();
                let _ = done.send(());
                Ok(())
            })
            .await;
        let late = late.unwrap_err();
        assert_eq!((late.kind, late.reject_code), (Kind::Late, Some(6)));
        drop(go_on);
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn lines_that_nobody_stands_in_are_forgotten() {
        let room = room();
        for n in 0..10_000 {
            room.work(&n.to_string(), later(), || Ok(())).await.unwrap();
        }
        assert!(room.lines.lock().unwrap().capacity() < 100);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_leaves_the_place_free() {
        let room = room();
        for _ in 0..5 {
            let panicked = room.work("bad", later(), || -> Result<(), _> { panic!("oh") });
            assert_eq!(panicked.await.unwrap_err().kind, Kind::Broken);
        }
    }
}
