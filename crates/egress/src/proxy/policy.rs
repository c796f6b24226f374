//! The policy as the proxy asks it: the compiled entries, and the author's own rules besides.

use casemate_identity::Identity;
use casemate_policy::compiled::Closest;
use casemate_policy::compiled::{Compiled, Decision, Denial, Grant, Target};
use casemate_policy::rego::Rules;

use super::decide::with_subject;
use crate::host::Host;

/// See the module.
pub struct Policy {
    /// The entries.
    pub compiled: Compiled,
    /// `rego:`, if the policy has it. To ask takes up to milliseconds, not microseconds.
    pub rules: Option<Rules>,
}

impl Policy {
    /// Decides about a connection.
    pub(super) fn connect(&self, identity: &Identity, host: &Host, port: u16) -> Decision<'_> {
        let decision = with_subject(identity, |subject| match host {
            Host::Name(name) => self.compiled.connect(subject, &Target { host: name, port }),
            Host::V4(address) => self
                .compiled
                .connect_address(subject, (*address).into(), port),
            Host::V6(address) => self
                .compiled
                .connect_address(subject, (*address).into(), port),
        });
        let Some(rules) = &self.rules else {
            return decision;
        };
        let text = host.to_string();
        let asked = || {
            with_subject(identity, |subject| {
                rules.ask(subject, &Target { host: &text, port }, None)
            })
        };
        // An interpreter: other connections go on meanwhile.
        let verdict = tokio::task::block_in_place(asked);
        if !verdict.denied.is_empty() {
            return Decision::Deny(Box::new(Denial {
                reason: verdict.denied.join("; "),
                closest: Closest::Entries,
            }));
        }
        match decision {
            Decision::Deny(_) if verdict.allowed => Decision::Allow(Grant::by_rego(&self.compiled)),
            decision => decision,
        }
    }
}
