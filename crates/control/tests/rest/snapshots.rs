//! Snapshots, what is made from them, and forks.

use crate::sim::{Rig, id};
use casemate_control::Snapshot;
use casemate_control::store::{Change, Sqlite, Store as _};
use casemate_core::error::Error;
use casemate_core::node::Refusal;
use casemate_core::sandbox::Keep;
use serde_json::{Value, json};

/// Writes a sandbox; what is written is called this.
async fn written(rig: &Rig, name: &str, body: Value) -> String {
    let path = format!("/sandboxes/{name}/snapshots");
    let told = rig.post(&path, body).await.ok(201);
    told["snapshotID"].as_str().unwrap().to_owned()
}

async fn made_from(rig: &Rig, template: &str) -> String {
    let made = rig
        .post("/v2/sandboxes", json!({"templateID": template}))
        .await;
    made.ok(201)["sandboxID"].as_str().unwrap().to_owned()
}

fn ids(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one["snapshotID"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn sandboxes_are_made_from_a_snapshot_by_its_id_or_its_name() {
    let rig = Rig::new().await;
    let resources = json!({"resources": {"cpus": 1, "memoryMB": 256}});
    let source = rig.sandbox(json!({"casemate": resources})).await;
    let snapshot = written(&rig, &source, json!({"name": "mine"})).await;
    assert_eq!(rig.state(&source).await, "running");
    for reference in [&snapshot, "mine", "mine:latest"] {
        let made = made_from(&rig, reference).await;
        let wish = rig.sim.inside(&id(&made)).unwrap().wish;
        assert_eq!(wish.from.unwrap().as_str(), snapshot);
        assert_eq!(wish.template, snapshot);
        // What goes on has the size of what was written.
        assert_eq!((wish.resources.cpus, wish.resources.memory), (1, 256 << 20));
    }
    // The last one of a name has it.
    rig.pass(1).await;
    let next = written(&rig, &source, json!({"name": "mine"})).await;
    let made = made_from(&rig, "mine").await;
    assert_eq!(rig.sim.inside(&id(&made)).unwrap().wish.template, next);
    for (name, status) in [("base", 400), (snapshot.as_str(), 400), ("a b", 400)] {
        let path = format!("/sandboxes/{source}/snapshots");
        rig.post(&path, json!({"name": name})).await.problem(status);
    }
    rig.journal(
        &source,
        &["sandbox.create", "sandbox.snapshot", "sandbox.snapshot"],
    )
    .await;
}

#[tokio::test]
async fn snapshots_are_listed_page_by_page_and_deleted_as_templates() {
    let rig = Rig::new().await;
    let (one, other) = (rig.sandbox(json!({})).await, rig.sandbox(json!({})).await);
    let mut all = Vec::new();
    for (source, name) in [(&one, "a"), (&one, "b"), (&other, "a")] {
        all.insert(0, written(&rig, source, json!({"name": name})).await);
        rig.pass(1).await;
    }
    assert_eq!(ids(&rig.get("/snapshots").await.ok(200)), all);
    let of_one = rig.get(&format!("/snapshots?sandboxID={one}")).await;
    assert_eq!(ids(&of_one.ok(200)), all[1..]);
    let named = rig.get("/snapshots?name=a").await.ok(200);
    assert_eq!(ids(&named), [&all[0], &all[2]]);
    assert_eq!(named[0]["names"], json!(["a"]));
    let first = rig.get("/snapshots?limit=2").await;
    let token = first.headers["x-next-token"].to_str().unwrap().to_owned();
    assert_eq!(ids(&first.ok(200)), all[..2]);
    let last = rig
        .get(&format!("/snapshots?limit=2&nextToken={token}"))
        .await;
    assert_eq!(ids(&last.ok(200)), all[2..]);
    rig.get("/snapshots?nextToken=x").await.problem(400);
    let delete = async |what: &str| {
        rig.send("DELETE", &format!("/templates/{what}"), json!({}))
            .await
    };
    delete(&all[1]).await.ok(204);
    delete(&all[1]).await.problem(404);
    rig.post("/sandboxes", json!({"templateID": all[1]}))
        .await
        .problem(404);
    delete("a").await.ok(204);
    assert_eq!(ids(&rig.get("/snapshots").await.ok(200)), [&all[2]]);
    assert_eq!(rig.sim.written(), 1);
}

#[tokio::test]
async fn what_can_not_be_written_leaves_nothing() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    let path = format!("/sandboxes/{name}/snapshots");
    rig.sim
        .refuse("snapshot", Error::rule("write", "the disk is full").into());
    rig.post(&path, json!({})).await.problem(500);
    rig.sim
        .refuse("snapshot", Refusal::Unsupported("a snapshot of a sandbox"));
    let text = rig.post(&path, json!({})).await.problem(400);
    assert_eq!(text, "a snapshot of a sandbox: not supported here");
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .ok(204);
    for what in ["snapshots", "fork"] {
        let path = format!("/sandboxes/{name}/{what}");
        rig.post(&path, json!({})).await.problem(409);
    }
    assert_eq!(rig.get("/snapshots").await.ok(200), json!([]));
    assert_eq!(rig.sim.written(), 0);
}

#[tokio::test]
async fn forks_are_others_with_tokens_of_their_own() {
    let rig = Rig::new().await;
    let body = json!({"secure": true, "metadata": {"a": "b"}, "envVars": {"X": "y"}});
    let source = rig.sandbox(body).await;
    let path = format!("/sandboxes/{source}/fork");
    rig.sim.refuse("create", Refusal::Full("no room".into()));
    let forks = rig
        .post(&path, json!({"count": 3, "timeout": 60}))
        .await
        .ok(201);
    let forks = forks.as_array().unwrap();
    let made: Vec<_> = forks.iter().filter_map(|f| f.get("sandbox")).collect();
    let failed: Vec<_> = forks.iter().filter_map(|f| f.get("error")).collect();
    assert_eq!((made.len(), failed.len()), (2, 1));
    assert_eq!(failed[0], &json!({"code": 503, "message": "no room"}));
    let mut tokens = vec![rig.sim.inside(&id(&source)).unwrap().wish.access_token];
    for fork in made {
        let name = fork["sandboxID"].as_str().unwrap();
        let wish = rig.sim.inside(&id(name)).unwrap().wish;
        assert_eq!(wish.environment["X"], "y");
        assert_eq!(fork["envdAccessToken"], json!(wish.access_token));
        tokens.push(wish.access_token);
        assert_eq!(rig.end(name).await, "2026-01-01T00:01:00Z");
        let told = rig.get(&format!("/sandboxes/{name}")).await.ok(200);
        assert_eq!(told["metadata"], json!({"a": "b"}));
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
    // What they were made from is gone, and was never shown.
    assert_eq!(rig.sim.written(), 0);
    assert_eq!(rig.get("/snapshots").await.ok(200), json!([]));
    for count in [0, 101, -1] {
        rig.post(&path, json!({"count": count})).await.problem(400);
    }
}

#[tokio::test]
async fn after_a_restart_there_is_what_was_ready() {
    let mut rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    let snapshot = written(&rig, &name, json!({})).await;
    // A daemon that ends while it makes or removes one leaves a row that says so.
    let half = written(&rig, &name, json!({})).await;
    rig.down().await;
    let store = Sqlite::open(&rig.settings.store).await.unwrap();
    let all = store.snapshots().await.unwrap();
    let row = all.into_iter().find(|row| row.id.as_str() == half);
    let row = Snapshot {
        ready: false,
        ..row.unwrap()
    };
    store
        .commit(vec![Change::Snapshot(Box::new(row))])
        .await
        .unwrap();
    drop(store);
    rig.restart().await;
    assert_eq!(ids(&rig.get("/snapshots").await.ok(200)), [&snapshot]);
    assert_eq!(rig.sim.written(), 1);
    rig.sim.lose_snapshots();
    rig.restart().await;
    assert_eq!(rig.get("/snapshots").await.ok(200), json!([]));
}

#[tokio::test]
async fn a_strict_pause_wants_an_agent_that_answers() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    let path = format!("/sandboxes/{name}/pause");
    let strict = json!({"requireHealthyGuest": true});
    rig.sim
        .refuse("greet", Refusal::Slow(std::time::Duration::from_secs(5)));
    let refused = rig.post(&path, strict.clone()).await;
    assert_eq!(
        refused.json()["error_code"],
        "sandbox_snapshot_guest_agent_unresponsive"
    );
    refused.problem(409);
    assert_eq!(rig.state(&name).await, "running");
    rig.post(&path, strict).await.ok(204);
    assert_eq!(rig.sim.count("greet"), 2);
}

#[tokio::test]
async fn a_pause_keeps_what_was_asked() {
    let rig = Rig::new().await;
    for (body, keeps) in [
        (json!({}), Keep::Memory),
        (json!({"memory": true}), Keep::Memory),
        (json!({"memory": false}), Keep::Files),
    ] {
        let name = rig.sandbox(json!({})).await;
        rig.post(&format!("/sandboxes/{name}/pause"), body)
            .await
            .ok(204);
        assert_eq!(rig.sim.inside(&id(&name)).unwrap().keeps, keeps);
    }
    let body = json!({"timeout": 60, "autoPause": true, "autoPauseMemory": false});
    let name = rig.sandbox(body.clone()).await;
    rig.pass(60).await;
    rig.until(&name, "paused").await;
    assert_eq!(rig.sim.inside(&id(&name)).unwrap().keeps, Keep::Files);
    let told = rig.get(&format!("/sandboxes/{name}")).await.ok(200);
    assert_eq!(told["lifecycle"]["onTimeout"], "pause");
    for (body, keeps) in [
        (json!({"memory": false}), Keep::Files),
        (json!({}), Keep::Memory),
    ] {
        for action in ["connect", "resume"] {
            let path = format!("/sandboxes/{name}/{action}");
            rig.post(&path, body.clone()).await.ok(201);
            assert_eq!(rig.sim.inside(&id(&name)).unwrap().keeps, keeps);
            rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
                .await
                .ok(204);
        }
    }
    let live = rig.sandbox(json!({})).await;
    written(&rig, &live, json!({"memory": false})).await;
    assert_eq!(rig.sim.inside(&id(&live)).unwrap().keeps, Keep::Files);
    // Where that can't be, it is said before it is too late.
    rig.sim.hold_on();
    let mut wanted = body;
    wanted["templateID"] = json!("base");
    let text = rig.post("/sandboxes", wanted).await.problem(400);
    assert!(text.starts_with("autoPauseMemory"), "{text}");
}
