//! Cases: questions to a policy, each with the answer that its author expects.
//!
//! ```yaml
//! - name: git may fetch
//!   binary: /usr/bin/git
//!   host: github.com
//!   port: 443
//!   method: GET
//!   path: /o/r/info/refs
//!   query: { service: git-upload-pack }
//!   expect: allow
//! ```
//!
//! The file is read as a policy is: nothing is guessed, and every problem is told with its place.

use std::path::Path;

use crate::error::PolicyError;
use crate::fields::{self, Fields};
use crate::judge::{Outcome, Ruling};
use crate::load;
use crate::network;
use crate::node::{Node, Value};
use crate::position::Position;
use crate::question::{Asked, Question};
use crate::quote::quoted;
use crate::report::{ReadOptions, Report};
use crate::syntax;
use crate::values::{self, Word};

/// The most cases in one file.
const MAX_CASES: usize = 10_000;

/// The most processes that a program comes from.
const MAX_ANCESTORS: usize = 64;

/// The most keys of a query, and values of a key.
const MAX_QUERY: usize = 128;

const OUTCOMES: [Word<Outcome>; 3] = [
    ("allow", Outcome::Allow),
    ("deny", Outcome::Deny),
    ("audit", Outcome::Audit),
];

/// A question and what is expected of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What reports call it.
    pub name: String,
    /// Where it begins in the file.
    pub position: Position,
    /// The question.
    pub question: Question,
    /// What must become of it.
    pub expect: Outcome,
    /// What the reason must contain.
    pub reason: Option<String>,
    /// The entry that must have decided.
    pub entry: Option<String>,
}

