//! Our own routes: the journal, the inspection, and their document.

use crate::sim::Rig;
use serde_json::{Value, json};

#[tokio::test]
async fn the_journal_has_pages() {
    let rig = Rig::new().await;
    for _ in 0..5 {
        rig.sandbox(json!({})).await;
    }
    let page = rig.get("/casemate/audit?limit=4").await.ok(200);
    let ids: Vec<_> = page
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, [6, 5, 4, 3]);
    let rest = rig.get("/casemate/audit?limit=4&before=3").await.ok(200);
    let rest = rest.as_array().unwrap();
    assert_eq!(rest.len(), 2);
    assert_eq!(
        (&rest[1]["action"], &rest[1]["actor"]),
        (&json!("key.create"), &json!("casemate"))
    );
    assert_eq!(
        page[0]["actor"], rest[1]["target"],
        "the first key made the sandboxes"
    );
    for query in ["limit=0", "limit=1001", "before=x"] {
        rig.get(&format!("/casemate/audit?{query}"))
            .await
            .problem(400);
    }
}

#[tokio::test]
async fn an_inspection_tells_no_secret() {
    let rig = Rig::new().await;
    let fields = json!({"network": {"allowPublicTraffic": false}, "envVars": {"PASSWORD": "hunter2"}, "casemate": {"idleTimeout": 9}});
    let name = rig.sandbox(fields).await;
    let secret = rig.get(&format!("/sandboxes/{name}")).await.ok(200)["envdAccessToken"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = rig.get(&format!("/casemate/sandboxes/{name}")).await;
    let text = told.text.clone();
    let told = told.ok(200);
    assert!(
        !text.contains(&secret) && !text.contains("hunter2"),
        "{text}"
    );
    assert_eq!(
        (&told["idleTimeout"], &told["state"], &told["pids"]),
        (&json!(9), &json!("running"), &json!(1024))
    );
    assert_eq!(told["sandbox"]["sandboxID"], name);
}

#[tokio::test]
async fn our_routes_are_documented_and_readable_without_a_key() {
    let rig = Rig::new().await;
    let bare = async |path: &str| {
        rig.request(
            http::Request::get(path)
                .body(axum::body::Body::empty())
                .unwrap(),
        )
        .await
    };
    let document: Value = bare("/openapi.json").await.ok(200);
    for path in ["/casemate/audit", "/casemate/sandboxes/{id}"] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in [
        "Demand",
        "ResourceDemand",
        "LifetimeDemand",
        "KeyDemand",
        "Quotas",
        "Scope",
        "Entry",
        "Inspected",
    ] {
        assert!(schemas.contains_key(name), "{name}");
    }
    let text = document.to_string();
    for reference in text
        .match_indices("#/components/schemas/")
        .map(|(at, prefix)| &text[at + prefix.len()..])
    {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is referred to");
    }
    assert!(
        document["info"]["description"]
            .as_str()
            .unwrap()
            .contains("Idempotency-Key")
    );
    let page = bare("/docs").await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
    assert!(
        !page.text.contains("http://") && !page.text.contains("https://"),
        "nothing from elsewhere"
    );
}

#[tokio::test]
async fn the_journal_and_the_rows_of_the_dead_stay_small_and_hold_no_secrets() {
    let rig = Rig::new().await;
    let long: Vec<_> = (0..1000)
        .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
        .collect();
    let fields = json!({"network": {"denyOut": long, "allowPublicTraffic": false}, "envVars": {"PASSWORD": "hunter2"}});
    let name = rig.sandbox(fields).await;
    rig.send(
        "PUT",
        &format!("/sandboxes/{name}/network"),
        json!({"denyOut": long}),
    )
    .await
    .ok(204);
    let audit = rig
        .get(&format!("/casemate/audit?target={name}&limit=1"))
        .await
        .ok(200);
    assert!(
        audit[0]["detail"]["omitted"]
            .as_str()
            .unwrap()
            .ends_with("bytes"),
        "{audit}"
    );
    let too_many = json!({"templateID": "base", "metadata": {"a": "x".repeat(65 * 1024)}});
    rig.post("/v2/sandboxes", too_many).await.problem(400);

    let told = rig.get(&format!("/sandboxes/{name}")).await.ok(200);
    let token = told["envdAccessToken"].as_str().unwrap().to_owned();
    rig.delete(&format!("/sandboxes/{name}")).await.ok(204);
    let id = crate::sim::id(&name);
    rig.journal(
        &name,
        &["sandbox.create", "sandbox.network", "sandbox.kill"],
    )
    .await;
    crate::restart::sql(&rig, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    for entry in std::fs::read_dir(rig.folder.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [token.as_bytes(), b"hunter2"] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret),
                "{id}"
            );
        }
    }
}
