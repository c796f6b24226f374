//! The policy as the proxy asks it: the compiled entries, and the author's own rules besides.

use casemate_identity::Identity;
use casemate_policy::compiled::{Closest, CompileError, Compiled, Decision, Denial, Grant, Target};
use casemate_policy::network::{Middleware, Network};
use casemate_policy::rego::Rules;
use std::net::IpAddr;
use std::sync::Arc;

use super::decide::with_subject;
use super::learn::Learning;
use crate::host::Host;
use crate::open::Open;

/// See the module.
pub struct Policy {
    /// The entries.
    pub compiled: Compiled,
    /// `rego:`, if the policy has it. To ask takes up to milliseconds, not microseconds.
    pub rules: Option<Rules>,
    /// Lets through what none of these allows or forbids.
    pub learning: Option<Arc<Learning>>,
    /// What happens to requests on their way, in that order.
    pub middlewares: Vec<Middleware>,
    /// What decides in place of all these, if it's there.
    pub open: Option<Open>,
}

impl Policy {
    /// What a client of the platform asked for, in place of a policy.
    ///
    /// # Errors
    /// None: a policy without entries compiles.
    pub fn of_open(open: Open) -> Result<Self, CompileError> {
        Ok(Self {
            compiled: Compiled::new(&Network::default())?,
            rules: None,
            learning: None,
            middlewares: Vec::new(),
            open: Some(open),
        })
    }

    /// Whether it matters which program connects. If not, that is only written down.
    pub(super) fn asks_who(&self) -> bool {
        self.open.is_none()
    }

    /// Decides about a connection. `reached` are the addresses of the host, as far as they are
    /// known and matter.
    pub(super) fn connect(
        &self,
        identity: &Identity,
        (host, port): (&Host, u16),
        reached: &[IpAddr],
    ) -> Decision<'_> {
        if let Some(open) = &self.open {
            return match open.decide(host, reached) {
                Ok(basis) => Decision::Allow(Grant::by_other(&self.compiled, basis.as_str())),
                Err(reason) => Decision::Deny(Box::new(Denial {
                    reason,
                    closest: Closest::Entries,
                })),
            };
        }
        match (self.judge(identity, host, port), &self.learning) {
            ((Decision::Deny(_), false), Some(learning)) if !self.forbids(host) => {
                Decision::Allow(Grant::learning(&self.compiled, learning.inspect))
            }
            ((decision, _), _) => decision,
        }
    }

    /// Whether a name may be resolved only because it's written down.
    pub(super) fn learns(&self, name: &Host) -> Option<&Learning> {
        self.learning.as_deref().filter(|_| !self.forbids(name))
    }

    fn forbids(&self, host: &Host) -> bool {
        matches!(host, Host::Name(name) if self.compiled.never_resolves(name))
    }

    /// What the policy says, and whether it has a rule for that: a denial is otherwise for want of
    /// a permission.
    fn judge(&self, identity: &Identity, host: &Host, port: u16) -> (Decision<'_>, bool) {
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
            return (decision, false);
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
            let denial = Denial {
                reason: verdict.denied.join("; "),
                closest: Closest::Entries,
            };
            return (Decision::Deny(Box::new(denial)), true);
        }
        let decision = match decision {
            Decision::Deny(_) if verdict.allowed => Decision::Allow(Grant::by_rego(&self.compiled)),
            decision => decision,
        };
        (decision, false)
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;
    use crate::host::Host;
    use crate::proxy::learn::Learning;
    use casemate_identity::argv::Argv;
    use casemate_identity::{Digest, Executable, Identity};
    use casemate_policy::Document;
    use casemate_policy::compiled::Compiled;
    use std::sync::Arc;

    const POLICY: &str = "version: 1
dns: { deny: [\"**.never.example\"] }
network_policies:
  here:
    endpoints: [{ host: a.example, port: 443, protocol: any, tls: skip }]
    binaries: [{ path: /usr/bin/curl }]
";

    #[test]
    fn only_what_the_policy_says_nothing_of_is_learnt() {
        let document = Document::parse("policy.yaml", POLICY).unwrap();
        let mut policy = Policy {
            compiled: Compiled::new(&document.network).unwrap(),
            rules: None,
            learning: None,
            middlewares: Vec::new(),
            open: None,
        };
        let identity = Identity {
            pid: 1,
            executable: Executable {
                path: b"/usr/bin/curl".as_slice().into(),
                digest: Digest([7; 32]),
                deleted: false,
            },
            ancestors: Box::default(),
            script: None,
            argv: Argv::default(),
        };
        // What becomes of a connection: whether it's learnt, and whether it's looked into.
        let ask = |policy: &Policy, host: &str, port| {
            let host = Host::parse(host).unwrap();
            let grant = policy.connect(&identity, (&host, port), &[]).grant()?;
            Some((grant.is_learning(), grant.needs_inspection()))
        };
        for (host, port) in [("b.example", 443), ("a.example", 80), ("192.0.2.1", 443)] {
            assert_eq!(ask(&policy, host, port), None, "{host}:{port}");
        }
        for inspect in [false, true] {
            policy.learning = Some(Arc::new(Learning::new(inspect, Vec::new())));
            assert_eq!(ask(&policy, "a.example", 443), Some((false, false)));
            for (host, port) in [("b.example", 443), ("a.example", 80), ("192.0.2.1", 443)] {
                let learnt = Some((true, inspect));
                assert_eq!(ask(&policy, host, port), learnt, "{host}:{port}");
            }
            assert_eq!(ask(&policy, "x.never.example", 443), None);
        }
    }
}
