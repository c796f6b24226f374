//! What a change of the policy changes.
//!
//! Each policy is spread out into what it says: who, where to, which port, and what may be said
//! there; the difference is that of the two sets. That is exact for what is written out. A pattern
//! may be covered by another one, and nobody can tell from the sets: such a change is marked as
//! uncertain instead of being left out. Limits of entries and rules in Rego are not compared.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::connect::Decision;
use super::glob::is_literal;
use super::subject::{Subject, Target};
use super::{CompileError, Compiled};
use crate::network::{
    Access, Binary, Endpoint, Enforcement, Entry, Matcher, Network, Protocol, Rule,
};
use crate::position::Located;

/// One thing that becomes allowed or denied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// What becomes of it.
    pub effect: Effect,
    /// The program, a pattern perhaps, with its digests and script; empty for a name to resolve.
    pub binary: String,
    /// The host, a pattern perhaps, with its addresses.
    pub host: String,
    /// The port; 0 for a name to resolve.
    pub port: u16,
    /// What may be said there.
    pub said: Said,
    /// False: it has patterns, and others may mean the same.
    pub certain: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It was denied.
    Allowed,
    /// It was allowed.
    Denied,
}

/// What may be said on a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Any bytes, or any request (if denials are only logged).
    Anything,
    /// What a rule or preset allows.
    Rule(String),
    /// What a rule denies.
    Except(String),
    /// The name may be resolved; nothing is said.
    Name,
    /// The name is never resolved.
    NoName,
}

/// What is allowed by `new` and not by `old`, and the other way round.
///
/// # Errors
/// The first pattern of either that can't be compiled.
pub fn diff(old: &Network, new: &Network) -> Result<Vec<Change>, CompileError> {
    let (before, after) = (spread(old), spread(new));
    let (compiled_old, compiled_new) = (Compiled::new(old)?, Compiled::new(new)?);
    let added = after.difference(&before);
    let added = added.filter_map(|fact| fact.change(true, &compiled_old));
    let removed = before.difference(&after);
    let removed = removed.filter_map(|fact| fact.change(false, &compiled_new));
    let mut changes: Vec<_> = added.chain(removed).collect();
    changes.sort();
    Ok(changes)
}

/// One thing that a policy says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fact {
    binary: String,
    /// The path alone, if the binary is nothing more than a path.
    path: Option<String>,
    host: String,
    name: Option<String>,
    port: u16,
    said: Said,
}

impl Fact {
    /// None if the other policy allows the very same in other words.
    fn change(&self, added: bool, other: &Compiled) -> Option<Change> {
        let restricts = matches!(self.said, Said::Except(_) | Said::NoName);
        let known = self.known_to(other);
        if known == Some(true) {
            return None;
        }
        Some(Change {
            effect: match added == restricts {
                true => Effect::Denied,
                false => Effect::Allowed,
            },
            binary: self.binary.clone(),
            host: self.host.clone(),
            port: self.port,
            said: self.said.clone(),
            certain: known.is_some(),
        })
    }

    /// Whether the other policy means the same by other words; None if that can't be asked, because
    /// there are patterns or rules.
    fn known_to(&self, other: &Compiled) -> Option<bool> {
        if self.said == Said::Name || self.said == Said::NoName {
            let resolved = is_literal(&self.host).then(|| other.may_resolve(&self.host))?;
            return Some(resolved == (self.said == Said::Name));
        }
        let path = self.path.as_deref().filter(|path| !path.contains('*'))?;
        let host = self.name.as_deref().filter(|host| is_literal(host))?;
        let subject = Subject {
            executable: path.as_bytes(),
            ..Subject::default()
        };
        let target = Target {
            host,
            port: self.port,
        };
        match (other.connect(&subject, &target), &self.said) {
            (Decision::Deny(_), _) => Some(false),
            (Decision::Allow(grant), Said::Anything) => {
                let free = grant.endpoints().all(|own| {
                    let logged = own.declared().enforcement == Enforcement::Audit;
                    own.declared().allowed_ips.is_empty() && (logged || !own.has_rules())
                });
                free.then_some(true)
            }
            (Decision::Allow(_), _) => None,
        }
    }
}

fn spread(network: &Network) -> BTreeSet<Fact> {
    let entries = network.entries.iter().flat_map(of_entry);
    let names = |list: &[Located<String>], said: Said| {
        let name = move |name: &Located<String>| Fact {
            binary: String::new(),
            path: None,
            host: name.value.clone(),
            name: None,
            port: 0,
            said: said.clone(),
        };
        list.iter().map(name).collect::<Vec<_>>()
    };
    let resolvable = names(&network.dns_allow, Said::Name);
    let unresolvable = names(&network.dns_deny, Said::NoName);
    entries.chain(resolvable).chain(unresolvable).collect()
}

