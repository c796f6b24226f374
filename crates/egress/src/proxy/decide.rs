//! Identity, names and policy together.

use super::dial::Way;
use super::learn::Learning;
use super::phases::Phase;
use super::policy::Policy;
use super::shared::Shared;
use crate::host::Host;
use crate::open::{Basis, Open, Setting};
use casemate_identity::{Executable, Identity};
use casemate_policy::compiled::{Ancestor, Decision, Denial, DeniedRequest, Grant, Subject};
use casemate_policy::network::{Middleware, Protocol};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Ancestors that can take part in a decision: all that an identity has.
const MOST_ANCESTORS: usize = 64;
const FEW_ANCESTORS: usize = 4;

/// What a connection was allowed, and to whom.
#[derive(Clone)]
pub struct Permit {
    policy: Arc<Policy>,
    /// Who opened it.
    pub identity: Arc<Identity>,
    /// The host that it may talk to.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The entry of the policy that allows it.
    pub entry: String,
    /// The addresses that it leads to, as far as they are known and matter.
    reached: Box<[IpAddr]>,
}

/// Where the first thing that a program says is a request that names its host (RFC 9112 §3.2).
pub(super) const HTTP: u16 = 80;
/// The same over TLS, which names it before that.
pub(super) const HTTPS: u16 = 443;

impl Permit {
    /// What the policy grants.
    pub fn grant(&self) -> Option<Grant<'_>> {
        self.policy
            .connect(&self.identity, (&self.host, self.port), &self.reached)
            .grant()
    }

    /// What decides in place of a policy.
    pub(super) fn open(&self) -> Option<&Open> {
        self.policy.open.as_ref()
    }

    /// By what of that it's allowed.
    pub(super) fn basis(&self) -> Option<Basis> {
        self.open()?.decide(&self.host, &self.reached).ok()
    }

    /// What is set in its requests. Only TLS tells whose they are, so nothing is set without.
    pub(super) fn settings(&self) -> Vec<Setting<'_>> {
        match self.open().filter(|_| self.port == HTTPS) {
            Some(open) => open.headers(&self.host),
            None => Vec::new(),
        }
    }

    /// Whether what is said on the connection is looked at.
    pub(super) fn is_inspected(&self) -> bool {
        if let Some(open) = self.open() {
            return match self.port {
                // To know which of the hosts at that address is meant.
                HTTP => self.basis() == Some(Basis::Name),
                HTTPS => open.sets_headers(&self.host),
                _ => false,
            };
        }
        self.grant()
            .is_some_and(|grant| grant.needs_inspection() && !grant.skips_tls())
    }

    /// The same where it's known which way the connection takes.
    pub(super) fn toward(self, way: &Way) -> Self {
        match way {
            Way::Address(to) => self.reaching(&[to.ip()]),
            Way::Judged(judged) => self.reaching(judged),
        }
    }

    /// The same where it's known where the connection goes.
    pub(super) fn reaching(self, addresses: &[IpAddr]) -> Self {
        match self.policy.open {
            Some(_) => Self {
                reached: addresses.into(),
                ..self
            },
            None => self,
        }
    }

    /// Who writes it down, if that is why it's let through.
    pub(super) fn learning(&self) -> Option<&Learning> {
        let learning = self.policy.learning.as_deref()?;
        let learns = self.grant().is_some_and(|grant| grant.is_learning());
        learns.then_some(learning)
    }

    /// Who writes a request down that the policy denies, if it's let through for that: no rule is
    /// against it, and one that allows it can be written.
    pub(super) fn learns(&self, denied: &DeniedRequest, path: &str) -> Option<&Learning> {
        let learning = self.policy.learning.as_deref()?;
        let endpoint = self.grant()?.endpoint_for(path);
        let rest = endpoint.is_none_or(|own| own.protocol() == Protocol::Rest);
        (denied.enforced && denied.rule.is_none() && rest).then_some(learning)
    }

    /// What happens to requests to the host, in that order.
    pub(super) fn middlewares(&self) -> impl Iterator<Item = &Middleware> {
        let host = match self.policy.middlewares.is_empty() {
            true => String::new(),
            false => self.host.to_string(),
        };
        let all = self.policy.middlewares.iter();
        all.filter(move |own| own.selects(&host))
    }

    /// Whether it's this very policy that allows it.
    pub(super) fn is_of(&self, policy: &Arc<Policy>) -> bool {
        Arc::ptr_eq(&self.policy, policy)
    }

    /// The same under the policy in force, if that allows it too. Most often it is the one that
    /// already did, and nothing is decided again.
    pub(super) fn under(&self, policy: Arc<Policy>) -> Option<Self> {
        if self.is_of(&policy) {
            return Some(self.clone());
        }
        // What isn't looked into would go on without the headers that are to be set now.
        let sets = |policy: &Policy| policy.open.as_ref().is_some_and(Open::sets_any_headers);
        let alike = match (&self.policy.open, &policy.open) {
            (Some(old), Some(new)) => old.sets_like(new),
            _ => !sets(&self.policy) && !sets(&policy),
        };
        if self.port == HTTPS && !alike {
            return None;
        }
        let to = (self.host.clone(), self.port);
        let permit = issue(policy, &self.identity, to, &self.reached).ok()?;
        let open = self.open().or(permit.open()).is_some();
        // Nor can one be looked into that wasn't.
        (!open || self.is_inspected() == permit.is_inspected()).then_some(permit)
    }
}

