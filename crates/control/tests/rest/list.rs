//! Lists: filters, order, pages.

use crate::sim::Rig;
use serde_json::{Value, json};

/// Seven sandboxes, a second apart; the third and the sixth are paused.
async fn seven(rig: &Rig) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..7 {
        let metadata =
            json!({"n": number.to_string(), "odd": (number % 2 == 1).to_string(), "a b": "c&d=é"});
        ids.push(
            rig.sandbox(json!({"metadata": metadata, "timeout": 5000}))
                .await,
        );
        rig.pass(1).await;
    }
    for number in [2, 5] {
        rig.post(&format!("/sandboxes/{}/pause", ids[number]), json!({}))
            .await
            .ok(204);
    }
    ids
}

async fn listed(rig: &Rig, query: &str) -> Vec<String> {
    names(&rig.get(query).await.ok(200))
}

fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|one| one["sandboxID"].as_str().unwrap().to_owned())
        .collect()
}

fn pick(ids: &[String], numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|number| ids[*number].clone()).collect()
}

#[tokio::test]
async fn filters_choose_and_the_newest_is_first() {
    let rig = Rig::new().await;
    let ids = seven(&rig).await;
    for (query, numbers) in [
        ("", vec![6, 5, 4, 3, 2, 1, 0]),
        ("?order=asc", vec![0, 1, 2, 3, 4, 5, 6]),
        ("?state=paused", vec![5, 2]),
        ("?state=running", vec![6, 4, 3, 1, 0]),
        ("?state=running,paused&limit=2", vec![6, 5]),
        ("?state=paused&state=running&limit=3", vec![6, 5, 4]),
        ("?metadata=odd%3Dtrue", vec![5, 3, 1]),
        ("?metadata=odd%3Dtrue%26n%3D3", vec![3]),
        // Each name and value is encoded, then the pairs, then the whole.
        (
            "?limit=1&metadata=a%252520b%3Dc%252526d%25253D%2525C3%2525A9",
            vec![6],
        ),
        ("?metadata=odd%3Dmaybe", vec![]),
        ("?metadata=even%3Dtrue", vec![]),
        ("?template=base&state=paused", vec![5, 2]),
        ("?template=other", vec![]),
        ("?startedAfter=2026-01-01T00:00:04Z", vec![6, 5]),
        (
            "?startedAfter=2026-01-01T01:00:04%2B01:00&order=asc",
            vec![5, 6],
        ),
        ("?unknown=1&state=", vec![6, 5, 4, 3, 2, 1, 0]),
    ] {
        let found = listed(&rig, &format!("/v2/sandboxes{query}")).await;
        assert_eq!(found, pick(&ids, &numbers), "{query}");
    }
    assert_eq!(
        listed(&rig, "/sandboxes").await,
        pick(&ids, &[6, 4, 3, 1, 0])
    );
    assert_eq!(
        listed(&rig, "/sandboxes?metadata=n%3D4").await,
        pick(&ids, &[4])
    );
    let paused = rig.get("/v2/sandboxes?state=paused&limit=1").await.ok(200);
    assert_eq!(paused[0]["state"], "paused");
    assert_eq!(paused[0]["metadata"]["n"], "5");
    assert!(
        paused[0].get("envdAccessToken").is_none(),
        "a list tells no secrets"
    );
}

#[tokio::test]
async fn pages_neither_repeat_nor_hide() {
    let rig = Rig::new().await;
    let ids = seven(&rig).await;
    for (order, expected) in [
        ("desc", [6, 5, 4, 3, 2, 1, 0]),
        ("asc", [0, 1, 2, 3, 4, 5, 6]),
    ] {
        let mut found = Vec::new();
        let mut token = String::new();
        for page in 0.. {
            let query = format!("/v2/sandboxes?limit=3&order={order}&nextToken={token}");
            let answer = rig.get(&query).await;
            let next = answer
                .headers
                .get("x-next-token")
                .map(|next| next.to_str().unwrap().to_owned());
            found.extend(names(&answer.ok(200)));
            // New ones at either end of the order must not shift the pages.
            match next {
                Some(next) => token = next,
                None => {
                    assert_eq!(page, 2);
                    break;
                }
            }
            if order == "desc" {
                let late = rig.sandbox(json!({})).await;
                rig.delete(&format!("/sandboxes/{late}")).await.ok(204);
                if page == 0 {
                    rig.sandbox(json!({"timeout": 5000, "metadata": {"late": "1"}}))
                        .await;
                }
            }
        }
        let expected = pick(&ids, &expected);
        assert_eq!(found[..7], expected, "{order}");
        for late in listed(&rig, "/v2/sandboxes?metadata=late%3D1").await {
            rig.delete(&format!("/sandboxes/{late}")).await.ok(204);
        }
    }
}

#[tokio::test]
async fn the_same_moment_has_an_order_too() {
    let rig = Rig::new().await;
    for _ in 0..9 {
        rig.sandbox(json!({})).await;
    }
    let all = listed(&rig, "/v2/sandboxes").await;
    let mut paged = Vec::new();
    let mut token = String::new();
    loop {
        let answer = rig
            .get(&format!("/v2/sandboxes?limit=2&nextToken={token}"))
            .await;
        let next = answer.headers.get("x-next-token").cloned();
        paged.extend(names(&answer.ok(200)));
        match next {
            Some(next) => token = next.to_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn wrong_queries_are_refused_by_name() {
    let rig = Rig::new().await;
    for (query, says) in [
        ("limit=0", "query limit: not a whole number from 1 to 100"),
        ("limit=101", "query limit"),
        ("limit=x", "query limit"),
        ("state=killed", "query state: not one of running, paused"),
        ("order=up", "query order: not one of asc, desc"),
        ("startedAfter=yesterday", "query startedAfter"),
        ("nextToken=AAAA", "query nextToken"),
        ("nextToken=%00", "query nextToken"),
        (
            "nextToken=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5IGk",
            "query nextToken",
        ),
    ] {
        let text = rig
            .get(&format!("/v2/sandboxes?{query}"))
            .await
            .problem(400);
        assert!(text.starts_with(says), "{query}: {text}");
    }
    let many = "a=b&".repeat(300);
    rig.get(&format!("/v2/sandboxes?{many}")).await.problem(400);
}
