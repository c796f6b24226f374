//! What an operator does to the whole team.

use crate::sim::{Rig, ask, prepare};
use serde_json::json;

#[tokio::test]
async fn an_operator_ends_all_sandboxes() {
    let rig = Rig::new().await;
    let team = rig.get("/teams").await.ok(200)[0]["teamID"].clone();
    let team = team.as_str().unwrap();
    let counts = "/admin/sandboxes/running-counts";
    assert_eq!(rig.get(counts).await.ok(200), json!({}));
    let paused = rig.sandbox(json!({})).await;
    rig.sandbox(json!({})).await;
    let pause = format!("/sandboxes/{paused}/pause");
    rig.post(&pause, json!({})).await.ok(204);
    assert_eq!(rig.get(counts).await.ok(200), json!({ team: 1 }));
    let kill = format!("/admin/teams/{team}/sandboxes/kill");
    let done = rig.post(&kill, json!({})).await.ok(200);
    assert_eq!(done, json!({ "killedCount": 2, "failedCount": 0 }));
    assert!(rig.sim.ids().is_empty());
    let done = rig.post(&kill, json!({})).await.ok(200);
    assert_eq!(done, json!({ "killedCount": 0, "failedCount": 0 }));
    let cancel = format!("/admin/teams/{team}/builds/cancel");
    let done = rig.post(&cancel, json!({})).await.ok(200);
    assert_eq!(done, json!({ "cancelledCount": 0, "failedCount": 0 }));
}

#[tokio::test]
async fn an_operator_makes_and_revokes_keys_of_the_team() {
    let rig = Rig::new().await;
    let team = rig.get("/teams").await.ok(200)[0]["teamID"].clone();
    let keys = format!("/admin/teams/{}/api-keys", team.as_str().unwrap());
    let made = rig.post(&keys, json!({ "name": "theirs" })).await.ok(201);
    let secret = made["key"].as_str().unwrap();
    let with = |method, path: &str| prepare(secret, method, path, json!({}));
    ask(rig.control(), with("GET", "/sandboxes")).await.ok(200);
    // It may run sandboxes, and that is all.
    for (method, path) in [
        ("GET", "/admin/sandboxes/running-counts".to_owned()),
        ("POST", keys.clone()),
        ("GET", "/nodes".to_owned()),
    ] {
        ask(rig.control(), with(method, &path)).await.problem(403);
    }
    let own = format!("{keys}/{}", made["id"].as_str().unwrap());
    rig.delete(&own).await.ok(204);
    ask(rig.control(), with("GET", "/sandboxes"))
        .await
        .problem(401);
    rig.delete(&own).await.problem(404);
}

#[tokio::test]
async fn there_is_no_other_team() {
    let rig = Rig::new().await;
    for (method, path) in [
        ("POST", "/admin/teams/x/sandboxes/kill"),
        ("POST", "/admin/teams/x/builds/cancel"),
        ("DELETE", "/admin/teams/x/api-keys/y"),
    ] {
        rig.send(method, path, json!({})).await.problem(404);
    }
    let made = rig.post("/admin/teams/x/api-keys", json!({ "name": "n" }));
    made.await.problem(404);
}
