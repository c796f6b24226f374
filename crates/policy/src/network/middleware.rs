//! `network_middlewares`: what happens to requests on their way.

use std::collections::HashMap;
use std::rc::Rc;

use super::entry;
use super::host;
use super::model::{Entry, Tls};
use super::overlap;
use crate::fields::{self, Fields};
use crate::lint::Lint;
use crate::node::Node;
use crate::position::{Located, Position};
use crate::quote::{quoted, shortened};
use crate::report::Report;
use crate::values::Word;

/// The most middlewares in one policy.
const MAX_MIDDLEWARES: usize = 10;

/// The most patterns in `include` or `exclude`.
const MAX_PATTERNS: usize = 32;

/// The name of the one that is built in.
const REGEX: &str = "openshell/regex";

/// An entry of `network_middlewares`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Middleware {
    /// Its key in the file.
    pub key: Located<String>,
    /// What logs call it: `name`, or the key.
    pub name: String,
    /// What it does.
    pub kind: MiddlewareKind,
    /// Smaller numbers come first; no two are the same.
    pub order: i32,
    /// What becomes of a request that it fails on.
    pub on_error: OnError,
    /// The hosts whose requests it sees; at least one name or pattern, in lower case.
    pub include: Vec<Located<String>>,
    /// Those of them whose requests it doesn't see.
    pub exclude: Vec<Located<String>>,
}

/// `middleware`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MiddlewareKind {
    /// `openshell/regex` with `mode: redact`: secrets are taken out of requests.
    Redact,
    /// Another one, which can only fail here.
    Unknown(String),
}

/// `on_error`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The request is refused; so it is if the file doesn't say.
    #[default]
    FailClosed,
    /// The request goes on as it was.
    FailOpen,
}

const ON_ERROR: [Word<OnError>; 2] = [
    ("fail_closed", OnError::FailClosed),
    ("fail_open", OnError::FailOpen),
];

const MODES: [Word<()>; 1] = [("redact", ())];

/// The middlewares in their order.
pub(super) fn read(
    document: &Fields<'_>,
    entries: &[Entry],
    report: &mut Report,
) -> Vec<Middleware> {
    let mut middlewares: Vec<_> = document
        .map("network_middlewares", MAX_MIDDLEWARES, report)
        .iter()
        .filter_map(|(key, node)| one(key, node, report))
        .collect();
    check_order(&middlewares, report);
    check_skipped(&middlewares, entries, report);
    middlewares.sort_by_key(|middleware| middleware.order);
    middlewares
}

fn one(key: &Located<Rc<str>>, node: &Node, report: &mut Report) -> Option<Middleware> {
    entry::check_key(key, report);
    let path = format!("network_middlewares.{}", shortened(&key.value));
    let fields = Fields::nested(node, "network_middlewares.KEY", path, report)?;
    let name = fields.text("name", report);
    let kind = kind(&fields, report);
    let on_error = fields.choice("on_error", &ON_ERROR, report);
    let (include, exclude) = selectors(&fields, report);
    Some(Middleware {
        key: key.clone().map(|key| key.to_string()),
        name: name.map_or_else(|| key.value.to_string(), |name| name.value.to_owned()),
        kind: kind?,
        order: order(&fields, report),
        on_error: on_error.map(|stated| stated.value).unwrap_or_default(),
        include,
        exclude,
    })
}

fn kind(fields: &Fields<'_>, report: &mut Report) -> Option<MiddlewareKind> {
    let hint = "say which one, for example `openshell/regex`";
    let middleware = fields.needed_text("middleware", hint, report)?;
    if middleware.value != REGEX {
        if let Some(config) = fields.get("config") {
            fields::mapping(&fields.path_of("config"), config, report);
        }
        report.warn(
            Lint::UnknownMiddleware,
            middleware.position,
            format!("there is no middleware {} here", quoted(middleware.value)),
            "only `openshell/regex` is built in; for each request, `on_error` decides",
        );
        return Some(MiddlewareKind::Unknown(middleware.value.to_owned()));
    }
    let config = match fields.get("config") {
        Some(_) => fields.section_as("config", "config of openshell/regex", report)?,
        None => {
            fields::missing(
                "config",
                fields.position,
                "write `config: {mode: redact}`",
                report,
            );
            return None;
        }
    };
    if config.entry("mode").is_none() {
        fields::missing("mode", config.position, "write `mode: redact`", report);
    }
    config.choice("mode", &MODES, report)?;
    Some(MiddlewareKind::Redact)
}

