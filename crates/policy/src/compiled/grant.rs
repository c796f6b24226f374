//! What was granted: the endpoints that are open to the subject at the target.

use std::fmt;

use ipnet::IpNet;

use super::inline::Inline;
use super::{Compiled, Endpoint};
use crate::network::{EntryLimits, Tls};

/// Permission for one connection, by at least one endpoint.
#[derive(Clone)]
pub struct Grant<'a> {
    pub(super) policy: &'a Compiled,
    /// Sorted.
    pub(super) endpoints: Inline<u32, 32>,
    /// What allows the connection, whatever the entries say.
    pub(super) beyond: Option<Beyond>,
}

/// What allows a connection that no entry allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// Somebody's own rules.
    Rego,
    /// It's let through to be written down.
    Learning { inspect: bool },
    /// Something else than a policy decides, and calls it this.
    Other(&'static str),
}

impl<'a> Grant<'a> {
    pub(super) fn new(policy: &'a Compiled, endpoints: Inline<u32, 32>) -> Self {
        Self {
            policy,
            endpoints,
            beyond: None,
        }
    }

    /// A connection that only the rules in Rego allow: to public addresses, any bytes.
    pub fn by_rego(policy: &'a Compiled) -> Self {
        Self {
            beyond: Some(Beyond::Rego),
            ..Self::new(policy, Inline::default())
        }
    }

    /// A connection that nothing allows, and that is let through to be written down: to public
    /// addresses, any bytes, whose plain text is seen if `inspect`.
    pub fn learning(policy: &'a Compiled, inspect: bool) -> Self {
        Self {
            beyond: Some(Beyond::Learning { inspect }),
            ..Self::new(policy, Inline::default())
        }
    }

    /// A connection that something else than a policy allows: any bytes. `name` is what logs call
    /// that.
    pub fn by_other(policy: &'a Compiled, name: &'static str) -> Self {
        Self {
            beyond: Some(Beyond::Other(name)),
            ..Self::new(policy, Inline::default())
        }
    }

    /// Nothing allows the connection: it's let through to be written down.
    pub fn is_learning(&self) -> bool {
        matches!(self.beyond, Some(Beyond::Learning { .. }))
    }

    /// The endpoints, in the order of the file.
    pub fn endpoints(&self) -> impl Iterator<Item = &'a Endpoint> {
        let policy = self.policy;
        let numbers = self.endpoints.as_slice().iter();
        numbers.map(move |&number| policy.endpoint(number))
    }

    /// What logs call it: the first by name of the entries that allow the connection.
    pub fn entry(&self) -> &'a str {
        self.entries().min().unwrap_or(match self.beyond {
            Some(Beyond::Learning { .. }) => "learning",
            Some(Beyond::Other(name)) => name,
            Some(Beyond::Rego) | None => "rego",
        })
    }

    /// The names of the entries that allow the connection, each once, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = &'a str> {
        self.numbered_entries().map(|(name, _)| name)
    }

    /// What each of these entries is limited to.
    pub fn limits(&self) -> impl Iterator<Item = (&'a str, EntryLimits)> {
        self.numbered_entries()
    }

    fn numbered_entries(&self) -> impl Iterator<Item = (&'a str, EntryLimits)> {
        let entries = &self.policy.entries;
        let mut previous = None;
        self.endpoints().filter_map(move |endpoint| {
            let new = previous.replace(endpoint.entry) != Some(endpoint.entry);
            let entry = &entries[endpoint.entry as usize];
            new.then_some((&*entry.name, entry.limits))
        })
    }

    /// The name of the entry that an endpoint of the policy belongs to.
    pub fn entry_of(&self, endpoint: &Endpoint) -> &'a str {
        &self.policy.entries[endpoint.entry as usize].name
    }

    /// The addresses that the endpoints allow; see [`Grant::reach`].
    pub fn allowed_ips(&self) -> impl Iterator<Item = &'a IpNet> {
        self.endpoints()
            .flat_map(|endpoint| &endpoint.declared().allowed_ips)
    }

    /// The host is written out in the policy, as a name or an address.
    pub fn exact_host(&self) -> bool {
        self.endpoints().any(|endpoint| endpoint.exact_host)
    }

    /// TLS is never terminated. All endpoints have to say so: one that wants to see the requests
    /// would otherwise be passed by.
    pub fn skips_tls(&self) -> bool {
        let mut endpoints = self.endpoints();
        self.beyond.is_none() && endpoints.all(|own| own.declared().tls == Tls::Skip)
    }

    /// Requests are judged here, so the protocol has to be understood.
    pub fn has_rules(&self) -> bool {
        self.endpoints().any(Endpoint::has_rules)
    }

    /// The plain text has to be seen: for rules, or for credentials.
    pub fn needs_inspection(&self) -> bool {
        self.beyond == Some(Beyond::Learning { inspect: true })
            || self.endpoints().any(Endpoint::needs_inspection)
    }

    /// The endpoint that describes a path most closely: its protocol is the one that is spoken, and
    /// its options hold. None if no endpoint is about the path.
    pub fn endpoint_for(&self, path: &str) -> Option<&'a Endpoint> {
        let mut best: Option<((bool, usize), &'a Endpoint)> = None;
        for endpoint in self.endpoints() {
            let Some(specificity) = endpoint.specificity(path) else {
                continue;
            };
            // One without rules says nothing of requests, however closely it describes the path.
            let rank = (endpoint.has_rules(), specificity);
            if best.is_none_or(|(known, _)| known < rank) {
                best = Some((rank, endpoint));
            }
        }
        best.map(|(_, endpoint)| endpoint)
    }
}

impl fmt::Debug for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.endpoints().map(|own| (self.entry_of(own), own.index));
        f.debug_list().entries(own).finish()
    }
}
