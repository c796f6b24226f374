//! A call of a canister: what goes in, and what comes out.
//!
//! Both executors take a [`Call`] and give a [`Ran`]. What a guest asks for while it runs is either
//! answered from the call itself, or is an [`Effect`](effects) that the controller looks at again
//! before anything comes of it: from a worker, it is the word of a stranger.

mod effects;
mod entry;
mod form;
mod origin;
mod outcome;
mod pace;
mod principal;

pub use effects::{Callback, Effects, Log, Outgoing};
pub use entry::{Call, Entry, Limits, Statics, Status};
pub(crate) use form::{read_result, write_result};
pub use origin::{Cause, Origin};
pub use outcome::{Answer, Failure, Ran, RejectCode, Value};
pub use pace::{MOST_SLICES, Next, Pace, Pacer, Pause};
pub use principal::{Principal, PrincipalError};
