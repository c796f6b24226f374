//! Making sandboxes: both routes, what is told, and what is refused.

use crate::sim::{Rig, id};
use axum::body::Body;
use casemate_core::node::Refusal;
use http::Request;
use serde_json::{Value, json};

#[tokio::test]
async fn a_sandbox_is_made_with_all_that_was_asked() {
    let rig = Rig::new().await;
    let body = json!({"templateID": "base", "timeout": 60, "metadata": {"a": "b"}, "envVars": {"X": "1"}, "unknown": [1]});
    let made = rig.post("/v2/sandboxes", body).await.ok(201);
    let name = made["sandboxID"].as_str().unwrap();
    assert_eq!(made["templateID"], "base");
    assert_eq!(made["envdVersion"], "0.6.13");
    assert_eq!(made["domain"], Value::Null);
    assert!(made.get("trafficAccessToken").is_none());
    let token = made["envdAccessToken"].as_str().unwrap();
    assert!(token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));

    let inside = rig.sim.inside(&id(name)).unwrap();
    assert_eq!(inside.wish.environment["X"], "1");
    assert_eq!(inside.wish.access_token.as_deref(), Some(token));
    assert!(inside.wish.network.internet);

    let told = rig.get(&format!("/sandboxes/{name}")).await.ok(200);
    assert_eq!(told["startedAt"], "2026-01-01T00:00:00Z");
    assert_eq!(told["endAt"], "2026-01-01T00:01:00Z");
    assert_eq!(told["state"], "running");
    assert_eq!(told["metadata"], json!({"a": "b"}));
    assert_eq!(told["cpuCount"], 2);
    assert_eq!(told["memoryMB"], 512);
    assert_eq!(told["diskSizeMB"], 1024);
    assert_eq!(told["envdAccessToken"], token);
    assert_eq!(
        told["lifecycle"],
        json!({"autoResume": false, "onTimeout": "kill"})
    );
    rig.journal(name, &["sandbox.create"]).await;
}

#[tokio::test]
async fn the_routes_differ_in_timeout_and_token() {
    let rig = Rig::new().await;
    for (path, secure, seconds, has_token) in [
        ("/sandboxes", json!(null), "15Z", false),
        ("/sandboxes", json!(false), "15Z", false),
        ("/sandboxes", json!(true), "15Z", true),
        ("/v2/sandboxes", json!(false), "05:00Z", true),
    ] {
        let made = rig
            .post(path, json!({"templateID": "base", "secure": secure}))
            .await
            .ok(201);
        assert_eq!(
            made.get("envdAccessToken").is_some(),
            has_token,
            "{path} {secure}"
        );
        let end = rig.end(made["sandboxID"].as_str().unwrap()).await;
        assert!(end.ends_with(seconds), "{path}: {end}");
    }
}

#[tokio::test]
async fn ports_can_be_private_and_hosts_masked() {
    let rig = Rig::with(|settings| settings.domain = Some("sbx.example".into())).await;
    let network = json!({"allowPublicTraffic": false, "maskRequestHost": "localhost:${PORT}"});
    let made = rig
        .post(
            "/v2/sandboxes",
            json!({"templateID": "base", "network": network}),
        )
        .await
        .ok(201);
    assert_eq!(made["domain"], "sbx.example");
    let name = made["sandboxID"].as_str().unwrap();
    let way = rig.control().look_up(&id(name)).await.unwrap();
    assert_eq!(
        way.traffic_token.as_deref(),
        made["trafficAccessToken"].as_str()
    );
    assert!(way.traffic_token.is_some_and(|token| token.len() >= 32));
    assert_eq!(way.mask_host.as_deref(), Some("localhost:${PORT}"));
    let told = rig.get(&format!("/sandboxes/{name}")).await.ok(200);
    assert_eq!(told["network"], network);
}

#[tokio::test]
async fn templates_are_found_by_what_names_them() {
    let rig = Rig::new().await;
    for (name, status) in [
        ("base", 201),
        ("base:default", 201),
        ("base:latest", 201),
        ("base:v2", 404),
        ("nextjs-app", 404),
        ("team/nextjs:v1", 404),
        ("", 400),
        ("a b", 400),
        ("x\u{0}", 400),
    ] {
        let answer = rig.post("/v2/sandboxes", json!({"templateID": name})).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {answer:?}");
    }
    assert_eq!(rig.sim.ids().len(), 3);
}

