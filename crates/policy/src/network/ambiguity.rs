//! Endpoints that are about the same connections have to agree on what happens to them.
//!
//! An entry opens all its endpoints to all its binaries, but a host and port may stand in several
//! entries, and patterns may overlap. What is decided for a connection as a whole, before a
//! request is seen, has to be the same in all of them. What is decided for a request follows the
//! endpoint with the most specific path, so it has to be the same only where that's a tie.

use std::collections::HashMap;

use super::model::{Endpoint, Entry, Protocol};
use super::overlap;
use crate::quote::{quoted, quoted_list};
use crate::report::{ReadOptions, Report};

/// More conflicts than an error lists are no help.
const MAX_CONFLICTS: usize = 64;

/// An endpoint with the name of its entry.
struct Candidate<'e> {
    entry: &'e str,
    endpoint: &'e Endpoint,
    host: &'e str,
}

/// The endpoints seen so far, by what they could share with another one.
#[derive(Default)]
struct Seen<'e> {
    by_host: HashMap<(&'e str, u16), Vec<usize>>,
    patterns: HashMap<u16, Vec<usize>>,
    by_port: HashMap<u16, Vec<usize>>,
}

pub(super) fn check(entries: &[Entry], report: &mut Report) {
    let candidates: Vec<_> = entries
        .iter()
        .flat_map(|entry| {
            entry.endpoints.iter().map(|endpoint| Candidate {
                entry: &entry.key.value,
                endpoint,
                // No host has this name, so an endpoint without one meets only its like.
                host: endpoint.host.as_ref().map_or("", |host| &host.value),
            })
        })
        .collect();
    let mut seen = Seen::default();
    let mut conflicts = 0;
    for (index, candidate) in candidates.iter().enumerate() {
        for earlier in seen.near(candidate) {
            let earlier = &candidates[earlier];
            // The cheaper question first: most endpoints agree.
            let differences = differences(earlier.endpoint, candidate.endpoint);
            if differences.is_empty() || !overlap::hosts(earlier.host, candidate.host) {
                continue;
            }
            tell(earlier, candidate, &differences, report);
            conflicts += 1;
            if conflicts == MAX_CONFLICTS {
                return;
            }
        }
        seen.add(index, candidate);
    }
}

/// Whether endpoints of these entries disagree.
pub(crate) fn contradict(entries: &[Entry]) -> bool {
    let mut report = Report::new("", ReadOptions::default());
    check(entries, &mut report);
    report.errors() > 0
}

impl<'e> Seen<'e> {
    fn add(&mut self, index: usize, candidate: &Candidate<'e>) {
        for port in &candidate.endpoint.ports {
            self.by_port.entry(*port).or_default().push(index);
            match candidate.host.contains('*') {
                true => self.patterns.entry(*port).or_default().push(index),
                false => {
                    let key = (candidate.host, *port);
                    self.by_host.entry(key).or_default().push(index);
                }
            }
        }
    }

    /// Those that share a port with this one, and may share a host: names are looked up, and only
    /// where a pattern is involved the hosts are left to be compared.
    fn near(&self, candidate: &Candidate<'e>) -> Vec<usize> {
        let mut near = Vec::new();
        for port in &candidate.endpoint.ports {
            let patterns = match candidate.host.contains('*') {
                true => self.by_port.get(port),
                false => {
                    let same = self.by_host.get(&(candidate.host, *port));
                    near.extend(same.into_iter().flatten());
                    self.patterns.get(port)
                }
            };
            near.extend(patterns.into_iter().flatten());
        }
        near.sort_unstable();
        near.dedup();
        near
    }
}

/// The fields in which two overlapping endpoints differ although they must not.
fn differences(one: &Endpoint, other: &Endpoint) -> Vec<&'static str> {
    let mut differences = Vec::new();
    let mut compare = |field, same: bool| {
        if !same {
            differences.push(field);
        }
    };
    let tcp = |endpoint: &Endpoint| endpoint.protocol == Protocol::Tcp;
    compare("protocol: tcp", tcp(one) == tcp(other));
    compare("tls", one.tls == other.tls);
    compare("allowed_ips", one.allowed_ips == other.allowed_ips);
    if has_request_options(one) && has_request_options(other) && paths_tie(one, other) {
        compare(
            "protocol",
            one.protocol == other.protocol || tcp(one) != tcp(other),
        );
        compare("enforcement", one.enforcement == other.enforcement);
        compare(
            "allow_encoded_slash",
            one.allow_encoded_slash == other.allow_encoded_slash,
        );
        compare(
            "websocket_credential_rewrite",
            one.websocket_credential_rewrite == other.websocket_credential_rewrite,
        );
        compare(
            "request_body_credential_rewrite",
            one.request_body_credential_rewrite == other.request_body_credential_rewrite,
        );
        compare("credential_signing", one.signing == other.signing);
        compare("credential_binding", provider(one) == provider(other));
        compare("max_body_bytes", one.body == other.body);
        compare(
            "strict_tool_names",
            one.mcp.strict_tool_names == other.mcp.strict_tool_names,
        );
    }
    differences
}

fn provider(endpoint: &Endpoint) -> Option<&str> {
    let provider = endpoint.credential_provider.as_ref();
    provider.map(|provider| &*provider.value)
}

fn has_request_options(endpoint: &Endpoint) -> bool {
    endpoint.protocol.is_inspected()
        || endpoint.signing.is_some()
        || endpoint.credential_provider.is_some()
}

/// Whether a request may be about both, and neither path is more specific than the other.
fn paths_tie(one: &Endpoint, other: &Endpoint) -> bool {
    let (one, other) = (path(one), path(other));
    let specificity = |path: &str| path.chars().filter(|character| *character != '*').count();
    specificity(one) == specificity(other) && overlap::texts(one, other)
}

fn path(endpoint: &Endpoint) -> &str {
    endpoint.path.as_ref().map_or("**", |path| &path.value)
}

fn tell(earlier: &Candidate<'_>, later: &Candidate<'_>, differences: &[&str], report: &mut Report) {
    let position = later.endpoint.position;
    let there = report.place(earlier.endpoint.position, position);
    let ports = earlier.endpoint.ports.iter();
    let port = ports
        .filter(|port| later.endpoint.ports.contains(port))
        .map(u16::to_string)
        .next()
        .unwrap_or_default();
    let host = |candidate: &Candidate<'_>| match candidate.host {
        "" => "no host".to_owned(),
        host => quoted(host),
    };
    report.add_with_hint(
        position,
        format!(
            "{} of {} and {} of {} at {there} overlap on port {port}, but differ in {}",
            host(later),
            quoted(later.entry),
            host(earlier),
            quoted(earlier.entry),
            quoted_list(differences)
        ),
        hint(differences),
    );
}

fn hint(differences: &[&str]) -> &'static str {
    match differences {
        ["enforcement"] => {
            "one enforces, the other audits, which is the default; write `enforcement: enforce` in both"
        }
        _ => {
            "the same connection can be about both; write the same in both, or hosts that don't overlap"
        }
    }
}
