//! Where guests run: two executors behind one trait, which behave alike.
//!
//! - [`InProcess`]: in the controller's own process. It trusts what it runs; it is what the other is
//!   measured against, and checked against.
//! - [`Sandboxed`]: each canister in a worker behind the wall. What a worker says is reviewed, and one
//!   that says what can't be is killed; the state is then the last commit, and another worker takes
//!   its place.
//!
//! An executor that can't be made is an error; none takes another's place.
//!
//! A call is run, looked at, committed, and then written down: [`Seat::run`] leaves what it wrote
//! where it is, and [`Seat::commit`] brings it home. Nobody is told of it before it is written down,
//! and if that fails, the canister is made again from what is stored. Calls of which nothing is kept go by
//! [`Queries`], beside all that, on the version that was committed before they began ([`memory`]).

mod copy;
mod error;
mod in_process;
mod kept;
mod known;
mod life;
mod line;
mod memory;
mod places;
mod pull;
mod review;
mod sandboxed;
mod slices;
mod staged;

pub use error::Crash;
pub use in_process::InProcess;
pub use kept::Kept;
pub(crate) use kept::MOST_KEPT;
pub use memory::CanisterMemory;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use review::review;
pub use sandboxed::Sandboxed;

use crate::call::{Call, Pacer, Ran};
use crate::guest::{Bundle, State};
use crate::module::Profile;
use casemate_core::hex;
use casemate_sys::pages::{Runs, Sealed};
use std::sync::Arc;

/// A module that was checked, instrumented and compiled.
pub struct Code {
    /// SHA-256 of the module as it came.
    pub hash: [u8; 32],
    /// What there is to know of it.
    pub profile: Profile,
    /// Compiled, in a file that nobody can change.
    pub bundle: Arc<Bundle>,
}

impl Code {
    /// Of a bundle that was kept, by the hash of its module in hexadecimal digits.
    pub(crate) fn of_kept(hash: &str, bundle: Sealed) -> Result<Self, Crash> {
        let hash = hex::decode(hash).and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or_else(|| Crash::Refused("no hash of a module".to_owned()))?;
        Self::new(hash, bundle)
    }

    /// Of what a module of this hash was compiled to.
    fn new(hash: [u8; 32], bundle: Sealed) -> Result<Self, Crash> {
        let bundle = Bundle::of(bundle)?;
        Ok(Self {
            hash,
            profile: bundle.profile()?,
            bundle: Arc::new(bundle),
        })
    }
}

/// Runs canisters.
pub trait Executor: Send + Sync {
    /// Checks, instruments and compiles a module.
    fn compile(&self, bytes: &[u8]) -> Result<Arc<Code>, Crash>;

    /// Makes a place for a canister to run in, over what is committed of it. There may be no more than
    /// one.
    fn seat(
        &self,
        code: &Arc<Code>,
        memory: &CanisterMemory,
        state: &State,
    ) -> Result<Box<dyn Seat>, Crash>;

    /// Begins to make such a place, for which the memory need not be loaded yet; the caller loads it
    /// meanwhile. `None` if nothing of it can be done ahead.
    fn summon(
        &self,
        _code: &Arc<Code>,
        _memory: &CanisterMemory,
        _state: &State,
    ) -> Result<Option<Box<dyn Coming>>, Crash> {
        Ok(None)
    }
}

/// A place that is being made.
pub trait Coming: Send {
    /// Makes the rest of it: what is committed is loaded now.
    fn seat(self: Box<Self>) -> Result<Box<dyn Seat>, Crash>;
}

/// Pages that a commit brought home.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Of the heap.
    pub heap: Runs,
    /// Of stable memory.
    pub stable: Runs,
}

/// A canister's place.
pub trait Seat: Send {
    /// Puts into the heap what the module's data segments hold. To be committed, as a call is.
    fn initialise(&mut self) -> Result<Ran, Crash>;

    /// Runs a call that may change things. If it went well, what it wrote waits to be committed,
    /// and is forgotten if another call comes first.
    /// The pacer is asked between its slices, and before many pages are copied.
    fn run(&mut self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> Result<Ran, Crash>;

    /// Brings what the last call wrote into committed memory. Queries that begin afterwards see it;
    /// those that run see nothing of it.
    fn commit(&mut self, ran: &Ran) -> Result<Committed, Crash>;

    /// The side of the place that queries go to, as long as the place lasts.
    fn queries(&self) -> Arc<dyn Queries>;

    /// Why nothing can run here any more, if that is known already.
    fn ended(&self) -> Option<Crash> {
        None
    }

    /// The process that it is in, if that is another one.
    fn process(&self) -> Option<u32>;

    /// The memory of that process, bytes.
    fn resident(&self) -> Option<u64> {
        None
    }
}

/// Where a canister's queries run: beside each other, and beside an update. Each reads one version of
/// what is committed, from its beginning to its end. There are [`QUERIES`] places.
///
/// [`QUERIES`]: crate::worker::QUERIES
pub trait Queries: Send + Sync {
    /// Runs a call of which nothing is kept, once there is a place. The pacer is asked between its
    /// slices.
    fn query(&self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> Result<Ran, Crash>;

    /// The same for a composite query, and for its callbacks: these go on with what the last call that
    /// went well left, on the version that the first one began with, in whichever place is free. If
    /// [more is to come](Call::goes_on), what this call leaves is given for the next one.
    fn converse(
        &self,
        call: &Arc<Call>,
        before: Option<&Kept>,
        pacer: &mut dyn Pacer,
    ) -> Result<(Ran, Option<Kept>), Crash>;

    /// Why nothing can run here any more, if that is known already.
    fn ended(&self) -> Option<Crash> {
        None
    }
}
