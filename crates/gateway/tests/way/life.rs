//! Sandboxes that sleep, wake and end; ports that are closed and private.

use crate::world::*;
use casemate_core::node::{Door, Refusal};
use casemate_core::sandbox::lifecycle::State;
use casemate_gateway::Sandbox;
use casemate_gateway::Traffic;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

#[tokio::test]
async fn a_sandbox_that_is_no_more_is_not_found() {
    let world = World::new().await;
    for state in [
        State::Creating,
        State::Stopping,
        State::Stopped,
        State::Failed,
        State::Paused,
    ] {
        world.put(Sandbox { state, ..public() });
        let heard = world.get(3000, "/").await;
        let text = serde_json::from_slice::<serde_json::Value>(&heard.body).unwrap();
        let wanted = serde_json::json!({
            "sandboxId": id().as_str(), "message": "The sandbox was not found", "code": 502,
        });
        assert_eq!((heard.status(), text), (502, wanted), "{state}");
        assert_eq!(heard.header("content-type"), Some("application/json"));
    }
    assert_eq!(world.table.wakes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_closed_port_is_tried_three_times() {
    let world = World::new().await;
    let heard = world.get(3000, "/").await;
    let text = serde_json::from_slice::<serde_json::Value>(&heard.body).unwrap();
    let wanted = serde_json::json!({
        "sandboxId": id().as_str(), "port": 3000, "code": 502,
        "message": "The sandbox is running but port is not open",
    });
    assert_eq!((heard.status(), text), (502, wanted));
    assert_eq!(world.node.dials.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_port_that_opens_late_is_reached_with_the_whole_body() {
    let world = World::new().await;
    let (address, _served) = mirror().await;
    world.open(Door::Port(3000), Behind::Later(2, address));
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\n\r\nbody",
        host(3000)
    );
    assert!(world.ask(&request).await.text().ends_with("\r\n\r\nbody"));
    assert_eq!(world.node.dials.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_request_waits_for_its_sandbox_to_wake() {
    let world = World::new().await;
    let (address, _served) = mirror().await;
    world.port(3000, address);
    for state in [State::Paused, State::Pausing, State::Resuming] {
        world.put(Sandbox {
            state,
            resumes: state != State::Resuming,
            ..public()
        });
        let dials = world.node.dials.load(Ordering::Relaxed);
        let mut wire = world.connect().await;
        wire.say(get(3000, "/")).await;
        world.table.waking.notified().await;
        assert_eq!(world.node.dials.load(Ordering::Relaxed), dials);
        world.table.may_wake.notify_one();
        assert_eq!(wire.hear().await.status(), 200, "{state}");
    }
    assert!(world.table.touches.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn a_sandbox_that_fell_asleep_meanwhile_is_woken() {
    let world = World::new().await;
    let (address, _served) = mirror().await;
    for (resumes, status) in [(true, 200), (false, 502)] {
        world.put(Sandbox {
            resumes,
            ..public()
        });
        world.open(Door::Port(3000), Behind::Asleep(true, address));
        world.table.may_wake.notify_one();
        assert_eq!(world.get(3000, "/").await.status(), status);
    }
    assert_eq!(world.table.wakes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_sandbox_that_cannot_wake_says_why() {
    let world = World::new().await;
    let sleeping = Sandbox {
        state: State::Paused,
        resumes: true,
        ..public()
    };
    for (refusal, status) in [
        (Refusal::Full("x".into()), 503),
        (Refusal::Slow(std::time::Duration::from_secs(1)), 504),
        (Refusal::Unknown, 502),
    ] {
        world.put(sleeping.clone());
        *world.table.wake_refused.lock().unwrap() = Some(refusal);
        world.table.may_wake.notify_one();
        assert_eq!(world.get(3000, "/").await.status(), status);
    }
}

#[tokio::test]
async fn only_who_may_use_the_agent_wakes_through_it() {
    let world = World::new().await;
    let path = world.path("agent.sock");
    let _served = unix_server(&path, reflect).await;
    world.open(Door::Agent, Behind::Unix(path));
    let sleeping = || {
        world.put(Sandbox {
            state: State::Paused,
            resumes: true,
            access_token: Some("right".into()),
            ..public()
        });
    };
    let ask = async |path: &str, token: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nX-Access-Token: {token}\r\n\r\n",
            host(49983)
        );
        world.ask(&request).await.status()
    };
    sleeping();
    for (path, token) in [
        ("/envs", "wrong"),
        ("/envs", ""),
        ("/files?path=x", "righ"),
        ("/init", "right"),
    ] {
        assert!(matches!(ask(path, token).await, 401 | 404), "{path}");
    }
    assert_eq!(world.table.wakes.load(Ordering::Relaxed), 0);
    for (path, token) in [
        ("/envs", "right"),
        ("/files?path=x&signature=y", ""),
        ("/health", ""),
    ] {
        sleeping();
        world.table.may_wake.notify_one();
        assert_eq!(ask(path, token).await, 200, "{path}");
    }
    assert_eq!(world.table.wakes.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn private_ports_open_to_their_token_alone() {
    let world = World::new().await;
    let (address, _served) = mirror().await;
    world.port(3000, address);
    let path = world.path("agent.sock");
    let _agent = unix_server(&path, reflect).await;
    world.open(Door::Agent, Behind::Unix(path));
    world.put(Sandbox {
        traffic: Traffic::Private("secret".into()),
        ..public()
    });
    let ask = async |port, token: &str| {
        let own = host(port);
        world
            .ask(&format!("GET / HTTP/1.1\r\nHost: {own}\r\n{token}\r\n"))
            .await
    };
    for token in [
        "",
        "E2b-Traffic-Access-Token: wrong\r\n",
        "E2b-Traffic-Access-Token:\r\n",
    ] {
        assert_eq!(ask(3000, token).await.status(), 403, "{token}");
    }
    let heard = ask(3000, "E2B-Traffic-Access-Token: secret\r\n").await;
    assert_eq!(heard.status(), 200);
    // The program inside isn't told it.
    assert!(!heard.text().contains("secret"));
    assert_eq!(ask(49983, "").await.status(), 200);
}

#[tokio::test]
async fn streams_break_off_the_moment_that_the_sandbox_ends() {
    let world = World::new().await;
    let over = Arc::new(Notify::new());
    let (address, _served) = {
        let over = Arc::clone(&over);
        server(move |mut wire| {
            let over = Arc::clone(&over);
            async move {
                wire.head().await;
                wire.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
                    .await;
                // It never ends by itself.
                wire.ended().await;
                over.notify_one();
            }
        })
        .await
    };
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(get(3000, "/")).await;
    wire.head().await;
    assert_eq!(wire.chunk().await, Some(Some(b"hi".to_vec())));
    world.end();
    assert_eq!(wire.chunk().await, None);
    over.notified().await;
    assert_eq!(world.get(3000, "/").await.status(), 502);
}

#[tokio::test]
async fn a_request_without_an_answer_is_answered_when_the_sandbox_ends() {
    let world = World::new().await;
    let asked = Arc::new(Notify::new());
    let (address, _served) = {
        let asked = Arc::clone(&asked);
        server(move |mut wire| {
            let asked = Arc::clone(&asked);
            async move {
                wire.head().await;
                asked.notify_one();
                wire.ended().await;
            }
        })
        .await
    };
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(get(3000, "/")).await;
    asked.notified().await;
    world.end();
    let heard = wire.hear().await;
    assert!(
        heard.text().contains("The sandbox was not found"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn connections_that_wait_end_with_their_sandbox() {
    let world = World::new().await;
    let over = Arc::new(Notify::new());
    let (address, _served) = {
        let over = Arc::clone(&over);
        server(move |mut wire| {
            let over = Arc::clone(&over);
            async move {
                wire.head().await;
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
                wire.ended().await;
                over.notify_one();
            }
        })
        .await
    };
    world.port(3000, address);
    assert_eq!(world.get(3000, "/").await.status(), 200);
    world.end();
    over.notified().await;
}

/// An agent that begins a stream of Connect with this, and then waits or dies.
async fn streaming(world: &World, begins: &'static str, dies: bool) -> Served {
    let path = world.path("agent.sock");
    let served = unix_server(&path, move |mut wire| async move {
        wire.head().await;
        wire.say("HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\n")
            .await;
        wire.say("Transfer-Encoding: chunked\r\n\r\n").await;
        wire.say(format!("{:x}\r\n{begins}\r\n", begins.len()))
            .await;
        if !dies {
            wire.ended().await;
        }
    })
    .await;
    world.open(Door::Agent, Behind::Unix(path));
    served
}

#[tokio::test]
async fn a_connect_stream_is_told_why_it_ends() {
    for (begins, whole) in [("\0\0\0\0\u{2}{}", true), ("\0\0\0\0\u{9}{}", false)] {
        let world = World::new().await;
        let _served = streaming(&world, begins, false).await;
        let mut wire = world.connect().await;
        wire.say(get(49983, "/process.Process/Connect")).await;
        wire.head().await;
        assert_eq!(wire.chunk().await, Some(Some(begins.into())));
        world.end();
        let end = wire.chunk().await;
        if whole {
            let error = r#"{"error":{"code":"unavailable","message":"The sandbox was not found"}}"#;
            let wanted = format!("\u{2}\0\0\0{}{error}", error.len() as u8 as char);
            assert_eq!(end, Some(Some(wanted.into())));
            assert_eq!(wire.chunk().await, Some(None));
        } else {
            // In the middle of a message nothing can be said any more.
            assert_eq!(end, None);
        }
    }
}

#[tokio::test]
async fn a_connect_stream_of_an_agent_that_died_is_told_so() {
    let world = World::new().await;
    let _served = streaming(&world, "\0\0\0\0\u{2}{}", true).await;
    let heard = world.get(49983, "/process.Process/Connect").await;
    let text = String::from_utf8_lossy(&heard.body).into_owned();
    assert!(text.contains(r#""code":"unavailable""#), "{text}");
    assert!(text.contains("broke off"), "{text}");
}
