//! The document, against what is served.

use crate::stand::Stand;
use serde_json::Value;

async fn document(stand: &Stand) -> Value {
    let answer = stand.send("GET", "/wasm/openapi.json", &[("x-api-key", "-")], "");
    answer.await.json()
}

/// Each route: what it is asked by, with names in it.
fn routes(document: &Value) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for verb in verbs.as_object().unwrap().keys() {
            routes.push((verb.to_uppercase(), path.clone()));
        }
    }
    routes.sort();
    routes
}

fn filled(path: &str) -> String {
    let path = path.replace("{name}", "c").replace("{method}", "echo");
    path.replace("{path}", "a/b.css")
}

#[tokio::test]
async fn the_document_lists_each_route() {
    let stand = Stand::new();
    let routes = routes(&document(&stand).await);
    let listed: Vec<String> = routes
        .iter()
        .map(|(verb, path)| format!("{verb} {path}"))
        .collect();
    assert_eq!(
        listed,
        [
            "DELETE /wasm/{name}",
            "GET /wasm",
            "GET /wasm/openapi.json",
            "GET /wasm/{name}",
            "GET /wasm/{name}/candid",
            "GET /wasm/{name}/export",
            "GET /wasm/{name}/logs",
            "GET /wasm/{name}/www/{path}",
            "POST /wasm/-/inspect",
            "POST /wasm/-/tick",
            "POST /wasm/{name}",
            "POST /wasm/{name}/call/{method}",
            "POST /wasm/{name}/import",
            "POST /wasm/{name}/query/{method}",
            "POST /wasm/{name}/replay",
            "POST /wasm/{name}/start",
            "POST /wasm/{name}/stop",
            "PUT /wasm/{name}",
        ]
    );
}

#[tokio::test]
async fn each_route_of_the_document_is_served_and_asks_for_a_key() {
    let stand = Stand::new();
    for (verb, path) in routes(&document(&stand).await) {
        let uri = filled(&path);
        let answer = stand.send(&verb, &uri, &[("x-api-key", "-")], "").await;
        match path.contains("www") || path.contains("openapi") {
            // What is public is there: the site's canister has no such method.
            true => assert!(
                [200, 404].contains(&answer.status.as_u16()),
                "{verb} {path}"
            ),
            false => assert_eq!(answer.fault(401), "no_key", "{verb} {path}"),
        }
        let read = stand.send(&verb, &uri, &[("x-api-key", "read")], "").await;
        // All that a canister knows is more than may be looked at.
        match verb == "GET" && !path.ends_with("/export") {
            true => assert_ne!(read.status.as_u16(), 403, "{verb} {path}"),
            false => assert_eq!(read.fault(403), "forbidden", "{verb} {path}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_in_the_document_is_not_served() {
    let stand = Stand::new();
    for (verb, uri, status, kind) in [
        ("PATCH", "/wasm/c", 405, "no_verb"),
        ("GET", "/wasm/c/call/echo", 405, "no_verb"),
    ] {
        let answer = stand.send(verb, uri, &[], "").await;
        assert_eq!(answer.fault(status), kind, "{verb} {uri}");
    }
    for uri in ["/sandboxes", "/wasm/c/none", "/wasm/c/call/a/b", "/wasm/"] {
        let other = stand.send("GET", uri, &[], "").await;
        assert_eq!(other.body, b"the platform", "{uri}");
    }
}
