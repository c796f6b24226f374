//! What GraphQL, JSON-RPC and MCP have to be told: stored queries, sizes of bodies, names of tools.

use super::model::{
    BodyLimits, GraphqlOptions, McpOptions, OperationType, PersistedQueries, Protocol,
    RegisteredQuery,
};
use crate::fields::{self, Fields};
use crate::lint::Lint;
use crate::node::Entry;
use crate::quote::shortened;
use crate::report::Report;
use crate::values::Word;

/// The most stored queries of one endpoint.
const MAX_REGISTERED: usize = 4096;

/// The most root fields of a stored query.
const MAX_FIELDS: usize = 256;

/// Bytes of a body: up to 64 MiB, since each request that is looked at takes that much memory.
const BODY_BYTES: std::ops::RangeInclusive<u64> = 1..=64 << 20;

const PERSISTED: [Word<PersistedQueries>; 2] = [
    ("deny", PersistedQueries::Deny),
    ("allow_registered", PersistedQueries::AllowRegistered),
];

const OPERATIONS: [Word<OperationType>; 3] = [
    ("query", OperationType::Query),
    ("mutation", OperationType::Mutation),
    ("subscription", OperationType::Subscription),
];

pub(super) struct Options {
    pub(super) graphql: GraphqlOptions,
    pub(super) mcp: McpOptions,
    pub(super) body: BodyLimits,
}

pub(super) fn read(fields: &Fields<'_>, protocol: Protocol, report: &mut Report) -> Options {
    let mut body = BodyLimits::default();
    let graphql = graphql(fields, protocol, &mut body, report);
    let mcp = mcp(fields, protocol, &mut body, report);
    let json_rpc = fields.section("json_rpc", report);
    if json_rpc.is_some() && !matches!(protocol, Protocol::JsonRpc | Protocol::Mcp) {
        ignored(fields, &["json_rpc"], protocol, report);
    }
    if let Some(json_rpc) = json_rpc {
        bytes(&json_rpc, "max_body_bytes", &mut body.json_rpc, report);
    }
    Options { graphql, mcp, body }
}

fn bytes(fields: &Fields<'_>, field: &str, limit: &mut u32, report: &mut Report) {
    if let Some(bytes) = fields.number(field, BODY_BYTES, report) {
        *limit = u32::try_from(bytes.value).unwrap_or(*limit);
    }
}

fn ignored(fields: &Fields<'_>, names: &[&str], protocol: Protocol, report: &mut Report) {
    for (field, position) in fields.given(names) {
        report.warn(
            Lint::IgnoredField,
            position,
            format!(
                "`{}` has no effect with `{protocol}`",
                fields.path_of(field)
            ),
            "remove it, or name the protocol that it's for",
        );
    }
}

fn mcp(
    fields: &Fields<'_>,
    protocol: Protocol,
    body: &mut BodyLimits,
    report: &mut Report,
) -> McpOptions {
    let default = McpOptions::default();
    let Some(mcp) = fields.section("mcp", report) else {
        return default;
    };
    if protocol != Protocol::Mcp {
        report.add_with_hint(
            mcp.position,
            format!("`{}` doesn't go with `{protocol}`", fields.path_of("mcp")),
            "it's for `protocol: mcp`",
        );
    }
    bytes(&mcp, "max_body_bytes", &mut body.mcp, report);
    McpOptions {
        strict_tool_names: mcp.flag("strict_tool_names", default.strict_tool_names, report),
        allow_all_known_methods: mcp.flag("allow_all_known_mcp_methods", false, report),
    }
}

fn graphql(
    fields: &Fields<'_>,
    protocol: Protocol,
    body: &mut BodyLimits,
    report: &mut Report,
) -> GraphqlOptions {
    if !matches!(protocol, Protocol::Graphql | Protocol::Websocket) {
        let names = [
            "persisted_queries",
            "graphql_persisted_queries",
            "graphql_max_body_bytes",
        ];
        ignored(fields, &names, protocol, report);
    }
    bytes(fields, "graphql_max_body_bytes", &mut body.graphql, report);
    let stated = fields.choice("persisted_queries", &PERSISTED, report);
    let persisted_queries = stated.map_or(PersistedQueries::Deny, |stated| stated.value);
    let path = fields.path_of("graphql_persisted_queries");
    let registered: std::collections::BTreeMap<_, _> = fields
        .map("graphql_persisted_queries", MAX_REGISTERED, report)
        .iter()
        .filter_map(|entry| registered(entry, &path, report))
        .collect();
    if !registered.is_empty() && persisted_queries == PersistedQueries::Deny {
        for (_, position) in fields.given(&["graphql_persisted_queries"]) {
            report.warn(
                Lint::IgnoredField,
                position,
                format!("`{path}` has no effect, because stored queries are denied"),
                "add `persisted_queries: allow_registered`",
            );
        }
    }
    GraphqlOptions {
        persisted_queries,
        registered,
    }
}

fn registered(
    (id, node): &Entry,
    path: &str,
    report: &mut Report,
) -> Option<(String, RegisteredQuery)> {
    let path = format!("{path}.{}", shortened(&id.value));
    let fields = Fields::nested(node, "graphql_persisted_queries.ID", path, report)?;
    if fields.entry("operation_type").is_none() {
        let hint = "it's `query`, `mutation` or `subscription`";
        fields::missing("operation_type", fields.position, hint, report);
    }
    let operation = fields.choice("operation_type", &OPERATIONS, report);
    let name = fields.text("operation_name", report);
    let names = fields.texts("fields", MAX_FIELDS, report);
    let query = RegisteredQuery {
        operation_type: operation?.value,
        operation_name: name.map_or_else(String::new, |name| name.value.to_owned()),
        fields: names
            .into_iter()
            .map(|name| name.value.to_owned())
            .collect(),
    };
    Some((id.value.to_string(), query))
}
