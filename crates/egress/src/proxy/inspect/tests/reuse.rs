//! Connections to servers that are used by one program's connection after the other.

use super::{Policy, REST, Scene, policy};
use crate::host::Host;
use crate::proxy::inspect::Authority;
use crate::proxy::reload::Reloading;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any test takes.
const AGES: Duration = Duration::from_secs(3600);

/// What happens at a server, with the number of the connection that it happens on.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Asked(usize, String),
    Ended(usize),
}

use Event::{Asked, Ended};

/// A server that tells what happens, and does what the path says.
struct Teller {
    address: SocketAddr,
    events: UnboundedReceiver<Event>,
    issuer: Authority,
}

impl Teller {
    async fn new(secure: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, events) = unbounded_channel();
        let issuer = Authority::new().unwrap();
        let config = issuer.server(&Host::parse(super::HOST).unwrap(), false);
        let acceptor = TlsAcceptor::from(config.unwrap());
        tokio::spawn(async move {
            for number in 1.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (sender, acceptor) = (sender.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match secure {
                        true => tell(acceptor.accept(socket).await.unwrap(), number, &sender).await,
                        false => tell(socket, number, &sender).await,
                    }
                    let _ = sender.send(Ended(number));
                });
            }
        });
        Self {
            address,
            events,
            issuer,
        }
    }

    fn scene(&self) -> Scene {
        let mut scene = Scene::before(REST, self.address, Some(&self.issuer));
        let shared = Arc::get_mut(&mut scene.shared).unwrap();
        let patience = &mut shared.inspection.patience;
        (patience.spare, patience.recent) = (AGES, AGES);
        scene
    }

    async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(PATIENCE, self.events.recv());
        next.await.unwrap().unwrap()
    }
}

