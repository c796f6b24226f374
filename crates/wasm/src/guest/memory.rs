//! Where a guest's memories lie.
//!
//! ```text
//!            guard   heap                       guard   guard   stable memory …
//!  ──────────┬──────┬──────────┬───────────────┬──────┐┌──────┬──────
//!            │ none │ private  │ none, up to   │ none ││ none │ private
//!            │      │ mapping  │ what an index │      ││      │ mapping
//!            └──────┴──────────┴─can reach─────┴──────┘└──────┴──────
//!                     of what is committed, page for page
//! ```
//!
//! The addresses stay those of one canister for an instance's life; only how much of them is mapped
//! grows. Compiled code relies on that: it checks no bound that the unmapped rest checks for it.

use super::run::Mode;
use crate::call::{Ran, Value};
use crate::module::abi;
use casemate_sys::pages::{self, PAGE, Reader, Region, Run, Runs, Tracker};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// What is before each memory, pages: what a negative offset would reach.
const BEFORE: usize = 16;
/// Pages of 4 KiB in one of WebAssembly.
pub(crate) const PER_WASM_PAGE: usize = abi::WASM_PAGE as usize / PAGE;

/// What is committed of a canister's memory, as its guests may read it.
#[derive(Clone)]
pub struct Memories {
    /// The heap.
    pub heap: Arc<Reader>,
    /// Stable memory.
    pub stable: Arc<Reader>,
    /// What tells written pages in this process.
    pub tracker: Arc<Tracker>,
}

/// What else is committed of a canister.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The globals that can change; none before the first call.
    pub globals: Vec<Value>,
    /// The heap's size, in pages of WebAssembly.
    pub heap_pages: u64,
    /// The stable memory's.
    pub stable_pages: u64,
}

impl State {
    /// What a call left, once it is committed.
    #[must_use]
    pub fn after(ran: &Ran) -> Self {
        Self {
            globals: ran.globals.clone(),
            heap_pages: ran.heap_pages,
            stable_pages: ran.stable_pages,
        }
    }
}

/// The pages that a call wrote, and where in this process they are.
#[derive(Debug, Default)]
pub struct Written {
    /// Of the heap.
    pub heap: Runs,
    /// Of stable memory.
    pub stable: Runs,
}

/// A memory's addresses, and how much of them is in use.
pub(crate) struct Place {
    region: Region,
    /// None: what is here belongs to nobody else, and begins with zeros.
    file: Option<Arc<Reader>>,
    /// What tells its written pages once [`is_watched`](Self::is_watched).
    tracker: Option<Arc<Tracker>>,
    /// Until something was written that is committed, every page that is this process's own was
    /// written; and reading maps a page's neighbours with it, which it doesn't where writes are
    /// tracked.
    is_watched: AtomicBool,
    /// Pages of 4 KiB that are mapped.
    mapped: AtomicUsize,
    /// From here on, pages begin with zeros and not as the file has them.
    own: AtomicUsize,
}

impl Place {
    fn new(
        pages: usize,
        guard: usize,
        file: Option<Arc<Reader>>,
        tracker: Option<Arc<Tracker>>,
    ) -> Result<Self, pages::Error> {
        Ok(Self {
            region: Region::reserve(BEFORE, pages, guard)?,
            file,
            tracker,
            is_watched: AtomicBool::new(false),
            mapped: AtomicUsize::new(0),
            own: AtomicUsize::new(usize::MAX),
        })
    }

    fn mapped(&self) -> Range<usize> {
        0..self.mapped.load(Ordering::Relaxed)
    }

    /// Maps at least this many pages.
    fn widen(&self, pages: usize) -> Result<(), pages::Error> {
        let has = self.mapped().end;
        if pages <= has {
            return Ok(());
        }
        match &self.file {
            Some(file) => {
                let own = self.own.load(Ordering::Relaxed).clamp(has, pages);
                self.region.map_private(has..own, file, has)?;
                self.region.map_anonymous(own..pages)?;
            }
            None => self.region.map_anonymous(has..pages)?,
        }
        if self.is_watched() {
            self.watch(has..pages)?;
        }
        self.mapped.store(pages, Ordering::Relaxed);
        Ok(())
    }

    fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    fn watch(&self, pages: Range<usize>) -> Result<(), pages::Error> {
        if let Some(tracker) = &self.tracker {
            tracker.watch(&self.region, pages)?;
            self.is_watched.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Maps no more than this many.
    fn narrow(&self, pages: usize) -> Result<(), pages::Error> {
        let has = self.mapped().end;
        if pages < has {
            self.region.withdraw(pages..has)?;
            self.mapped.store(pages, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Maps no more than this many, and from there on pages that are not the file's.
    fn part(&self, wasm_pages: u64) -> Result<(), pages::Error> {
        let pages = usize::try_from(wasm_pages).unwrap_or(usize::MAX / 2) * PER_WASM_PAGE;
        self.own.store(pages, Ordering::Relaxed);
        self.narrow(pages)
    }

    /// Is of the file alone again.
    fn join(&self) -> Result<(), pages::Error> {
        let own = self.own.swap(usize::MAX, Ordering::Relaxed);
        self.narrow(own)
    }

    fn forget(&self, runs: &Runs) -> Result<(), pages::Error> {
        runs.as_slice()
            .iter()
            .try_for_each(|run| self.region.forget(run.pages()))
    }

    /// Where a page is.
    pub(crate) fn address(&self, page: usize) -> *const u8 {
        self.region.address(page)
    }
}

/// The memories of one instance, which stay when it is made anew.
pub(crate) struct Resident {
    pub(crate) heap: Arc<Place>,
    pub(crate) stable: Arc<Place>,
    touched: Arc<Place>,
    tracker: Arc<Tracker>,
}

impl Resident {
    pub(crate) fn over(memories: &Memories, mode: Mode) -> wasmtime::Result<Self> {
        let tracker = (mode == Mode::Update).then(|| memories.tracker.clone());
        // Compiled code looks at no bound below this.
        let least = super::engine::RESERVATION / PAGE;
        let guard = super::engine::GUARD / PAGE;
        let heap = memories.heap.pages().max(least);
        let stable = memories.stable.pages().max(least);
        let touched = abi::touched_pages((stable / PER_WASM_PAGE) as u64) as usize * PER_WASM_PAGE;
        let touched = touched.max(least);
        Ok(Self {
            heap: Arc::new(Place::new(
                heap,
                guard,
                Some(memories.heap.clone()),
                tracker,
            )?),
            // Its pages are told by what instrumented code notes of them.
            stable: Arc::new(Place::new(
                stable,
                guard,
                Some(memories.stable.clone()),
                None,
            )?),
            touched: Arc::new(Place::new(touched, guard, None, None)?),
            tracker: memories.tracker.clone(),
        })
    }

    /// What was written since the last commit; it counts as committed now.
    pub(crate) fn written(&self) -> Result<Written, pages::Error> {
        let mut written = Written::default();
        let (heap, mapped) = (&self.heap, self.heap.mapped());
        if !heap.is_watched() {
            // Nobody writes meanwhile, so what is found now is found again below.
            self.tracker
                .private(&heap.region, mapped.clone(), &mut written.heap)?;
            if !written.heap.is_empty() {
                heap.watch(mapped.clone())?;
                written.heap.clear();
            }
        }
        if let Some(file) = heap.file.as_ref().filter(|_| heap.is_watched()) {
            self.tracker
                .take(&heap.region, mapped, file, &mut written.heap)?;
        }
        written.stable = self.touched_pages(abi::WRITTEN)?;
        Ok(written)
    }

    /// Forgets what was written since the last commit.
    pub(crate) fn forget_written(&self) -> Result<(), pages::Error> {
        let mut runs = Runs::default();
        let heap = self.heap.mapped();
        match &self.heap.file {
            Some(file) if self.heap.is_watched() => {
                self.tracker
                    .look(&self.heap.region, heap, file, &mut runs)?;
            }
            _ => self.tracker.private(&self.heap.region, heap, &mut runs)?,
        }
        self.heap.forget(&runs)?;
        self.stable.forget(&self.touched_pages(abi::WRITTEN)?)
    }

    /// Forgets what was found to be written.
    pub(crate) fn forget(&self, written: &Written) -> Result<(), pages::Error> {
        self.heap.forget(&written.heap)?;
        self.stable.forget(&written.stable)
    }

    /// What a query has written, with what was put there for it, since the last was forgotten.
    pub(crate) fn own(&self, put: &[Runs; 2]) -> Result<Written, pages::Error> {
        let [heap, stable] = put.clone();
        let mut written = Written { heap, stable };
        let mapped = self.heap.mapped();
        self.tracker
            .private(&self.heap.region, mapped, &mut written.heap)?;
        let touched = self.touched_pages(abi::WRITTEN)?;
        written.stable.extend(touched.as_slice().iter().copied());
        Ok(written)
    }

    /// Forgets what was put there for a query that goes on.
    pub(crate) fn forget_put(&self, [heap, stable]: &[Runs; 2]) -> Result<(), pages::Error> {
        self.heap.forget(heap)?;
        self.stable.forget(stable)
    }

    /// Becomes that of a query which began with such sizes: what was committed beyond them since is
    /// none of its business.
    pub(crate) fn part(&self, [heap, stable]: [u64; 2]) -> Result<(), pages::Error> {
        self.heap.part(heap)?;
        self.stable.part(stable)?;
        self.touched.narrow(0)
    }

    /// Becomes that of everybody again.
    pub(crate) fn join(&self) -> Result<(), pages::Error> {
        self.heap.join()?;
        self.stable.join()
    }

    /// Makes the bytemap empty again.
    pub(crate) fn forget_touched(&self) -> Result<(), pages::Error> {
        match self.touched.mapped() {
            pages if pages.is_empty() => Ok(()),
            pages => self.touched.region.forget(pages),
        }
    }

    /// Leaves no more mapped than was committed.
    pub(crate) fn shrink(&self, state: &State) -> Result<(), pages::Error> {
        self.heap
            .narrow(state.heap_pages as usize * PER_WASM_PAGE)?;
        self.stable
            .narrow(state.stable_pages as usize * PER_WASM_PAGE)?;
        let touched = abi::touched_pages(state.stable_pages) as usize;
        self.touched.narrow(touched * PER_WASM_PAGE)
    }

    /// The pages of stable memory with this bit in the bytemap.
    fn touched_pages(&self, bit: u8) -> Result<Runs, pages::Error> {
        let mut noted = Runs::default();
        let mapped = self.touched.mapped();
        if mapped.is_empty() {
            return Ok(noted);
        }
        self.tracker
            .private(&self.touched.region, mapped, &mut noted)?;
        let mut runs = Runs::default();
        let mut bytes = [0; PAGE];
        for page in noted.as_slice().iter().flat_map(|run| run.pages()) {
            // SAFETY: the page is mapped, and nothing runs in the instance.
            unsafe {
                std::ptr::copy_nonoverlapping(self.touched.address(page), bytes.as_mut_ptr(), PAGE);
            }
            let first = page * PAGE;
            let here = bytes
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte & bit != 0);
            runs.extend(here.map(|(at, _)| Run {
                start: first + at,
                end: first + at + 1,
            }));
        }
        Ok(runs)
    }
}

/// Gives instances the memories that were made for them: those of the module, in its order.
#[derive(Default)]
pub(crate) struct Creator {
    lent: Mutex<VecDeque<Arc<Place>>>,
    turn: Mutex<()>,
}

impl Creator {
    /// Lends memories to the instance that is made by `make`.
    pub(crate) fn lend<T>(&self, memory: &Resident, make: impl FnOnce() -> T) -> T {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let places = [&memory.heap, &memory.stable, &memory.touched];
        *self.queue() = places.into_iter().cloned().collect();
        let made = make();
        self.queue().clear();
        made
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Place>>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: a place has the guards and the reservation that the engine was configured with, and while
// an instance lives nothing but it writes there: what is done to its pages from outside is done
// between calls, and leaves it the committed bytes.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        _: Option<usize>,
        _: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let place = self.queue().pop_front();
        let place = place.ok_or("a module has three memories, and this one has more")?;
        let mut memory = Lent { place, bytes: 0 };
        memory.widen(minimum).map_err(|why| why.to_string())?;
        Ok(Box::new(memory))
    }
}

/// A place in the hands of an instance.
struct Lent {
    place: Arc<Place>,
    bytes: usize,
}

impl Lent {
    fn widen(&mut self, bytes: usize) -> Result<(), pages::Error> {
        self.place.widen(bytes.div_ceil(PAGE))?;
        self.bytes = bytes;
        Ok(())
    }
}

// SAFETY: `bytes` from the pointer on are mapped readable and writable, what follows up to the end
// of the reservation and the guard is not, and the pointer never changes.
unsafe impl LinearMemory for Lent {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.place.region.pages() * PAGE
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        Ok(self.widen(bytes)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.place.region.start()
    }
}
