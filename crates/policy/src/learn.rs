//! The least policy that allows what was seen.
//!
//! Each program gets an entry of its own, by path and digest, with an endpoint for each host and
//! port that it connected to. Where all that it said there were requests, each of them becomes a
//! rule; where it wasn't, any bytes may pass. Comments say what was seen and how often.
//!
//! What was seen was chosen by a program that isn't trusted, so a name that the format would take
//! for a pattern, or can't have at all, is left out and told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::compiled::hex;
use crate::document::Document;
use crate::judge::{Judge, Outcome};
use crate::load::MAX_FILE_BYTES;
use crate::question::{Asked, Question};
use crate::quote::shortened;

/// The limits of the format, with room for what stands around the entries.
const MAX_ENTRIES: usize = 1024;
const MAX_ENDPOINTS: usize = 2048;
const MAX_RULES: usize = 1024;
const MAX_BYTES: usize = MAX_FILE_BYTES * 3 / 4;
/// A rule is seven of the values that a policy may have 100,000 of.
const MAX_RULES_IN_ALL: usize = 10_000;

/// Something that a program did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observation {
    /// The executable's path.
    pub binary: String,
    /// Its digest, if it's known.
    pub sha256: Option<[u8; 32]>,
    /// Where it connected to: a name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Method and canonical path of a request; none if it was a connection that wasn't understood.
    pub request: Option<(String, String)>,
    /// How many bytes went in both directions.
    pub bytes: u64,
}

/// What was made of the observations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learnt {
    /// A policy without errors that allows all that isn't left out.
    pub text: String,
    /// What it can't allow, each with the reason.
    pub left_out: Vec<(Observation, &'static str)>,
}

/// Executables by path and digest, and what each of them did.
type Programs<'o> = BTreeMap<(&'o str, Option<[u8; 32]>), BTreeMap<(String, u16), Endpoint<'o>>>;

/// What was seen of one host and port.
#[derive(Default)]
struct Endpoint<'o> {
    times: u64,
    bytes: u64,
    /// Something was said that is no request.
    opaque: bool,
    /// Method and path, and how often.
    requests: BTreeMap<(&'o str, &'o str), u64>,
}

/// Makes the least policy that allows the observations.
pub fn learn(observations: &[Observation]) -> Learnt {
    let unknown = observations.iter().filter(|seen| seen.sha256.is_none());
    let mut gathered = Gathered {
        any_digest: unknown.map(|seen| &*seen.binary).collect(),
        ..Gathered::default()
    };
    let mut left_out = Vec::new();
    for observation in observations {
        if let Some(why) = gathered.add(observation) {
            left_out.push((observation.clone(), why));
        }
    }
    Learnt {
        text: written(&gathered.programs, left_out.len()),
        left_out,
    }
}

/// The observations so far, and how much of a policy they are.
#[derive(Default)]
struct Gathered<'o> {
    /// Programs whose digest wasn't always known. What they did isn't told apart by digest: rules
    /// for any digest would judge what was seen of one.
    any_digest: BTreeSet<&'o str>,
    programs: Programs<'o>,
    endpoints: usize,
    rules: usize,
    bytes: usize,
}

impl<'o> Gathered<'o> {
    /// Adds an observation, or says why it can't be.
    fn add(&mut self, seen: &'o Observation) -> Option<&'static str> {
        const TOO_MANY: &str = "the policy would become too large";
        let digest = seen
            .sha256
            .filter(|_| !self.any_digest.contains(&*seen.binary));
        let program = (&*seen.binary, digest);
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
            let texts = texts.chain(
                request
                    .into_iter()
                    .flat_map(|(method, path)| [method, path]),
            );
            let around = if known.is_none() { 600 } else { 200 };
            let bytes = self.bytes + around + 6 * texts.map(str::len).sum::<usize>();
            let full = known.is_none() && self.programs.len() == MAX_ENTRIES
                || endpoint.is_none() && self.endpoints == MAX_ENDPOINTS
                || request.is_some() && (rules == MAX_RULES || self.rules == MAX_RULES_IN_ALL)
                || bytes > MAX_BYTES;
            if full {
                return Some(TOO_MANY);
            }
            if let Some(why) = inexpressible(seen) {
                return Some(why);
            }
            self.bytes = bytes;
            self.endpoints += usize::from(endpoint.is_none());
            self.rules += usize::from(request.is_some());
        }
        let endpoint = self
            .programs
            .entry(program)
            .or_default()
            .entry(place)
            .or_default();
        endpoint.times += 1;
        endpoint.bytes = endpoint.bytes.saturating_add(seen.bytes);
        match request {
            Some(request) => *endpoint.requests.entry(request).or_default() += 1,
            None => endpoint.opaque = true,
        }
        None
    }
}

