//! The lines of a sandbox, in both forms.

use crate::sim::{Rig, id};
use casemate_control::Level;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test]
async fn both_forms_tell_the_same_lines() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 600})).await;
    for (level, text) in [
        (Level::Debug, "one"),
        (Level::Warn, "two"),
        (Level::Error, "three"),
    ] {
        rig.pass(1).await;
        let fields = BTreeMap::from([
            ("pid".to_owned(), "7".to_owned()),
            ("level".to_owned(), "fake".to_owned()),
        ]);
        rig.control().log(&id(&name), level, text, fields);
    }
    rig.control().log(
        &id("i00000000000000000000"),
        Level::Info,
        "nobody's",
        BTreeMap::new(),
    );

    let v1 = rig
        .get(&format!(
            "/sandboxes/{name}/logs?start=1767225601000&limit=2"
        ))
        .await
        .ok(200);
    assert_eq!(v1["logs"].as_array().unwrap().len(), 2);
    let line: Value = serde_json::from_str(v1["logs"][0]["line"].as_str().unwrap()).unwrap();
    assert_eq!(
        line,
        json!({"level": "debug", "logger": "casemate", "message": "one", "pid": "7"})
    );
    assert_eq!(v1["logEntries"][1]["message"], "two");

    let v2 = async |query: &str| {
        let told = rig
            .get(&format!("/v2/sandboxes/{name}/logs{query}"))
            .await
            .ok(200);
        let lines = told["logs"].as_array().unwrap().clone();
        lines
            .iter()
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(v2("").await, ["created", "one", "two", "three"]);
    assert_eq!(v2("?direction=backward&limit=2").await, ["three", "two"]);
    assert_eq!(
        v2("?direction=backward&cursor=1767225601000").await,
        ["one", "created"]
    );
    assert_eq!(v2("?cursor=1767225602000").await, ["two", "three"]);
    assert_eq!(v2("?level=warn").await, ["two", "three"]);
    assert_eq!(v2("?search=wo&level=info").await, ["two"]);
    assert_eq!(v2("?limit=0").await, [""; 0]);
    for query in ["?limit=1001", "?direction=up", "?level=fatal", "?cursor=x"] {
        let text = rig
            .get(&format!("/v2/sandboxes/{name}/logs{query}"))
            .await
            .problem(400);
        assert!(text.starts_with("query "), "{text}");
    }
    rig.delete(&format!("/sandboxes/{name}")).await.ok(204);
    assert_eq!(v2("?direction=backward&limit=1").await, ["stopped"]);
}
