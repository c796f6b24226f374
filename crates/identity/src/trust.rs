//! Trust on first use.
//!
//! The first digest that is seen at a path is trusted; another one is refused until somebody
//! approves it. Where that is remembered depends on whose path it is:
//!
//! - [`Scope::Host`]: a file of the host, which is the same for all sandboxes of the user. The
//!   store remembers it, for good and for all processes.
//! - [`Scope::Private`]: a file that only this sandbox has, such as one on its own tmpfs. Another
//!   sandbox has another one at the same path, so it is remembered for this sandbox's life.
//!
//! Where it doesn't matter who connects, nothing is compared: identities are then for the records
//! only, and a program that was built anew goes on connecting. That is [`Trust::compare`].
//!
//! What was found trusted is kept in front of the store: asking again takes a short lock and
//! touches no file. What was refused is not kept, so an approval works at once.

use crate::bounded::Bounded;
use crate::digest::Digest;
use crate::executable::Opened;
use crate::refusal::{Change, Refusal};
use crate::store::{Sighting, Store, Verdict};
use rustix::fd::AsFd as _;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Paths that are kept in front of the store.
const FRONT: usize = 4096;
/// Private paths that one sandbox may have trusted.
const MOST_PRIVATE: usize = 4096;
/// Paths that one sandbox may add to the store: it must not fill it for the others.
const MOST_ADDED: u64 = 1024;

/// Whose path it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The host's.
    Host,
    /// This sandbox's own.
    Private,
}

/// What is trusted in all sandboxes of a user.
pub struct Trust {
    store: Option<Store>,
    front: Mutex<Bounded<Box<[u8]>, Vec<Digest>>>,
    generation: AtomicU64,
    compares: AtomicBool,
}

impl Trust {
    /// Remembers in the store.
    pub fn stored(store: Store) -> Self {
        Self::new(Some(store))
    }

    /// Remembers for the life of a sandbox only; every path counts as private.
    pub fn in_memory() -> Self {
        Self::new(None)
    }

    fn new(store: Option<Store>) -> Self {
        Self {
            store,
            front: Mutex::new(Bounded::new(FRONT)),
            generation: AtomicU64::new(0),
            compares: AtomicBool::new(true),
        }
    }

    /// Whether a digest that isn't the trusted one is refused; it is unless something else was
    /// said here.
    pub fn compare(&self, compares: bool) {
        if self.compares.swap(compares, Ordering::AcqRel) != compares {
            // What was identified meanwhile was compared to nothing.
            self.reload();
        }
    }

    /// The store, to list, approve and forget.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Asks the store again about everything. To be called when something was forgotten there:
    /// until then, what was trusted stays so in this process.
    pub fn reload(&self) {
        self.front().clear();
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Counts the reloads.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The digest that the store knows for this state of the file.
    pub(crate) fn recall(&self, file: &Opened) -> Result<Option<Digest>, Refusal> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let verity = casemate_sys::verity::measure(file.as_fd()).unwrap_or(None);
        let recalled = store.recall(&file.path, &file.fingerprint, verity.as_deref());
        recalled.map_err(Refusal::Store)
    }

    fn is_warm(&self, path: &[u8], digest: Digest) -> bool {
        let mut front = self.front();
        front.get(path).is_some_and(|known| known.contains(&digest))
    }

    fn warm(&self, path: &[u8], digest: Digest) {
        let mut front = self.front();
        match front.get(path) {
            Some(known) if known.contains(&digest) => {}
            Some(known) => known.push(digest),
            None => front.insert(path.into(), vec![digest]),
        }
    }

