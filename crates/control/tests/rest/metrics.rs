//! What was used, of sandboxes and of the team, and the numbers for Prometheus.

use crate::sim::{Rig, id};
use casemate_core::sandbox::Usage;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

async fn samples(rig: &Rig, name: &str, query: &str) -> Vec<Value> {
    let told = rig
        .get(&format!("/sandboxes/{name}/metrics{query}"))
        .await
        .ok(200);
    told.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_sample_is_taken_every_five_seconds() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 100_000})).await;
    assert_eq!(
        samples(&rig, &name, "").await.len(),
        1,
        "the first is taken when it is asked for"
    );
    for round in 1..=3u64 {
        let usage = Usage {
            cpu_usec: round * 5_000_000,
            memory: 100 << 20,
            cache: 7,
            disk: 9,
            pids: 3,
            killed: round / 2 * 2,
        };
        rig.sim.use_up(&id(&name), usage);
        rig.pass(5).await;
        while samples(&rig, &name, "").await.len() as u64 <= round {
            tokio::task::yield_now().await;
        }
    }
    let all = samples(&rig, &name, "").await;
    let expected = json!({
        "timestamp": "2026-01-01T00:00:05Z", "timestampUnix": 1_767_225_605, "cpuCount": 2, "cpuUsedPct": 50.0,
        "memUsed": 100 << 20, "memTotal": 512 << 20, "memCache": 7, "diskUsed": 9, "diskTotal": 1 << 30,
    });
    assert_eq!(all[1], expected);
    assert_eq!(
        samples(&rig, &name, "?start=1767225605&end=1767225610").await,
        all[1..=2]
    );
    assert_eq!(samples(&rig, &name, "?end=1767225604").await, all[..1]);
    for query in [
        "?start=x",
        "?end=1.5",
        "?start=9&end=8",
        "?start=99999999999999999",
    ] {
        let text = rig
            .get(&format!("/sandboxes/{name}/metrics{query}"))
            .await
            .problem(400);
        assert!(text.starts_with("query "), "{text}");
    }
    let other = rig.sandbox(json!({})).await;
    let newest = rig
        .get(&format!(
            "/sandboxes/metrics?sandbox_ids={name},{other},i00000000000000000000"
        ))
        .await
        .ok(200);
    assert_eq!(newest, json!({"sandboxes": {name.as_str(): all[3]}}));
    rig.get("/sandboxes/metrics").await.problem(400);
    rig.get(&format!(
        "/sandboxes/metrics?sandbox_ids={}",
        "x,".repeat(101)
    ))
    .await
    .problem(400);
    // Two processes were killed between the first and the second.
    let logs = rig.get(&format!("/sandboxes/{name}/logs")).await.ok(200);
    let lines = logs["logEntries"].as_array().unwrap().iter();
    let killed = lines.filter(|line| line["message"].as_str().unwrap().contains("killed"));
    let expected = json!({
        "timestamp": "2026-01-01T00:00:10Z", "level": "warn", "fields": {"processes": "2"},
        "message": "memory limit 512 MiB reached: processes were killed",
    });
    assert_eq!(killed.collect::<Vec<_>>(), [&expected]);
    let mut registry = Registry::default();
    rig.control().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("casemate_sandbox_killed_processes_total 2\n"),
        "{text}"
    );
    // They can be read when it is gone.
    rig.delete(&format!("/sandboxes/{name}")).await.ok(204);
    assert_eq!(samples(&rig, &name, "").await, all);
}

#[tokio::test]
async fn the_team_has_its_numbers() {
    let rig = Rig::new().await;
    let teams = rig.get("/teams").await.ok(200);
    let team = teams[0]["teamID"].as_str().unwrap().to_owned();
    assert_eq!(
        teams,
        json!([{"teamID": team, "name": "default", "apiKey": rig.key, "isDefault": true}])
    );
    for _ in 0..10 {
        rig.sandbox(json!({"timeout": 50})).await;
    }
    let highest = format!("/teams/{team}/metrics/max?metric=concurrent_sandboxes");
    rig.pass(5).await;
    while rig.get(&highest).await.ok(200)["value"] != 10.0 {
        tokio::task::yield_now().await;
    }
    let all = rig.get(&format!("/teams/{team}/metrics")).await.ok(200);
    let last = all.as_array().unwrap().last().unwrap();
    let expected = json!({"timestamp": "2026-01-01T00:00:05Z", "timestampUnix": 1_767_225_605, "concurrentSandboxes": 10, "sandboxStartRate": 2.0});
    assert_eq!(*last, expected);
    let rate = format!("/teams/{team}/metrics/max?metric=sandbox_start_rate");
    assert_eq!(rig.get(&rate).await.ok(200)["value"], 2.0);
    rig.get(&format!("/teams/{team}/metrics/max"))
        .await
        .problem(400);
    rig.get(&format!("/teams/{team}/metrics/max?metric=x"))
        .await
        .problem(400);
    rig.get("/teams/other/metrics").await.problem(404);
}

#[tokio::test]
async fn prometheus_reads_how_long_steps_took() {
    let rig = Rig::new().await;
    let mut registry = Registry::default();
    rig.control().register(&mut registry);
    let name = rig.sandbox(json!({})).await;
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .ok(204);
    rig.post(&format!("/sandboxes/{name}/connect"), json!({}))
        .await
        .ok(201);
    rig.sim
        .refuse("create", casemate_core::node::Refusal::Full("full".into()));
    rig.post("/v2/sandboxes", json!({"templateID": "base"}))
        .await
        .problem(503);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "casemate_sandbox_step_seconds_count{step=\"create\"} 2",
        "casemate_sandbox_step_seconds_count{step=\"pause\"} 1",
        "casemate_sandbox_step_seconds_count{step=\"connect\"} 1",
        "casemate_sandbox_step_seconds_count{step=\"kill\"} 0",
        "casemate_sandbox_step_failures_total{step=\"create\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
