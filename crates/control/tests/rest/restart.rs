//! The daemon ends and comes back; the node went on.

use crate::sim::{Rig, id};
use casemate_core::error::Error;
use casemate_core::node::Refusal;
use casemate_core::sandbox::Keep;
use serde_json::json;

#[tokio::test]
async fn what_the_node_keeps_goes_on() {
    let mut rig = Rig::new().await;
    let fields = json!({"timeout": 600, "metadata": {"a": "b"}, "network": {"allowPublicTraffic": false}, "allow_internet_access": false});
    let running = rig.sandbox(fields).await;
    let paused = rig
        .sandbox(json!({"casemate": {"never": true, "idleTimeout": 50}}))
        .await;
    rig.post(&format!("/sandboxes/{paused}/pause"), json!({}))
        .await
        .ok(204);
    let (first, second) = (
        format!("/sandboxes/{running}"),
        format!("/casemate/sandboxes/{paused}"),
    );
    let before = [
        rig.get(&first).await.ok(200),
        rig.get(&second).await.ok(200),
    ];
    let way = rig.control().look_up(&id(&running)).await;
    rig.restart().await;
    assert_eq!(
        [
            rig.get(&first).await.ok(200),
            rig.get(&second).await.ok(200)
        ],
        before
    );
    assert_eq!(rig.control().look_up(&id(&running)).await, way);
    assert!(
        rig.control().first_key().is_none(),
        "there is a key already"
    );
    // Its alarm is set again.
    rig.pass(600).await;
    rig.until(&running, "stopped").await;
    assert_eq!(rig.sim.ids(), [paused]);
}

#[tokio::test]
async fn an_end_that_passed_meanwhile_comes_at_once() {
    let mut rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 60, "autoPause": true})).await;
    rig.stop().await;
    rig.pass(3600).await;
    rig.restart().await;
    rig.until(&name, "paused").await;
}

#[tokio::test]
async fn what_is_gone_is_stopped_with_a_reason() {
    let mut rig = Rig::new().await;
    let [gone, kept] = [rig.sandbox(json!({})).await, rig.sandbox(json!({})).await];
    rig.sim.lose(&id(&gone));
    rig.restart().await;
    rig.get(&format!("/sandboxes/{gone}")).await.problem(404);
    let told = rig
        .get(&format!("/casemate/sandboxes/{gone}"))
        .await
        .ok(200);
    assert_eq!(
        (told["state"].as_str(), told["reason"].as_str()),
        (
            Some("stopped"),
            Some("it was gone when the daemon came back")
        )
    );
    assert_eq!(rig.state(&kept).await, "running");
    // And again: the row of one that is over is left alone.
    rig.restart().await;
    assert_eq!(rig.state(&gone).await, "stopped");
    rig.journal(&gone, &["sandbox.create", "sandbox.kill"])
        .await;
}

#[tokio::test]
async fn the_node_is_right_about_a_pause() {
    let mut rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    use casemate_core::node::Node as _;
    rig.sim.pause(&id(&name), Keep::Memory).await.unwrap();
    rig.restart().await;
    assert_eq!(rig.state(&name).await, "paused");
    let wish = rig.sim.inside(&id(&name)).unwrap().wish;
    rig.sim
        .resume(&id(&name), &wish, Keep::Memory)
        .await
        .unwrap();
    rig.restart().await;
    assert_eq!(rig.state(&name).await, "running");
}

#[tokio::test]
async fn a_half_made_one_has_no_owner() {
    let mut rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    rig.stop().await;
    // As the row is between the two writes of a creation.
    sql(
        &rig,
        &format!("UPDATE sandboxes SET state = 'creating' WHERE id = '{name}'"),
    )
    .await;
    rig.restart().await;
    assert_eq!(rig.state(&name).await, "stopped");
    assert!(rig.sim.ids().is_empty());
}

#[tokio::test]
async fn a_stranger_is_left_alone_and_a_leftover_is_not() {
    let mut rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    let wish = rig.sim.inside(&id(&name)).unwrap().wish;
    rig.delete(&format!("/sandboxes/{name}")).await.ok(204);
    let stranger = id("i00000000000000000000");
    rig.sim.plant(&stranger, wish.clone());
    rig.sim.plant(&id(&name), wish);
    rig.restart().await;
    assert_eq!(rig.sim.ids(), [stranger.to_string()]);
    rig.get(&format!("/sandboxes/{stranger}"))
        .await
        .problem(404);
}

#[tokio::test]
async fn one_that_resists_is_tried_again() {
    let mut rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    rig.stop().await;
    sql(&rig, "UPDATE sandboxes SET state = 'creating'").await;
    rig.sim
        .refuse("kill", Refusal::Failed(Error::errno("kill", 5)));
    rig.restart().await;
    assert_eq!(rig.state(&name).await, "stopping");
    rig.pass(10).await;
    rig.until(&name, "stopped").await;
}

/// Changes the store behind the daemon's back.
pub(crate) async fn sql(rig: &Rig, statement: &str) {
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&rig.settings.store);
    let mut other = options.connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(&mut other)
        .await
        .unwrap();
}
