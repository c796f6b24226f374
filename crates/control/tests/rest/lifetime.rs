//! Ends, pauses and wake-ups.

use crate::sim::{Rig, id};
use casemate_core::error::Error;
use casemate_core::node::Refusal;
use serde_json::json;

#[tokio::test]
async fn a_sandbox_ends_at_its_time() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 60})).await;
    rig.pass(59).await;
    assert_eq!(rig.state(&name).await, "running");
    rig.pass(1).await;
    rig.until(&name, "stopped").await;
    assert!(rig.sim.ids().is_empty());
    rig.get(&format!("/sandboxes/{name}")).await.problem(404);
    let told = rig
        .get(&format!("/casemate/sandboxes/{name}"))
        .await
        .ok(200);
    assert_eq!(told["reason"], "its time was over");
    rig.journal(&name, &["sandbox.create", "sandbox.kill"])
        .await;
}

#[tokio::test]
async fn an_end_is_moved_by_those_who_ask() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 60})).await;
    let post = async |path: &str, body| rig.post(&format!("/sandboxes/{name}/{path}"), body).await;
    post("timeout", json!({"timeout": 600})).await.ok(204);
    assert_eq!(rig.end(&name).await, "2026-01-01T00:10:00Z");
    // A refresh and a connect never bring it nearer; a timeout does.
    post("refreshes", json!({"duration": 100})).await.ok(204);
    post("refreshes", json!(null)).await.ok(204);
    let connected = post("connect", json!({"timeout": 100})).await.ok(200);
    assert_eq!(connected["sandboxID"], name);
    assert_eq!(rig.end(&name).await, "2026-01-01T00:10:00Z");
    let connected = rig
        .post(
            &format!("/v2/sandboxes/{name}/connect"),
            json!({"timeout": 900}),
        )
        .await;
    assert!(connected.ok(200)["envdAccessToken"].is_string());
    assert_eq!(rig.end(&name).await, "2026-01-01T00:15:00Z");
    post("refreshes", json!({"duration": 1000})).await.ok(204);
    assert_eq!(rig.end(&name).await, "2026-01-01T00:16:40Z");
    post("timeout", json!({"timeout": 10})).await.ok(204);
    assert_eq!(rig.end(&name).await, "2026-01-01T00:00:10Z");
    for (path, body) in [
        ("timeout", json!({})),
        ("timeout", json!({"timeout": -5})),
        ("refreshes", json!({"duration": -5})),
        ("connect", json!({"timeout": -5})),
        (
            "timeout",
            json!({"timeout": 5, "casemate": {"never": true}}),
        ),
    ] {
        post(path, body).await.problem(400);
    }
    post("timeout", json!({"timeout": 0})).await.ok(204);
    rig.until(&name, "stopped").await;
    for path in ["timeout", "refreshes", "connect", "pause", "resume"] {
        post(path, json!({"timeout": 5})).await.problem(404);
    }
}

#[tokio::test]
async fn never_is_an_end_too() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"casemate": {"never": true}})).await;
    assert_eq!(rig.end(&name).await, "9999-01-01T00:00:00Z");
    rig.pass(100 * 365 * 86_400).await;
    rig.post(&format!("/sandboxes/{name}/connect"), json!({"timeout": 5}))
        .await
        .ok(200);
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .ok(204);
    rig.post(&format!("/sandboxes/{name}/connect"), json!({"timeout": 5}))
        .await
        .ok(201);
    let told = rig
        .get(&format!("/casemate/sandboxes/{name}"))
        .await
        .ok(200);
    assert_eq!(told["endAt"], json!(null));
    rig.post(&format!("/sandboxes/{name}/timeout"), json!({"timeout": 5}))
        .await
        .ok(204);
    rig.post(
        &format!("/sandboxes/{name}/timeout"),
        json!({"casemate": {"never": true}}),
    )
    .await
    .ok(204);
    rig.post(&format!("/sandboxes/{name}/timeout"), json!({"timeout": 5}))
        .await
        .ok(204);
    rig.pass(5).await;
    rig.until(&name, "stopped").await;
}

