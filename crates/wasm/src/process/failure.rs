//! Why there is no worker.

use crate::wire::Broken;
use casemate_core::error::Error;
use casemate_sys::Errno;

/// What failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The program never asked for its role, so that what it starts would be itself again.
    #[error(
        "start the processes of the Wasm wall: {0}\nhint: call casemate_wasm::process::role() at the top of the program's main"
    )]
    Forgotten(&'static str),
    /// A process is of another build than this one.
    #[error(
        "start {0}: it was built from another program than this one\nhint: start this program again, so that all of it is of one build"
    )]
    Stale(&'static str),
    /// A process said nothing in time. It has been killed.
    #[error("start {0}: it said nothing in time")]
    Silent(&'static str),
    /// A process ended before it said anything.
    #[error("start {0}: it ended before it said anything")]
    Ended(&'static str),
    /// A process said what makes no sense. It has been killed.
    #[error("start {0}: what it said makes no sense: {1}")]
    Nonsense(&'static str, Broken),
    /// Keeper or launcher are gone. A new tree can be started.
    #[error("ask for a process: keeper or launcher are gone")]
    Gone,
    /// A step failed, here or there.
    #[error(transparent)]
    Step(#[from] Error),
}

impl Failure {
    /// What a broken connection to a process means before it is ready.
    pub(super) fn at_start(who: &'static str, broken: Broken) -> Self {
        match broken {
            Broken::Gone => Self::Ended(who),
            Broken::Late => Self::Silent(who),
            broken => Self::Nonsense(who, broken),
        }
    }

    pub(super) fn step(step: &str, errno: Errno) -> Self {
        Self::Step(Error::errno(step, errno.raw_os_error()))
    }
}
