//! From a fingerprint to a digest: every state of a file is hashed once, however many wait.
//!
//! ```text
//!  known? ──yes──▶ digest
//!    │ no
//!  somebody hashes it? ──yes──▶ wait for them, then ask again from the top
//!    │ no
//!  recall (the store's memory of an earlier run), else hash
//!    │ fstat again: another fingerprint ──▶ from the top with that one
//!    ▼
//!  kept if the file was settled (`quiet`), or else only given out
//! ```
//!
//! No lock is held while a file is read.

use crate::background;
use crate::bounded::Bounded;
use crate::digest::{BLOCK, Digest, Unhashed};
use crate::executable::{Fingerprint, Opened};
use crate::quiet::{has_no_writer, is_settled};
use crate::refusal::Refusal;
use crate::shown::Shown;
use crate::turns::Turns;
use casemate_core::error::Error;
use rustix::fd::AsFd as _;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

/// The largest file that is hashed. A sparse one of any size costs its maker nothing, and who
/// hashes it two thirds of a second a gigabyte.
pub const MOST_BYTES: u64 = 2 << 30;
/// Fingerprints that are remembered, about a hundred bytes each.
const MOST: usize = 8192;
/// Files from this size on are hashed in the background: for a millisecond no thread is made.
const LONG: u64 = 1 << 20;
/// So much is read in one turn: some fifteen milliseconds.
const SHARE: usize = 16 << 20;
/// How often a file may change under the reader.
const ATTEMPTS: usize = 3;

/// The digests of files, by fingerprint. One for all sandboxes of a process.
pub struct Digests {
    table: Mutex<Table>,
    turns: LazyLock<Turns>,
    hashed: AtomicU64,
}

struct Table {
    known: Bounded<Fingerprint, Digest>,
    flights: HashMap<Fingerprint, Arc<Flight>>,
}

/// Somebody is finding a digest out.
#[derive(Default)]
struct Flight {
    landed: Mutex<bool>,
    news: Condvar,
}

/// A digest that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) digest: Digest,
    /// The fingerprint stands for it from now on.
    pub(crate) settled: bool,
}

impl Digests {
    /// Knows nothing yet.
    pub fn new() -> Self {
        let known = Bounded::new(MOST);
        let flights = HashMap::new();
        Self {
            table: Mutex::new(Table { known, flights }),
            turns: LazyLock::new(Turns::of_machine),
            hashed: AtomicU64::new(0),
        }
    }

    /// How many files were read so far.
    pub fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// What is known without reading.
    pub(crate) fn known(&self, fingerprint: &Fingerprint) -> Option<Digest> {
        self.table().known.get(fingerprint).copied()
    }

    /// Finds a digest out, by `recall` or by reading the file; may take long. The file's
    /// fingerprint is brought up to date if the file changes meanwhile.
    pub(crate) fn find(
        &self,
        file: &mut Opened,
        recall: impl Fn(&Opened) -> Result<Option<Digest>, Refusal>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Found, Refusal> {
        for _ in 0..ATTEMPTS {
            let flight = match self.board(&file.fingerprint) {
                Boarded::Known(digest) => return Ok(Found::settled(digest)),
                Boarded::Mine(flight) => flight,
            };
            let found = match recall(file)? {
                Some(digest) => Some(Found::settled(digest)),
                None => self.read(file, stop)?,
            };
            if let Some(found) = found {
                if found.settled {
                    flight.keep(found.digest);
                }
                return Ok(found);
            }
            drop(flight);
            file.refresh().map_err(|errno| unreadable(file, errno))?;
        }
        Err(Refusal::Raced(file.path.clone()))
    }

    /// Hashes the file; `None` if it changed meanwhile.
    fn read(
        &self,
        file: &Opened,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Found>, Refusal> {
        let size = file.fingerprint.size;
        if size > MOST_BYTES {
            let path = file.path.clone();
            return Err(Refusal::TooLarge { path, size });
        }
        let settled = is_settled(&file.fingerprint) && has_no_writer(file);
        self.hashed.fetch_add(1, Ordering::Relaxed);
        let hash = || self.hash(file, stop);
        let hashed = match size < LONG {
            true => hash(),
            false => background::run(hash),
        };
        let digest = match hashed {
            Ok(digest) => digest,
            Err(Unhashed::Resized) => return Ok(None),
            Err(Unhashed::Stopped) => return Err(Refusal::Stopped),
            Err(Unhashed::Errno(errno)) => return Err(unreadable(file, errno)),
        };
        let settled = settled && has_no_writer(file);
        let unchanged = file
            .is_unchanged()
            .map_err(|errno| unreadable(file, errno))?;
        Ok(unchanged.then_some(Found { digest, settled }))
    }

    /// In turns with others.
    fn hash(&self, file: &Opened, stop: &dyn Fn() -> bool) -> Result<Digest, Unhashed> {
        let (turn, blocks) = (self.turns.take(), Cell::new(0_usize));
        let between = || {
            blocks.set(blocks.get() + 1);
            if blocks.get().is_multiple_of(SHARE / BLOCK) {
                turn.pass();
            }
            stop()
        };
        Digest::of(file.as_fd(), file.fingerprint.size, &between)
    }

    /// Waits as long as somebody else is at it.
    fn board(&self, fingerprint: &Fingerprint) -> Boarded<'_> {
        loop {
            let mut table = self.table();
            if let Some(digest) = table.known.get(fingerprint) {
                return Boarded::Known(*digest);
            }
            let Some(flight) = table.flights.get(fingerprint).cloned() else {
                table.flights.insert(*fingerprint, Arc::default());
                let fingerprint = *fingerprint;
                return Boarded::Mine(Mine {
                    digests: self,
                    fingerprint,
                });
            };
            drop(table);
            flight.wait();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in it is left half done by a panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Digests {
    fn default() -> Self {
        Self::new()
    }
}

impl Found {
    fn settled(digest: Digest) -> Self {
        Self {
            digest,
            settled: true,
        }
    }
}

fn unreadable(file: &Opened, errno: rustix::io::Errno) -> Refusal {
    Refusal::Unreadable(Error::errno("hash", errno.raw_os_error()).on(Shown(&file.path)))
}

enum Boarded<'d> {
    Known(Digest),
    Mine(Mine<'d>),
}

/// The flight of the thread that reads. However it ends, those who wait go on.
struct Mine<'d> {
    digests: &'d Digests,
    fingerprint: Fingerprint,
}

impl Mine<'_> {
    fn keep(&self, digest: Digest) {
        self.digests.table().known.insert(self.fingerprint, digest);
    }
}

impl Drop for Mine<'_> {
    fn drop(&mut self) {
        let flight = self.digests.table().flights.remove(&self.fingerprint);
        if let Some(flight) = flight {
            *flight.landed.lock().unwrap_or_else(PoisonError::into_inner) = true;
            flight.news.notify_all();
        }
    }
}

impl Flight {
    fn wait(&self) {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        while !*landed {
            landed = self
                .news
                .wait(landed)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
