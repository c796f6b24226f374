//! What was seen, by program and place, as far as a policy can say it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Around, Observation, Spoken, write};
use crate::document::Document;
use crate::judge::{Judge, Outcome};
use crate::load::MAX_FILE_BYTES;
use crate::network::{Network, contradict};

/// The limits of the format, with room for what stands around the entries.
const MAX_ENTRIES: usize = 1024;
const MAX_ENDPOINTS: usize = 2048;
const MAX_RULES: usize = 1024;
const MAX_BYTES: usize = MAX_FILE_BYTES * 3 / 4;
/// A rule is seven of the values that a policy may have 100,000 of.
const MAX_RULES_IN_ALL: usize = 10_000;

/// An executable with its digest, and the script that it interprets.
pub(super) type Program<'o> = (&'o str, Option<[u8; 32]>, Option<&'o str>);

/// Programs, and what each of them did.
pub(super) type Programs<'o> = BTreeMap<Program<'o>, BTreeMap<(String, u16), Endpoint<'o>>>;

/// What was seen of one host and port.
#[derive(Default)]
pub(super) struct Endpoint<'o> {
    pub(super) times: u64,
    pub(super) bytes: u64,
    /// Something was said that is no request.
    pub(super) opaque: bool,
    pub(super) spoken: BTreeSet<Spoken>,
    /// Method and path, and how often.
    pub(super) requests: BTreeMap<(&'o str, &'o str), u64>,
}

/// The observations so far, and how much of a policy they are.
#[derive(Default)]
pub(super) struct Gathered<'o> {
    /// Programs whose digest wasn't always known. What they did isn't told apart by digest: rules
    /// for any digest would judge what was seen of one.
    any_digest: BTreeSet<&'o str>,
    pub(super) programs: Programs<'o>,
    /// What the policy is laid over.
    base: Option<&'o Network>,
    entries: usize,
    endpoints: usize,
    rules: usize,
    bytes: usize,
}

impl<'o> Gathered<'o> {
    pub(super) fn new(observations: &'o [Observation], base: Option<&'o Network>) -> Self {
        let unknown = observations.iter().filter(|seen| seen.sha256.is_none());
        let entries = base.map_or(&[][..], |base| &base.entries);
        Self {
            any_digest: unknown.map(|seen| &*seen.binary).collect(),
            entries: entries.len(),
            endpoints: entries.iter().map(|entry| entry.endpoints.len()).sum(),
            base,
            ..Self::default()
        }
    }

    /// Adds an observation, or says why it can't be.
    pub(super) fn add(&mut self, seen: &'o Observation) -> Option<&'static str> {
        const TOO_MANY: &str = "the policy would become too large";
        let digest = seen
            .sha256
            .filter(|_| !self.any_digest.contains(&*seen.binary));
        let program = (&*seen.binary, digest, seen.script.as_deref());
        let place = (seen.host.to_ascii_lowercase(), seen.port);
        let request = seen
            .request
            .as_ref()
            .map(|(method, path)| (&**method, &**path));
        let known = self.programs.get(&program);
        let endpoint = known.and_then(|endpoints| endpoints.get(&place));
        let rules = endpoint.map_or(0, |own| own.requests.len());
        let is_new = match (endpoint, request) {
            (None, _) => true,
            (Some(own), Some(request)) => !own.requests.contains_key(&request),
            (Some(own), None) => !own.opaque,
        };
        if is_new {
            // Six times the text, since that is how long an escape is, and the words around it.
            let texts = [&*seen.binary, &*seen.host].into_iter();
            let texts = texts.chain(seen.script.as_deref());
            let texts = texts.chain(
                request
                    .into_iter()
                    .flat_map(|(method, path)| [method, path]),
            );
            let around = if known.is_none() { 600 } else { 200 };
            let bytes = self.bytes + around + 6 * texts.map(str::len).sum::<usize>();
            let full = known.is_none() && self.entries >= MAX_ENTRIES
                || endpoint.is_none() && self.endpoints >= MAX_ENDPOINTS
                || request.is_some() && (rules == MAX_RULES || self.rules == MAX_RULES_IN_ALL)
                || bytes > MAX_BYTES;
            if full {
                return Some(TOO_MANY);
            }
            if let Some(why) = inexpressible(seen, self.base) {
                return Some(why);
            }
            self.bytes = bytes;
            self.entries += usize::from(known.is_none());
            self.endpoints += usize::from(endpoint.is_none());
            self.rules += usize::from(request.is_some());
        }
        let endpoint = self
            .programs
            .entry(program)
            .or_default()
            .entry(place)
            .or_default();
        endpoint.times = endpoint.times.saturating_add(seen.times);
        endpoint.bytes = endpoint.bytes.saturating_add(seen.bytes);
        match request {
            Some(request) => {
                let times = endpoint.requests.entry(request).or_default();
                *times = times.saturating_add(seen.times);
            }
            None => {
                endpoint.opaque = true;
                endpoint.spoken.extend(&seen.spoken);
            }
        }
        None
    }
}

/// Why no policy can allow this and nothing else. It's tried with a policy of this alone.
fn inexpressible(seen: &Observation, base: Option<&Network>) -> Option<&'static str> {
    if seen.binary.contains('*') {
        return Some("a `*` in a program's path would be a pattern");
    }
    if seen.script.as_ref().is_some_and(|path| path.contains('*')) {
        return Some("a `*` in a script's path would be a pattern");
    }
    if seen.host.contains('*') {
        return Some("a `*` in a host would be a pattern");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if let Some((method, path)) = &seen.request {
        if method.is_empty() || !method.bytes().all(plain) {
            return Some("the method is none");
        }
        if !path.starts_with('/') {
            return Some("the path doesn't begin with `/`");
        }
    }
    let mut alone = Endpoint::default();
    if let Some((method, path)) = &seen.request {
        alone.requests.insert((method, path), 1);
    } else {
        alone.opaque = true;
    }
    let place = (seen.host.to_ascii_lowercase(), seen.port);
    let endpoints = BTreeMap::from([(place, alone)]);
    let program = (&*seen.binary, seen.sha256, seen.script.as_deref());
    let programs = Programs::from([(program, endpoints)]);
    let text = write::policy(&programs, &Around::default(), &[]);
    let document = Document::parse("", &text).ok();
    let judge = document.as_ref().and_then(|own| Judge::new(own).ok());
    let allowed = judge.is_some_and(|judge| judge.rule(&seen.question()).outcome == Outcome::Allow);
    if !allowed {
        return Some("the format can't say it");
    }
    let disagrees = base.zip(document).is_some_and(|(base, own)| {
        // Those of other ports can't disagree.
        let near = base.entries.iter().filter(|entry| {
            let mut ports = entry.endpoints.iter().flat_map(|own| &own.ports);
            ports.any(|port| *port == seen.port)
        });
        let entries: Vec<_> = near.chain(&own.network.entries).cloned().collect();
        contradict(&entries)
    });
    disagrees.then_some("the base has an endpoint there that it would contradict")
}
