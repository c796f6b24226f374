//! Guests in the controller's own process: the honest baseline.

use super::known::Known;
use super::{CanisterMemory, Code, Committed, Crash, Executor, Seat};
use crate::call::{Call, Ran};
use crate::guest::{self, Guest, Image, Machine, Memories, Mode, State};
use crate::module::{self, Limits};
use casemate_sys::pages::{Sealed, Tracker};
use sha2::{Digest, Sha256};
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
        let memories = Memories {
            heap: Arc::new(memory.heap.reader()?),
            stable: Arc::new(memory.stable.reader()?),
            tracker: self.tracker.clone(),
        };
        Ok(Box::new(Chair {
            update: Guest::new(&image, &memories, state.clone(), Mode::Update)?,
            query: None,
            image,
            memories,
        }))
    }
}

struct Chair {
    image: Image,
    memories: Memories,
    update: Guest,
    query: Option<Guest>,
}

impl Seat for Chair {
    fn initialise(&mut self) -> Result<Ran, Crash> {
        Ok(self.update.initialise()?)
    }

    fn run(&mut self, call: &Arc<Call>) -> Result<Ran, Crash> {
        Ok(self.update.run(call)?)
    }

    fn commit(&mut self, ran: &Ran, memory: &mut CanisterMemory) -> Result<Committed, Crash> {
        let written = self.update.commit(ran)?;
        let update = &self.update;
        CanisterMemory::take(&mut memory.heap, &written.heap, |page, _| update.heap(page))?;
        CanisterMemory::take(&mut memory.stable, &written.stable, |page, _| {
            update.stable(page)
        })?;
        if let Some(query) = &mut self.query {
            query.follow(update.state())?;
        }
        Ok(Committed {
            heap: written.heap,
            stable: written.stable,
        })
    }

    fn query(&mut self, call: &Arc<Call>) -> Result<Ran, Crash> {
        if self.query.is_none() {
            let state = self.update.state().clone();
            self.query = Some(Guest::new(&self.image, &self.memories, state, Mode::Query)?);
        }
        match &mut self.query {
            Some(query) => Ok(query.run(call)?),
            None => Err(Crash::Gone("it was never made".to_owned())),
        }
    }
}