#[tokio::test]
async fn an_idle_sandbox_ends_and_a_used_one_does_not() {
    let rig = Rig::new().await;
    let fields = json!({"timeout": 86_400, "autoPause": true, "casemate": {"idleTimeout": 60}});
    let name = rig.sandbox(fields).await;
    for _ in 0..5 {
        rig.pass(50).await;
        rig.control().touch(&id(&name));
        assert_eq!(rig.state(&name).await, "running");
    }
    rig.pass(60).await;
    rig.until(&name, "paused").await;
    let lines = rig
        .get(&format!("/v2/sandboxes/{name}/logs?search=idle"))
        .await
        .ok(200);
    assert_eq!(lines["logs"][0]["message"], "paused: it was idle");
    rig.post(
        &format!("/sandboxes/{name}/connect"),
        json!({"timeout": 86_400}),
    )
    .await
    .ok(201);
    rig.post(
        &format!("/sandboxes/{name}/timeout"),
        json!({"casemate": {"idleTimeout": 0}}),
    )
    .await
    .ok(204);
    rig.pass(3600).await;
    rig.get(&format!("/sandboxes/{name}/metrics")).await.ok(200);
    assert_eq!(rig.state(&name).await, "running");
}

#[tokio::test]
async fn a_pause_keeps_everything() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 60})).await;
    let before = rig.get(&format!("/sandboxes/{name}")).await.ok(200);
    let path = format!("/sandboxes/{name}/pause");
    rig.post(&path, json!({})).await.ok(204);
    assert!(rig.sim.inside(&id(&name)).unwrap().paused);
    rig.post(&path, json!({"memory": true})).await.problem(409);
    rig.post(&format!("/sandboxes/{name}/timeout"), json!({"timeout": 5}))
        .await
        .problem(404);
    // A paused one has no end.
    rig.pass(1000).await;
    assert_eq!(
        rig.get(&format!("/sandboxes/{name}")).await.ok(200)["state"],
        "paused"
    );
    let resumed = rig
        .post(
            &format!("/sandboxes/{name}/resume"),
            json!({"timeout": 30, "autoPause": true}),
        )
        .await
        .ok(201);
    assert_eq!(resumed["envdAccessToken"], before["envdAccessToken"]);
    let after = rig.get(&format!("/sandboxes/{name}")).await.ok(200);
    assert_eq!(after["startedAt"], before["startedAt"]);
    assert_eq!(after["endAt"], "2026-01-01T00:17:10Z");
    assert_eq!(after["lifecycle"]["onTimeout"], "pause");
    rig.post(&format!("/sandboxes/{name}/resume"), json!({"timeout": 30}))
        .await
        .problem(409);
    rig.pass(30).await;
    rig.until(&name, "paused").await;
    rig.delete(&format!("/sandboxes/{name}")).await.ok(204);
    rig.delete(&format!("/sandboxes/{name}")).await.problem(404);
    let actions =
        ["create", "pause", "resume", "pause", "kill"].map(|action| format!("sandbox.{action}"));
    rig.journal(&name, &actions).await;
}

#[tokio::test]
async fn a_request_wakes_what_was_made_to_be_woken() {
    let rig = Rig::new().await;
    let fields = json!({"timeout": 60, "autoPause": true, "autoResume": {"enabled": true}});
    let name = rig.sandbox(fields).await;
    rig.post(
        &format!("/sandboxes/{name}/timeout"),
        json!({"timeout": 5000}),
    )
    .await
    .ok(204);
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .ok(204);
    assert!(rig.control().look_up(&id(&name)).await.unwrap().wakes);
    rig.control().wake(&id(&name)).await.unwrap();
    // As long as it was made for, and five minutes at least; what it was set to later doesn't count.
    assert_eq!(rig.end(&name).await, "2026-01-01T00:05:00Z");
    rig.pass(300).await;
    rig.until(&name, "paused").await;

    let asleep = rig
        .sandbox(json!({"timeout": 600, "autoPause": true}))
        .await;
    rig.post(&format!("/sandboxes/{asleep}/pause"), json!({}))
        .await
        .ok(204);
    assert!(!rig.control().look_up(&id(&asleep)).await.unwrap().wakes);
    assert_eq!(
        rig.control().wake(&id(&asleep)).await.unwrap_err().status,
        404
    );
}