impl Case {
    /// What is wrong with the answer, in one line; nothing if it's as expected.
    pub fn against(&self, ruling: &Ruling) -> Option<String> {
        let why = match &*ruling.reason {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        if ruling.outcome != self.expect {
            let (wanted, found) = (self.expect.name(), ruling.outcome.name());
            return Some(format!("expected {wanted}, found {found}{why}"));
        }
        if let Some(reason) = &self.reason
            && !ruling.reason.contains(&**reason)
        {
            let wanted = quoted(reason);
            return Some(match &*ruling.reason {
                "" => format!("expected {wanted} in the reason, but there is none"),
                found => format!("expected {wanted} in the reason: {found}"),
            });
        }
        if let Some(entry) = &self.entry
            && !ruling.entries.contains(entry)
        {
            let found = match &ruling.entries[..] {
                [] => "none".to_owned(),
                some => some.join(", "),
            };
            return Some(format!(
                "expected the entry {}, found {found}",
                quoted(entry)
            ));
        }
        None
    }
}

/// Reads a file of cases.
///
/// # Errors
/// Every problem of the file, or why it can't be read.
pub fn load(path: &Path) -> Result<Vec<Case>, PolicyError> {
    let mut report = Report::new(&path.to_string_lossy(), ReadOptions::default());
    match load::read(path, "cases", load::CURRENT) {
        Ok(text) => read(&text, report),
        Err(refusal) => {
            report.push(refusal.position, refusal.message, refusal.hint);
            Err(report.into_error())
        }
    }
}

/// Reads cases from their text; `name` is what messages call it.
///
/// # Errors
/// Every problem of the text.
pub fn parse(name: &str, text: &str) -> Result<Vec<Case>, PolicyError> {
    read(text, Report::new(name, ReadOptions::default()))
}

fn read(text: &str, mut report: Report) -> Result<Vec<Case>, PolicyError> {
    let root = syntax::read(text, 0, &mut report);
    let mut cases = Vec::new();
    match root.as_ref().map(|root| (&root.value, root.position)) {
        Some((Value::List(items), at)) if items.is_empty() => no_cases(at, &mut report),
        Some((Value::List(items), _)) => {
            if let Some(first_over) = items.get(MAX_CASES) {
                let message = format!("{} cases; at most {MAX_CASES} are allowed", items.len());
                report.add(first_over.position, message);
            }
            let items = items.iter().take(MAX_CASES).enumerate();
            cases.extend(items.filter_map(|(index, node)| case(node, index, &mut report)));
        }
        Some((_, at)) => no_cases(at, &mut report),
        None if report.is_empty() => no_cases(Position::START, &mut report),
        None => {}
    }
    report.finish()?;
    Ok(cases)
}

fn no_cases(at: Position, report: &mut Report) {
    let hint = "a case is written `- { name: x, binary: /usr/bin/x, host: x.example, port: 443, expect: allow }`";
    report.add_with_hint(at, "there must be a list of cases, with one at least", hint);
}

fn case(node: &Node, index: usize, report: &mut Report) -> Option<Case> {
    let errors = report.errors();
    let fields = Fields::nested(node, "cases[]", format!("cases[{index}]"), report)?;
    let name = fields.needed_text("name", "say in a few words what is tried", report);
    let expect = fields.choice("expect", &OUTCOMES, report);
    if fields.get("expect").is_none() {
        let hint = "the values are `allow`, `deny`, `audit`";
        fields::missing("expect", fields.position, hint, report);
    }
    let own = |text: crate::position::Located<&str>| text.value.to_owned();
    let reason = fields.text("reason", report).map(own);
    let entry = fields.text("entry", report).map(own);
    let question = question(&fields, report);
    if report.errors() > errors {
        return None;
    }
    Some(Case {
        name: name?.value.to_owned(),
        position: fields.position,
        question,
        expect: expect?.value,
        reason,
        entry,
    })
}

/// Usable only if nothing was reported.
fn question(fields: &Fields<'_>, report: &mut Report) -> Question {
    let binary = fields.needed_text("binary", "give the executable's absolute path", report);
    let host = fields.needed_text("host", "give a name or an address", report);
    let port = fields.number("port", 1..=65_535, report);
    if fields.get("port").is_none() {
        fields::missing("port", fields.position, "give a port such as 443", report);
    }
    let script = fields.text("script", report);
    let ancestors = fields.texts("ancestors", MAX_ANCESTORS, report);
    for program in binary.iter().chain(&script).chain(&ancestors) {
        if let Some(why) = Question::bad_program(program.value) {
            let message = format!("{} can't be a program: {why}", quoted(program.value));
            report.add(program.position, message);
        }
    }
    Question {
        binary: binary.map(|text| text.value.to_owned()).unwrap_or_default(),
        sha256: sha256(fields, report),
        script: script.map(|text| text.value.to_owned()),
        ancestors: ancestors.iter().map(|text| text.value.to_owned()).collect(),
        host: host.map(|text| text.value.to_owned()).unwrap_or_default(),
        port: port
            .and_then(|port| u16::try_from(port.value).ok())
            .unwrap_or_default(),
        request: request(fields, report),
    }
}

fn sha256(fields: &Fields<'_>, report: &mut Report) -> Option<[u8; 32]> {
    let node = fields.get("sha256")?;
    let text = node.as_string().or_else(|| network::digits(node));
    let digest = text.and_then(network::digest);
    if digest.is_none() {
        let (path, found) = (fields.path_of("sha256"), node.found());
        let message = format!("`{path}` must be 64 hexadecimal digits, found {found}");
        report.add_with_hint(node.position, message, "`sha256sum FILE` prints them");
    }
    digest
}

fn request(fields: &Fields<'_>, report: &mut Report) -> Option<Asked> {
    let given = fields.given(&["method", "path", "query"]);
    let &(first, position) = given.first()?;
    for missing in ["method", "path"] {
        if fields.lacks(missing) {
            let message = format!("`{}` needs `{missing}` too", fields.path_of(first));
            report.add_with_hint(position, message, "a request has a `method` and a `path`");
        }
    }
    let method = fields.text("method", report);
    let path = fields.text("path", report);
    if let Some(path) = &path
        && let Some(why) = Question::bad_path(path.value)
    {
        let message = format!(
            "{} can't be the path of a request: {why}",
            quoted(path.value)
        );
        report.add(path.position, message);
    }
    let query = query(fields, report);
    Some(Asked {
        method: method?.value.to_owned(),
        path: path?.value.to_owned(),
        query,
    })
}

/// `KEY: VALUE`, or `KEY: [VALUE, …]` for one that is given several times.
fn query(fields: &Fields<'_>, report: &mut Report) -> Vec<(String, String)> {
    let mut query = Vec::new();
    for (key, node) in fields.map("query", MAX_QUERY, report) {
        let values = match &node.value {
            Value::List(items) => &items[..],
            _ => std::slice::from_ref(node),
        };
        let name = format!(
            "`{}.{}`",
            fields.path_of("query"),
            quoted(&key.value).trim_matches('`')
        );
        for value in values.iter().take(MAX_QUERY) {
            if let Some(value) = values::text(value, &name, report) {
                query.push((key.value.to_string(), value.value.to_owned()));
            }
        }
        if let Some(first_over) = values.get(MAX_QUERY) {
            let message = format!(
                "{name} has {} values; at most {MAX_QUERY} are allowed",
                values.len()
            );
            report.add(first_over.position, message);
        }
    }
    query
}

#[cfg(test)]
mod tests;
