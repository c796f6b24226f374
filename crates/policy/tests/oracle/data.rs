//! A policy as the original gives it to its Rego program: presets expanded, every field present.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use casemate_policy::Located;
use casemate_policy::network::{
    Access, Binary, Endpoint, Enforcement, Matcher, Network, PersistedQueries, Protocol, Rule,
};
use serde_json::{Map, Value, json};

use super::kind;

/// The whole policy.
pub(super) fn of(network: &Network) -> Value {
    let entries = network.entries.iter().map(|entry| {
        let value = json!({
            "name": entry.name,
            "binaries": entry.binaries.iter().map(of_binary).collect::<Vec<_>>(),
            "endpoints": entry.endpoints.iter().map(of_endpoint).collect::<Vec<_>>(),
        });
        (entry.key.value.clone(), value)
    });
    json!({ "network_policies": entries.collect::<Map<_, _>>() })
}

/// In lower case.
pub(super) fn hex(digest: &[u8; 32]) -> String {
    let mut text = String::new();
    for byte in digest {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

fn of_binary(binary: &Binary) -> Value {
    json!({
        "path": binary.path.value,
        "sha256": binary.sha256.iter().map(hex).collect::<Vec<_>>(),
        "script": text(binary.script.as_ref()),
    })
}

fn of_endpoint(endpoint: &Endpoint) -> Value {
    let mut rules = preset(endpoint);
    rules.extend(endpoint.rules.iter().map(of_rule));
    let rules = rules.into_iter().map(|rule| json!({ "allow": rule }));
    let stored = endpoint.graphql.registered.iter().map(|(id, query)| {
        let value = json!({
            "operation_type": kind(query.operation_type),
            "operation_name": query.operation_name,
            "fields": query.fields,
        });
        (id.clone(), value)
    });
    json!({
        "host": text(endpoint.host.as_ref()),
        "ports": endpoint.ports,
        "path": text(endpoint.path.as_ref()),
        "protocol": protocol(endpoint.protocol),
        "enforcement": match endpoint.enforcement {
            Enforcement::Audit => "audit",
            Enforcement::Enforce => "enforce",
        },
        "rules": rules.collect::<Vec<_>>(),
        "deny_rules": endpoint.deny_rules.iter().map(of_rule).collect::<Vec<_>>(),
        "allowed_ips": endpoint.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "persisted_queries": match endpoint.graphql.persisted_queries {
            PersistedQueries::Deny => "deny",
            PersistedQueries::AllowRegistered => "allow_registered",
        },
        "graphql_persisted_queries": stored.collect::<Map<_, _>>(),
        "mcp_strict_tool_names": endpoint.mcp.strict_tool_names,
        "mcp_allow_all_known_mcp_methods": endpoint.mcp.allow_all_known_methods,
    })
}

fn preset(endpoint: &Endpoint) -> Vec<Value> {
    let names: &[&str] = match (endpoint.protocol, endpoint.access) {
        (_, None) => &[],
        (Protocol::Graphql, Some(Access::ReadOnly)) => &["query"],
        (Protocol::Graphql, Some(Access::ReadWrite)) => &["query", "mutation"],
        (Protocol::Rest, Some(Access::ReadOnly)) => &["GET", "HEAD", "OPTIONS"],
        (Protocol::Rest, Some(Access::ReadWrite)) => {
            &["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"]
        }
        (Protocol::Websocket, Some(Access::ReadOnly)) => &["GET"],
        (Protocol::Websocket, Some(Access::ReadWrite)) => &["GET", "WEBSOCKET_TEXT"],
        (Protocol::Graphql | Protocol::Rest | Protocol::Websocket, Some(Access::Full)) => &["*"],
        // On other protocols a preset has no meaning.
        _ => &[],
    };
    let rule = |name: &&str| match endpoint.protocol {
        Protocol::Graphql => json!({ "operation_type": name }),
        _ => json!({ "method": name, "path": "**" }),
    };
    names.iter().map(rule).collect()
}

/// Fields that the rule doesn't have are left out.
fn of_rule(rule: &Rule) -> Value {
    let own = |text: &Option<Located<String>>| text.as_ref().map(|text| json!(text.value));
    let fields: Vec<_> = rule.fields.iter().map(|field| &field.value).collect();
    let all = [
        ("method", own(&rule.method)),
        ("path", own(&rule.path)),
        ("operation_name", own(&rule.operation_name)),
        (
            "operation_type",
            rule.operation_type.map(|own| json!(kind(own))),
        ),
        ("fields", (!fields.is_empty()).then(|| json!(fields))),
        ("query", of_matchers(&rule.query)),
        ("params", of_matchers(&rule.params)),
    ];
    let given = all
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(given.collect())
}

fn of_matchers(matchers: &BTreeMap<String, Matcher>) -> Option<Value> {
    let patterns = |matcher: &Matcher| -> Vec<String> {
        matcher
            .any
            .iter()
            .map(|pattern| pattern.value.clone())
            .collect()
    };
    let all: BTreeMap<_, _> = matchers
        .iter()
        .map(|(key, own)| (key, patterns(own)))
        .collect();
    (!all.is_empty()).then(|| json!(all))
}

fn text(located: Option<&Located<String>>) -> &str {
    located.map_or("", |text| &text.value)
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unspecified => "",
        Protocol::Any => "any",
        Protocol::Tcp => "tcp",
        Protocol::Rest => "rest",
        Protocol::Websocket => "websocket",
        Protocol::Graphql => "graphql",
        Protocol::Sql => "sql",
        Protocol::JsonRpc => "json-rpc",
        Protocol::Mcp => "mcp",
    }
}
