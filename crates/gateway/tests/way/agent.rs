//! The agent's door.

use crate::world::*;
use casemate_core::node::Door;
use std::sync::atomic::Ordering;

async fn world() -> (World, Served) {
    let world = World::new().await;
    let path = world.path("agent.sock");
    let served = unix_server(&path, reflect).await;
    world.open(Door::Agent, Behind::Unix(path));
    (world, served)
}

#[tokio::test]
async fn the_agent_is_reached_by_host_headers_and_path() {
    let (world, _served) = world().await;
    let headers = format!("E2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: 49983\r\n", id());
    for (host, path, more) in [
        (host(49983), "/health".into(), ""),
        ("localhost".into(), "/health".into(), &*headers),
        (
            "localhost".into(),
            format!("/proxy/{}/49983/health", id()),
            "",
        ),
    ] {
        let heard = world
            .ask(&format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"
            ))
            .await;
        assert!(
            heard.text().starts_with("GET /health HTTP/1.1\r\n"),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn its_internal_routes_are_not_there() {
    let (world, _served) = world().await;
    let prefix = format!("/proxy/{}/49983", id());
    for path in [
        "/init",
        "//init",
        "/%69nit",
        "/x/../init",
        "/INIT",
        "/init?x",
        "/freeze",
        "/unfreeze",
        "/collapse",
        "/fsfreeze",
        "/fsthaw",
        "/upgrade",
        "/upgrade/",
    ] {
        for (host, path) in [
            (host(49983), path.to_owned()),
            ("localhost".into(), format!("{prefix}{path}")),
        ] {
            let request =
                format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}");
            assert_eq!(world.ask(&request).await.status(), 404, "{path}");
        }
    }
    assert_eq!(world.node.dials.load(Ordering::Relaxed), 0);
    // A program's own routes may be called anything.
    let (address, _server) = mirror().await;
    world.port(3000, address);
    assert_eq!(world.get(3000, "/init").await.status(), 200);
}

#[tokio::test]
async fn it_is_never_asked_to_change_the_protocol() {
    let (world, _served) = world().await;
    for protocol in ["websocket", "h2c", "anything"] {
        let request = format!(
            "GET /health HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
            host(49983)
        );
        let heard = world.ask(&request).await;
        assert_eq!(heard.status(), 200);
        let text = heard.text().to_ascii_lowercase();
        assert!(
            !text.contains("upgrade") && !text.contains("http2-settings"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn calls_terminals_and_files_have_connections_of_their_own() {
    let (world, _served) = world().await;
    let dials = || world.node.dials.load(Ordering::Relaxed);
    let mut wire = world.connect().await;
    let mut ask = async |path: &str, kind: &str, body: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            host(49983),
            body.len()
        );
        wire.say(request).await;
        assert!(wire.hear().await.text().ends_with(body));
    };
    let json = "application/json";
    for (path, opened) in [
        ("/process.Process/List", 1),
        ("/filesystem.Filesystem/Stat", 1),
        ("/process.Process/SendInput", 2),
        ("/process.Process/Update", 2),
        ("/files?path=x", 3),
        ("/process.Process/List", 3),
        ("/files/compose", 3),
    ] {
        ask(path, json, "{}").await;
        assert_eq!(dials(), opened, "{path}");
    }
    let stream = "application/connect+json";
    let none = "\0\0\0\0\u{d}{\"process\":{}}";
    ask("/process.Process/Start", stream, none).await;
    let pty = "\0\0\0\0\u{14}{\"process\":{},\"pty\":{}}";
    ask("/process.Process/Start", stream, pty).await;
    assert_eq!(dials(), 3);
    let mut text = String::new();
    let mut registry = prometheus_client::registry::Registry::default();
    world.settings.metrics.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "gateway_responses_total{class=\"rpc\",status=\"2xx\"} 4",
        "gateway_responses_total{class=\"pty\",status=\"2xx\"} 3",
        "gateway_responses_total{class=\"files\",status=\"2xx\"} 2",
        "gateway_pool_idle{class=\"pty\"} 1",
        "gateway_pool_open{class=\"rpc\"} 0",
        "gateway_pool_reused_total{class=\"rpc\"} 3",
        "gateway_dial_seconds_count{class=\"files\"} 1",
        "gateway_clients 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
