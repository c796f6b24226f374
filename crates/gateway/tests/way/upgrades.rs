//! WebSocket, and whatever else a program changes to.

use crate::world::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

/// A server that says back each message.
async fn echo() -> (std::net::SocketAddr, Served) {
    server(|wire| async move {
        let mut socket = accept_async(wire.0).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    })
    .await
}

async fn websocket(world: &World) -> WebSocketStream<TcpStream> {
    let request = format!("ws://{}/chat", host(3000))
        .into_client_request()
        .unwrap();
    let stream = TcpStream::connect(world.address).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

#[tokio::test]
async fn a_websocket_is_carried_whole() {
    let world = World::new().await;
    let (address, _served) = echo().await;
    world.port(3000, address);
    let mut socket = websocket(&world).await;
    for size in [0, 1, 125, 126, 65_536, 1 << 20] {
        let message = Message::binary(vec![7; size]);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    socket.close(None).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close());
    }
}

#[tokio::test]
async fn a_quiet_websocket_outlives_the_patience_with_quiet_connections() {
    let world = World::with(settings(casemate_gateway::Patience {
        head: std::time::Duration::from_millis(50),
        idle: std::time::Duration::from_millis(50),
        ..patient()
    }))
    .await;
    let (address, _served) = echo().await;
    world.port(3000, address);
    let mut socket = websocket(&world).await;
    let mut quiet = world.connect().await;
    assert_eq!(quiet.ended().await, b"");
    let mut quiet = world.connect().await;
    assert_eq!(quiet.ended().await, b"");
    socket.send(Message::text("still")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("still")
    );
}

#[tokio::test]
async fn a_websocket_ends_with_its_sandbox() {
    let world = World::new().await;
    let (address, _served) = echo().await;
    world.port(3000, address);
    let mut socket = websocket(&world).await;
    socket.send(Message::text("x")).await.unwrap();
    assert!(socket.next().await.unwrap().is_ok());
    world.end();
    // An end without a closing handshake is an error to a WebSocket.
    assert!(socket.next().await.is_none_or(|message| message.is_err()));
}

fn change(protocol: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n",
        host(3000)
    )
}

#[tokio::test]
async fn any_protocol_is_carried_and_each_half_closes_by_itself() {
    let world = World::new().await;
    let (address, _served) = server(|mut wire| async move {
        let head = wire.head().await;
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        assert!(head.contains("upgrade: own/2, other\r\n"), "{head}");
        wire.say("HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: OWN/2\r\n\r\nfirst")
            .await;
        let said = wire.ended().await;
        // The client has said all, and still listens.
        wire.say(said).await;
    })
    .await;
    world.port(3000, address);
    let mut wire = world.connect().await;
    wire.say(change("own/2, other")).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("upgrade: own/2\r\n"),
        "{head}"
    );
    let mut first = [0; 5];
    wire.0.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    wire.say("all that I say").await;
    wire.0.shutdown().await.unwrap();
    assert_eq!(wire.ended().await, b"all that I say");
}

#[tokio::test]
async fn a_change_that_is_declined_is_a_response() {
    let world = World::new().await;
    let (address, _served) = parrot("HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno").await;
    world.port(3000, address);
    let heard = world.ask(&change("own")).await;
    assert_eq!((heard.status(), heard.text()), (426, "no"));
}

#[tokio::test]
async fn a_change_to_something_else_is_none() {
    let world = World::new().await;
    let says = "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
    let (address, _served) = parrot(says).await;
    world.port(3000, address);
    assert_eq!(world.ask(&change("own")).await.status(), 502);
}

#[tokio::test]
async fn nobody_gets_past_the_gateway_by_http2() {
    let world = World::new().await;
    let (address, _served) = mirror().await;
    world.port(3000, address);
    for protocol in ["h2c", "H2C", "websocket, h2c", "h2"] {
        let heard = world.ask(&change(protocol)).await;
        assert_eq!(heard.status(), 200);
        assert!(
            !heard.text().to_ascii_lowercase().contains("upgrade"),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn the_api_may_change_the_protocol_too() {
    let world = World::with(settings(casemate_gateway::Patience {
        idle: std::time::Duration::from_millis(50),
        ..patient()
    }))
    .await;
    let mut wire = world.connect().await;
    wire.say("GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n")
        .await;
    assert!(wire.head().await.starts_with("HTTP/1.1 101"));
    let mut quiet = world.connect().await;
    quiet
        .say("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    quiet.ended().await;
    wire.say("echo").await;
    let mut echoed = [0; 4];
    wire.0.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"echo");
}