/// Answers until the path, or the other side, says to end.
async fn tell(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    number: usize,
    events: &UnboundedSender<Event>,
) {
    let mut read = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        while !read.ends_with(b"\r\n\r\n") {
            match socket.read(&mut buffer).await {
                Ok(count @ 1..) => read.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
        let line = head.split(" HTTP").next().unwrap().to_owned();
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let _ = events.send(Asked(number, line));
        let answer: &[u8] = match path.as_str() {
            "/ok/hang-up" => return,
            "/ok/twice" if number == 1 => return,
            "/ok/close" => b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",
            "/ok/cut" => b"Content-Length: 9\r\n\r\nhi",
            "/ok/more" => b"Content-Length: 2\r\n\r\nhimore",
            _ => b"Content-Length: 2\r\n\r\nhi",
        };
        let answer = [b"HTTP/1.1 200 OK\r\n", answer].concat();
        socket.write_all(&answer).await.unwrap();
        socket.flush().await.unwrap();
        // A server that doesn't say that it hangs up.
        if matches!(path.as_str(), "/ok/cut" | "/ok/last") {
            return;
        }
    }
}

fn ask(method: &str, path: &str) -> String {
    format!("{method} /ok/{path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
}

fn asked(number: usize, line: &str) -> Event {
    Asked(number, line.to_owned())
}

#[tokio::test]
async fn the_next_connection_of_a_program_goes_on_where_the_last_one_ended() {
    let mut server = Teller::new(false).await;
    let scene = server.scene();
    for _ in 0..3 {
        let heard = scene.say(&ask("GET", "a")).await;
        assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
        assert_eq!(server.next().await, asked(1, "GET /ok/a"));
    }
    assert!(scene.say(&ask("POST", "b")).await.ends_with("hi"));
    assert_eq!(server.next().await, asked(1, "POST /ok/b"));
    // Another program doesn't, whatever its name.
    assert!(scene.say_as(8, &ask("GET", "a")).await.ends_with("hi"));
    assert_eq!(server.next().await, asked(2, "GET /ok/a"));
}

#[tokio::test]
async fn connections_with_tls_are_used_again_too() {
    let mut server = Teller::new(true).await;
    let scene = server.scene();
    for _ in 0..3 {
        let mut stream = scene.secure(&scene.trusted).await.unwrap();
        let place = format!("{}:{}", super::HOST, scene.server.port());
        let request = ask("GET", "a").replace("HOST", &place);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        assert!(heard.starts_with(b"HTTP/1.1 200"));
        assert_eq!(server.next().await, asked(1, "GET /ok/a"));
    }
}

#[tokio::test]
async fn connections_of_which_the_end_of_a_message_is_not_sure_are_not_used_again() {
    let mut server = Teller::new(false).await;
    let scene = server.scene();
    for (number, path) in ["close", "cut", "more", "last"].iter().enumerate() {
        let path_asked = format!("GET /ok/{path}");
        scene.say(&ask("GET", path)).await;
        assert_eq!(server.next().await, asked(number + 1, &path_asked));
        assert_eq!(server.next().await, Ended(number + 1), "{path}");
    }
    // Who says so proves who its user is for the connection.
    let negotiated = ask("GET", "a").replace("Connection", "Authorization: NTLM x\r\nConnection");
    assert!(scene.say(&negotiated).await.ends_with("hi"));
    assert_eq!(server.next().await, asked(5, "GET /ok/a"));
    assert_eq!(server.next().await, Ended(5));
}

#[tokio::test]
async fn only_what_can_be_repeated_is() {
    for (method, repeated) in [("GET", true), ("POST", false)] {
        let mut server = Teller::new(false).await;
        let scene = server.scene();
        assert!(scene.say(&ask("GET", "a")).await.ends_with("hi"));
        assert_eq!(server.next().await, asked(1, "GET /ok/a"));
        // The server has read it, and hangs up.
        let heard = scene.say(&ask(method, "twice")).await;
        let line = format!("{method} /ok/twice");
        assert_eq!(server.next().await, asked(1, &line));
        assert_eq!(server.next().await, Ended(1));
        assert_eq!(heard.starts_with("HTTP/1.1 200"), repeated, "{heard}");
        assert_eq!(heard.starts_with("HTTP/1.1 502"), !repeated, "{heard}");
        if repeated {
            assert_eq!(server.next().await, asked(2, &line));
        }
        assert!(server.events.try_recv().is_err());
    }
}

#[tokio::test]
async fn what_cannot_be_repeated_takes_only_what_was_in_use_just_now() {
    let mut server = Teller::new(false).await;
    let mut scene = server.scene();
    let shared = Arc::get_mut(&mut scene.shared).unwrap();
    shared.inspection.patience.recent = Duration::ZERO;
    for (number, method) in [(1, "GET"), (2, "POST"), (2, "GET")] {
        assert!(scene.say(&ask(method, "a")).await.ends_with("hi"));
        let line = format!("{method} /ok/a");
        assert_eq!(server.next().await, asked(number, &line));
    }
}

#[tokio::test]
async fn another_policy_ends_connections_that_nobody_uses() {
    let mut server = Teller::new(false).await;
    let scene = server.scene();
    assert!(scene.say(&ask("GET", "a")).await.ends_with("hi"));
    assert_eq!(server.next().await, asked(1, "GET /ok/a"));
    let same: Arc<Policy> = policy(REST, scene.server.port());
    Reloading(Arc::clone(&scene.shared)).put(same);
    assert_eq!(server.next().await, Ended(1));
    assert!(scene.say(&ask("GET", "a")).await.ends_with("hi"));
    assert_eq!(server.next().await, asked(2, "GET /ok/a"));
}

#[tokio::test]
async fn nobody_is_waited_for_for_long() {
    let mut server = Teller::new(false).await;
    let mut scene = server.scene();
    let shared = Arc::get_mut(&mut scene.shared).unwrap();
    shared.inspection.patience.spare = Duration::from_millis(1);
    assert!(scene.say(&ask("GET", "a")).await.ends_with("hi"));
    assert_eq!(server.next().await, asked(1, "GET /ok/a"));
    assert_eq!(server.next().await, Ended(1));
}

#[tokio::test]
async fn the_bytes_of_a_connection_are_its_users() {
    let mut server = Teller::new(false).await;
    let endpoint = format!("{REST} }}\n    limits: {{ bytes: 1000");
    let scene = Scene::before(&endpoint, server.address, None);
    let mut served = 0;
    while scene.say(&ask("GET", "a")).await.ends_with("hi") {
        assert_eq!(server.next().await, asked(1, "GET /ok/a"));
        served += 1;
    }
    // One exchange has about a hundred bytes.
    assert!((2..=20).contains(&served), "{served}");
    let rows = scene.shared.ledger.connections();
    assert!(
        rows.iter()
            .any(|row| row.because.contains("used up") || row.received > 40)
    );
}
