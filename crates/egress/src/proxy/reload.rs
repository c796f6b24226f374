//! Another policy, while connections are open.

use super::policy::Policy;
use super::shared::Shared;
use crate::audit::ocsf::Kind;
use crate::audit::{Event, Outcome, Severity};
use std::sync::Arc;

/// Puts other policies in force, and writes that down.
#[derive(Clone)]
pub struct Reloading(pub(super) Arc<Shared>);

impl Reloading {
    /// Puts a policy in force: connections that it allows, too, go on, the others are closed, with
    /// those that programs have themselves ([`Direct`](super::Direct)).
    pub fn put(&self, policy: Arc<Policy>) {
        self.install(policy, "the policy was reloaded", Severity::Informational);
    }

    /// Denies everything, since the policy that should be in force can't be.
    pub fn deny_all(&self, policy: Arc<Policy>, why: &str) {
        let message = format!("everything is denied: {why}");
        self.install(policy, &message, Severity::High);
    }

    /// Writes down that the policy in force is not the one that should be.
    pub fn refused(&self, why: &str) {
        let revision = self.0.revision.borrow().to_string();
        let change = Kind::ConfigState {
            revisions: (Some(revision.clone()), revision),
        };
        let event = Event::new(change, super::journal::now())
            .severity(Severity::High)
            .message("the changed policy is invalid; the old one stays in force");
        let mut event = event;
        event.outcome = Outcome::Failed;
        event.reason = Some(why.to_owned());
        self.0.journal.write(event);
    }

    fn install(&self, policy: Arc<Policy>, message: &str, severity: Severity) {
        let shared = &self.0;
        let asks = policy.asks_who();
        if asks {
            shared.identifier.compare(true);
        }
        shared.policy.store(policy);
        if !asks {
            shared.identifier.compare(false);
        }
        shared.names.forget_stale();
        let before = *shared.revision.borrow();
        let change = Kind::ConfigState {
            revisions: (Some(before.to_string()), (before + 1).to_string()),
        };
        let event = Event::new(change, super::journal::now());
        shared
            .journal
            .write(event.severity(severity).message(message));
        shared.inspection.forget();
        // Wakes the connections that are open.
        shared.revision.send_modify(|revision| *revision += 1);
        if let Some(fast) = &shared.fast {
            fast.handed.end_withdrawn(shared);
        }
    }
}
