//! Clients and programs that do it wrong, by mistake or on purpose.

use crate::world::*;
use casemate_gateway::{Patience, Settings};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

#[tokio::test]
async fn heads_that_are_too_long_are_refused() {
    let world = World::new().await;
    let own = host(3000);
    let many = (0..10_000).fold(String::new(), |mut all, number| {
        let _ = write!(all, "X-{number}: y\r\n");
        all
    });
    let long = format!("X: {}\r\n", "y".repeat(1 << 20));
    let target = "/x".repeat(1 << 16);
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nHost: {own}\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: {own}\r\n{long}\r\n"), 431),
        (format!("GET {target} HTTP/1.1\r\nHost: {own}\r\n\r\n"), 414),
    ] {
        let mut wire = world.connect().await;
        // The gateway may be done with it before all of it is said.
        let _ = wire.0.write_all(head.as_bytes()).await;
        let _ = wire.0.flush().await;
        let text = wire.ended().await;
        let heard = String::from_utf8_lossy(&text).into_owned();
        let refused = heard.starts_with(&format!("HTTP/1.1 {status}")) || heard.is_empty();
        assert!(refused || heard.starts_with("HTTP/1.1 431"), "{heard}");
    }
    let heard = world
        .ask("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(heard.status(), 200);
}

#[tokio::test]
async fn malformed_heads_are_refused() {
    let world = World::new().await;
    for head in [
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX\0: y\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    ] {
        let mut wire = world.connect().await;
        wire.say(head).await;
        let text = wire.ended().await;
        let refused = text.is_empty() || text.starts_with(b"HTTP/1.1 400");
        assert!(refused, "{head:?}: {}", String::from_utf8_lossy(&text));
    }
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_its_connection_and_no_quiet_one() {
    let world = World::with(settings(Patience {
        head: Duration::from_millis(200),
        ..patient()
    }))
    .await;
    let request = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut quiet = world.connect().await;
    quiet.say(request).await;
    assert_eq!(quiet.hear().await.status(), 200);
    let mut silent = world.connect().await;
    assert_eq!(silent.ended().await, b"");
    // Byte by byte, on a connection that was good before.
    let mut slow = world.connect().await;
    slow.say(request).await;
    assert_eq!(slow.hear().await.status(), 200);
    slow.say("GET /x HTT").await;
    assert_eq!(slow.ended().await, b"");
    quiet.say(request).await;
    assert_eq!(quiet.hear().await.status(), 200);
}

#[tokio::test]
async fn a_quiet_connection_ends_and_a_busy_one_does_not() {
    let world = World::with(settings(Patience {
        head: Duration::from_millis(100),
        idle: Duration::from_millis(100),
        ..patient()
    }))
    .await;
    let go_on = Arc::new(Notify::new());
    let (address, _served) = {
        let go_on = Arc::clone(&go_on);
        server(move |mut wire| {
            let go_on = Arc::clone(&go_on);
            async move {
                wire.head().await;
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
                    .await;
                go_on.notified().await;
                wire.say("cd").await;
            }
        })
        .await
    };
    world.port(3000, address);
    let mut busy = world.connect().await;
    busy.say(get(3000, "/")).await;
    let head = busy.head().await;
    let mut quiet = world.connect().await;
    quiet
        .say("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(quiet.hear().await.status(), 200);
    // Its end shows that the time was over for both.
    assert_eq!(quiet.ended().await, b"");
    go_on.notify_one();
    assert_eq!(busy.body_of(head).await.text(), "abcd");
}

/// A server that begins a body with this, and tells when its client has gone.
async fn endless(begins: &'static str) -> (std::net::SocketAddr, Served, Arc<Notify>, Arc<Notify>) {
    let (asked, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (own_asked, own_gone) = (Arc::clone(&asked), Arc::clone(&gone));
    let (address, served) = server(move |mut wire| {
        let (asked, gone) = (Arc::clone(&own_asked), Arc::clone(&own_gone));
        async move {
            wire.head().await;
            wire.say(begins).await;
            asked.notify_one();
            wire.ended().await;
            gone.notify_one();
        }
    })
    .await;
    (address, served, asked, gone)
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_with_it() {
    let world = World::new().await;
    for begins in [
        "",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ] {
        let (address, _served, asked, gone) = endless(begins).await;
        world.port(3000, address);
        let mut wire = world.connect().await;
        wire.say(get(3000, "/")).await;
        asked.notified().await;
        drop(wire);
        gone.notified().await;
    }
}

#[tokio::test]
async fn a_client_that_closes_its_half_has_gone() {
    let world = World::new().await;
    let (address, _served, asked, gone) = endless("").await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(get(3000, "/")).await;
    asked.notified().await;
    wire.0.shutdown().await.unwrap();
    gone.notified().await;
    assert_eq!(wire.ended().await, b"");
}

#[tokio::test]
async fn a_body_that_breaks_off_going_in_is_no_whole_one_inside() {
    let world = World::new().await;
    for fields in ["Transfer-Encoding: chunked", "Content-Length: 100"] {
        let heard = Arc::new(tokio::sync::Mutex::new(None));
        let done = Arc::new(Notify::new());
        let (begun, own_begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let _ = own_begun;
        let (address, _served) = {
            let (heard, done, begun) = (Arc::clone(&heard), Arc::clone(&done), Arc::clone(&begun));
            server(move |mut wire| {
                let (heard, done, begun) =
                    (Arc::clone(&heard), Arc::clone(&done), Arc::clone(&begun));
                async move {
                    let head = wire.head().await;
                    begun.notify_one();
                    *heard.lock().await = Some(wire.body_of(head).await);
                    done.notify_one();
                }
            })
            .await
        };
        world.port(3000, address);
        let mut wire = world.connect().await;
        let own = host(3000);
        wire.say(format!(
            "POST / HTTP/1.1\r\nHost: {own}\r\n{fields}\r\n\r\n2\r\nhi\r\n"
        ))
        .await;
        begun.notified().await;
        drop(wire);
        done.notified().await;
        assert!(!heard.lock().await.as_ref().unwrap().whole, "{fields}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_no_whole_one_outside() {
    let world = World::new().await;
    for says in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    ] {
        let (address, _served) = parrot(says).await;
        world.port(3000, address);
        let heard = world.get(3000, "/").await;
        assert_eq!(heard.status(), 200);
        assert!(!heard.whole, "{says:?}: {heard:?}");
    }
    // The one that has no other end than the connection's.
    let (address, _served) = parrot("HTTP/1.0 200 OK\r\n\r\nhello").await;
    world.port(3000, address);
    let heard = world.get(3000, "/").await;
    assert_eq!((heard.text(), heard.whole), ("hello", true));
}

#[tokio::test]
async fn a_program_that_speaks_garbage_is_a_bad_gateway() {
    let world = World::new().await;
    let many = (0..10_000).fold(String::from("HTTP/1.1 200 OK\r\n"), |mut all, number| {
        let _ = write!(all, "X-{number}: y\r\n");
        all
    });
    for says in [
        b"".to_vec(),
        b"\0\xff\x16\x03garbage\r\n\r\n".to_vec(),
        b"HTTP/1.1 999999 X\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n".to_vec(),
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)).into_bytes(),
        format!("{many}\r\n").into_bytes(),
        many.into_bytes(),
    ] {
        let (address, _served) = parrot(says.clone()).await;
        world.port(3000, address);
        let heard = world.get(3000, "/").await;
        let shown = String::from_utf8_lossy(&says[..says.len().min(60)]).into_owned();
        assert_eq!(heard.status(), 502, "{shown:?}: {heard:?}");
        assert!(heard.text().contains(id().as_str()));
    }
}

#[tokio::test]
async fn a_bad_chunk_breaks_the_response_off() {
    let world = World::new().await;
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
    for bad in ["zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "2\r\nhixx"] {
        let (address, _served) = parrot(format!("{head}{bad}")).await;
        world.port(3000, address);
        assert!(!world.get(3000, "/").await.whole, "{bad:?}");
    }
}

#[tokio::test]
async fn one_sandbox_does_not_take_all_places() {
    let world = World::with(Settings {
        per_sandbox: 2,
        ..settings(patient())
    })
    .await;
    let (address, _served, asked, _gone) = endless("").await;
    world.port(3000, address);
    let mut wires = Vec::new();
    for _ in 0..2 {
        let mut wire = world.connect().await;
        wire.say(get(3000, "/")).await;
        asked.notified().await;
        wires.push(wire);
    }
    assert_eq!(world.get(3000, "/").await.status(), 503);
}

#[tokio::test]
async fn bytes_take_their_time_where_they_have_to() {
    const RATE: u64 = 1 << 20;
    let world = World::with(Settings {
        bandwidth: Some(RATE),
        ..settings(patient())
    })
    .await;
    let body = "x".repeat(RATE as usize / 2);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let (address, _served) = parrot(head + &body).await;
    world.port(3000, address);
    let began = std::time::Instant::now();
    let heard = world.get(3000, "/").await;
    assert_eq!(heard.text().len(), body.len());
    // A tenth of a second's worth goes at once, and what was read last isn't waited for.
    let least = std::time::Duration::from_millis(100);
    assert!(began.elapsed() > least, "{:?}", began.elapsed());
}

#[tokio::test]
async fn connections_that_wait_are_few() {
    const MANY: usize = 20;
    const KEPT: usize = 16;
    let world = World::new().await;
    let all = Arc::new(tokio::sync::Barrier::new(MANY));
    let (closed, mut closures) = tokio::sync::mpsc::channel(MANY);
    let (address, _served) = server(move |mut wire| {
        let (all, closed) = (Arc::clone(&all), closed.clone());
        async move {
            wire.head().await;
            all.wait().await;
            wire.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
            wire.ended().await;
            let _ = closed.send(()).await;
        }
    })
    .await;
    world.port(3000, address);
    let page = get(3000, "/");
    let asked = (0..MANY).map(|_| world.ask(&page));
    for heard in futures_util::future::join_all(asked).await {
        assert_eq!(heard.status(), 200);
    }
    for _ in KEPT..MANY {
        closures.recv().await.unwrap();
    }
    world.end();
    for _ in 0..KEPT {
        closures.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_gateway_that_stops_ends_what_was_begun() {
    let mut world = World::new().await;
    let go_on = Arc::new(Notify::new());
    let (address, _served) = {
        let go_on = Arc::clone(&go_on);
        server(move |mut wire| {
            let go_on = Arc::clone(&go_on);
            async move {
                wire.head().await;
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
                    .await;
                go_on.notified().await;
                wire.say("cd").await;
            }
        })
        .await
    };
    world.port(3000, address);
    let mut busy = world.connect().await;
    busy.say(get(3000, "/")).await;
    let head = busy.head().await;
    let mut quiet = world.connect().await;
    quiet
        .say("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(quiet.hear().await.status(), 200);
    world.stop.notify_one();
    assert_eq!(quiet.ended().await, b"");
    let late = world.get(3000, "/").await;
    assert_eq!(late.status(), 503);
    assert!(late.text().contains("the server is stopping"), "{late:?}");
    go_on.notify_one();
    assert_eq!(busy.body_of(head).await.text(), "abcd");
    world.served.over().await;
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err());
}

#[tokio::test]
async fn a_body_that_is_none_is_the_clients_fault() {
    let world = World::new().await;
    let (address, _server) = mirror().await;
    world.port(3000, address);
    let own = host(3000);
    let head = format!("POST / HTTP/1.1\r\nHost: {own}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let heard = world.ask(&format!("{head}zz\r\nx")).await;
    assert_eq!(heard.status(), 400, "{heard:?}");
    assert!(heard.text().contains("the request's body broke off"));
}

#[tokio::test]
async fn a_program_that_refuses_an_upload_and_closes_is_heard() {
    let world = World::new().await;
    // It reads the head only, and closes with most of the body unread.
    let (address, _server) = server(|mut wire| async move {
        wire.head().await;
        wire.say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .await;
    })
    .await;
    world.port(3000, address);
    let body = "x".repeat(64 << 20);
    let own = host(3000);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {own}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let wire = world.connect().await;
    let (reading, writing) = tokio::io::split(wire.0.into_inner());
    let sent = tokio::spawn(async move {
        let mut writing = writing;
        // It isn't all taken.
        let _ = writing.write_all(format!("{head}{body}").as_bytes()).await;
        writing
    });
    let (mut reading, mut heard) = (reading, Vec::new());
    // What came before the end counts, however it ended.
    let _ = reading.read_to_end(&mut heard).await;
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 413 "), "{heard}");
    assert!(heard.ends_with("\r\n\r\nbig"), "{heard}");
    drop(sent.await);
}
