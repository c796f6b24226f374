//! Heads: what ends at the gateway, what it adds, and what clients can't make it believe.

use crate::world::*;
use casemate_gateway::Sandbox;
use casemate_gateway::Settings;

async fn mirrored() -> (World, Served) {
    let world = World::new().await;
    let (address, served) = mirror().await;
    world.port(3000, address);
    (world, served)
}

fn with(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", host(3000))
}

#[tokio::test]
async fn what_is_for_one_hop_ends_there() {
    let (world, _served) = mirrored().await;
    let heard = world
        .ask(&with(
            "Connection: close, X-Mine, x-forwarded-for\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nTE: trailers, deflate\r\n\
             Upgrade: foo\r\nX-Kept: 2\r\nAuthorization: Bearer y\r\n",
        ))
        .await;
    let inside = Heard {
        head: heard.text().into(),
        ..Heard::default()
    };
    for gone in [
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
    ] {
        assert_eq!(inside.header(gone), None, "{gone}");
    }
    assert_eq!(inside.header("te"), Some("trailers"));
    assert_eq!(inside.header("connection"), Some("te"));
    assert_eq!(inside.header("x-kept"), Some("2"));
    assert_eq!(inside.header("authorization"), Some("Bearer y"));
    // Named as one hop's, and yet said: by the gateway.
    assert_eq!(inside.header("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn the_client_is_told_of_and_does_not_tell_of_itself() {
    let (world, _served) = mirrored().await;
    let lies = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                Forwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Prefix: /evil\r\n";
    let heard = world.ask(&with(lies)).await;
    let inside = Heard {
        head: heard.text().into(),
        ..Heard::default()
    };
    assert_eq!(inside.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(inside.all("x-forwarded-proto"), ["http"]);
    assert_eq!(inside.all("x-forwarded-host"), [host(3000)]);
    for gone in ["forwarded", "x-real-ip", "x-forwarded-prefix"] {
        assert_eq!(inside.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_proxy_in_front_tells_of_the_client() {
    let world = World::with(Settings {
        behind_proxy: true,
        ..settings(patient())
    })
    .await;
    let (address, _served) = mirror().await;
    world.port(3000, address);
    let told = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n";
    let heard = world.ask(&with(told)).await;
    assert!(
        heard
            .text()
            .contains("x-forwarded-for: 1.2.3.4, 127.0.0.1\r\n"),
        "{heard:?}"
    );
    assert!(heard.text().contains("x-forwarded-proto: https\r\n"));
}

#[tokio::test]
async fn a_host_is_masked_if_the_sandbox_wants_that() {
    let (world, _served) = mirrored().await;
    world.put(Sandbox {
        mask_host: Some("localhost:${PORT}".into()),
        ..public()
    });
    let heard = world.get(3000, "/").await;
    assert!(
        heard.text().contains("\r\nhost: localhost:3000\r\n"),
        "{heard:?}"
    );
    assert!(
        heard
            .text()
            .contains(&format!("x-forwarded-host: {}\r\n", host(3000)))
    );
}

#[tokio::test]
async fn a_response_is_cleaned_too() {
    let world = World::new().await;
    let (address, _served) = parrot(
        "HTTP/1.1 203 Fine By Me\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\nKeep-Alive: x\r\n\
         Alt-Svc: h3=\":1\"\r\nProxy-Authenticate: x\r\nX-Kept: a\r\nX-Kept: b\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    world.port(3000, address);
    let heard = world.get(3000, "/").await;
    assert_eq!(heard.line(), "HTTP/1.1 203 Fine By Me");
    for gone in [
        "x-mine",
        "keep-alive",
        "alt-svc",
        "proxy-authenticate",
        "connection",
    ] {
        assert_eq!(heard.header(gone), None, "{gone}");
    }
    assert_eq!(heard.all("x-kept"), ["a", "b"]);
    assert_eq!(heard.text(), "ok");
}

#[tokio::test]
async fn places_and_cookies_are_changed_in_path_mode_only() {
    let world = World::new().await;
    let (address, _served) = parrot(
        "HTTP/1.1 302 Found\r\nLocation: /next/?q\r\nSet-Cookie: a=1; Path=/; Domain=localhost\r\n\
         Set-Cookie: b=2\r\nService-Worker-Allowed: /\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    world.port(3000, address);
    let plain = world.get(3000, "/").await;
    assert_eq!(plain.header("location"), Some("/next/?q"));
    assert_eq!(
        plain.all("set-cookie"),
        ["a=1; Path=/; Domain=localhost", "b=2"]
    );
    assert_eq!(plain.header("service-worker-allowed"), Some("/"));
    let prefix = format!("/proxy/{}/3000", id());
    let heard = world
        .ask(&format!(
            "GET {prefix}/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
        .await;
    assert_eq!(
        heard.header("location"),
        Some(format!("{prefix}/next/?q").as_str())
    );
    assert_eq!(
        heard.all("set-cookie"),
        [format!("a=1; Path={prefix}/"), "b=2".into()]
    );
    assert_eq!(heard.header("service-worker-allowed"), None);
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_count() {
    let world = World::new().await;
    let (address, _served) = parrot(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    world.port(3000, address);
    let heard = world.get(3000, "/").await;
    assert_eq!(
        (heard.text(), heard.header("content-length")),
        ("hello", None)
    );
}
