//! Templates, and what E2B has and this wall has not.

use crate::sim::Rig;
use serde_json::{Value, json};

#[tokio::test]
async fn there_is_one_template() {
    let rig = Rig::new().await;
    for path in ["/templates", "/v2/templates", "/default-templates"] {
        let list = rig.get(path).await.ok(200);
        assert_eq!(list.as_array().unwrap().len(), 1);
        assert_eq!(
            (&list[0]["templateID"], &list[0]["buildStatus"]),
            (&json!("base"), &json!("ready"))
        );
    }
    assert_eq!(
        rig.get("/templates/base").await.ok(200)["builds"],
        json!([])
    );
    assert_eq!(
        rig.get("/templates/aliases/base").await.ok(200),
        json!({"templateID": "base", "public": true})
    );
    assert_eq!(rig.get("/templates/base/tags").await.ok(200), json!([]));
    for (method, path) in [
        ("GET", "/templates/x"),
        ("GET", "/templates/aliases/x"),
        ("GET", "/templates/x/tags"),
        ("DELETE", "/templates/x"),
        ("PATCH", "/templates/x"),
        ("PATCH", "/v2/templates/x"),
        ("POST", "/templates/x"),
        ("GET", "/templates/x/files/h"),
        ("GET", "/templates/base/files/h"),
        ("POST", "/v2/templates/x/builds/b"),
        ("GET", "/templates/base/builds/b/status"),
        ("GET", "/templates/x/builds/b/logs"),
        ("GET", "/volumes/x"),
        ("DELETE", "/volumes/x"),
        ("GET", "/secrets/x"),
        ("GET", "/nodes/x"),
        ("DELETE", "/access-tokens/x"),
    ] {
        rig.send(method, path, json!({})).await.problem(404);
    }
}

#[tokio::test]
async fn what_is_not_supported_says_so() {
    let rig = Rig::new().await;
    for (method, path) in [
        ("POST", "/v3/templates"),
        ("POST", "/v2/templates"),
        ("POST", "/templates"),
        ("POST", "/v2/templates/base/builds/b"),
        ("DELETE", "/templates/base"),
        ("PATCH", "/v2/templates/base"),
        ("POST", "/templates/tags"),
        ("DELETE", "/templates/tags"),
        ("POST", "/volumes"),
        ("POST", "/secrets"),
        ("POST", "/nodes/local"),
    ] {
        let text = rig.send(method, path, json!({})).await.problem(400);
        assert!(text.ends_with("not supported here"), "{path}: {text}");
    }
    for path in ["/snapshots", "/volumes", "/secrets"] {
        assert_eq!(rig.get(path).await.ok(200), json!([]));
    }
}

#[tokio::test]
async fn an_operator_sees_the_node() {
    let rig = Rig::new().await;
    rig.sandbox(json!({})).await;
    let nodes = rig.get("/nodes").await.ok(200);
    assert_eq!(nodes.as_array().unwrap().len(), 1);
    assert_eq!(rig.get("/nodes/local").await.ok(200)["id"], "local");
    let node = &nodes[0];
    assert_eq!(
        (
            &node["sandboxCount"],
            &node["createSuccesses"],
            &node["status"]
        ),
        (&json!(1), &json!(1), &json!("ready"))
    );
    assert_eq!(
        (
            &node["metrics"]["allocatedCPU"],
            &node["metrics"]["allocatedMemoryBytes"]
        ),
        (&json!(2), &json!(512 << 20))
    );
    assert!(node["metrics"]["memoryTotalBytes"].as_u64().unwrap() > 1 << 20);
    assert_ne!(node["metrics"]["cpuCount"], Value::Null);
}
