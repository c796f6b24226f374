//! All sections that are about the network.

use super::ambiguity;
use super::entry;
use super::middleware::{self, Middleware};
use super::model::Network;
use super::names;
use super::rego;
use crate::fields::Fields;
use crate::report::Report;

/// The most entries in `network_policies`.
const MAX_ENTRIES: usize = 1024;

pub(crate) fn read(document: &Fields<'_>, report: &mut Report) -> (Network, Vec<Middleware>) {
    let entries: Vec<_> = document
        .map("network_policies", MAX_ENTRIES, report)
        .iter()
        .filter_map(|(key, node)| entry::read(key, node, report))
        .collect();
    entry::check_total(&entries, report);
    ambiguity::check(&entries, report);
    let (dns_allow, dns_deny) = names::read(document, report);
    let middlewares = middleware::read(document, &entries, report);
    let network = Network {
        entries,
        dns_allow,
        dns_deny,
        rego: rego::read(document, report),
    };
    (network, middlewares)
}