fn of_entry(entry: &Entry) -> Vec<Fact> {
    let mut facts = Vec::new();
    for binary in &entry.binaries {
        let plain = binary.sha256.is_empty() && binary.script.is_none();
        for endpoint in &entry.endpoints {
            let host = endpoint.host.as_ref().map(|host| host.value.clone());
            for (said, &port) in product(&of_endpoint(endpoint), &endpoint.ports) {
                facts.push(Fact {
                    binary: binary_in_words(binary),
                    path: plain.then(|| binary.path.value.clone()),
                    host: host_in_words(endpoint),
                    name: host.clone().filter(|_| endpoint.allowed_ips.is_empty()),
                    port,
                    said: said.clone(),
                });
            }
        }
    }
    facts
}

fn product<'a, A, B>(these: &'a [A], those: &'a [B]) -> impl Iterator<Item = (&'a A, &'a B)> {
    these
        .iter()
        .flat_map(move |one| those.iter().map(move |other| (one, other)))
}

fn of_endpoint(endpoint: &Endpoint) -> Vec<Said> {
    use Protocol::{Any, Sql, Tcp, Unspecified};
    let bytes = matches!(endpoint.protocol, Unspecified | Any | Tcp | Sql);
    if bytes || endpoint.enforcement == Enforcement::Audit {
        return vec![Said::Anything];
    }
    let preset = endpoint.access.map(|access| match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
        Access::Full => "full",
    });
    let at = endpoint.path.as_ref();
    let at = at
        .map(|path| format!(" at {}", path.value))
        .unwrap_or_default();
    let known = endpoint.mcp.allow_all_known_methods && endpoint.rules.is_empty();
    let known = (known && endpoint.protocol == Protocol::Mcp).then_some("every method of MCP");
    let named = preset.into_iter().chain(known);
    let allow = named
        .map(ToOwned::to_owned)
        .chain(endpoint.rules.iter().map(rule_in_words));
    let allow = allow.map(|rule| Said::Rule(rule + &at));
    let deny = endpoint.deny_rules.iter().map(rule_in_words);
    let deny = deny.map(|rule| Said::Except(rule + &at));
    allow.chain(deny).collect()
}

fn binary_in_words(binary: &Binary) -> String {
    let mut words = binary.path.value.clone();
    if let Some(script) = &binary.script {
        words += &format!(" running {}", script.value);
    }
    let digests: BTreeSet<_> = binary.sha256.iter().map(super::hex).collect();
    for digest in digests {
        words += &format!(" sha256:{digest}");
    }
    words
}

fn host_in_words(endpoint: &Endpoint) -> String {
    let host = endpoint.host.as_ref();
    let mut words = host.map_or("any host", |host| &host.value).to_owned();
    let nets: BTreeSet<_> = endpoint
        .allowed_ips
        .iter()
        .map(ToString::to_string)
        .collect();
    if !nets.is_empty() {
        words += &format!(" in {}", nets.into_iter().collect::<Vec<_>>().join(", "));
    }
    words
}

fn rule_in_words(rule: &Rule) -> String {
    let text = |own: &Option<Located<String>>| own.as_ref().map(|own| own.value.clone());
    let kind = rule
        .operation_type
        .map(|kind| super::input::operation_type(kind).to_owned());
    let fields: Vec<_> = rule.fields.iter().map(|own| &*own.value).collect();
    let fields = (!fields.is_empty()).then(|| format!("{{{}}}", fields.join(", ")));
    let keyed = |sign: &'static str, (key, matcher): (&String, &Matcher)| {
        let any: Vec<_> = matcher.any.iter().map(|own| &*own.value).collect();
        format!("{sign}{key}={}", any.join("|"))
    };
    let parts = [
        text(&rule.method),
        text(&rule.path),
        text(&rule.command),
        kind,
    ];
    let parts = parts
        .into_iter()
        .chain([text(&rule.operation_name), fields])
        .flatten();
    let query = rule.query.iter().map(|own| keyed("?", own));
    let params = rule.params.iter().map(|own| keyed("", own));
    parts
        .chain(query)
        .chain(params)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `+` or `-`, and the rest in the order of the question: who, where to, what.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.effect {
            Effect::Allowed => '+',
            Effect::Denied => '-',
        };
        let Change {
            binary, host, port, ..
        } = self;
        match &self.said {
            Said::Anything => write!(f, "{sign} {binary} → {host}:{port}")?,
            Said::Rule(rule) | Said::Except(rule) => {
                write!(f, "{sign} {binary} → {host}:{port} {rule}")?;
            }
            Said::Name | Said::NoName => write!(f, "{sign} resolve {host}")?,
        }
        if self.certain {
            return Ok(());
        }
        f.write_str(" (unless another pattern or rule covers it)")
    }
}
