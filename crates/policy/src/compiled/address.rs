//! Which addresses a grant reaches, once the name is resolved.

use std::net::IpAddr;

use super::grant::Grant;

/// Why an address is fine, in the order in which the reasons count.
///
/// What no policy can allow (loopback, link-local and the like) is for the way out to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Only if it's a public address: a pattern allowed the host.
    Public,
    /// Also if it's private: the host is written out in the policy.
    ExactHost,
    /// It's written as the host in the policy.
    Literal,
    /// It's in the endpoint's `allowed_ips`.
    Listed,
}

impl Grant<'_> {
    /// How far the grant goes for an address that the host has; None if it doesn't include it.
    pub fn reach(&self, address: IpAddr) -> Option<Reach> {
        let reach = self.endpoints().filter_map(|endpoint| {
            match endpoint.declared().allowed_ips.is_empty() {
                _ if !endpoint.includes(address) => None,
                false => Some(Reach::Listed),
                true if endpoint.literal => Some(Reach::Literal),
                true if endpoint.exact_host => Some(Reach::ExactHost),
                true => Some(Reach::Public),
            }
        });
        reach.max().or(self.beyond.map(|_| Reach::Public))
    }

    /// The grant without the endpoints that don't include the address; None if that is all of them.
    pub fn at(mut self, address: IpAddr) -> Option<Self> {
        let policy = self.policy;
        self.endpoints
            .retain(|number| policy.endpoint(number).includes(address));
        (self.beyond.is_some() || !self.endpoints.is_empty()).then_some(self)
    }
}