#[tokio::test]
async fn what_fails_at_the_end_is_tried_again() {
    let rig = Rig::new().await;
    let broken = || Refusal::Failed(Error::errno("freeze", 5));
    let paused = rig.sandbox(json!({"timeout": 60, "autoPause": true})).await;
    let killed = rig.sandbox(json!({"timeout": 60})).await;
    rig.sim.refuse("pause", broken());
    rig.sim.refuse("kill", broken());
    rig.pass(60).await;
    rig.sim.reached("pause", 1).await;
    rig.until(&killed, "stopping").await;
    // It can't be reached while it is being taken down.
    assert_eq!(rig.control().look_up(&id(&killed)).await, None);
    rig.until(&paused, "running").await;
    while rig.state(&paused).await != "paused" || rig.state(&killed).await != "stopped" {
        rig.pass(1).await;
        tokio::task::yield_now().await;
    }
    rig.journal(
        &paused,
        &["sandbox.create", "sandbox.pause!", "sandbox.pause"],
    )
    .await;
    rig.journal(
        &killed,
        &["sandbox.create", "sandbox.kill!", "sandbox.kill"],
    )
    .await;
    let told = rig
        .get(&format!("/casemate/sandboxes/{killed}"))
        .await
        .ok(200);
    assert_eq!(told["reason"], "its time was over");
}

#[tokio::test]
async fn what_fails_when_asked_says_so() {
    let rig = Rig::new().await;
    let broken = || Refusal::Failed(Error::errno("freeze", 5));
    let name = rig.sandbox(json!({})).await;
    rig.sim.refuse("pause", broken());
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .problem(500);
    assert_eq!(rig.state(&name).await, "running");
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .ok(204);
    rig.sim.refuse("resume", broken());
    rig.post(&format!("/sandboxes/{name}/connect"), json!({}))
        .await
        .problem(500);
    assert_eq!(rig.state(&name).await, "paused");
    rig.sim.refuse("kill", broken());
    rig.delete(&format!("/sandboxes/{name}")).await.problem(500);
    assert_eq!(rig.state(&name).await, "stopping");
    rig.post(&format!("/sandboxes/{name}/connect"), json!({}))
        .await
        .problem(404);
    rig.delete(&format!("/sandboxes/{name}")).await.ok(204);
    assert_eq!(rig.state(&name).await, "stopped");
}

#[tokio::test]
async fn one_that_ends_by_itself_says_why() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    rig.sim
        .end(&id(&name), "its agent was killed: out of memory")
        .await;
    rig.until(&name, "failed").await;
    rig.get(&format!("/sandboxes/{name}")).await.problem(404);
    rig.delete(&format!("/sandboxes/{name}")).await.problem(404);
    let told = rig
        .get(&format!("/casemate/sandboxes/{name}"))
        .await
        .ok(200);
    assert_eq!(told["reason"], "its agent was killed: out of memory");
    rig.journal(&name, &["sandbox.create", "sandbox.ended"])
        .await;
}

#[tokio::test]
async fn headers_ask_for_what_fields_do() {
    let rig = Rig::new().await;
    let make = async |headers: &[(&'static str, &str)]| {
        let body = json!({"templateID": "base", "timeout": 300});
        let mut request = rig.prepare("POST", "/v2/sandboxes", body);
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        rig.request(request).await
    };
    let made = make(&[("casemate-never", "true"), ("casemate-idle-timeout", "60")])
        .await
        .ok(201);
    let name = made["sandboxID"].as_str().unwrap();
    let told = rig
        .get(&format!("/casemate/sandboxes/{name}"))
        .await
        .ok(200);
    assert_eq!(
        (&told["endAt"], &told["idleTimeout"]),
        (&json!(null), &json!(60))
    );
    for wrong in [
        ("casemate-never", "1"),
        ("casemate-idle-timeout", "0"),
        ("casemate-idle-timeout", "-1"),
        ("casemate-idle-timeout", "soon"),
    ] {
        make(&[wrong]).await.problem(400);
    }
    let named = ("idempotency-key", "n");
    make(&[named]).await.ok(201);
    make(&[named, ("casemate-never", "true")])
        .await
        .problem(422);
    rig.pass(60).await;
    rig.until(name, "stopped").await;
}
