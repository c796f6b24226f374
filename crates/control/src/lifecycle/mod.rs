//! How sandboxes are made, changed and ended.
//!
//! Every operation is one method of [`Control`], goes through the sandbox's gate, and ends with a
//! line in the audit journal. Operations on one sandbox are done one after the other, in the order of
//! arrival; each looks at the state that the one before it left:
//!
//! | asked of | running | paused | being taken down, or gone |
//! |---|---|---|---|
//! | connect | the end moves, never nearer | it is resumed | not found |
//! | resume | conflict | it is resumed | not found |
//! | pause | it is paused | conflict | not found |
//! | snapshot, fork | it is written, and goes on | conflict | not found |
//! | timeout, refresh | the end moves | not found | not found |
//! | wake | nothing to do | it is resumed, if it was made so | not found |
//! | kill | it is taken down | it is taken down | tried again, or not found |
//!
//! So of a pause and a connect that arrive together, either the pause is first and the connect
//! resumes, or the connect is first and the pause pauses; and whatever comes after a kill finds
//! nothing.
//!
//! What a node has done is never undone because the store can't be written to; see
//! [`ledger`](crate::ledger).

mod change;
mod create;
mod end;
mod fork;
mod pause;
mod restart;
mod resume;
mod run;
mod snapshot;

pub(crate) use change::End;
pub(crate) use create::{BASE, Order};

use crate::census::Sandbox;
use crate::control::Control;
use crate::problem::Problem;
use casemate_core::sandbox::SandboxId;
use std::sync::Arc;
use std::time::Duration;

impl Control {
    /// A sandbox that clients find.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Sandbox>, Problem> {
        let sandbox = parsed(id).and_then(|id| self.census.living(&id));
        sandbox
            .filter(|sandbox| sandbox.record().is_there())
            .ok_or_else(|| Problem::no_sandbox(id))
    }

    /// A sandbox that is there, or was until lately.
    pub(crate) fn recall(&self, id: &str) -> Result<Arc<Sandbox>, Problem> {
        let sandbox = parsed(id).and_then(|id| self.census.known(&id));
        sandbox.ok_or_else(|| Problem::no_sandbox(id))
    }

    /// Refuses a timeout that is longer than what this server gives.
    pub(crate) fn short_enough(&self, timeout: Option<Duration>) -> Result<(), Problem> {
        match (self.settings.longest, timeout) {
            (Some(longest), None) => Err(Problem::bad(format!(
                "timeout: sandboxes without an end are not allowed here; the longest timeout is {} seconds",
                longest.as_secs()
            ))),
            (Some(longest), Some(timeout)) if timeout > longest => Err(Problem::bad(format!(
                "timeout: the longest is {} seconds",
                longest.as_secs()
            ))),
            _ => Ok(()),
        }
    }

    /// Sets the alarm for the end that the sandbox has now.
    pub(crate) fn arm(&self, sandbox: &Sandbox) {
        use casemate_core::sandbox::lifecycle::State;
        let runs = sandbox.record().state == State::Running;
        let at = runs.then(|| sandbox.deadline()).flatten();
        self.timers.set(&sandbox.id, at);
    }
}

/// The id in a path. Clients of long ago put their own id behind it: `{sandbox}-{client}`.
fn parsed(id: &str) -> Option<SandboxId> {
    id.split('-').next()?.parse().ok()
}
