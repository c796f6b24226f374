//! Whose a request is.

use crate::world::*;
use casemate_core::node::Door;
use casemate_gateway::{Operation, Signed};

/// Targets in which a byte that is lost, decoded or added shows.
const TARGETS: [&str; 12] = [
    "/",
    "//",
    "/a//b/",
    "/a/../b",
    "/./",
    "/%2e%2e/%2F",
    "/?",
    "/a?b=c&d=%20+",
    "/a;b?x=/?",
    "/%00",
    "/~!$&'()*+,;=:@",
    "//evil.example/x",
];

#[tokio::test]
async fn a_host_leads_to_a_port_and_no_path_is_changed() {
    let world = World::new().await;
    let (address, _server) = mirror().await;
    world.port(3000, address);
    for target in TARGETS {
        let heard = world.get(3000, target).await;
        assert!(
            heard
                .text()
                .starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{heard:?}"
        );
        assert!(heard.text().contains(&format!("host: {}\r\n", host(3000))));
    }
}

#[tokio::test]
async fn headers_lead_to_a_port_and_no_path_is_changed() {
    let world = World::new().await;
    let (address, _server) = mirror().await;
    world.port(3000, address);
    for target in TARGETS {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nE2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: 3000\r\n\r\n",
            world.address,
            id()
        );
        let heard = world.ask(&request).await;
        assert!(
            heard
                .text()
                .starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn a_path_leads_to_a_port_and_loses_only_its_prefix() {
    let world = World::new().await;
    let (address, _server) = mirror().await;
    world.port(3000, address);
    for target in TARGETS {
        let prefix = format!("/proxy/{}/3000", id());
        let request = format!("GET {prefix}{target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let heard = world.ask(&request).await;
        assert!(
            heard
                .text()
                .starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{heard:?}"
        );
        assert!(
            heard
                .text()
                .contains(&format!("x-forwarded-prefix: {prefix}\r\n"))
        );
    }
}

#[tokio::test]
async fn a_program_that_knows_its_prefix_gets_it() {
    let world = World::new().await;
    let (address, _server) = mirror().await;
    world.port(3000, address);
    let prefix = format!("/proxy/absolute/{}/3000", id());
    // Some of these programs have a page there, others send from there to the folder.
    for target in TARGETS.iter().copied().chain(["", "?a=b"]) {
        let request = format!("GET {prefix}{target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let heard = world.ask(&request).await;
        let line = format!("GET {prefix}{target} HTTP/1.1\r\n");
        assert!(heard.text().starts_with(&line), "{heard:?}");
        assert!(!heard.text().contains("x-forwarded-prefix"), "{heard:?}");
    }
}

#[tokio::test]
async fn the_folder_of_a_port_has_a_slash() {
    let world = World::new().await;
    let (address, _server) = mirror().await;
    world.port(3000, address);
    let prefix = format!("/proxy/{}/3000", id());
    let heard = world
        .ask(&format!(
            "GET {prefix}?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
        .await;
    assert_eq!(heard.status(), 307);
    assert_eq!(
        heard.header("location"),
        Some(format!("{prefix}/?a=b").as_str())
    );
    let post =
        format!("POST {prefix}?a=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx");
    assert!(
        world
            .ask(&post)
            .await
            .text()
            .starts_with("POST /?a=b HTTP/1.1\r\n")
    );
}

#[tokio::test]
async fn what_is_for_no_sandbox_is_for_the_api() {
    let world = World::new().await;
    for host in ["api.sbx.test", "localhost:3000", "127.0.0.1", "[::1]:80"] {
        let heard = world
            .ask(&format!("GET /v2/x HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert_eq!(heard.text(), "api GET /v2/x true");
    }
    let heard = world.ask("GET /old HTTP/1.0\r\n\r\n").await;
    assert_eq!(heard.text(), "api GET /old true");
}

#[tokio::test]
async fn absolute_and_asterisk_forms_are_understood() {
    let world = World::new().await;
    let (address, _server) = mirror().await;
    world.port(3000, address);
    let own = host(3000);
    let request = format!("GET http://{own}/x?y HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let heard = world.ask(&request).await;
    assert!(
        heard.text().starts_with("GET /x?y HTTP/1.1\r\n"),
        "{heard:?}"
    );
    assert!(heard.text().contains(&format!("host: {own}\r\n")));
    let heard = world
        .ask(&format!("OPTIONS * HTTP/1.1\r\nHost: {own}\r\n\r\n"))
        .await;
    assert!(
        heard.text().starts_with("OPTIONS * HTTP/1.1\r\n"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_signature_leads_to_the_agent() {
    let world = World::new().await;
    let path = world.path("agent.sock");
    let _server = unix_server(&path, reflect).await;
    world.open(Door::Agent, Behind::Unix(path));
    let signed = Signed {
        path: "/home/user/a b".into(),
        operation: Operation::Read,
        user: "user".into(),
        signature: "v1_abc+/".into(),
        expiration: None,
    };
    *world.table.signed.lock().unwrap() = Some((signed, id()));
    let target = "/files?path=%2Fhome%2Fuser%2Fa%20b&username=user&signature=v1_abc%2B%2F";
    let heard = world
        .ask(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        .await;
    assert!(
        heard
            .text()
            .starts_with(&format!("GET {target} HTTP/1.1\r\n")),
        "{heard:?}"
    );
    // The same for writing is another signature's.
    let post = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(world.ask(&post).await.status(), 401);
}

#[tokio::test]
async fn requests_that_name_two_places_or_none_are_refused() {
    let world = World::new().await;
    let own = host(3000);
    for head in [
        format!("GET / HTTP/1.1\r\nHost: {own}\r\nHost: localhost\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(),
        format!("GET / HTTP/1.1\r\nHost: 70000-{}.sbx.test\r\n\r\n", id()),
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: {}\r\n\r\n",
            id()
        ),
    ] {
        let heard = world.ask(&head).await;
        assert_eq!(heard.status(), 400, "{head}");
        assert!(heard.text().starts_with("{\"code\":400,"), "{heard:?}");
    }
    let heard = world
        .ask("CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n")
        .await;
    assert_eq!(heard.status(), 405);
}