#[tokio::test]
async fn wrong_fields_are_refused_by_their_path() {
    let rig = Rig::new().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"templateID": "base"});
        body[field] = value;
        body.to_string()
    };
    let deep = format!(
        "{{\"templateID\":\"base\",\"iam\":{{\"tokens\":{{\"t\":{}",
        "[".repeat(5000)
    );
    for (body, says) in [
        (with("templateID", json!(7)), "templateID: invalid type: integer `7`"),
        (json!({}).to_string(), "missing field `templateID`"),
        (String::new(), "missing field `templateID`"),
        (with("timeout", json!("60")), "timeout: invalid type: string"),
        (with("timeout", json!(1e99)), "timeout: invalid type"),
        (with("timeout", json!(-1)), "timeout: less than 0"),
        (with("envVars", json!({"A": 1})), "envVars.A: invalid type: integer `1`"),
        (with("envVars", json!({"A=B": "1"})), "envVars.A=B:"),
        (with("envVars", json!({"A": "\u{0}"})), "envVars.A:"),
        (with("metadata", json!([])), "metadata: invalid type: sequence"),
        (with("network", json!({"allowOut": ["1.1.1.1", 5]})), "network.allowOut[1]: invalid type: integer `5`"),
        (with("network", json!({"allowOut": ["example.com"]})), "network.allowOut[0]: the domain"),
        (with("autoResume", json!({"enabled": "yes"})), "autoResume.enabled: invalid type"),
        (with("autoPauseMemory", json!(false)), "autoPauseMemory: false needs autoPause"),
        (json!({"templateID": "base", "autoPause": true, "autoPauseMemory": false, "autoResume": {"enabled": true}}).to_string(),
            "autoPauseMemory: false excludes autoResume"),
        (with("volumeMounts", json!([{"name": "v", "path": "/v"}])), "volumeMounts ('v'): not supported"),
        (with("iam", json!({"tokens": {"t": {}}})), "iam.tokens: not supported"),
        (with("casemate", json!({"idleTimeout": 0})), "casemate.idleTimeout: less than 1"),
        (with("casemate", json!({"resources": {"cpus": 0}})), "casemate.resources.cpus: less than 1"),
        (with("casemate", json!({"resources": {"memoryMB": -5}})), "casemate.resources.memoryMB: invalid value"),
        ("{".into(), "the body is not what it should be: EOF"),
        ("{\"templateID\":\"base\"} x".into(), "the body is not one JSON value"),
        ("\u{feff}{}".into(), "the body is not what it should be"),
        (deep, "recursion limit"),
    ] {
        let request = rig.prepare("POST", "/v2/sandboxes", Value::Null);
        let (parts, _) = request.into_parts();
        let text = rig.request(Request::from_parts(parts, Body::from(body.clone()))).await.problem(400);
        assert!(text.contains(says), "{body:.200}\n  {text}");
    }
    assert!(rig.sim.ids().is_empty());
}

#[tokio::test]
async fn a_body_may_be_so_long_and_no_longer() {
    let rig = Rig::with(|settings| settings.largest_body = 1000).await;
    let long = json!({"templateID": "base", "metadata": {"a": "x".repeat(1000)}});
    let text = rig.post("/v2/sandboxes", long).await.problem(413);
    assert!(text.contains("longer than 1000 bytes"), "{text}");
    rig.sandbox(json!({"metadata": {"a": "x".repeat(800)}}))
        .await;
}

#[tokio::test]
async fn a_node_that_refuses_leaves_nothing() {
    let rig = Rig::new().await;
    for (refusal, status, says) in [
        (
            Refusal::Full("no memory left for 512 MiB".into()),
            503,
            "no memory left",
        ),
        (
            Refusal::Invalid("policy: line 3: unknown field".into()),
            400,
            "policy: line 3",
        ),
        (
            Refusal::NoTemplate("base".into()),
            404,
            "template 'base' not found",
        ),
        (
            Refusal::Slow(std::time::Duration::from_secs(30)),
            504,
            "no answer of the node after 30s",
        ),
        (
            casemate_core::error::Error::errno("make a namespace", 28).into(),
            500,
            "No space left",
        ),
    ] {
        rig.sim.refuse("create", refusal);
        let answer = rig
            .post("/v2/sandboxes", json!({"templateID": "base"}))
            .await;
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
        let text = answer.problem(status);
        assert!(text.contains(says), "{text}");
    }
    assert_eq!(rig.get("/v2/sandboxes").await.ok(200), json!([]));
    assert!(rig.sim.ids().is_empty());
    // One that took too long may be there by now.
    assert_eq!(rig.sim.count("kill"), 1);
    let audit = rig.get("/casemate/audit?limit=1").await.ok(200);
    assert!(
        audit[0]["error"]
            .as_str()
            .unwrap()
            .contains("No space left"),
        "{audit}"
    );
}

#[tokio::test]
async fn timeouts_have_a_limit_where_the_owner_sets_one() {
    let rig =
        Rig::with(|settings| settings.longest = Some(std::time::Duration::from_secs(3600))).await;
    for fields in [
        json!({"templateID": "base", "timeout": 3601}),
        json!({"templateID": "base", "casemate": {"never": true}}),
    ] {
        let text = rig.post("/v2/sandboxes", fields).await.problem(400);
        assert!(text.contains("3600"), "{text}");
    }
    let name = rig.sandbox(json!({"timeout": 3600})).await;
    for (path, body) in [
        ("timeout", json!({"timeout": 3601})),
        ("timeout", json!({"casemate": {"never": true}})),
        ("connect", json!({"timeout": 3601})),
        ("resume", json!({"timeout": 3601})),
        ("refreshes", json!({"duration": 3601})),
    ] {
        rig.post(&format!("/sandboxes/{name}/{path}"), body)
            .await
            .problem(400);
    }
}
