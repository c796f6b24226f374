//! Guests in the controller's own process: the honest baseline.

use super::copy::in_two;
use super::kept::{self, Kept};
use super::known::Known;
use super::places::Places;
use super::staged::{Files, Origin, end};
use super::{CanisterMemory, Code, Committed, Crash, Executor, Queries, Seat};
use crate::call::{Call, Pacer, Ran};
use crate::guest::{self, Guest, Image, Machine, Memories, Mode, State, Written};
use crate::module::{self, Limits};
use crate::worker::QUERIES;
use casemate_sys::pages::{self, PAGE, Run, Runs, Sealed, Tracker};
use sha2::{Digest, Sha256};
use std::marker::PhantomData;
use std::sync::Arc;

/// Runs guests here.
pub struct InProcess {
    limits: Limits,
    machine: Machine,
    tracker: Arc<Tracker>,
    known: Known,
}

impl InProcess {
    /// Ready to run.
    pub fn new(limits: Limits) -> Result<Self, Crash> {
        Ok(Self {
            limits,
            machine: Machine::new()?,
            tracker: Arc::new(Tracker::open()?),
            known: Known::default(),
        })
    }
}

impl Executor for InProcess {
    fn compile(&self, bytes: &[u8]) -> Result<Arc<Code>, Crash> {
        self.known.get(Sha256::digest(bytes).into(), |hash| {
            let prepared = module::prepare(bytes, &self.limits);
            let prepared = prepared.map_err(|why| Crash::Refused(why.to_string()))?;
            let bundle = Sealed::of("module", &guest::compile(&prepared)?)?;
            Code::new(hash, bundle).map(Arc::new)
        })
    }

    fn seat(
        &self,
        code: &Arc<Code>,
        memory: &CanisterMemory,
        state: &State,
    ) -> Result<Box<dyn Seat>, Crash> {
        // SAFETY: it was compiled by this process, and sealed since.
        let image = unsafe { Image::new(&self.machine, code.bundle.clone())? };
        let [heap, stable] = memory.readers()?.map(Arc::new);
        let memories = Memories {
            heap,
            stable,
            tracker: self.tracker.clone(),
        };
        memory.begin(&Arc::new(state.clone()))?;
        Ok(Box::new(Chair {
            update: Guest::new(&image, &memories, state.clone(), Mode::Update)?,
            queries: Arc::new(Chairs {
                places: Places::new((0..QUERIES).map(|_| None).collect()),
                image,
                memories,
                memory: memory.clone(),
            }),
            memory: memory.clone(),
        }))
    }
}

struct Chair {
    update: Guest,
    queries: Arc<Chairs>,
    memory: CanisterMemory,
}

impl Seat for Chair {
    fn initialise(&mut self) -> Result<Ran, Crash> {
        self.memory.settle()?;
        Ok(self.update.initialise()?)
    }

    fn run(&mut self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> Result<Ran, Crash> {
        self.memory.settle()?;
        Ok(self.update.run(call, pacer)?)
    }

    fn commit(&mut self, ran: &Ran) -> Result<Committed, Crash> {
        let written = self.update.commit(ran)?;
        let own = Own {
            guest: &self.update,
            written: &written,
        };
        let state = Arc::new(self.update.state().clone());
        self.memory.commit(&own, state)?;
        Ok(Committed {
            heap: written.heap,
            stable: written.stable,
        })
    }

    fn queries(&self) -> Arc<dyn Queries> {
        self.queries.clone()
    }

    fn process(&self) -> Option<u32> {
        None
    }
}

/// What a guest of this process wrote. Nothing of it runs.
struct Own<'a> {
    guest: &'a Guest,
    written: &'a Written,
}

impl Own<'_> {
    /// What the pages that were written hold.
    fn content(&self, which: usize) -> Content<'_> {
        Content {
            start: match which {
                0 => self.guest.heap(0),
                _ => self.guest.stable(0),
            },
            guest: PhantomData,
        }
    }
}

/// Pages of a guest that doesn't run now.
struct Content<'a> {
    /// Where page 0 is.
    start: *const u8,
    guest: PhantomData<&'a Guest>,
}

