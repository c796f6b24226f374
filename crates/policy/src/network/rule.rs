//! One of `rules` or `deny_rules`: which requests.
//!
//! A rule is about its endpoint's protocol. Fields that the protocol doesn't have are left out of
//! the model with a warning, or refused where they'd promise something that isn't kept.

use super::conditions;
use super::glob;
use super::matcher;
use super::mcp;
use super::model::{OperationType, Protocol, Rule};
use crate::fields::{self, Fields};
use crate::lint::Lint;
use crate::node::Node;
use crate::position::Located;
use crate::quote::{quoted, quoted_list};
use crate::report::Report;
use crate::values::Word;

/// The most root fields of one rule.
const MAX_FIELDS: usize = 256;

/// RFC 9110 and PATCH (RFC 5789), which `*` stands for besides whatever else a client may send.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
];

/// What OpenShell calls a text message of a WebSocket.
const WEBSOCKET_TEXT: &str = "WEBSOCKET_TEXT";

const OPERATIONS: [Word<OperationType>; 3] = [
    ("query", OperationType::Query),
    ("mutation", OperationType::Mutation),
    ("subscription", OperationType::Subscription),
];

const DENIED_OPERATIONS: [Word<OperationType>; 4] = [
    OPERATIONS[0],
    OPERATIONS[1],
    OPERATIONS[2],
    ("*", OperationType::Any),
];

/// What a rule has to fit.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) protocol: Protocol,
    /// `mcp.strict_tool_names`.
    pub(super) strict_tool_names: bool,
    pub(super) denies: bool,
}

/// `rules[]`: what stands below `allow`.
pub(super) fn read_allow(
    node: &Node,
    path: String,
    context: Context,
    report: &mut Report,
) -> Option<Rule> {
    let errors = report.errors();
    let fields = Fields::nested(node, "rules[]", path, report)?;
    if fields.entry("allow").is_none() {
        // An unknown field was meant to be it, or to be in it.
        if report.errors() > errors {
            return None;
        }
        let hint = "a rule is written `allow: {method: GET, path: /x}`";
        fields::missing("allow", fields.position, hint, report);
        return None;
    }
    let errors = report.errors();
    let allow = fields.section_as("allow", "rules[].allow", report)?;
    (report.errors() == errors).then(|| read(&allow, context, report))
}

/// `deny_rules[]`.
pub(super) fn read_deny(
    node: &Node,
    path: String,
    context: Context,
    report: &mut Report,
) -> Option<Rule> {
    let errors = report.errors();
    let fields = Fields::nested(node, "deny_rules[]", path, report)?;
    (report.errors() == errors).then(|| read(&fields, context, report))
}

fn read(fields: &Fields<'_>, context: Context, report: &mut Report) -> Rule {
    let applicable = conditions::applicable(fields, context.protocol, report);
    let has = |field: &str| applicable.contains(&field);
    if fields.given(applicable).is_empty() {
        report.add_with_hint(
            fields.position,
            format!(
                "`{}` has no condition for `{}`",
                fields.path(),
                context.protocol
            ),
            format!("the conditions are {}", quoted_list(applicable)),
        );
        return Rule::default();
    }
    // Taken for one that isn't given, an empty condition would let everything match.
    let mut empty = fields.given(applicable).into_iter();
    if let Some((field, position)) = empty.find(|(field, _)| fields.lacks(field)) {
        report.add_with_hint(
            position,
            format!("`{}` is empty", fields.path_of(field)),
            "leave it out if it doesn't matter",
        );
        return Rule::default();
    }
    let operations: &[Word<_>] = match context.denies {
        true => &DENIED_OPERATIONS,
        false => &OPERATIONS,
    };
    let mut rule = Rule {
        position: fields.position,
        ..Rule::default()
    };
    if has("method") {
        rule.method = fields
            .text("method", report)
            .map(|text| text.map(str::to_owned));
    }
    if has("path") {
        rule.path = path(fields, report);
    }
    if has("query") {
        rule.query = matcher::read_all(fields, "query", report);
    }
    if has("command") {
        rule.command = pattern(fields, "command", report);
    }
    if has("operation_type") {
        let operation = fields.choice("operation_type", operations, report);
        rule.operation_type = operation.map(|operation| operation.value);
        rule.operation_name = pattern(fields, "operation_name", report);
        rule.fields = root_fields(fields, report);
    }
    if has("params") {
        rule.params = mcp::params(fields, report);
    }
    match context.protocol {
        Protocol::Rest | Protocol::Websocket => http_method(&mut rule, context.protocol, report),
        Protocol::JsonRpc | Protocol::Mcp => mcp::check(fields, &rule, context, report),
        _ => {}
    }
    conditions::check_needed(fields, context, report);
    rule
}

/// Methods are written in capitals; those of HTTP are known.
fn http_method(rule: &mut Rule, protocol: Protocol, report: &mut Report) {
    let Some(method) = &mut rule.method else {
        return;
    };
    let upper = method.value.to_ascii_uppercase();
    let websocket = protocol == Protocol::Websocket && upper == WEBSOCKET_TEXT;
    if websocket || METHODS.contains(&&*upper) {
        method.value = upper;
    } else if method.value != "*" {
        report.warn(
            Lint::UnknownMethod,
            method.position,
            format!("HTTP has no method {}", quoted(&method.value)),
            format!("the methods are {} and `*`", quoted_list(&METHODS)),
        );
    }
}

fn path(fields: &Fields<'_>, report: &mut Report) -> Option<Located<String>> {
    let path = pattern(fields, "path", report)?;
    if !path.value.starts_with('/') && !path.value.starts_with("**") {
        report.warn(
            Lint::PathNeverMatches,
            path.position,
            format!(
                "no path matches {} in `{}`",
                quoted(&path.value),
                fields.path_of("path")
            ),
            "a path begins with `/`, which `*` doesn't match; `**` matches every path",
        );
    }
    Some(path)
}

fn pattern(fields: &Fields<'_>, field: &str, report: &mut Report) -> Option<Located<String>> {
    let text = fields.text(field, report)?;
    glob::check_brackets(&text, &fields.path_of(field), report);
    Some(text.map(str::to_owned))
}

fn root_fields(fields: &Fields<'_>, report: &mut Report) -> Vec<Located<String>> {
    let errors = report.errors();
    let texts = fields.texts("fields", MAX_FIELDS, report);
    if let Some(node) = fields.get("fields")
        && texts.is_empty()
        && report.errors() == errors
    {
        report.add_with_hint(
            node.position,
            format!("`{}` is empty", fields.path_of("fields")),
            "leave it out if every field is meant",
        );
    }
    texts
        .into_iter()
        .map(|text| text.map(str::to_owned))
        .collect()
}
