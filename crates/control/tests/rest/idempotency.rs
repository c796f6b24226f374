//! A request that is sent twice is done once.

use crate::sim::{Answer, Rig, ask};
use casemate_core::node::Refusal;
use http::Request;
use serde_json::{Value, json};
use std::sync::Arc;

fn named(rig: &Rig, name: &str, path: &str, body: Value) -> Request<axum::body::Body> {
    let mut request = rig.prepare("POST", path, body);
    request
        .headers_mut()
        .insert("idempotency-key", name.parse().unwrap());
    request
}

async fn send(rig: &Rig, name: &str, path: &str, body: Value) -> Answer {
    rig.request(named(rig, name, path, body)).await
}

#[tokio::test]
async fn the_same_request_has_the_same_answer() {
    let mut rig = Rig::new().await;
    let body = json!({"templateID": "base", "timeout": 200_000});
    let first = send(&rig, "a", "/v2/sandboxes", body.clone()).await;
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let first = first.ok(201);
    rig.restart().await;
    let again = send(&rig, "a", "/v2/sandboxes", body.clone()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["content-type"], "application/json");
    assert_eq!(again.ok(201), first);
    assert_eq!(rig.sim.ids().len(), 1);
    // Another request by this name, be it only by route, is told so.
    send(
        &rig,
        "a",
        "/v2/sandboxes",
        json!({"templateID": "base", "timeout": 61}),
    )
    .await
    .problem(422);
    send(&rig, "a", "/sandboxes", body.clone())
        .await
        .problem(422);
    // Another key's names are its own.
    let other = rig.post("/api-keys", json!({"name": "o"})).await.ok(201);
    let mut request = named(&rig, "a", "/v2/sandboxes", body.clone());
    request
        .headers_mut()
        .insert("x-api-key", other["key"].as_str().unwrap().parse().unwrap());
    assert_ne!(rig.request(request).await.ok(201), first);
    // After a day it is forgotten.
    rig.pass(24 * 3600).await;
    assert_ne!(send(&rig, "a", "/v2/sandboxes", body).await.ok(201), first);
}

#[tokio::test]
async fn what_failed_may_be_tried_again() {
    let rig = Rig::new().await;
    rig.sim.refuse("create", Refusal::Full("full".into()));
    let body = json!({"templateID": "base"});
    send(&rig, "a", "/v2/sandboxes", body.clone())
        .await
        .problem(503);
    send(&rig, "a", "/v2/sandboxes", body).await.ok(201);
}

#[tokio::test]
async fn two_at_once_are_one() {
    let rig = Rig::new().await;
    let door = rig.sim.hold("create").await;
    let both: Vec<_> = (0..2)
        .map(|_| {
            let request = named(&rig, "a", "/v2/sandboxes", json!({"templateID": "base"}));
            let control = Arc::clone(rig.control());
            tokio::spawn(async move { ask(&control, request).await.ok(201) })
        })
        .collect();
    rig.sim.reached("create", 1).await;
    drop(door);
    let mut answers = Vec::new();
    for one in both {
        answers.push(one.await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(rig.sim.count("create"), 1);
}

#[tokio::test]
async fn a_name_is_short_and_printable() {
    let rig = Rig::new().await;
    let long = "x".repeat(256);
    for name in ["", &long, "\u{e9}"] {
        send(&rig, name, "/v2/sandboxes", json!({"templateID": "base"}))
            .await
            .problem(400);
    }
}
