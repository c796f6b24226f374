//! Where to: names that are written out in a hash map, patterns in a trie over their labels, from
//! the last to the first.
//!
//! ```text
//!   com ── example ── *            the endpoints for *.example.com: exactly one label more
//!             ├────── *-ai         those for *-ai.example.com: one label of that form
//!             └────── (below)      those for **.example.com: one label more, or several
//! ```
//!
//! A look-up costs what the name is long, not what the policy is long. The few patterns that don't
//! fall into labels (with braces or brackets) are in automata besides.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::automaton::Index;
use super::glob::{BadGlob, Dialect, Glob, Globs};
use super::inline::Inline;
use super::name::{Name, address};

/// The endpoints of one pattern: port and endpoint, sorted.
#[derive(Debug, Default)]
pub(super) struct Ports(Vec<(u16, u32)>);

impl Ports {
    /// Those of one port.
    pub(super) fn at(&self, port: u16) -> &[(u16, u32)] {
        let start = self.0.partition_point(|&(own, _)| own < port);
        let count = self.0[start..].partition_point(|&(own, _)| own == port);
        &self.0[start..start + count]
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, u32)> {
        self.0.iter().copied()
    }

    fn add(&mut self, ports: &[u16], endpoint: u32) {
        for &port in ports {
            let place = self.0.partition_point(|&own| own < (port, endpoint));
            self.0.insert(place, (port, endpoint));
        }
    }
}

/// All that matched one name.
pub(super) type Matched<'a> = Inline<Option<&'a Ports>, 16>;

/// The hosts of a policy.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<str>, Ports, FixedState>,
    patterns: Node,
    addresses: HashMap<IpAddr, Ports, FixedState>,
    general: Index<Ports>,
    /// Those of endpoints without a host.
    pub(super) any: Ports,
}

#[derive(Debug, Default)]
struct Node {
    exact: HashMap<Box<str>, Node, FixedState>,
    one: Option<Box<Node>>,
    partial: Vec<(Arc<Glob>, Node)>,
    here: Option<Ports>,
    below: Option<Ports>,
}

impl Hosts {
    /// The endpoints for a name.
    pub(super) fn named<'a>(&'a self, name: &Name) -> Matched<'a> {
        let mut found = Matched::default();
        if let Some(ports) = self.exact.get(name.text()) {
            found.push(Some(ports));
        }
        self.patterns.walk(name.text(), &mut found);
        for ports in self.general.matches(name.text().as_bytes()) {
            found.push(Some(ports));
        }
        found
    }

    /// The endpoints for an address that is written as the host.
    pub(super) fn address(&self, address: IpAddr) -> Option<&Ports> {
        self.addresses.get(&address)
    }
}

impl Node {
    /// `rest` is what is left of the name, with no dot at its end.
    fn walk<'a>(&'a self, rest: &str, found: &mut Matched<'a>) {
        if rest.is_empty() {
            if self.here.is_some() {
                found.push(self.here.as_ref());
            }
            return;
        }
        if self.below.is_some() {
            found.push(self.below.as_ref());
        }
        let (before, label) = rest.rsplit_once('.').unwrap_or(("", rest));
        let partial = self.partial.iter();
        let partial = partial.filter(|(glob, _)| glob.matches(label.as_bytes()));
        let next = self.exact.get(label).into_iter();
        let next = next
            .chain(self.one.as_deref())
            .chain(partial.map(|(_, node)| node));
        next.for_each(|node| node.walk(before, found));
    }
}

/// Collects the hosts of a policy.
#[derive(Default)]
pub(super) struct Builder {
    hosts: Hosts,
    general: BTreeMap<String, Ports>,
}

impl Builder {
    /// An endpoint of any host.
    pub(super) fn add_any(&mut self, ports: &[u16], endpoint: u32) {
        self.hosts.any.add(ports, endpoint);
    }

