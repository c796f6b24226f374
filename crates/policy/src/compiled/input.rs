//! A question as data, in the form that the original gives to its Rego program.
//!
//! ```text
//! exec     path, ancestors[], cmdline_paths[]; ours: sha256, script, and programs[] with path,
//!          sha256 and script of the executable and its ancestors
//! network  host, port; ours: is_address
//! request  method, path, query_params{k: [v]}, graphql, jsonrpc; null for a connection
//! ```

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::name;
use super::request::{Graphql, Request, Rpc};
use super::subject::{Subject, Target};
use crate::network::OperationType;

/// The question as data. Bytes of paths that aren't UTF-8 become U+FFFD.
pub fn input(subject: &Subject<'_>, target: &Target<'_>, request: Option<&Request<'_>>) -> Value {
    let programs = subject.programs().map(|own| {
        json!({
            "path": text(own.executable),
            "sha256": own.sha256.map(hex),
            "script": own.script.map(text),
        })
    });
    let ancestors = subject.ancestors.iter().map(|own| text(own.executable));
    json!({
        "exec": {
            "path": text(subject.executable),
            "sha256": subject.sha256.map(hex),
            "script": subject.script.map(text),
            "ancestors": ancestors.collect::<Vec<_>>(),
            "cmdline_paths": subject.script.map(text).into_iter().collect::<Vec<_>>(),
            "programs": programs.collect::<Vec<_>>(),
        },
        "network": {
            "host": target.host,
            "port": target.port,
            "is_address": name::address(target.host).is_some(),
        },
        "request": request.map(of_request),
    })
}

fn of_request(request: &Request<'_>) -> Value {
    let mut query: Map<String, Value> = Map::new();
    for (key, value) in request.query {
        let values = query.entry(key.as_ref()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(json!(value));
        }
    }
    json!({
        "method": request.method,
        "path": request.path,
        "query_params": query,
        "graphql": request.graphql.as_ref().map(of_graphql),
        "jsonrpc": request.rpc.as_ref().map(of_rpc),
    })
}

fn of_graphql(graphql: &Graphql<'_>) -> Value {
    let operations = graphql.operations.iter().map(|operation| {
        let stored = operation.persisted.unwrap_or_default();
        json!({
            "operation_type": operation_type(operation.kind),
            "operation_name": operation.name,
            "fields": operation.fields,
            "persisted_query": operation.persisted.is_some(),
            "persisted_query_hash": stored.hash.unwrap_or_default(),
            "persisted_query_id": stored.id.unwrap_or_default(),
        })
    });
    json!({ "operations": operations.collect::<Vec<_>>(), "error": graphql.error })
}

fn of_rpc(rpc: &Rpc<'_>) -> Value {
    let mut params = rpc.params.map_or(Value::Null, |params| params.data());
    if let (Value::Object(params), Some(tool)) = (&mut params, rpc.tool) {
        params.insert("name".to_owned(), json!(tool));
    }
    json!({
        "method": rpc.method,
        "tool": rpc.tool,
        "params": params,
        "receive_stream": rpc.receive_stream,
        "has_response": rpc.has_response,
        "error": rpc.error,
    })
}

pub(super) fn operation_type(kind: OperationType) -> &'static str {
    match kind {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
        OperationType::Any => "*",
    }
}

pub(crate) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
