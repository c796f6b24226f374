//! What one key may use.

use crate::sim::{Rig, prepare};
use casemate_control::Quotas;
use serde_json::{Value, json};

const BASE: &str = r#"{"templateID":"base"}"#;

fn base() -> Value {
    serde_json::from_str(BASE).unwrap()
}

fn quotas(concurrent: Option<u32>, per_minute: Option<u32>) -> Quotas {
    Quotas {
        concurrent,
        creates_per_minute: per_minute,
        ..Quotas::default()
    }
}

#[tokio::test]
async fn so_many_run_at_the_same_time() {
    let rig = Rig::with(|settings| settings.quotas = quotas(Some(2), None)).await;
    let first = rig.sandbox(json!({})).await;
    let second = rig.sandbox(json!({})).await;
    let refused = rig.post("/v2/sandboxes", base()).await;
    assert!(
        refused.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    assert!(refused.problem(429).contains("the key's quota is 2"));
    // A paused one doesn't count, until it is to run again.
    rig.post(&format!("/sandboxes/{first}/pause"), json!({}))
        .await
        .ok(204);
    let third = rig.sandbox(json!({})).await;
    rig.post(&format!("/sandboxes/{first}/connect"), json!({}))
        .await
        .problem(429);
    assert_eq!(rig.state(&first).await, "paused");
    rig.delete(&format!("/sandboxes/{second}")).await.ok(204);
    rig.post(&format!("/sandboxes/{first}/connect"), json!({}))
        .await
        .ok(201);
    rig.post(&format!("/sandboxes/{third}/connect"), json!({}))
        .await
        .ok(200);
    assert_eq!(rig.sim.ids().len(), 2);
}

#[tokio::test]
async fn a_crowd_gets_no_more_than_the_quota() {
    let rig = Rig::with(|settings| settings.quotas = quotas(Some(3), None)).await;
    let asked = (0..20).map(|_| rig.post("/v2/sandboxes", base()));
    let mut asked: Vec<_> = asked.map(Box::pin).collect();
    let mut made = 0;
    for answer in futures_join(&mut asked).await {
        made += usize::from(answer == 201);
        assert!([201, 429].contains(&answer), "{answer}");
    }
    assert_eq!((made, rig.sim.ids().len()), (3, 3));
}

async fn futures_join<F: Future<Output = crate::sim::Answer> + Unpin>(all: &mut [F]) -> Vec<u16> {
    use std::task::Poll;
    let mut done: Vec<Option<u16>> = vec![None; all.len()];
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(answer) = std::pin::Pin::new(future).poll(context)
            {
                *done = Some(answer.status.as_u16());
            }
        }
        match done.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn so_many_are_made_in_a_minute() {
    let rig = Rig::with(|settings| settings.quotas = quotas(None, Some(2))).await;
    rig.sandbox(json!({})).await;
    rig.pass(20).await;
    rig.sandbox(json!({})).await;
    let refused = rig.post("/v2/sandboxes", base()).await;
    assert_eq!(refused.headers["retry-after"], "40");
    refused.problem(429);
    rig.pass(39).await;
    rig.post("/v2/sandboxes", base()).await.problem(429);
    rig.pass(1).await;
    rig.sandbox(json!({})).await;
    rig.post("/v2/sandboxes", base()).await.problem(429);
}

#[tokio::test]
async fn memory_and_processors_are_counted() {
    let change = Quotas {
        cpus: Some(4),
        memory_mb: Some(2048),
        ..Quotas::default()
    };
    let rig = Rig::with(|settings| settings.quotas = change).await;
    let big =
        json!({"casemate": {"resources": {"cpus": 3, "memoryMB": 1024, "diskMB": 7, "pids": 9}}});
    let first = rig.sandbox(big).await;
    let told = rig.get(&format!("/sandboxes/{first}")).await.ok(200);
    assert_eq!(
        (&told["cpuCount"], &told["memoryMB"], &told["diskSizeMB"]),
        (&json!(3), &json!(1024), &json!(7))
    );
    let text = rig.post("/v2/sandboxes", base()).await.problem(429);
    assert!(
        text.contains("5 processors; the key's quota is 4"),
        "{text}"
    );
    rig.post(&format!("/sandboxes/{first}/pause"), json!({}))
        .await
        .ok(204);
    rig.sandbox(json!({"casemate": {"resources": {"cpus": 1}}}))
        .await;
    rig.sandbox(json!({"casemate": {"resources": {"cpus": 1}}}))
        .await;
    // The paused one holds its memory.
    let mut one = base();
    one["casemate"] = json!({"resources": {"cpus": 1, "memoryMB": 64}});
    let text = rig.post("/v2/sandboxes", one).await.problem(429);
    assert!(text.contains("MiB of memory"), "{text}");
}

#[tokio::test]
async fn a_key_has_its_own_quotas() {
    let rig = Rig::with(|settings| settings.quotas = quotas(Some(1), None)).await;
    let made = json!({"name": "k", "casemate": {"quotas": {"concurrent": 2}}});
    let made = rig.post("/api-keys", made).await.ok(201);
    let key = made["key"].as_str().unwrap();
    rig.sandbox(json!({})).await;
    for status in [201, 201, 429] {
        rig.request(prepare(key, "POST", "/v2/sandboxes", base()))
            .await
            .ok(status);
    }
    let path = format!("/api-keys/{}", made["id"].as_str().unwrap());
    rig.send(
        "PATCH",
        &path,
        json!({"casemate": {"quotas": {"concurrent": 3}}}),
    )
    .await
    .ok(200);
    rig.request(prepare(key, "POST", "/v2/sandboxes", base()))
        .await
        .ok(201);
}
