//! Model to matcher.

use super::endpoint::Endpoint;
use super::error::CompileError;
use super::glob::Globs;
use super::rule::Made;
use super::{Compiled, Entry, hosts, programs};
use crate::network::{self, Network};
use crate::position::{Located, Position};

/// The name patterns of `dns.allow` and `dns.deny` are kept as endpoints of this port.
pub(super) const ANY_PORT: u16 = 0;

impl Compiled {
    /// Compiles a policy.
    ///
    /// # Errors
    /// The first pattern that can't be compiled.
    pub fn new(network: &Network) -> Result<Self, CompileError> {
        let mut made = Made::default();
        let globs = &mut made.globs;
        let resolvable = names(&network.dns_allow, globs)?;
        let unresolvable = names(&network.dns_deny, globs)?;
        let mut hosts = hosts::Builder::default();
        let mut programs = programs::Builder::default();
        let mut endpoints = Vec::new();
        for (entry, declared) in (0..).zip(&network.entries) {
            for binary in &declared.binaries {
                programs
                    .add(entry, binary, &mut made.globs)
                    .map_err(|bad| located(&binary.path, bad))?;
            }
            for (index, endpoint) in declared.endpoints.iter().enumerate() {
                add_host(&mut hosts, endpoint, endpoints.len(), &mut made.globs)?;
                let made = Endpoint::new(endpoint, (entry, index), &mut made);
                endpoints.push(made.map_err(CompileError::new)?);
            }
        }
        Ok(Compiled {
            entries: network.entries.iter().map(Entry::new).collect(),
            owners: endpoints.iter().map(|own| own.entry).collect(),
            endpoints,
            hosts: hosts.finish().map_err(unplaced)?,
            programs: programs.finish().map_err(unplaced)?,
            resolvable,
            unresolvable,
        })
    }
}

impl Entry {
    fn new(declared: &network::Entry) -> Self {
        let binaries = declared.binaries.iter();
        Entry {
            name: declared.name.clone(),
            limits: declared.limits,
            has_binaries: !declared.binaries.is_empty(),
            binaries: binaries.map(|binary| binary.path.value.clone()).collect(),
        }
    }
}

fn add_host(
    hosts: &mut hosts::Builder,
    endpoint: &network::Endpoint,
    number: usize,
    globs: &mut Globs,
) -> Result<(), CompileError> {
    // A policy is at most a few MiB of text, so its endpoints are far fewer than this.
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    match &endpoint.host {
        Some(host) => hosts
            .add(&host.value, &endpoint.ports, number, globs)
            .map_err(|bad| located(host, bad)),
        None => {
            // Without addresses either it would be open to everything.
            if !endpoint.allowed_ips.is_empty() {
                hosts.add_any(&endpoint.ports, number);
            }
            Ok(())
        }
    }
}

fn names(list: &[Located<String>], globs: &mut Globs) -> Result<hosts::Hosts, CompileError> {
    let mut hosts = hosts::Builder::default();
    for name in list {
        hosts
            .add(&name.value, &[ANY_PORT], 0, globs)
            .map_err(|bad| located(name, bad))?;
    }
    hosts.finish().map_err(unplaced)
}

fn located(text: &Located<String>, bad: super::glob::BadGlob) -> CompileError {
    CompileError::new((text.position, text.value.clone(), bad))
}

/// Each pattern has been tried by itself before, so this one is only too complex among others.
fn unplaced((pattern, bad): (String, super::glob::BadGlob)) -> CompileError {
    CompileError::new((Position::START, pattern, bad))
}
