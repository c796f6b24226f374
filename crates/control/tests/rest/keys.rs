//! API keys: who may what, and what is shown of them.

use crate::sim::{Rig, prepare};
use serde_json::{Value, json};

async fn key(rig: &Rig, name: &str, scope: &str) -> (String, String) {
    let made = rig
        .post(
            "/api-keys",
            json!({"name": name, "casemate": {"scope": scope}}),
        )
        .await
        .ok(201);
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

#[tokio::test]
async fn nobody_comes_in_without_a_key() {
    let rig = Rig::new().await;
    let revoked = key(&rig, "old", "admin").await;
    rig.delete(&format!("/api-keys/{}", revoked.0))
        .await
        .ok(204);
    let wrong = format!("e2b_{}", "0".repeat(40));
    for secret in [
        "",
        "e2b_",
        "x",
        &wrong,
        &revoked.1,
        &rig.key[..43],
        &format!("{} ", rig.key),
    ] {
        for (method, path) in [
            ("GET", "/v2/sandboxes"),
            ("POST", "/sandboxes"),
            ("GET", "/api-keys"),
            ("GET", "/casemate/audit"),
            ("DELETE", "/sandboxes/x"),
        ] {
            let text = rig
                .request(prepare(secret, method, path, json!({})))
                .await
                .problem(401);
            assert_eq!(
                text, "this API key is not valid, or was revoked",
                "{secret} {path}"
            );
        }
    }
    let bare = http::Request::get("/v2/sandboxes")
        .body(axum::body::Body::empty())
        .unwrap();
    let text = rig.request(bare).await.problem(401);
    assert!(text.contains("X-API-KEY"), "{text}");
    let bearer =
        http::Request::get("/v2/sandboxes").header("authorization", format!("bearer {}", rig.key));
    rig.request(bearer.body(axum::body::Body::empty()).unwrap())
        .await
        .ok(200);
}

#[tokio::test]
async fn a_scope_is_what_a_key_may_do() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    let sandbox = format!("/sandboxes/{name}");
    let routes = [
        ("GET", "/v2/sandboxes".to_owned(), 0),
        ("GET", sandbox.clone(), 0),
        ("GET", format!("{sandbox}/metrics"), 0),
        ("GET", format!("{sandbox}/logs"), 0),
        ("GET", "/teams".into(), 0),
        ("GET", "/templates".into(), 0),
        ("POST", "/v2/sandboxes".into(), 1),
        ("POST", format!("{sandbox}/timeout"), 1),
        ("POST", format!("{sandbox}/connect"), 1),
        ("POST", format!("{sandbox}/pause"), 1),
        ("POST", format!("{sandbox}/resume"), 1),
        ("PUT", format!("{sandbox}/network"), 1),
        ("DELETE", sandbox.clone(), 1),
        ("GET", "/api-keys".into(), 2),
        ("POST", "/api-keys".into(), 2),
        ("PATCH", "/api-keys/x".into(), 2),
        ("DELETE", "/api-keys/x".into(), 2),
        ("GET", "/nodes".into(), 2),
        ("GET", "/casemate/audit".into(), 2),
    ];
    for (level, scope) in ["read", "run", "admin"].into_iter().enumerate() {
        let (_, secret) = key(&rig, scope, scope).await;
        for (method, path, needs) in &routes {
            let body = json!({"templateID": "base", "timeout": 60});
            let answer = rig.request(prepare(&secret, method, path, body)).await;
            assert_eq!(
                answer.status == 403,
                level < *needs,
                "{scope} {method} {path}: {answer:?}"
            );
            assert_ne!(answer.status, 401);
        }
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_digest() {
    let rig = Rig::new().await;
    rig.pass(1).await;
    let made = rig.post("/api-keys", json!({"name": "ci"})).await.ok(201);
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(secret.len() == 44 && secret.starts_with("e2b_"));
    let listed = rig.get("/api-keys").await.ok(200);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(
        listed[1]["mask"],
        json!({"prefix": "e2b_", "valueLength": 40, "maskedValuePrefix": &secret[4..8], "maskedValueSuffix": &secret[40..]})
    );
    assert_eq!(
        (&listed[1]["name"], &listed[1]["lastUsed"]),
        (&json!("ci"), &Value::Null)
    );
    assert_eq!(listed[1]["casemate"]["scope"], "run");
    rig.request(prepare(secret, "GET", "/v2/sandboxes", Value::Null))
        .await
        .ok(200);
    assert_eq!(
        rig.get("/api-keys").await.ok(200)[1]["lastUsed"],
        "2026-01-01T00:00:01Z"
    );

    let renamed = rig
        .send("PATCH", &format!("/api-keys/{id}"), json!({"name": "cd"}))
        .await
        .ok(200);
    assert_eq!(renamed["name"], "cd");
    let mut rig = rig;
    rig.restart().await;
    let after = rig.get("/api-keys").await.ok(200);
    assert_eq!(
        (&after[1]["name"], &after[1]["lastUsed"]),
        (&json!("cd"), &json!("2026-01-01T00:00:01Z"))
    );
    rig.request(prepare(secret, "GET", "/v2/sandboxes", Value::Null))
        .await
        .ok(200);
    for entry in std::fs::read_dir(rig.folder.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [secret, &rig.key] {
            let random = &secret.as_bytes()[4..];
            assert!(
                !bytes.windows(40).any(|window| window == random),
                "a key stands in the store"
            );
        }
    }
    rig.journal(id, &["key.create", "key.change"]).await;
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let rig = Rig::new().await;
    let first = rig.get("/api-keys").await.ok(200)[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api-keys/{first}");
    rig.delete(&path).await.problem(409);
    rig.send("PATCH", &path, json!({"casemate": {"scope": "run"}}))
        .await
        .problem(409);
    let (second, _) = key(&rig, "second", "admin").await;
    rig.delete(&path).await.ok(204);
    rig.get("/api-keys").await.problem(401);
    assert!(!second.is_empty());
}

#[tokio::test]
async fn wrong_keys_are_refused_by_field() {
    let rig = Rig::new().await;
    for (body, says) in [
        (json!({}), "missing field `name`"),
        (json!({"name": ""}), "name: not 1 to 256 bytes"),
        (json!({"name": "x".repeat(257)}), "name: not 1 to 256 bytes"),
        (
            json!({"name": "x", "casemate": {"scope": "root"}}),
            "casemate.scope: unknown variant `root`",
        ),
        (
            json!({"name": "x", "casemate": {"quotas": {"concurrent": -1}}}),
            "casemate.quotas.concurrent: invalid value",
        ),
    ] {
        let text = rig.post("/api-keys", body).await.problem(400);
        assert!(text.contains(says), "{text}");
    }
    rig.delete("/api-keys/x").await.problem(404);
    rig.send("PATCH", "/api-keys/x", json!({"name": "y"}))
        .await
        .problem(404);
}

#[tokio::test]
async fn who_may_only_look_gets_no_token() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    let path = format!("/sandboxes/{name}");
    for (scope, has_token) in [("read", false), ("run", true), ("admin", true)] {
        let (_, secret) = key(&rig, scope, scope).await;
        let told = rig
            .request(prepare(&secret, "GET", &path, Value::Null))
            .await
            .ok(200);
        assert_eq!(told.get("envdAccessToken").is_some(), has_token, "{scope}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_stays_revoked() {
    let rig = Rig::new().await;
    for round in 0..20 {
        let (id, secret) = key(&rig, "k", "run").await;
        let path = format!("/api-keys/{id}");
        // It is used, changed and revoked at the same time; each use is news, as a minute passed.
        rig.pass(60).await;
        let all = [
            prepare(&secret, "GET", "/v2/sandboxes", Value::Null),
            rig.prepare("PATCH", &path, json!({"name": format!("n{round}")})),
            rig.prepare("DELETE", &path, Value::Null),
            prepare(&secret, "GET", "/v2/sandboxes", Value::Null),
        ];
        let all = all.map(|request| {
            let control = std::sync::Arc::clone(rig.control());
            tokio::spawn(async move { crate::sim::ask(&control, request).await.status.as_u16() })
        });
        for (task, expected) in
            all.into_iter()
                .zip([[200, 401], [200, 404], [204, 204], [200, 401]])
        {
            let status = task.await.unwrap();
            assert!(expected.contains(&status), "{status}");
        }
        rig.request(prepare(&secret, "GET", "/v2/sandboxes", Value::Null))
            .await
            .problem(401);
    }
    let mut rig = rig;
    rig.restart().await;
    assert_eq!(
        rig.get("/api-keys").await.ok(200).as_array().unwrap().len(),
        1
    );
}
