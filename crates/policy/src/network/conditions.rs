//! Which conditions a rule may have, and which it must.

use super::model::Protocol;
use super::rule::Context;
use crate::fields::{self, Fields};
use crate::lint::Lint;
use crate::quote::quoted_list;
use crate::report::Report;

const HTTP: [&str; 3] = ["method", "path", "query"];
const GRAPHQL: [&str; 3] = ["operation_type", "operation_name", "fields"];
const RPC: [&str; 3] = ["method", "params", "tool"];
const ALL: [&str; 9] = [
    "method",
    "path",
    "query",
    "command",
    "operation_type",
    "operation_name",
    "fields",
    "params",
    "tool",
];

/// Which conditions a rule of this protocol has; the others are told.
pub(super) fn applicable(
    fields: &Fields<'_>,
    protocol: Protocol,
    report: &mut Report,
) -> &'static [&'static str] {
    let graphql = fields.given(&GRAPHQL);
    let applicable: &[&str] = match protocol {
        Protocol::Graphql => &GRAPHQL,
        Protocol::Websocket if !graphql.is_empty() => {
            if let [(field, position), ..] = *fields.given(&HTTP) {
                report.add_with_hint(
                    position,
                    format!(
                        "`{}` is mixed with conditions of GraphQL",
                        fields.path_of(field)
                    ),
                    "write one rule for the upgrade and another for the operations",
                );
            }
            &GRAPHQL
        }
        Protocol::Rest | Protocol::Websocket => &HTTP,
        Protocol::Sql => &["command"],
        Protocol::JsonRpc => &["method", "params"],
        Protocol::Mcp => &RPC,
        Protocol::Unspecified | Protocol::Any | Protocol::Tcp => &[],
    };
    for (field, position) in fields.given(&ALL) {
        let mixed = protocol == Protocol::Websocket && HTTP.contains(&field);
        if applicable.contains(&field) || mixed {
            continue;
        }
        let message = format!(
            "`{}` has no effect with `{protocol}`",
            fields.path_of(field)
        );
        match field {
            "tool" | "params" => report.add_with_hint(
                position,
                message,
                "tools are named where the endpoint has `protocol: mcp`",
            ),
            "path" | "query" if matches!(protocol, Protocol::JsonRpc | Protocol::Mcp) => report
                .add_with_hint(
                    position,
                    message,
                    "`path` of the endpoint says which URL this is about",
                ),
            _ => report.warn(
                Lint::IgnoredField,
                position,
                message,
                format!("the conditions are {}", quoted_list(applicable)),
            ),
        }
    }
    applicable
}

/// Conditions without which it isn't said what is allowed.
pub(super) fn check_needed(fields: &Fields<'_>, context: Context, report: &mut Report) {
    let needed = match context.protocol {
        Protocol::JsonRpc | Protocol::Mcp => "method",
        _ if context.denies => return,
        Protocol::Rest => "method",
        Protocol::Websocket if fields.given(&GRAPHQL).is_empty() => "method",
        Protocol::Websocket | Protocol::Graphql => "operation_type",
        Protocol::Sql => "command",
        Protocol::Unspecified | Protocol::Any | Protocol::Tcp => return,
    };
    if fields.lacks(needed) {
        let hint = match needed {
            "operation_type" => "it's `query`, `mutation` or `subscription`; write a rule for each",
            "method" => "write `method: \"*\"` if every method is meant",
            _ => "write `command: \"*\"` if every command is meant",
        };
        fields::missing(needed, fields.position, hint, report);
    }
}
