//! The document of the routes, made of the table that serves them.

use crate::rest::{ARGUMENT_LENGTH, OUTCOME, table};
use axum::Json;
use serde_json::{Value, json};

/// What is said of a route.
pub(crate) struct Doc {
    /// In small letters.
    pub(crate) verb: &'static str,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) takes: Takes,
    pub(crate) gives: Gives,
}

/// What a request brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Argument,
    Module,
    /// A module, with nothing before it.
    Bare,
    Replacement,
    Archive,
    Anything,
}

/// What a response brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    Nothing,
    Names,
    Status,
    Lines,
    Candid,
    Made,
    Archive,
    Replayed,
    Reply,
    Page,
    Document,
}

pub(crate) async fn document() -> Json<Value> {
    let mut paths = serde_json::Map::new();
    for route in table() {
        let doc = route.doc;
        let place = paths.entry(doc.path).or_insert_with(|| json!({}));
        place[doc.verb] = operation(&doc);
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Casemate: canisters",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Canisters are WebAssembly programs whose memory stays: \
                they are installed, called and asked here, and their web sites served. A site is also found at \
                the host wasm-NAME of the server's domain.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": "X-API-KEY" } },
            "schemas": schemas(),
        },
        "security": [{ "key": [] }],
    }))
}

fn operation(doc: &Doc) -> Value {
    let mut operation = json!({
        "summary": doc.summary,
        "parameters": parameters(doc),
        "responses": {
            (success(doc)): response(doc.gives),
            "default": {
                "description": "Why there is none",
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Fault" } } },
            },
        },
    });
    if let Some(body) = body(doc.takes) {
        operation["requestBody"] = body;
    }
    if matches!(doc.gives, Gives::Page | Gives::Document) {
        operation["security"] = json!([]);
    }
    operation
}

fn success(doc: &Doc) -> &'static str {
    match (doc.takes, doc.gives) {
        (_, Gives::Nothing) => "204",
        (Takes::Module | Takes::Archive, _) => "201",
        (_, Gives::Page) => "2XX",
        _ => "200",
    }
}

fn parameters(doc: &Doc) -> Value {
    let text = json!({ "type": "string" });
    let parts = doc.path.split(['{', '}']).skip(1).step_by(2);
    let mut all: Vec<Value> = parts
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }))
        .collect();
    let mut add = |name: &str, place: &str, schema: Value, words: &str| {
        all.push(json!({ "name": name, "in": place, "schema": schema, "description": words }));
    };
    let milliseconds = json!({ "type": "integer", "minimum": 1 });
    let takes_long = matches!(
        doc.takes,
        Takes::Argument | Takes::Module | Takes::Replacement | Takes::Archive
    );
    if takes_long || matches!(doc.gives, Gives::Archive | Gives::Replayed) {
        let words =
            "How long it may take, milliseconds; the query parameter `deadline` says the same";
        add("Casemate-Deadline", "header", milliseconds, words);
    }
    match doc.takes {
        Takes::Argument => {
            let words = "The caller's own name of this call: one of the same name isn't made twice";
            add("Idempotency-Key", "header", text.clone(), words);
        }
        Takes::Module | Takes::Replacement => {
            let words = "So many bytes at the beginning of the body are the argument, and the rest is the module";
            add(
                ARGUMENT_LENGTH,
                "header",
                json!({ "type": "integer" }),
                words,
            );
        }
        Takes::Nothing | Takes::Bare | Takes::Archive | Takes::Anything => {}
    }
    if doc.gives == Gives::Replayed {
        let words = "The checkpoint to begin at; without it, the oldest that is kept";
        add("from", "query", json!({ "type": "integer" }), words);
    }
    if doc.gives == Gives::Candid && doc.takes == Takes::Nothing {
        let words = "A method that the canister has to have";
        add("method", "query", text, words);
    }
    if doc.takes == Takes::Replacement {
        let modes = json!({ "type": "string", "enum": ["upgrade", "reinstall"] });
        add("mode", "query", modes, "What becomes of stable memory");
    }
    all.into()
}

fn body(takes: Takes) -> Option<Value> {
    let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
    let any = json!({ "schema": {} });
    let content = match takes {
        Takes::Nothing => return None,
        Takes::Argument => json!({ "application/octet-stream": bytes, "application/json": any }),
        Takes::Module | Takes::Bare | Takes::Replacement => json!({ "application/wasm": bytes }),
        Takes::Archive => json!({ "application/octet-stream": bytes }),
        Takes::Anything => json!({ "*/*": bytes }),
    };
    Some(json!({ "content": content }))
}