/// Why no policy can allow this and nothing else. It's tried with a policy of this alone.
fn inexpressible(seen: &Observation) -> Option<&'static str> {
    if seen.binary.contains('*') {
        return Some("a `*` in a program's path would be a pattern");
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
    let programs = Programs::from([((&*seen.binary, seen.sha256), endpoints)]);
    let document = Document::parse("", &written(&programs, 0)).ok();
    let judge = document.and_then(|document| Judge::new(&document).ok());
    let allowed = judge.is_some_and(|judge| judge.rule(&seen.question()).outcome == Outcome::Allow);
    (!allowed).then_some("the format can't say it")
}

impl Observation {
    /// What a policy would have to be asked.
    pub fn question(&self) -> Question {
        Question {
            binary: self.binary.clone(),
            sha256: self.sha256,
            host: self.host.clone(),
            port: self.port,
            request: self.request.as_ref().map(|(method, path)| Asked {
                method: method.clone(),
                path: path.clone(),
                query: Vec::new(),
            }),
            ..Question::default()
        }
    }
}

fn written(programs: &Programs<'_>, left_out: usize) -> String {
    let mut text = "version: 1\n".to_owned();
    if left_out > 0 {
        line(
            &mut text,
            0,
            &format!("# {left_out} observations are left out"),
        );
    }
    line(
        &mut text,
        0,
        match programs.is_empty() {
            true => "network_policies: {}",
            false => "network_policies:",
        },
    );
    let mut names = BTreeSet::new();
    for (&(path, sha256), endpoints) in programs {
        let seen = sum(endpoints.values());
        line(&mut text, 1, &format!("# {}: {seen}", shortened(path)));
        line(&mut text, 1, &format!("{}:", name(path, &mut names)));
        line(&mut text, 2, "endpoints:");
        for ((host, port), endpoint) in endpoints {
            write_endpoint(host, *port, endpoint, &mut text);
        }
        line(&mut text, 2, "binaries:");
        line(&mut text, 3, &format!("- path: {}", scalar(path)));
        if let Some(digest) = &sha256 {
            line(&mut text, 4, &format!("sha256: \"{}\"", hex(digest)));
        }
    }
    text
}

fn write_endpoint(host: &str, port: u16, endpoint: &Endpoint<'_>, text: &mut String) {
    line(text, 3, &format!("# {}", sum([endpoint].into_iter())));
    line(text, 3, &format!("- host: {}", scalar(host)));
    line(text, 4, &format!("port: {port}"));
    if endpoint.opaque {
        if !endpoint.requests.is_empty() {
            let different = endpoint.requests.len();
            line(
                text,
                4,
                &format!("# requests ({different} different), and bytes that are none"),
            );
        }
        return line(text, 4, "protocol: any");
    }
    line(text, 4, "protocol: rest");
    line(text, 4, "enforcement: enforce");
    line(text, 4, "rules:");
    for ((method, path), count) in &endpoint.requests {
        let path = scalar(&literal(path));
        let rule = format!("- allow: {{ method: {}, path: {path} }}", scalar(method));
        line(text, 5, &format!("# {}", times(*count)));
        line(text, 5, &rule);
    }
}

fn sum<'e>(endpoints: impl Iterator<Item = &'e Endpoint<'e>>) -> String {
    let add = |(count, bytes): (u64, u64), own: &Endpoint<'_>| {
        (
            count.saturating_add(own.times),
            bytes.saturating_add(own.bytes),
        )
    };
    let (count, bytes) = endpoints.fold((0, 0), add);
    format!("{}, {bytes} bytes", times(count))
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// A key for the entry: the file's name as far as it's plain, and a number if it's taken.
fn name(path: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    let file = path.rsplit('/').next().unwrap_or_default();
    let base: String = file.chars().filter(plain).take(64).collect();
    let base = match base.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => base,
        false => format!("program{base}"),
    };
    let numbered = (2_usize..).map(|number| format!("{base}-{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or(base);
    taken.insert(name.clone());
    scalar(&name)
}

/// A pattern that only this text matches.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '*' | '?' | '[' | ']' | '{' | '}' => {
                let _ = write!(pattern, "[{letter}]");
            }
            '\\' => pattern.push_str("\\\\"),
            letter => pattern.push(letter),
        }
    }
    pattern
}

/// The text as a scalar of YAML that is a string.
fn scalar(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_');
    let word = matches!(&*text.to_ascii_lowercase(), "null" | "true" | "false");
    let begins = text.starts_with(|first: char| first == '/' || first.is_ascii_alphabetic());
    match begins && !word && text.bytes().all(plain) {
        true => text.to_owned(),
        // JSON is YAML.
        false => serde_json::Value::from(text).to_string(),
    }
}

fn line(text: &mut String, level: usize, content: &str) {
    text.extend(std::iter::repeat_n("  ", level));
    text.push_str(content);
    text.push('\n');
}
