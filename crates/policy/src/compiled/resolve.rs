//! May this name be resolved?
//!
//! A question to DNS carries its name out of the sandbox, so only names that could be connected to
//! are asked for. An endpoint without a host doesn't make every name resolvable: for that there is
//! `dns.allow`.

use super::Compiled;
use super::compile::ANY_PORT;
use super::hosts::{Hosts, Ports};
use super::name::Name;
use super::subject::Subject;

impl Compiled {
    /// Whether anybody may have the name resolved.
    pub fn may_resolve(&self, name: &str) -> bool {
        self.resolves(name, |ports| {
            let mut open = ports.iter();
            open.any(|(_, number)| self.entries[self.entry_of(number) as usize].has_binaries)
        })
    }

    /// Whether the subject may have the name resolved.
    pub fn may_resolve_for(&self, subject: &Subject<'_>, name: &str) -> bool {
        self.resolves(name, |ports| {
            let mut open = ports.iter();
            open.any(|(port, _)| self.open_to(subject, &[Some(ports)], port).is_some())
        })
    }

    /// Whether `dns.deny` has the name: nobody may have it resolved, whatever else is allowed.
    pub fn never_resolves(&self, name: &str) -> bool {
        let name = Name::new(name.strip_suffix('.').unwrap_or(name));
        name.is_none_or(|name| listed(&self.unresolvable, &name))
    }

    fn resolves(&self, name: &str, open: impl Fn(&Ports) -> bool) -> bool {
        // In DNS the final dot is always meant.
        let Some(name) = Name::new(name.strip_suffix('.').unwrap_or(name)) else {
            return false;
        };
        if listed(&self.unresolvable, &name) {
            return false;
        }
        let hosts = self.hosts.named(&name);
        listed(&self.resolvable, &name)
            || hosts.as_slice().iter().flatten().any(|ports| open(ports))
    }
}

fn listed(names: &Hosts, name: &Name) -> bool {
    let found = names.named(name);
    found
        .as_slice()
        .iter()
        .flatten()
        .any(|ports| !ports.at(ANY_PORT).is_empty())
}
