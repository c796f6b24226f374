//! Pages of other origins.

use crate::world::*;
use casemate_core::node::Door;
use casemate_core::sandbox::lifecycle::State;
use std::sync::atomic::Ordering;

const ASKS: &str = "Origin: https://page.example\r\n\
     Access-Control-Request-Method: POST\r\n\
     Access-Control-Request-Headers: authorization,e2b-sandbox-id,x-access-token\r\n";

#[track_caller]
fn allowed(heard: &Heard) {
    assert_eq!(heard.status(), 204, "{heard:?}");
    assert_eq!(heard.header("access-control-allow-origin"), Some("*"));
    let names = "authorization,e2b-sandbox-id,x-access-token";
    assert_eq!(heard.header("access-control-allow-headers"), Some(names));
    let methods = heard.header("access-control-allow-methods").unwrap();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        assert!(methods.contains(method), "{methods}");
    }
}

#[tokio::test]
async fn a_page_may_use_the_api_and_the_agent() {
    let world = World::new().await;
    let socket = world.path("agent.sock");
    let _server = unix_server(&socket, reflect).await;
    world.open(Door::Agent, Behind::Unix(socket));
    // The last of these names no sandbox yet: the question comes without its headers.
    for (host, path) in [
        ("api.sbx.test".to_owned(), "/v2/sandboxes"),
        (host(49983), "/process.Process/Start"),
        ("localhost".to_owned(), "/process.Process/Start"),
    ] {
        let asked = format!("OPTIONS {path} HTTP/1.1\r\nHost: {host}\r\n{ASKS}\r\n");
        allowed(&world.ask(&asked).await);
    }
    for host in ["api.sbx.test".to_owned(), host(49983)] {
        let asked = format!("GET /x HTTP/1.1\r\nHost: {host}\r\nOrigin: https://p.example\r\n\r\n");
        let heard = world.ask(&asked).await;
        assert_eq!(heard.status(), 200);
        assert_eq!(heard.all("access-control-allow-origin"), ["*"]);
        assert_eq!(heard.all("access-control-expose-headers"), ["*"]);
    }
}

#[tokio::test]
async fn a_page_reads_why_it_is_refused_too() {
    let world = World::new().await;
    world.end();
    let heard = world.get(49983, "/health").await;
    assert_eq!(heard.status(), 502);
    assert_eq!(heard.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn a_question_beforehand_wakes_nobody() {
    let world = World::new().await;
    let mut asleep = public();
    asleep.state = State::Paused;
    asleep.resumes = true;
    world.put(asleep);
    let own = host(49983);
    let asked = format!("OPTIONS /files HTTP/1.1\r\nHost: {own}\r\n{ASKS}\r\n");
    allowed(&world.ask(&asked).await);
    let woken = world.table.wakes.load(Ordering::Relaxed);
    assert_eq!(woken, 0);
}

#[tokio::test]
async fn at_a_port_it_is_the_programs_affair() {
    let world = World::new().await;
    let (address, _server) = mirror().await;
    world.port(3000, address);
    let own = host(3000);
    let asked = format!("OPTIONS /x HTTP/1.1\r\nHost: {own}\r\n{ASKS}\r\n");
    let heard = world.ask(&asked).await;
    assert!(
        heard.text().starts_with("OPTIONS /x HTTP/1.1\r\n"),
        "{heard:?}"
    );
    assert_eq!(heard.header("access-control-allow-origin"), None);
}
