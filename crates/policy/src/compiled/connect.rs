//! May this subject open a connection to this target?

use std::net::IpAddr;

use super::denial::Denial;
use super::grant::Grant;
use super::hosts::{Matched, Ports};
use super::inline::Inline;
use super::name::{self, Name};
use super::programs::Listed;
use super::subject::{Ancestor, Subject, Target};
use super::{Compiled, Endpoint};

/// The answer about a connection.
#[derive(Debug)]
pub enum Decision<'a> {
    /// By the endpoints of the grant.
    Allow(Grant<'a>),
    /// With the reason.
    Deny(Box<Denial>),
}

impl<'a> Decision<'a> {
    /// The grant, if there is one.
    pub fn grant(self) -> Option<Grant<'a>> {
        match self {
            Decision::Allow(grant) => Some(grant),
            Decision::Deny(_) => None,
        }
    }
}

impl Compiled {
    /// Decides on a connection to a host, before its name is resolved.
    ///
    /// Endpoints without a host take part: their addresses are looked at when they are known, by
    /// [`Grant::reach`].
    pub fn connect(&self, subject: &Subject<'_>, target: &Target<'_>) -> Decision<'_> {
        if let Some(address) = name::address(target.host) {
            return self.connect_address(subject, address, target.port);
        }
        match self.open_to(subject, self.named(target.host).as_slice(), target.port) {
            Some(grant) => Decision::Allow(grant),
            None => Decision::Deny(Box::new(self.deny(subject, target.host, target.port))),
        }
    }

    /// Decides on a connection to an address that was asked for as such.
    pub fn connect_address(
        &self,
        subject: &Subject<'_>,
        address: IpAddr,
        port: u16,
    ) -> Decision<'_> {
        let grant = self.open_to(subject, self.addressed(address).as_slice(), port);
        match grant.and_then(|grant| grant.at(address)) {
            Some(grant) => Decision::Allow(grant),
            None => Decision::Deny(Box::new(self.deny(subject, &address.to_string(), port))),
        }
    }

    /// The endpoints for a host of either kind, by port.
    pub(super) fn matching(&self, host: &str) -> Matched<'_> {
        match name::address(host) {
            Some(address) => self.addressed(address),
            None => self.named(host),
        }
    }

    fn addressed(&self, address: IpAddr) -> Matched<'_> {
        let mut matched = Matched::default();
        matched.push(self.hosts.address(address));
        matched.push(Some(&self.hosts.any));
        matched
    }

    fn named(&self, host: &str) -> Matched<'_> {
        let mut matched = match Name::new(host) {
            Some(name) => self.hosts.named(&name),
            None => return Matched::default(),
        };
        matched.push(Some(&self.hosts.any));
        matched
    }

    /// The endpoints that are open to the subject, of those for one host.
    pub(super) fn open_to(
        &self,
        subject: &Subject<'_>,
        hosts: &[Option<&Ports>],
        port: u16,
    ) -> Option<Grant<'_>> {
        let mut there = Inline::<&[(u16, u32)], 16>::default();
        let lists = hosts.iter().flatten().map(|ports| ports.at(port));
        lists
            .filter(|list| !list.is_empty())
            .for_each(|list| there.push(list));
        if there.is_empty() {
            return None;
        }
        let mut open = Inline::default();
        for program in subject.programs() {
            self.programs.listing(program.executable, |listed| {
                for endpoints in there.as_slice() {
                    self.in_both(listed, endpoints, &program, &mut open);
                }
            });
        }
        open.sort_and_dedup();
        (!open.is_empty()).then(|| Grant::new(self, open))
    }

    /// Goes through the shorter of two lists that are both sorted by entry, and finds the other's.
    fn in_both(
        &self,
        listed: &[Listed],
        endpoints: &[(u16, u32)],
        program: &Ancestor<'_>,
        open: &mut Inline<u32, 32>,
    ) {
        if listed.len() < endpoints.len() {
            for &one in listed {
                let start =
                    endpoints.partition_point(|&(_, number)| self.entry_of(number) < one.entry);
                let own = endpoints[start..].iter();
                let own = own.take_while(|(_, number)| self.entry_of(*number) == one.entry);
                if self.programs.holds(one, program) {
                    own.for_each(|&(_, number)| open.push(number));
                }
            }
        } else {
            for &(_, number) in endpoints {
                let entry = self.entry_of(number);
                let start = listed.partition_point(|one| one.entry < entry);
                let own = listed[start..].iter();
                let mut own = own.take_while(|one| one.entry == entry);
                if own.any(|&one| self.programs.holds(one, program)) {
                    open.push(number);
                }
            }
        }
    }

    pub(super) fn endpoint(&self, number: u32) -> &Endpoint {
        &self.endpoints[number as usize]
    }

    pub(super) fn entry_of(&self, number: u32) -> u32 {
        self.owners[number as usize]
    }
}
