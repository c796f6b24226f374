//! Clients of HTTP/2 that are slow, or too busy, or gone; frame by frame.

use super::{Body, HOST, REST, Scene};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Nobody waits for so long in a test that goes right.
const AGES: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(100);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of `POST /ok/a`, without Huffman and without the table (RFC 7541 §6.2.2).
fn head(scene: &Scene) -> Vec<u8> {
    let authority = format!("{HOST}:{}", scene.server.port());
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/ok/a"),
        (":authority", &authority),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    block
}

async fn secure(scene: &Scene) -> TlsStream<TcpStream> {
    let mut config = (*scene.trusted).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    scene.secure(&Arc::new(config)).await.unwrap()
}

/// A client that has said hello.
async fn raw(scene: &Scene) -> TlsStream<TcpStream> {
    let mut stream = secure(scene).await;
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&hello).await.unwrap();
    stream
}

/// The kinds of the frames until the connection ends, but for answers to pings.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let (mut kinds, mut head) = (Vec::new(), [0; 9]);
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] != PING || head[4] & ACK == 0 {
            kinds.push(head[3]);
        }
    }
    kinds
}

/// A server with a proxy whose patience is short in one way only.
async fn impatient(shorten: impl FnOnce(&mut crate::proxy::Patience)) -> Scene {
    let mut scene = Scene::new(REST, true).await;
    let shared = Arc::get_mut(&mut scene.shared).unwrap();
    let patience = &mut shared.inspection.patience;
    (patience.head, patience.body, patience.idle, patience.answer) = (AGES, AGES, AGES, AGES);
    shorten(patience);
    scene
}

#[tokio::test]
async fn who_begins_a_head_and_never_ends_it_is_hung_up_on() {
    // The time begins with the frame, so it's no time for the handshake, too.
    let scene = impatient(|patience| patience.head = Duration::from_secs(2)).await;
    for unfinished in [
        frame(HEADERS, END_STREAM, 1, &head(&scene)),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &head(&scene))[..20].to_vec(),
        frame(PING, 0, 0, &[0; 8])[..5].to_vec(),
    ] {
        let mut stream = raw(&scene).await;
        stream.write_all(&unfinished).await.unwrap();
        let kinds = rest(&mut stream).await;
        // A ping would have ended it, too, much later.
        assert!(
            !kinds.contains(&HEADERS) && !kinds.contains(&PING),
            "{kinds:?}"
        );
    }
    // Nor does it help to send a little of it again and again.
    let mut stream = raw(&scene).await;
    let whole = frame(HEADERS, END_STREAM, 1, &[0; 16000]);
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let dribble = async {
        for byte in whole.chunks(1) {
            if write.write_all(byte).await.is_err() || write.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending::<()>().await;
    };
    let kinds = tokio::select! { () = dribble => Vec::new(), kinds = rest(&mut read) => kinds };
    assert!(!kinds.contains(&PING), "{kinds:?}");
    assert!(scene.asked().is_empty());
}

#[tokio::test]
async fn who_asks_for_nothing_is_told_to_go_away() {
    let scene = impatient(|patience| patience.idle = SOON).await;
    let mut stream = raw(&scene).await;
    let kinds = rest(&mut stream).await;
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
}

#[tokio::test]
async fn who_begins_a_body_and_never_ends_it_has_no_answer() {
    let scene = impatient(|patience| patience.body = SOON).await;
    let mut stream = raw(&scene).await;
    let head = frame(HEADERS, END_HEADERS, 1, &head(&scene));
    stream.write_all(&head).await.unwrap();
    stream.write_all(&frame(DATA, 0, 1, b"a")).await.unwrap();
    let (mut kind, mut head) = (SETTINGS, [0; 9]);
    while !matches!(kind, HEADERS | RST_STREAM) {
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream
            .read_exact(&mut vec![0; length as usize])
            .await
            .unwrap();
        kind = head[3];
    }
    assert!(scene.asked().is_empty());
}

#[tokio::test]
async fn floods_end_the_connection() {
    let scene = impatient(|_| ()).await;
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 1, &head(&scene));
    let resets = |stream: u32| {
        let mut head = whole.clone();
        head[5..9].copy_from_slice(&stream.to_be_bytes());
        let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
        [head, reset].concat()
    };
    let first = frame(HEADERS, END_STREAM, 1, &head(&scene));
    let empty = frame(CONTINUATION, 0, 1, &[]);
    let floods: [(&str, Vec<u8>); 5] = [
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(5000)),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(5000)),
        (
            "resets",
            (0..2000).flat_map(|n| resets(2 * n + 1)).collect(),
        ),
        ("continuations", [first, empty.repeat(100_000)].concat()),
        (
            "empty data",
            [
                frame(HEADERS, END_HEADERS, 1, &head(&scene)),
                frame(DATA, 0, 1, &[]).repeat(5000),
            ]
            .concat(),
        ),
    ];
    for (name, flood) in floods {
        let mut stream = raw(&scene).await;
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let flooding = async {
            let _ = write.write_all(&flood).await;
            let _ = write.flush().await;
            std::future::pending::<()>().await;
        };
        let kinds =
            tokio::select! { () = flooding => Vec::new(), kinds = rest(&mut read) => kinds };
        // A ping that wasn't answered would have ended it, too, much later.
        assert!(!kinds.contains(&PING), "{name}: {kinds:?}");
        assert!(scene.asked().len() < 500, "{name}: {}", scene.asked().len());
    }
}

#[tokio::test]
async fn connections_to_the_server_are_used_again() {
    let scene = impatient(|patience| patience.spare = AGES).await;
    for number in 1..=3 {
        let (mut sender, connection) = handshake(&scene).await;
        let (url, body) = (
            format!("https://{HOST}:{}/ok/call", scene.server.port()),
            Full::new(Bytes::from_static(b"ping")),
        );
        let request = Request::post(url).body(body.boxed()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
        drop(sender);
        connection.await.unwrap();
        // The proxy's own end comes after the client's.
        while scene.shared.inspection.upstreams.idle.1.len() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.asked().len(), number);
    }
    assert_eq!(scene.accepted.load(Ordering::Relaxed), 1);
}

async fn handshake(scene: &Scene) -> (SendRequest<Body>, tokio::task::JoinHandle<()>) {
    let stream = TokioIo::new(secure(scene).await);
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .handshake(stream)
        .await
        .unwrap();
    let driven = tokio::spawn(async move {
        let _ = connection.await;
    });
    (sender, driven)
}