    fn front(&self) -> MutexGuard<'_, Bounded<Box<[u8]>, Vec<Digest>>> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is trusted in one sandbox: what all trust, and its own.
pub(crate) struct Sandbox {
    private: Mutex<HashMap<Box<[u8]>, Digest>>,
    added: AtomicU64,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            private: Mutex::default(),
            added: AtomicU64::new(0),
        }
    }

    /// True if it is known to be trusted, by a look into memory.
    pub(crate) fn is_warm(
        &self,
        trust: &Trust,
        scope: Scope,
        file: &Opened,
        digest: Digest,
    ) -> bool {
        !trust.compares.load(Ordering::Acquire) || self.is_known(trust, scope, file, digest)
    }

    fn is_known(&self, trust: &Trust, scope: Scope, file: &Opened, digest: Digest) -> bool {
        if file.is_memory() {
            return true;
        }
        let private = self.private().get(&file.path).copied();
        match private {
            Some(own) if own != digest => false,
            Some(_) if scope == Scope::Private || file.deleted || trust.store.is_none() => true,
            _ => trust.is_warm(&file.path, digest),
        }
    }

    /// Trusts, or refuses. `settled`: the file's fingerprint stands for this digest.
    pub(crate) fn check(
        &self,
        trust: &Trust,
        scope: Scope,
        file: &Opened,
        digest: Digest,
        settled: bool,
    ) -> Result<(), Refusal> {
        let checked = self.compare(trust, scope, file, digest, settled);
        // It was remembered all the same: the next sandbox needn't read the file again.
        match trust.compares.load(Ordering::Acquire) {
            true => checked,
            false => Ok(()),
        }
    }

    fn compare(
        &self,
        trust: &Trust,
        scope: Scope,
        file: &Opened,
        digest: Digest,
        settled: bool,
    ) -> Result<(), Refusal> {
        if self.is_known(trust, scope, file, digest) {
            return Ok(());
        }
        let store = match (&trust.store, scope) {
            (Some(store), Scope::Host) => store,
            _ => return self.check_private(file, digest),
        };
        // What ran under this path while it could not be found there was compared to nothing
        // that lasts; it must not have been something else.
        self.contradicts(file, digest)?;
        let verity = match settled {
            true => casemate_sys::verity::measure(file.as_fd()).unwrap_or(None),
            false => None,
        };
        let seen = Sighting {
            path: &file.path,
            digest,
            fingerprint: settled.then_some(&file.fingerprint),
            verity: verity.as_deref(),
            may_add: !file.deleted && self.added.load(Ordering::Relaxed) < MOST_ADDED,
        };
        match store.see(&seen).map_err(Refusal::Store)? {
            Verdict::Trusted => {}
            Verdict::Added => drop(self.added.fetch_add(1, Ordering::Relaxed)),
            // A file that is gone is no file of the host that others will see.
            Verdict::Unknown if file.deleted => return self.check_private(file, digest),
            Verdict::Unknown => return Err(Refusal::TooMany),
            Verdict::Changed(known) => return Err(changed(file, known, digest, false)),
        }
        trust.warm(&file.path, digest);
        Ok(())
    }

    fn check_private(&self, file: &Opened, digest: Digest) -> Result<(), Refusal> {
        let mut private = self.private();
        let full = private.len() >= MOST_PRIVATE;
        match private.entry(file.path.clone()) {
            Entry::Occupied(entry) if *entry.get() == digest => Ok(()),
            Entry::Occupied(entry) => Err(changed(file, vec![*entry.get()], digest, true)),
            Entry::Vacant(_) if full => Err(Refusal::TooMany),
            Entry::Vacant(entry) => {
                entry.insert(digest);
                Ok(())
            }
        }
    }

    fn contradicts(&self, file: &Opened, digest: Digest) -> Result<(), Refusal> {
        match self.private().get(&file.path) {
            Some(own) if *own != digest => Err(changed(file, vec![*own], digest, true)),
            _ => Ok(()),
        }
    }

    fn private(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Digest>> {
        self.private.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changed(file: &Opened, known: Vec<Digest>, found: Digest, private: bool) -> Refusal {
    Refusal::Changed(Box::new(Change {
        path: file.path.clone(),
        known,
        found,
        private,
    }))
}
