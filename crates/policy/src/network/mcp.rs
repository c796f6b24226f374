//! What rules of JSON-RPC and MCP have of their own: methods, tools and arguments.

use std::collections::BTreeMap;

use super::glob;
use super::matcher;
use super::model::{Matcher, Protocol, Rule};
use super::overlap;
use super::rule::Context;
use crate::fields::Fields;
use crate::quote::quoted;
use crate::report::Report;

/// The method that calls a tool.
const CALL: &str = "tools/call";

/// `params`, with `tool` as its `name`.
pub(super) fn params(fields: &Fields<'_>, report: &mut Report) -> BTreeMap<String, Matcher> {
    let mut params = matcher::read_all(fields, "params", report);
    for key in params.keys().filter(|key| key.starts_with('/')) {
        let escapes = key.split('~').skip(1);
        if let Some((_, position)) = fields.given(&["params"]).first()
            && escapes
                .into_iter()
                .any(|rest| !rest.starts_with(['0', '1']))
        {
            report.add_with_hint(
                *position,
                format!(
                    "{} in `{}` is no JSON pointer",
                    quoted(key),
                    fields.path_of("params")
                ),
                "in a pointer, `~` is written `~0` and a `/` in a name `~1`",
            );
        }
    }
    let Some((key, node)) = fields.entry("tool") else {
        return params;
    };
    if params.contains_key("name") {
        report.add_with_hint(
            key.position,
            format!(
                "`{}` stands besides `params.name`, which is the same",
                fields.path_of("tool")
            ),
            "keep one of them",
        );
    } else if let Some(tool) = matcher::read(node, fields.path_of("tool"), report) {
        params.insert("name".to_owned(), tool);
    }
    params
}

/// What holds for a rule by itself.
pub(super) fn check(fields: &Fields<'_>, rule: &Rule, context: Context, report: &mut Report) {
    let Some(method) = &rule.method else { return };
    let shown = quoted(&method.value);
    let pattern = glob::is_pattern(&method.value) && method.value != "*";
    match context.protocol {
        Protocol::JsonRpc if pattern => report.add_with_hint(
            method.position,
            format!("the method {shown} is a pattern, which `protocol: json-rpc` doesn't have"),
            "name one method, or write `*` for all",
        ),
        Protocol::Mcp if pattern && !method.value.starts_with("tools/") => report.add_with_hint(
            method.position,
            format!("the method {shown} is a pattern outside `tools/`"),
            "name one method, or write `*` for all",
        ),
        _ => {}
    }
    let (Some(tool), Protocol::Mcp) = (rule.params.get("name"), context.protocol) else {
        return;
    };
    if !overlap::texts(&method.value, CALL) && fields.entry("tool").is_some() {
        report.add_with_hint(
            method.position,
            format!("the method {shown} has no `tool`"),
            format!("tools are called by `method: {CALL}`"),
        );
    }
    let wildcard = tool.any.iter().find(|tool| glob::is_pattern(&tool.value));
    if let Some(wildcard) = wildcard.filter(|_| !context.strict_tool_names) {
        report.add_with_hint(
            wildcard.position,
            format!(
                "the tool {} is a pattern, which needs strict names",
                quoted(&wildcard.value)
            ),
            "remove `strict_tool_names: false`, or name the tools one by one",
        );
    }
}

/// What holds for the allowing rules together: some tools, or all.
pub(super) fn check_tools(rules: &[Rule], report: &mut Report) {
    let calls = |rule: &&Rule| {
        let method = rule.method.as_ref();
        method.is_some_and(|method| overlap::texts(&method.value, CALL))
    };
    let scoped = |rule: &&Rule| rule.params.contains_key("name");
    let all = rules.iter().filter(calls).find(|rule| !scoped(rule));
    let some = rules.iter().filter(calls).find(scoped);
    if let (Some(all), Some(some)) = (all, some) {
        report.add_with_hint(
            all.position,
            "this rule allows all tools",
            format!(
                "the one at {} allows some of them; remove the one that isn't meant",
                report.place(some.position, all.position)
            ),
        );
    }
}
