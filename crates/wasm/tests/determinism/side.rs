//! A canister in one executor, and what can be seen of it.

use crate::program::Step;
use casemate_sys::pages::{PAGE, Runs};
use casemate_wasm::call::{Call, Ran};
use casemate_wasm::executor::{CanisterMemory, Code, Committed, Executor, Seat};
use casemate_wasm::guest::State;
use sha2::{Digest, Sha256};
use std::sync::Arc;

pub(crate) struct Side {
    seat: Box<dyn Seat>,
    memory: CanisterMemory,
    is_replayed: bool,
}

/// What came of a step: all that there is, and the bytes of the pages that were committed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    ran: Ran,
    committed: Option<(Committed, [u8; 32])>,
}

impl Seen {
    pub(crate) fn is_well(&self) -> bool {
        self.ran.result.is_ok()
    }

    pub(crate) fn wrote(&self) -> bool {
        let committed = self.committed.as_ref();
        committed.is_some_and(|(pages, _)| !pages.heap.is_empty() || !pages.stable.is_empty())
    }
}

impl Side {
    pub(crate) fn new(executor: &dyn Executor, code: &Arc<Code>, is_replayed: bool) -> Self {
        let memory = CanisterMemory::new(&code.profile).unwrap();
        let seat = executor.seat(code, &memory, &State::default()).unwrap();
        Self {
            seat,
            memory,
            is_replayed,
        }
    }

    pub(crate) fn take(&mut self, step: &Step) -> Seen {
        let form = |call: &Arc<Call>| match self.is_replayed {
            true => Arc::new(Call::from_bytes(&call.to_bytes()).unwrap()),
            false => call.clone(),
        };
        let (ran, keeps) = match step {
            Step::Initialise => (self.seat.initialise().unwrap(), true),
            Step::Run(call) => (
                self.seat.run(&form(call), &mut ()).unwrap(),
                call.entry.keeps(),
            ),
            Step::Query(call) => {
                let queries = self.seat.queries();
                (queries.query(&form(call), &mut ()).unwrap(), false)
            }
        };
        let committed = (keeps && ran.result.is_ok()).then(|| {
            let committed = self.seat.commit(&ran).unwrap();
            let mut hash = Sha256::new();
            self.digest(&mut hash, 0, pages(&committed.heap));
            self.digest(&mut hash, 1, pages(&committed.stable));
            (committed, hash.finalize().into())
        });
        Seen { ran, committed }
    }

    /// Of all pages that aren't empty.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for which in [0, 1] {
            let held = self.memory.held(which).unwrap();
            self.digest(&mut hash, which, pages(&held));
        }
        hash.finalize().into()
    }

    fn digest(&self, hash: &mut Sha256, which: usize, pages: impl Iterator<Item = usize>) {
        let mut bytes = [0; PAGE];
        for page in pages {
            self.memory.get(which, page, &mut bytes).unwrap();
            if bytes != [0; PAGE] {
                hash.update((which as u64).to_le_bytes());
                hash.update((page as u64).to_le_bytes());
                hash.update(bytes);
            }
        }
    }
}

fn pages(runs: &Runs) -> impl Iterator<Item = usize> {
    runs.as_slice().iter().flat_map(|run| run.pages())
}
