//! Who is let in, and what is told without a process.

use crate::support;
use crate::support::{Agent, Answer};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

fn init(order: Value) -> Request<Full<Bytes>> {
    Request::post("/init")
        .header("content-type", "application/json")
        .body(order.to_string().into())
        .unwrap()
}

async fn get(agent: &Agent, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("X-Access-Token", token);
    }
    agent.exchange(request.body(Full::default()).unwrap()).await
}

#[tokio::test]
async fn the_token_opens_everything_but_what_is_open() {
    let agent = Agent::start();
    let order = json!({"accessToken": "secret", "envVars": {"A": "1"}});
    assert_eq!(agent.exchange(init(order)).await.status, 204);
    assert_eq!(get(&agent, "/health", None).await.status, 204);
    for path in ["/envs", "/metrics", "/nowhere", "/files/compose"] {
        for token in [None, Some(""), Some("secre"), Some("secret2")] {
            let answer = get(&agent, path, token).await;
            assert_eq!(answer.status, 401, "{path} {token:?}");
            assert_eq!(answer.code(), "unauthenticated");
        }
    }
    assert_eq!(
        get(&agent, "/envs", Some("secret")).await.ok(),
        json!({"A": "1"})
    );
    assert_eq!(
        agent.call("List", json!({})).await.code(),
        "unauthenticated"
    );
    let start = support::streaming("Start", &support::envelope(0, b"{}"));
    assert_eq!(agent.exchange(start).await.status, 401);
    let mut list = support::call("List", json!({}));
    list.headers_mut()
        .insert("x-access-token", "secret".parse().unwrap());
    assert_eq!(agent.exchange(list).await.ok(), json!({}));
}

#[tokio::test]
async fn only_who_knows_the_token_may_change_it() {
    let agent = Agent::start();
    assert_eq!(
        agent
            .exchange(init(json!({"accessToken": "first"})))
            .await
            .status,
        204
    );
    for order in [
        json!({"accessToken": "second"}),
        json!({}),
        json!({"envVars": {"A": "1"}}),
    ] {
        assert_eq!(agent.exchange(init(order)).await.code(), "unauthenticated");
    }
    let again = json!({"accessToken": "first", "envVars": {"B": "2"}});
    assert_eq!(agent.exchange(init(again)).await.status, 204);
    assert_eq!(
        get(&agent, "/envs", Some("first")).await.ok(),
        json!({"B": "2"})
    );
}

#[tokio::test]
async fn init_refuses_what_makes_no_sense() {
    let agent = Agent::start();
    for body in [
        "",
        "{",
        "7",
        r#"{"envVars":{"A":1}}"#,
        r#"{"defaultWorkdir":"x"}"#,
    ] {
        let request = Request::post("/init").header("content-type", "application/json");
        let answer = agent.exchange(request.body(body.into()).unwrap()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_argument"),
            "{body}"
        );
    }
    let length = 2 << 20;
    let mut large = format!(
        "POST /init HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes();
    large.resize(large.len() + length, b' ');
    assert!(agent.raw(&large).await.starts_with("HTTP/1.1 400"));
    agent.is_well().await;
}

#[tokio::test]
async fn metrics_have_their_names() {
    let agent = Agent::start();
    let metrics = get(&agent, "/metrics", None).await.ok();
    let metrics = metrics.as_object().unwrap();
    for name in [
        "ts",
        "cpu_count",
        "mem_total",
        "mem_used",
        "disk_total",
        "disk_used",
    ] {
        assert!(metrics[name].as_u64().unwrap() > 0, "{name}");
    }
    assert!((0.0..=100.0).contains(&metrics["cpu_used_pct"].as_f64().unwrap()));
}
