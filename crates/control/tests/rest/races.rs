//! Operations on one sandbox that arrive together: one after the other, in the order of arrival.

use crate::sim::{Rig, ask, id};
use casemate_core::error::Error;
use casemate_core::node::Refusal;
use casemate_core::sandbox::lifecycle::State;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_connect_behind_a_pause_resumes() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 60})).await;
    let door = rig.sim.hold("pause").await;
    let pausing = spawn(&rig, "POST", &format!("/sandboxes/{name}/pause"), json!({}));
    rig.sim.reached("pause", 1).await;
    // While it is being paused, whoever only looks isn't kept waiting.
    assert_eq!(rig.state(&name).await, "pausing");
    assert_eq!(
        rig.get(&format!("/sandboxes/{name}")).await.ok(200)["state"],
        "running"
    );
    let connecting = spawn(
        &rig,
        "POST",
        &format!("/sandboxes/{name}/connect"),
        json!({}),
    );
    drop(door);
    assert_eq!(pausing.await.unwrap(), 204);
    assert_eq!(connecting.await.unwrap(), 201);
    assert_eq!(rig.state(&name).await, "running");
    assert_eq!(rig.sim.overlaps(), 0);
}

#[tokio::test]
async fn whatever_is_behind_a_kill_finds_nothing() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 60})).await;
    let door = rig.sim.hold("kill").await;
    let killing = spawn(&rig, "DELETE", &format!("/sandboxes/{name}"), Value::Null);
    rig.sim.reached("kill", 1).await;
    rig.get(&format!("/sandboxes/{name}")).await.problem(404);
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .problem(404);
    let again = spawn(&rig, "DELETE", &format!("/sandboxes/{name}"), Value::Null);
    drop(door);
    assert_eq!(killing.await.unwrap(), 204);
    assert_eq!(again.await.unwrap(), 404);
    assert_eq!(rig.sim.count("kill"), 1);
}

#[tokio::test]
async fn a_kill_behind_a_pause_wins() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 60})).await;
    let door = rig.sim.hold("pause").await;
    let pausing = spawn(&rig, "POST", &format!("/sandboxes/{name}/pause"), json!({}));
    rig.sim.reached("pause", 1).await;
    let killing = spawn(&rig, "DELETE", &format!("/sandboxes/{name}"), Value::Null);
    drop(door);
    assert_eq!(pausing.await.unwrap(), 204);
    assert_eq!(killing.await.unwrap(), 204);
    assert!(rig.sim.ids().is_empty());
}

#[tokio::test]
async fn what_a_client_began_goes_on_without_it() {
    let rig = Rig::new().await;
    let door = rig.sim.hold("create").await;
    let making = spawn(
        &rig,
        "POST",
        "/v2/sandboxes",
        json!({"templateID": "base", "metadata": {"left": "1"}}),
    );
    rig.sim.reached("create", 1).await;
    assert_eq!(
        rig.get("/v2/sandboxes").await.ok(200),
        json!([]),
        "it isn't there before it is made"
    );
    making.abort();
    assert!(making.await.unwrap_err().is_cancelled());
    drop(door);
    while rig.get("/v2/sandboxes?metadata=left%3D1").await.ok(200) == json!([]) {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.sim.ids().len(), 1);
}

#[tokio::test]
async fn many_wake_ups_are_one() {
    let rig = Rig::new().await;
    let fields = json!({"autoPause": true, "autoResume": {"enabled": true}});
    let name = rig.sandbox(fields).await;
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .ok(204);
    for (refused, resumes) in [(true, 1), (false, 2)] {
        if refused {
            rig.sim
                .refuse("resume", Refusal::Failed(Error::errno("thaw", 5)));
        }
        let door = rig.sim.hold("resume").await;
        let mut waking = JoinSet::new();
        for _ in 0..50 {
            let (control, id) = (Arc::clone(rig.control()), id(&name));
            waking.spawn(async move { control.wake(&id).await });
        }
        rig.sim.reached("resume", resumes).await;
        let way = rig.control().look_up(&id(&name)).await.unwrap();
        assert_eq!((way.state, way.wakes), (State::Resuming, true));
        // All of them have come to the gate.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        drop(door);
        let woken = waking.join_all().await;
        assert!(
            woken.iter().all(|woken| woken.is_err() == refused),
            "{woken:?}"
        );
        assert_eq!(rig.sim.count("resume"), resumes);
    }
    assert_eq!(rig.state(&name).await, "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_never_overlaps() {
    let rig = Rig::new().await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(
            rig.sandbox(json!({"timeout": 60, "autoPause": true, "autoResume": {"enabled": true}}))
                .await,
        );
    }
    let mut crowd = JoinSet::new();
    for round in 0..40 {
        for name in &names {
            let path = format!("/sandboxes/{name}");
            let request = match round % 5 {
                0 => rig.prepare("POST", &format!("{path}/pause"), json!({})),
                1 => rig.prepare("POST", &format!("{path}/connect"), json!({"timeout": 90})),
                2 => rig.prepare("POST", &format!("{path}/timeout"), json!({"timeout": 70})),
                3 => rig.prepare("PUT", &format!("{path}/network"), json!({})),
                _ if round == 39 => rig.prepare("DELETE", &path, Value::Null),
                _ => rig.prepare("POST", &format!("{path}/resume"), json!({"timeout": 80})),
            };
            let control = Arc::clone(rig.control());
            crowd.spawn(async move { ask(&control, request).await });
        }
        rig.pass(1).await;
    }
    for answer in crowd.join_all().await {
        let status = answer.status.as_u16();
        assert!([200, 201, 204, 404, 409].contains(&status), "{answer:?}");
    }
    assert_eq!(rig.sim.overlaps(), 0);
    assert!(
        rig.sim.ids().is_empty(),
        "all were killed, and nothing brought one back"
    );
}

/// A request on its own task; its status.
fn spawn(rig: &Rig, method: &str, path: &str, body: Value) -> tokio::task::JoinHandle<u16> {
    let request = rig.prepare(method, path, body);
    let control = Arc::clone(rig.control());
    tokio::spawn(async move { ask(&control, request).await.status.as_u16() })
}