    pub(super) fn add(
        &mut self,
        host: &str,
        ports: &[u16],
        endpoint: u32,
        globs: &mut Globs,
    ) -> Result<(), BadGlob> {
        let host = host.to_ascii_lowercase();
        if let Some(address) = address(&host) {
            let known = self.hosts.addresses.entry(address).or_default();
            known.add(ports, endpoint);
        } else if !host.contains('*') && in_labels(&host) {
            let exact = &mut self.hosts.exact;
            exact.entry(host.into()).or_default().add(ports, endpoint);
        } else if in_labels(&host) {
            self.in_trie(&host, globs)?.add(ports, endpoint);
        } else {
            // Tried now, so that the complaint is about this very host.
            globs.get(&host, Dialect::Dotted)?;
            self.general.entry(host).or_default().add(ports, endpoint);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Hosts, (String, BadGlob)> {
        let general = Index::new(self.general.into_iter().collect(), Dialect::Dotted)?;
        Ok(Hosts {
            general,
            ..self.hosts
        })
    }

    /// The place in the trie for a pattern that falls into labels.
    fn in_trie(&mut self, host: &str, globs: &mut Globs) -> Result<&mut Ports, BadGlob> {
        let (below, rest) = match host.strip_prefix("**.") {
            Some(rest) => (true, rest),
            None => (false, host),
        };
        let mut node = &mut self.hosts.patterns;
        for label in rest.rsplit('.') {
            node = match label {
                "*" => node.one.get_or_insert_default(),
                _ if !label.contains('*') => node.exact.entry(label.into()).or_default(),
                _ => {
                    let glob = globs.get(label, Dialect::Path)?;
                    let known = node
                        .partial
                        .iter()
                        .position(|(own, _)| Arc::ptr_eq(own, &glob));
                    let index = known.unwrap_or_else(|| {
                        node.partial.push((glob, Node::default()));
                        node.partial.len() - 1
                    });
                    &mut node.partial[index].1
                }
            };
        }
        let place = if below {
            &mut node.below
        } else {
            &mut node.here
        };
        Ok(place.get_or_insert_default())
    }
}

/// Whether each label of the pattern can be matched by itself.
fn in_labels(host: &str) -> bool {
    let plain = !host.contains(['?', '[', ']', '{', '}', '\\', '/', '\0']);
    let mut rest = host.strip_prefix("**.").unwrap_or(host).split('.');
    plain && rest.all(|label| label != "**" && !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Builder, Globs, Hosts, Name, address};

    fn hosts(patterns: &[&str]) -> Hosts {
        let (mut builder, mut globs) = (Builder::default(), Globs::default());
        for (endpoint, pattern) in (0..).zip(patterns) {
            let added = builder.add(pattern, &[443], endpoint, &mut globs);
            added.expect(pattern);
        }
        builder.finish().expect("hosts")
    }

    fn found(hosts: &Hosts, name: &str) -> Vec<u32> {
        let Some(name) = Name::new(name) else {
            return Vec::new();
        };
        let matched = hosts.named(&name);
        let ports = matched.as_slice().iter().copied().flatten();
        let mut found: Vec<_> = ports
            .flat_map(|ports| ports.at(443))
            .map(|own| own.1)
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn each_kind_of_pattern_is_found() {
        let hosts = hosts(&[
            "api.example.com",
            "*.example.com",
            "**.example.com",
            "*-ai.example.com",
            "*.s3.*.amazonaws.com",
            "{api,www}.example.com",
        ]);
        assert_eq!(found(&hosts, "API.example.com"), [0, 1, 2, 5]);
        assert_eq!(found(&hosts, "x-ai.example.com"), [1, 2, 3]);
        assert_eq!(found(&hosts, "a.b.example.com"), [2]);
        assert_eq!(found(&hosts, "b.s3.eu-1.amazonaws.com"), [4]);
        assert_eq!(found(&hosts, "b.s3.eu.1.amazonaws.com"), [0; 0]);
        assert_eq!(found(&hosts, "example.com"), [0; 0]);
    }

    #[test]
    fn what_is_no_name_is_not_found() {
        let hosts = hosts(&["**.example.com", "*.example.com"]);
        let long = format!("{}.example.com", "a.".repeat(130));
        for name in [
            "",
            ".example.com",
            "a..example.com",
            "a.example.com.",
            &long,
            "a/b.example.com",
        ] {
            assert_eq!(found(&hosts, name), [0; 0], "{name:?}");
        }
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        let hosts = hosts(&["2001:DB8::1", "10.0.0.1"]);
        let at = |text: &str| hosts.address(address(text)?).map(|ports| ports.at(443));
        assert_eq!(at("[2001:db8:0::1]"), Some(&[(443, 0)][..]));
        assert_eq!(at("10.0.0.1"), Some(&[(443, 1)][..]));
        assert_eq!(at("10.0.0.2"), None);
    }
}