// SAFETY: nobody writes to them while the guest is borrowed.
unsafe impl Sync for Content<'_> {}

impl Content<'_> {
    /// # Safety
    /// The guest has written all of them.
    unsafe fn of(&self, run: Run) -> &[u8] {
        let start = self.start.wrapping_add(run.start * PAGE);
        // SAFETY: the caller's, and the guest doesn't run now.
        unsafe { std::slice::from_raw_parts(start, run.len() * PAGE) }
    }
}

impl Origin for Own<'_> {
    fn runs(&self) -> [&Runs; 2] {
        [&self.written.heap, &self.written.stable]
    }

    fn take(&self, files: &mut Files) -> Result<(), Crash> {
        let runs = self.runs();
        let windows = [
            files.heap.map(end(runs[0]))?,
            files.stable.map(end(runs[1]))?,
        ];
        for (which, window) in windows.into_iter().enumerate() {
            let content = self.content(which);
            in_two(runs[which], window, |runs, to| {
                for run in runs.as_slice() {
                    // SAFETY: it is a part of what was written.
                    to.write(run.start, unsafe { content.of(*run) })?;
                }
                Ok::<_, pages::Error>(())
            })?;
        }
        Ok(())
    }

    fn stage(&self, into: [&mut [u8]; 2]) -> Result<(), Crash> {
        for (which, mut left) in into.into_iter().enumerate() {
            let content = self.content(which);
            for run in self.runs()[which].as_slice() {
                // SAFETY: it was written.
                let bytes = unsafe { content.of(*run) };
                let (here, rest) = left.split_at_mut(bytes.len());
                here.copy_from_slice(bytes);
                left = rest;
            }
        }
        Ok(())
    }
}

/// The places of a canister's queries.
struct Chairs {
    /// Guests, each with the version that it knows.
    places: Places<(Guest, u64)>,
    image: Image,
    memories: Memories,
    memory: CanisterMemory,
}

impl Queries for Chairs {
    fn query(&self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> Result<Ran, Crash> {
        let mut held = self.places.take();
        let reading = self.memory.read()?;
        let state = &*reading.state;
        // One that fails isn't put back.
        let mut guest = match held.place.take() {
            Some((guest, version)) if version == reading.version => guest,
            Some((mut guest, _)) => {
                guest.follow(state)?;
                guest
            }
            None => Guest::new(&self.image, &self.memories, state.clone(), Mode::Query)?,
        };
        let ran = guest.run(call, pacer)?;
        held.place = Some((guest, reading.version));
        Ok(ran)
    }

    fn converse(
        &self,
        call: &Arc<Call>,
        before: Option<&Kept>,
        pacer: &mut dyn Pacer,
    ) -> Result<(Ran, Option<Kept>), Crash> {
        let mut held = self.places.take();
        let reading = self.memory.read()?;
        let state = &*reading.state;
        let mut guest = match held.place.take() {
            Some((guest, version)) if version == reading.version => guest,
            Some((mut guest, _)) => {
                guest.follow(state)?;
                guest
            }
            None => Guest::new(&self.image, &self.memories, state.clone(), Mode::Query)?,
        };
        if let Some(kept) = before {
            guest.resume(kept.base(), &kept.state)?;
            kept.give(|which, page, bytes| Ok(guest.put(which, page, bytes)?))?;
        }
        let mut ran = guest.run(call, pacer)?;
        let kept = match guest.left() {
            None => None,
            Some(written) => {
                let own = Own {
                    guest: &guest,
                    written,
                };
                let state = State {
                    globals: ran.globals.clone(),
                    heap_pages: ran.heap_pages,
                    stable_pages: ran.stable_pages,
                };
                let base = before.map_or_else(|| reading.sizes(), Kept::base);
                match kept::take(&own, base, state)? {
                    Ok(kept) => {
                        reading.put_aside(kept.shelf());
                        Some(kept)
                    }
                    Err(why) => {
                        kept::fail(&mut ran, why, before, &reading.state);
                        None
                    }
                }
            }
        };
        guest.forget()?;
        held.place = Some((guest, reading.version));
        Ok((ran, kept))
    }
}
