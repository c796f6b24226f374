//! Why a connection is denied, and what would have allowed it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::Compiled;
use super::hosts::Ports;
use super::name;
use super::subject::Subject;
use crate::quote::escaped;
use crate::suggest;

/// A denial names this many entries at most: a sandbox can have as many denials as it likes.
const MAX_NAMED: usize = 20;

/// A connection that no entry allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// In the terms of the original format.
    pub reason: String,
    /// What came closest.
    pub closest: Closest,
}

/// How close the policy came to allowing a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "missing")]
pub enum Closest {
    /// There are no entries at all.
    Entries,
    /// No entry has the host.
    Host,
    /// Entries have the host, with other ports.
    Port {
        /// These.
        ports: Vec<u16>,
    },
    /// Entries have the host with this port, for other programs.
    Binary {
        /// These; at most 20.
        entries: Vec<MissedBinary>,
    },
}

/// An entry that has the host and the port, but not the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissedBinary {
    /// The entry's name.
    pub entry: String,
    /// The programs that it lists.
    pub binaries: Vec<String>,
    /// The path is listed, but the executable has another digest.
    pub wrong_digest: bool,
    /// The path is listed, but with another script.
    pub wrong_script: bool,
}

impl std::error::Error for Denial {}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Compiled {
    /// The denial for a connection that was found not to be allowed.
    pub(super) fn deny(&self, subject: &Subject<'_>, host: &str, port: u16) -> Denial {
        if self.entries.is_empty() {
            return Denial {
                reason: "network connections not allowed by policy".to_owned(),
                closest: Closest::Entries,
            };
        }
        let matched = self.matching(host);
        let ports: Vec<&Ports> = matched.as_slice().iter().copied().flatten().collect();
        let address = name::address(host);
        let here = ports.iter().flat_map(|ports| ports.at(port));
        let here = here.filter(|(_, number)| {
            let endpoint = self.endpoint(*number);
            address.is_none_or(|address| endpoint.includes(address))
        });
        let entries: BTreeSet<u32> = here.map(|&(_, number)| self.entry_of(number)).collect();
        let missed: Vec<_> = entries
            .into_iter()
            .take(MAX_NAMED)
            .map(|entry| self.missed(entry, subject))
            .collect();
        if missed.is_empty() {
            let (host, others) = (escaped(host), self.other_ports(&ports, port));
            return Denial {
                reason: format!("endpoint {host}:{port} is not allowed by any policy"),
                closest: match others.is_empty() {
                    true => Closest::Host,
                    false => Closest::Port { ports: others },
                },
            };
        }
        let reasons = missed.iter().map(|missed| reason(subject, missed));
        Denial {
            reason: reasons.collect::<Vec<_>>().join("; "),
            closest: Closest::Binary { entries: missed },
        }
    }

    /// The other ports of the endpoints that have the host themselves.
    fn other_ports(&self, matched: &[&Ports], port: u16) -> Vec<u16> {
        let own = matched
            .iter()
            .filter(|ports| !std::ptr::eq(**ports, &raw const self.hosts.any));
        let ports: BTreeSet<u16> = own
            .flat_map(|ports| ports.iter())
            .map(|(other, _)| other)
            .filter(|&other| other != port)
            .collect();
        ports.into_iter().collect()
    }

    /// A host of the policy that this one may be a misspelling of. Every host is looked at, so
    /// this is for people who ask, not for each denial.
    pub fn similar_host(&self, host: &str) -> Option<&str> {
        let head: String = host.chars().take(64).collect();
        let head = head.to_ascii_lowercase();
        let declared = self.endpoints.iter();
        let known = declared.filter_map(|own| own.declared().host.as_ref());
        let by_distance = known.map(|own| (suggest::distance(&head, &own.value), &*own.value));
        let closest = by_distance.min()?;
        (closest.0 <= (head.len() / 4).clamp(1, 3)).then_some(closest.1)
    }

    fn missed(&self, entry: u32, subject: &Subject<'_>) -> MissedBinary {
        let (mut wrong_digest, mut wrong_script) = (false, false);
        for program in subject.programs() {
            self.programs.listing(program.executable, |list| {
                for &own in list.iter().filter(|own| own.entry == entry) {
                    wrong_digest |= !self.programs.digest_holds(own, &program);
                    wrong_script |= !self.programs.script_holds(own, &program);
                }
            });
        }
        let declared = &self.entries[entry as usize];
        MissedBinary {
            entry: declared.name.clone(),
            binaries: declared.binaries.iter().cloned().collect(),
            wrong_digest,
            wrong_script,
        }
    }
}

/// The original's sentence, and after it what our own conditions add.
fn reason(subject: &Subject<'_>, missed: &MissedBinary) -> String {
    let ancestors = subject.ancestors.iter();
    let ancestors: Vec<_> = ancestors.map(|own| shown(own.executable)).collect();
    let cmdline: Vec<_> = subject.script.into_iter().map(shown).collect();
    let mut reason = format!(
        "binary '{}' not allowed in policy '{}' (ancestors: [{}], cmdline: [{}])",
        shown(subject.executable),
        escaped(&missed.entry),
        ancestors.join(", "),
        cmdline.join(", "),
    );
    if missed.wrong_digest {
        reason += ". DIGEST: the path is listed, the file's sha256 is not";
    }
    if missed.wrong_script {
        reason += ". SCRIPT: the path is listed, its script is not";
    }
    if !missed.wrong_digest && !missed.wrong_script {
        reason += ". SYMLINK HINT: a binary is known by the path that its symbolic links lead to";
    }
    reason
}

fn shown(path: &[u8]) -> String {
    escaped(&String::from_utf8_lossy(path))
}