fn response(gives: Gives) -> Value {
    let named = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let (description, content) = match gives {
        Gives::Nothing => return json!({ "description": "It is done" }),
        Gives::Names => ("Their names", json(named("Names"))),
        Gives::Status => ("How it is", json(named("Status"))),
        Gives::Lines => ("What it printed", json(named("Logs"))),
        Gives::Candid => ("The interface, in Candid", json!({ "text/plain": bytes })),
        Gives::Made => ("What it is now", json(named("Made"))),
        Gives::Archive => ("The archive", json!({ "application/octet-stream": bytes })),
        Gives::Replayed => ("What was proven", json(named("Replayed"))),
        Gives::Reply => {
            let content = json!({
                "application/octet-stream": bytes,
                "application/json": { "schema": {} },
                OUTCOME: { "schema": named("Outcome") },
            });
            (
                "The reply, as the request wants it (`Accept`), or else as it sent its argument",
                content,
            )
        }
        Gives::Page => ("What the canister answered", json!({ "*/*": bytes })),
        Gives::Document => ("This document", json(json!({ "type": "object" }))),
    };
    let mut response = json!({ "description": description, "content": content });
    if gives == Gives::Reply {
        let header =
            |kind: &str, words: &str| json!({ "schema": { "type": kind }, "description": words });
        response["headers"] = json!({
            "Casemate-Instructions": header("integer", "What it took"),
            "Casemate-Unwritten": header("boolean", "What the call did is lost if everything ends before the next checkpoint"),
        });
    }
    response
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "integer" });
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let lines = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Line" } });
    let texts = json!({ "type": "array", "items": text });
    let object = |fields: Value| json!({ "type": "object", "properties": fields });
    json!({
        "Fault": object(json!({
            "code": number, "kind": text, "message": text,
            "reject_code": maybe("integer"), "hint": maybe("string"),
            "instructions": number, "logs": lines,
        })),
        "Line": object(json!({ "time": number, "text": text })),
        "Logs": object(json!({ "logs": lines })),
        "Made": object(json!({ "canister": maybe("string"), "instructions": number, "logs": lines })),
        "Names": object(json!({ "canisters": texts })),
        "Replayed": object(json!({
            "from": number, "states": number, "calls": number, "instructions": number,
            "state": text, "runtime": text,
        })),
        "Outcome": object(json!({
            "reply": { "type": ["string", "null"], "contentEncoding": "base64" },
            "fault": { "type": ["object", "null"] },
            "instructions": number, "logs": lines, "canister": maybe("string"),
            "unwritten": { "type": "boolean" },
        })),
        "Status": object(json!({
            "name": text, "canister": text, "state": text, "module": text, "version": number,
            "controllers": texts, "cycles": text, "heap": number, "stable": number,
            "dirty_pages": number, "instructions": number, "timer": maybe("integer"),
            "is_overdue": { "type": "boolean" },
            "methods": { "type": "array", "items": { "type": "object", "properties": { "name": text, "kind": text } } },
            "calls_in": number, "calls_out": number, "journal": number,
            "worker": { "type": ["object", "null"], "properties": { "pid": number, "resident": maybe("integer") } },
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, Replayed, Status};

    #[tokio::test]
    async fn each_name_that_is_used_is_explained() {
        let Json(document) = document().await;
        let text = document.to_string();
        let parts = text.split("#/components/schemas/").skip(1);
        for name in parts.filter_map(|rest| rest.split('"').next()) {
            let schema = &document["components"]["schemas"][name];
            assert!(schema.is_object(), "{name}");
        }
    }

    #[tokio::test]
    async fn all_that_is_told_is_explained() {
        let Json(document) = document().await;
        for (name, told) in [
            ("Status", serde_json::to_value(Status::default()).unwrap()),
            (
                "Replayed",
                serde_json::to_value(Replayed::default()).unwrap(),
            ),
            ("Outcome", serde_json::to_value(Outcome::default()).unwrap()),
        ] {
            let explained = &document["components"]["schemas"][name]["properties"];
            let names = |value: &Value| -> Vec<String> {
                value.as_object().unwrap().keys().cloned().collect()
            };
            let (mut told, mut explained) = (names(&told), names(explained));
            told.sort();
            explained.sort();
            assert_eq!(told, explained, "{name}");
        }
    }
}
