//! Things by name: a host that is written out, `*.domain` for all that is below a domain, or `*`
//! for all names. A look-up costs what the name is long, not what the list is long.

use crate::host::{Host, InvalidHost};
use std::collections::HashMap;

/// Which hosts are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// This one.
    Only(Host),
    /// Those below this domain, however deep.
    Below(String),
    /// All that have a name.
    All,
}

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names<T> {
    only: HashMap<Host, T>,
    below: HashMap<String, T>,
    all: Option<T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            only: HashMap::new(),
            below: HashMap::new(),
            all: None,
        }
    }
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text == "*" {
            return Ok(Self::All);
        }
        let Some(domain) = text.strip_prefix("*.") else {
            return Host::parse(text).map(Self::Only);
        };
        match Host::parse(domain)? {
            Host::Name(domain) => Ok(Self::Below(domain)),
            Host::V4(_) | Host::V6(_) => Err(InvalidHost("nothing is below an address")),
        }
    }
}

impl<T: Default> Names<T> {
    /// What stands under a pattern.
    pub(super) fn at(&mut self, pattern: Pattern) -> &mut T {
        match pattern {
            Pattern::Only(host) => self.only.entry(host).or_default(),
            Pattern::Below(domain) => self.below.entry(domain).or_default(),
            Pattern::All => self.all.get_or_insert_default(),
        }
    }
}

impl<T> Names<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.only.is_empty() && self.below.is_empty() && self.all.is_none()
    }

    pub(super) fn has(&self, host: &Host) -> bool {
        self.matching(host).next().is_some()
    }

    /// What stands under the patterns that a host meets, from the closest to the widest.
    pub(super) fn matching(&self, host: &Host) -> impl Iterator<Item = &T> {
        let name = match host {
            Host::Name(name) => Some(name.as_str()),
            Host::V4(_) | Host::V6(_) => None,
        };
        let above = |name: &str| name.find('.').map(|dot| dot + 1);
        let domains = std::iter::successors(name, move |own| above(own).map(|at| &own[at..]));
        let below = domains.skip(1).filter_map(|domain| self.below.get(domain));
        let all = self.all.as_ref().filter(|_| name.is_some());
        self.only.get(host).into_iter().chain(below).chain(all)
    }
}