/// A number that may be negative; 0 if it isn't given.
fn order(fields: &Fields<'_>, report: &mut Report) -> i32 {
    let Some(node) = fields.get("order") else {
        return 0;
    };
    node.as_integer()
        .and_then(|order| i32::try_from(order).ok())
        .unwrap_or_else(|| {
            let message = format!(
                "`{}` must be a whole number of 32 bits, found {}",
                fields.path_of("order"),
                node.found()
            );
            report.add(node.position, message);
            0
        })
}

/// `endpoints`: the hosts that it's for.
fn selectors(
    fields: &Fields<'_>,
    report: &mut Report,
) -> (Vec<Located<String>>, Vec<Located<String>>) {
    let none = (Vec::new(), Vec::new());
    let hint = "say which hosts: `endpoints: {include: [\"*.example.com\"]}`";
    if fields.entry("endpoints").is_none() {
        fields::missing("endpoints", fields.position, hint, report);
        return none;
    }
    let place = "network_middlewares.KEY.endpoints";
    let Some(endpoints) = fields.section_as("endpoints", place, report) else {
        return none;
    };
    let errors = report.errors();
    let include = patterns(&endpoints, "include", report);
    if include.is_empty() && report.errors() == errors {
        let message = format!("`{}` has no host", endpoints.path_of("include"));
        report.add_with_hint(endpoints.position, message, hint);
    }
    (include, patterns(&endpoints, "exclude", report))
}

fn patterns(fields: &Fields<'_>, field: &str, report: &mut Report) -> Vec<Located<String>> {
    let path = fields.path_of(field);
    let texts = fields.texts(field, MAX_PATTERNS, report).into_iter();
    texts
        .filter(|text| !text.value.is_empty())
        .filter_map(|text| match host::selector_or_address(text.value) {
            Ok(pattern) => Some(Located::new(pattern, text.position)),
            Err(objection) => {
                objection.tell(&text, &path, report);
                None
            }
        })
        .collect()
}

fn check_order(middlewares: &[Middleware], report: &mut Report) {
    let mut seen: HashMap<i32, Position> = HashMap::new();
    for middleware in middlewares {
        let position = middleware.key.position;
        if let Some(earlier) = seen.insert(middleware.order, position) {
            report.add_with_hint(
                position,
                format!(
                    "{} has the same `order` as the middleware at {}: {}",
                    quoted(&middleware.key.value),
                    report.place(earlier, position),
                    middleware.order
                ),
                "number them in the order in which they act; the default is 0",
            );
        }
    }
}

/// A middleware can't see what passes through TLS that isn't terminated.
fn check_skipped(middlewares: &[Middleware], entries: &[Entry], report: &mut Report) {
    for entry in entries {
        let skipped = entry
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.tls == Tls::Skip);
        let hosts = skipped.filter_map(|endpoint| endpoint.host.as_ref());
        for host in hosts {
            for middleware in middlewares.iter().filter(|one| one.selects(&host.value)) {
                let position = middleware.key.position;
                report.add_with_hint(
                    position,
                    format!(
                        "{} is for {} of {}, which has `tls: skip` at {}",
                        quoted(&middleware.key.value),
                        quoted(&host.value),
                        quoted(&entry.key.value),
                        report.place(host.position, position)
                    ),
                    "exclude that host, or let TLS be terminated there",
                );
            }
        }
    }
}

impl Middleware {
    /// Whether some host that the pattern stands for is included, and not excluded with all others.
    /// Of a host that is written out: whether it sees its requests.
    pub fn selects(&self, host: &str) -> bool {
        let excluded = |pattern: &Located<String>| {
            pattern.value == host || !host.contains('*') && overlap::hosts(&pattern.value, host)
        };
        self.include
            .iter()
            .any(|pattern| overlap::hosts(&pattern.value, host))
            && !self.exclude.iter().any(excluded)
    }
}
