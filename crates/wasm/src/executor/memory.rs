//! What is committed of a canister's memory: the controller's half, and who reads which version.
//!
//! ```text
//!   version n ─── queries read it, as it lies in the files
//!       │
//!   an update ends ── nobody reads ──▶ its pages come into the files: version n + 1
//!       │
//!       └── queries read ──▶ its pages wait here ── the last of these queries ends ──▶ n + 1
//!                              (queries that come meanwhile wait: they are to see n + 1)
//! ```
//!
//! So a query reads one version from its beginning to its end, and sees every update that was
//! committed before it began. An update waits for nobody while it runs, but before the next one the
//! pages have to be in their place: what it rolls back is what the files have. What waits is bounded;
//! a commit of more than that waits for the queries.
//!
//! A composite query reads only while code of it runs. What is replaced while it waits for others'
//! answers is put aside for it ([`kept`](super::kept)), so it goes on with the version it began with.

use super::Crash;
use super::kept::Shelf;
use super::staged::{Files, Origin, Staged};
use crate::guest::{PER_WASM_PAGE, State};
use crate::module::Profile;
use casemate_sys::pages::{Committed, Error, Reader, Runs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// Up to so many pages of a commit wait for queries: 64 MiB.
const MOST_STAGED: usize = 16384;

/// Heap and stable memory, page for page. Clones are the same memory.
#[derive(Clone)]
pub struct CanisterMemory(Arc<Shared>);

struct Shared {
    gate: Mutex<Gate>,
    moved: Condvar,
    files: Mutex<Files>,
}

/// Who comes in.
struct Gate {
    /// Queries that run on this version.
    readers: usize,
    /// A commit is being written, or waits until it can be.
    is_closed: bool,
    /// The next version.
    staged: Option<Staged>,
    version: u64,
    /// Globals and sizes of this version.
    state: Arc<State>,
    /// Threads that wait for any of this to change.
    waiting: usize,
    /// The files are of two versions.
    torn: Option<String>,
    /// What is put aside, before it is replaced, for queries that wait for others' answers.
    shelves: Vec<Weak<Shelf>>,
}

impl Gate {
    fn is_settled(&self) -> bool {
        self.staged.is_none() && !self.is_closed
    }

    fn advance(&mut self, state: Arc<State>) {
        self.version += 1;
        self.state = state;
    }

    /// These pages are about to be replaced.
    fn put_aside(&mut self, runs: [&Runs; 2], files: &mut Files) {
        self.shelves.retain(|shelf| {
            let shelf = shelf.upgrade();
            shelf
                .inspect(|shelf| shelf.put_aside(runs, files))
                .is_some()
        });
    }
}

impl CanisterMemory {
    /// As much of both as a module may ever have, and nothing in it.
    pub fn new(profile: &Profile) -> Result<Self, Error> {
        let pages = |wasm: u64| usize::try_from(wasm).unwrap_or(usize::MAX / 2) * PER_WASM_PAGE;
        Self::of(pages(profile.heap.maximum), pages(profile.stable_maximum))
    }

    /// With so many pages of 4 KiB at most.
    fn of(heap: usize, stable: usize) -> Result<Self, Error> {
        let files = Files {
            heap: Committed::new("heap", heap.max(1))?,
            stable: Committed::new("stable", stable.max(1))?,
        };
        Ok(Self(Arc::new(Shared {
            gate: Mutex::new(Gate {
                readers: 0,
                is_closed: false,
                staged: None,
                version: 0,
                state: Arc::default(),
                waiting: 0,
                torn: None,
                shelves: Vec::new(),
            }),
            moved: Condvar::new(),
            files: Mutex::new(files),
        })))
    }

    /// Shows both, the heap first, to whoever loads or stores them: as they were committed last, once
    /// nothing waits any more. To write is only for before there is a place over it.
    pub fn with<T>(&self, work: impl FnOnce([&mut Committed; 2]) -> T) -> T {
        drop(self.wait(self.gate(), Gate::is_settled));
        let files = &mut *self.files();
        work([&mut files.heap, &mut files.stable])
    }

    /// The bytes of a page of one of the two: 0 is the heap, 1 stable memory.
    pub fn get(&self, which: usize, page: usize, into: &mut [u8]) -> Result<(), Error> {
        self.with(|[heap, stable]| if which == 0 { heap } else { stable }.read(page, into))
    }

    /// Makes a page of one of the two what it was.
    pub fn put(&self, which: usize, page: usize, bytes: &[u8]) -> Result<(), Error> {
        self.with(|[heap, stable]| {
            let file = if which == 0 { heap } else { stable };
            file.map(page.saturating_add(1))?.write(page, bytes)
        })
    }

    /// The pages of one of the two that hold something.
    pub fn held(&self, which: usize) -> Result<Runs, Error> {
        self.with(|[heap, stable]| {
            let file = if which == 0 { heap } else { stable };
            file.all_held()
        })
    }

    /// Grows with each commit, and is never the same of two states.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.gate().version
    }

    /// Whether this is the same memory, and not only alike.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Both, as a worker may have them.
    pub(super) fn readers(&self) -> Result<[Reader; 2], Error> {
        let files = self.files();
        Ok([files.heap.reader()?, files.stable.reader()?])
    }

    /// A place is made over it, in this state.
    pub(super) fn begin(&self, state: &Arc<State>) -> Result<(), Crash> {
        let mut gate = self.settled()?;
        if gate.state != *state {
            gate.advance(state.clone());
        }
        Ok(())
    }

    /// Waits until what was committed is in its place.
    pub(super) fn settle(&self) -> Result<(), Crash> {
        self.settled().map(drop)
    }

    /// Begins to read what is committed. It stays what it is until the end of what this gives.
    pub(super) fn read(&self) -> Result<Reading<'_>, Crash> {
        let mut gate = self.settled()?;
        gate.readers += 1;
        Ok(Reading {
            memory: self,
            version: gate.version,
            state: gate.state.clone(),
        })
    }

    /// Makes the next version of what an update wrote.
    ///
    /// # Errors
    /// Nothing has changed, but after [`Crash::Torn`].
    pub(super) fn commit(&self, origin: &dyn Origin, state: Arc<State>) -> Result<(), Crash> {
        let pages = origin.runs().iter().map(|runs| runs.pages()).sum();
        let mut gate = self.settled()?;
        match (gate.readers, pages) {
            (_, 0) => {
                gate.advance(state);
                Ok(())
            }
            (1.., ..=MOST_STAGED) => {
                drop(gate);
                let staged = Staged::of(origin, state, &mut self.files())?;
                let mut gate = self.gate();
                match gate.readers {
                    0 => self.apply(&mut gate, staged),
                    _ => {
                        gate.staged = Some(staged);
                        Ok(())
                    }
                }
            }
            _ => {
                let closed = Closed::close(self, gate, origin.runs());
                let taken = origin.take(&mut self.files());
                closed.open(state, taken)
            }
        }
    }

    /// Writes what waited. Nobody reads now.
    fn apply(&self, gate: &mut Gate, staged: Staged) -> Result<(), Crash> {
        let mut files = self.files();
        gate.put_aside(staged.runs(), &mut files);
        let written = staged.write(&mut files);
        drop(files);
        let result = match written {
            Ok(()) => {
                gate.advance(staged.state);
                Ok(())
            }
            Err(why) => {
                gate.torn = Some(why.to_string());
                Err(Crash::Torn(why.to_string()))
            }
        };
        self.tell(gate);
        result
    }

    fn settled(&self) -> Result<MutexGuard<'_, Gate>, Crash> {
        let gate = self.wait(self.gate(), Gate::is_settled);
        match &gate.torn {
            None => Ok(gate),
            Some(why) => Err(Crash::Torn(why.clone())),
        }
    }

    fn wait<'a>(
        &'a self,
        mut gate: MutexGuard<'a, Gate>,
        until: impl Fn(&Gate) -> bool,
    ) -> MutexGuard<'a, Gate> {
        while !until(&gate) {
            gate.waiting += 1;
            let woken = self.0.moved.wait(gate);
            gate = woken.unwrap_or_else(PoisonError::into_inner);
            gate.waiting -= 1;
        }
        gate
    }

    /// A call of the kernel, so only where somebody waits.
    fn tell(&self, gate: &Gate) {
        if gate.waiting > 0 {
            self.0.moved.notify_all();
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query that reads one version.
pub(super) struct Reading<'a> {
    memory: &'a CanisterMemory,
    /// Counts up.
    pub(super) version: u64,
    /// Its globals and sizes.
    pub(super) state: Arc<State>,
}

impl Reading<'_> {
    /// The sizes of both memories, in pages of WebAssembly.
    pub(super) fn sizes(&self) -> [u64; 2] {
        [self.state.heap_pages, self.state.stable_pages]
    }

    /// From now on, what is replaced of this version is put aside there, as long as it is.
    pub(super) fn put_aside(&self, shelf: &Arc<Shelf>) {
        let shelves = &mut self.memory.gate().shelves;
        shelves.retain(|shelf| shelf.strong_count() > 0);
        shelves.push(Arc::downgrade(shelf));
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut gate = self.memory.gate();
        gate.readers -= 1;
        if gate.readers > 0 {
            return;
        }
        match gate.staged.take() {
            // Whoever comes next is told if it went wrong.
            Some(staged) => drop(self.memory.apply(&mut gate, staged)),
            None => self.memory.tell(&gate),
        }
    }
}

/// Nobody reads, and nobody begins to.
struct Closed<'a>(&'a CanisterMemory);

impl<'a> Closed<'a> {
    fn close(memory: &'a CanisterMemory, mut gate: MutexGuard<'a, Gate>, runs: [&Runs; 2]) -> Self {
        gate.is_closed = true;
        let closed = Self(memory);
        let mut gate = memory.wait(gate, |gate| gate.readers == 0);
        if !gate.shelves.is_empty() {
            gate.put_aside(runs, &mut memory.files());
        }
        drop(gate);
        closed
    }

    /// Lets others in, to what there is now.
    fn open(self, state: Arc<State>, taken: Result<(), Crash>) -> Result<(), Crash> {
        let mut gate = self.0.gate();
        match &taken {
            Ok(()) => gate.advance(state),
            Err(Crash::Torn(why)) => gate.torn = Some(why.clone()),
            Err(_) => {}
        }
        drop(gate);
        taken
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.gate();
        gate.is_closed = false;
        self.0.tell(&gate);
    }
}

#[cfg(test)]
mod tests;