/// Decides about a host that was asked for by name, or by an address as such.
pub(super) fn host(
    shared: &Shared,
    identity: &Arc<Identity>,
    host: Host,
    port: u16,
) -> Result<Permit, Box<Denial>> {
    let begun = shared.phases.begin();
    let decision = issue(shared.policy.load_full(), identity, (host, port), &[]);
    shared.phases.end(Phase::PolicyEvaluation, begun);
    decision
}

/// Decides about a connection by its destination: by the names that the sandbox was given for the
/// address, or, if it was given none, by the address.
pub(super) fn destination(
    shared: &Shared,
    identity: &Arc<Identity>,
    to: SocketAddr,
) -> (Host, Result<Permit, Box<Denial>>) {
    let begun = shared.phases.begin();
    let decision = of_address(shared, identity, to);
    shared.phases.end(Phase::PolicyEvaluation, begun);
    decision
}

fn of_address(
    shared: &Shared,
    identity: &Arc<Identity>,
    to: SocketAddr,
) -> (Host, Result<Permit, Box<Denial>>) {
    let policy = shared.policy.load_full();
    let address = Host::from(to.ip());
    let (mut first, mut learnt) = (None, None);
    let reached = [to.ip()];
    for name in shared.names.of(to.ip()) {
        match issue(
            Arc::clone(&policy),
            identity,
            (name.clone(), to.port()),
            &reached,
        ) {
            // Another name may be allowed without that.
            Ok(permit) if permit.learning().is_some() => learnt = learnt.or(Some((name, permit))),
            Ok(permit) => return (name, Ok(permit)),
            Err(denial) => first = first.or(Some((name, denial))),
        }
    }
    let of_address = issue(policy, identity, (address.clone(), to.port()), &reached);
    if let Some((name, permit)) = learnt
        && !matches!(&of_address, Ok(own) if own.learning().is_none())
    {
        return (name, Ok(permit));
    }
    match (of_address, first) {
        (Ok(permit), _) => (address, Ok(permit)),
        // What the policy says of the name tells more.
        (Err(_), Some((name, denial))) => (name, Err(denial)),
        (Err(denial), None) => (address, Err(denial)),
    }
}

fn issue(
    policy: Arc<Policy>,
    identity: &Arc<Identity>,
    (host, port): (Host, u16),
    reached: &[IpAddr],
) -> Result<Permit, Box<Denial>> {
    let entry = match policy.connect(identity, (&host, port), reached) {
        Decision::Allow(grant) => grant.entry().to_owned(),
        Decision::Deny(denial) => return Err(denial),
    };
    let permit = Permit {
        policy,
        identity: Arc::clone(identity),
        host,
        port,
        entry,
        reached: Box::default(),
    };
    Ok(permit.reaching(reached))
}

/// Shows an identity as the policy sees it.
pub(super) fn with_subject<R>(identity: &Identity, show: impl FnOnce(&Subject<'_>) -> R) -> R {
    // Most have few, and every connection is decided about several times.
    match identity.ancestors.len() {
        0..=FEW_ANCESTORS => with_room::<FEW_ANCESTORS, R>(identity, show),
        _ => with_room::<MOST_ANCESTORS, R>(identity, show),
    }
}

fn with_room<const ROOM: usize, R>(identity: &Identity, show: impl FnOnce(&Subject<'_>) -> R) -> R {
    let mut ancestors = [Ancestor::default(); ROOM];
    let mut count = 0;
    for (place, own) in ancestors.iter_mut().zip(&identity.ancestors) {
        *place = ancestor(own);
        count += 1;
    }
    show(&Subject {
        executable: &identity.executable.path,
        sha256: Some(&identity.executable.digest.0),
        script: identity.script.as_deref(),
        ancestors: &ancestors[..count],
    })
}

fn ancestor(executable: &Executable) -> Ancestor<'_> {
    Ancestor {
        executable: &executable.path,
        sha256: Some(&executable.digest.0),
        script: None,
    }
}
