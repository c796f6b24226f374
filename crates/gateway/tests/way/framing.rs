//! Bodies: their lengths, chunks, trailers, leave to send them, and requests hidden in them.

use crate::world::*;
use std::sync::Arc;
use std::sync::Mutex;
use tokio::sync::{Notify, mpsc};

fn post(fields: &str, body: &str) -> String {
    format!(
        "POST /x HTTP/1.1\r\nHost: {}\r\n{fields}\r\n{body}",
        host(3000)
    )
}

#[tokio::test]
async fn chunks_and_trailers_go_in() {
    let world = World::new().await;
    let (address, _served) = mirror().await;
    world.port(3000, address);
    let chunked = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n";
    let heard = world
        .ask(&post(
            chunked,
            "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n",
        ))
        .await;
    assert!(
        heard.text().contains("transfer-encoding: chunked\r\n"),
        "{heard:?}"
    );
    assert!(
        heard.text().ends_with("\r\n\r\nabcdex-sum: 5\r\n"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn chunks_and_trailers_come_out() {
    let world = World::new().await;
    let (address, _served) = parrot(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n",
    )
    .await;
    world.port(3000, address);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nTE: trailers\r\n\r\n",
        host(3000)
    );
    let heard = world.ask(&request).await;
    assert_eq!(
        (heard.text(), heard.trailers.as_str()),
        ("hello", "x-sum: 5\r\n")
    );
    assert!(heard.whole);
}

#[tokio::test]
async fn a_get_may_have_a_body() {
    let world = World::new().await;
    let (address, _served) = mirror().await;
    world.port(3000, address);
    let head = format!("GET /x HTTP/1.1\r\nHost: {}\r\n", host(3000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    assert!(world.ask(&chunked).await.text().ends_with("\r\n\r\nhi"));
    let counted = format!("{head}Content-Length: 2\r\n\r\nhi");
    assert!(world.ask(&counted).await.text().ends_with("\r\n\r\nhi"));
}

#[tokio::test]
async fn what_has_no_body_ends_with_its_head() {
    let world = World::new().await;
    let (address, _served) = server(|mut wire| async move {
        loop {
            let head = wire.head().await;
            let answer = match head.split(' ').next() {
                Some("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                Some("GET") if head.contains("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("GET") => "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
                _ => return,
            };
            wire.say(answer).await;
        }
    })
    .await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(format!("HEAD / HTTP/1.1\r\nHost: {}\r\n\r\n", host(3000)))
        .await;
    let head = wire.head().await;
    assert!(head.contains("content-length: 1234\r\n"), "{head}");
    for (path, status) in [("/204", 204), ("/304", 304)] {
        wire.say(get(3000, path)).await;
        assert_eq!(wire.hear().await.status(), status);
    }
    // All of them over one connection, which was whole after each.
    assert_eq!(
        world.node.dials.load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[tokio::test]
async fn events_come_as_they_are_made() {
    let world = World::new().await;
    let (more, events) = mpsc::channel::<()>(1);
    let events = Arc::new(tokio::sync::Mutex::new(events));
    let (address, _served) = server(move |mut wire| {
        let events = Arc::clone(&events);
        async move {
            wire.head().await;
            wire.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
                .await;
            wire.say("Transfer-Encoding: chunked\r\n\r\n").await;
            while events.lock().await.recv().await.is_some() {
                wire.say("9\r\ndata: x\n\n\r\n").await;
            }
            wire.say("0\r\n\r\n").await;
        }
    })
    .await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(get(3000, "/")).await;
    assert!(wire.head().await.contains("text/event-stream"));
    for _ in 0..3 {
        // None is made before the one before was heard.
        more.send(()).await.unwrap();
        assert_eq!(wire.chunk().await, Some(Some(b"data: x\n\n".to_vec())));
    }
    drop(more);
    assert_eq!(wire.chunk().await, Some(None));
}

#[tokio::test]
async fn both_directions_go_on_at_once() {
    let world = World::new().await;
    let (address, _served) = server(|mut wire| async move {
        wire.head().await;
        wire.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        while let Some(Some(chunk)) = wire.chunk().await {
            wire.say(format!("{:x}\r\n", chunk.len())).await;
            wire.say([&chunk[..], b"\r\n"].concat()).await;
        }
        wire.say("0\r\n\r\n").await;
    })
    .await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(post("Transfer-Encoding: chunked\r\n", "")).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200"));
    for word in ["one", "three"] {
        wire.say(format!("{:x}\r\n{word}\r\n", word.len())).await;
        assert_eq!(wire.chunk().await, Some(Some(word.as_bytes().to_vec())));
    }
    wire.say("0\r\n\r\n").await;
    assert_eq!(wire.chunk().await, Some(None));
}

const EXPECTS: &str = "Expect: 100-continue\r\nContent-Length: 4\r\n";

#[tokio::test]
async fn leave_to_send_is_the_programs_to_give() {
    let world = World::new().await;
    let asked = Arc::new(Notify::new());
    let give = Arc::new(Notify::new());
    let (address, _served) = {
        let (asked, give) = (Arc::clone(&asked), Arc::clone(&give));
        server(move |mut wire| {
            let (asked, give) = (Arc::clone(&asked), Arc::clone(&give));
            async move {
                let head = wire.head().await;
                assert!(head.contains("expect: 100-continue\r\n"), "{head}");
                asked.notify_one();
                give.notified().await;
                wire.say("HTTP/1.1 100 Continue\r\n\r\n").await;
                let heard = wire.body_of(head).await;
                assert_eq!(heard.body, b"body");
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await
    };
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(post(EXPECTS, "")).await;
    asked.notified().await;
    give.notify_one();
    assert_eq!(wire.hear().await.status(), 100);
    wire.say("body").await;
    assert_eq!(wire.hear().await.text(), "ok");
}

#[tokio::test]
async fn leave_that_is_not_given_is_not_asked_for_again() {
    let world = World::new().await;
    let refusal = "HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno";
    let (address, _served) = parrot(refusal).await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(post(EXPECTS, "")).await;
    let heard = wire.hear().await;
    assert_eq!((heard.status(), heard.text()), (417, "no"));
}

#[tokio::test]
async fn a_program_that_knows_no_expectation_gets_the_body_all_the_same() {
    let world = World::with(settings(casemate_gateway::Patience {
        expect: std::time::Duration::from_millis(20),
        ..patient()
    }))
    .await;
    let (address, _served) = mirror().await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(post(EXPECTS, "")).await;
    assert_eq!(wire.hear().await.status(), 100);
    wire.say("body").await;
    assert!(wire.hear().await.text().ends_with("\r\n\r\nbody"));
}

/// What a server heard on all its connections.
async fn recorder() -> (std::net::SocketAddr, Served, Arc<Mutex<Vec<Heard>>>) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&all);
    let (address, served) = server(move |mut wire| {
        let record = Arc::clone(&record);
        async move {
            loop {
                let heard = wire.hear().await;
                if heard.head.is_empty() {
                    return;
                }
                record.lock().unwrap().push(heard);
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    (address, served, all)
}

#[tokio::test]
async fn no_request_is_hidden_in_another() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: xxxx\r\n\r\n";
    let mut accepted = 0;
    for (fields, body) in [
        (
            "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            format!("1\r\nZ\r\n0\r\n\r\n{hidden}"),
        ),
        ("Content-Length: 0\r\nContent-Length: 36\r\n", hidden.into()),
        ("Content-Length: 0, 36\r\n", hidden.into()),
        ("Content-Length: +36\r\n", hidden.into()),
        ("Transfer-Encoding: xchunked\r\n", hidden.into()),
        ("Transfer-Encoding: chunked, identity\r\n", hidden.into()),
        (
            "Transfer-Encoding : chunked\r\n",
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "X: y\r\n Transfer-Encoding: chunked\r\n",
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "X: y\rTransfer-Encoding: chunked\r\n",
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("0x0\r\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("-1\r\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("10000000000000000\r\n\r\n{hidden}"),
        ),
        (
            "Connection: Content-Length\r\nContent-Length: 36\r\n",
            hidden.into(),
        ),
    ] {
        let world = World::new().await;
        let (address, _served, all) = recorder().await;
        world.port(3000, address);
        let mut wire = world.connect().await;
        wire.say(post(fields, &body)).await;
        let answered = wire.hear().await;
        accepted += usize::from(answered.status() == 200);
        for heard in all.lock().unwrap().iter() {
            let (length, chunks) = (heard.all("content-length"), heard.all("transfer-encoding"));
            assert!(length.len() + chunks.len() <= 1, "{fields:?}: {heard:?}");
            assert!(!heard.line().contains("hidden"), "{fields:?}: {heard:?}");
        }
    }
    // Some can be read in one way only, and were.
    assert!(accepted > 0);
}

#[tokio::test]
async fn a_connection_is_used_again_only_for_what_may_be_repeated() {
    let world = World::new().await;
    let (address, _served, all) = recorder().await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    let dials = || world.node.dials.load(std::sync::atomic::Ordering::Relaxed);
    for (request, opened) in [
        (get(3000, "/1"), 1),
        (get(3000, "/2"), 1),
        (post("Content-Length: 1\r\n", "x"), 2),
        (get(3000, "/3"), 2),
        // Another host is another way.
        (
            format!("GET / HTTP/1.1\r\nHost: 3000-{}.other.test\r\n\r\n", id()),
            3,
        ),
    ] {
        wire.say(request).await;
        assert_eq!(wire.hear().await.status(), 200);
        assert_eq!(dials(), opened);
    }
    assert_eq!(all.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_connection_that_was_just_closed_costs_nothing() {
    let world = World::new().await;
    // Says that it keeps the connection, and closes it when the next request comes.
    let (address, _served) = server(|mut wire| async move {
        wire.head().await;
        wire.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        wire.head().await;
    })
    .await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    for _ in 0..3 {
        wire.say(get(3000, "/")).await;
        assert_eq!(wire.hear().await.text(), "ok");
    }
}
