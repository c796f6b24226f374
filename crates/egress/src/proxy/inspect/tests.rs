//! Inspected connections over loopback: a program's end, the proxy's code, and a real server.

mod http2;
mod reuse;

use super::{Authority, Inspection};
use crate::credentials::{Binding, Credential, Credentials, Form, Injection, Secret};
use crate::denial::ErrorCode;
use crate::host::Host;
use crate::proxy::accept::{World, carry};
use crate::proxy::dial::{Failed, Way};
use crate::proxy::phases::Phases;
use crate::proxy::shared::{Config, Shared};
use crate::proxy::{Journal, Permit, Policy, decide};
use crate::websocket::handshake::accept_for;
use crate::websocket::{Decoder, Limits, Message, Role, encode};
use bytes::Bytes;
use casemate_identity::digest::Digest;
use casemate_identity::executable::Executable;
use casemate_identity::trust::{Scope, Trust};
use casemate_identity::{Digests, Identifier, Identity};
use casemate_policy::Document;
use casemate_policy::compiled::Compiled;
use casemate_sys::inetdiag::InetDiag;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const HOST: &str = "host.casemate.internal";
const SECRET: &str = "s3cr3t";

/// A server that remembers what it was asked, and a proxy in front of it.
struct Scene {
    shared: Arc<Shared>,
    server: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// Connections that the server had.
    accepted: Arc<AtomicUsize>,
    trusted: Arc<ClientConfig>,
}

fn client(authority: &Authority, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|own| own.to_vec()).collect();
    Arc::new(config)
}

async fn serve_one(request: Request<Incoming>, asked: Arc<Mutex<Vec<String>>>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut line = format!(
        "{} {} {}",
        head.method,
        head.uri.path_and_query().unwrap(),
        String::from_utf8_lossy(&body)
    );
    for value in head.headers.get_all("authorization") {
        line += &format!(" [{}]", value.to_str().unwrap());
    }
    asked.lock().unwrap().push(line);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let data = Full::new(Bytes::from_static(b"hello"));
    if head.version == http::Version::HTTP_2 {
        let with = data.with_trailers(async move { Some(Ok(trailers)) });
        return Response::new(with.boxed());
    }
    Response::new(data.boxed())
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn policy(endpoint: &str, port: u16) -> Arc<Policy> {
    let policy = format!(
        "version: 1\nnetwork_policies:\n  it:\n    binaries: [{{ path: /usr/bin/curl }}]\n    \
         endpoints:\n      - {{ host: {HOST}, port: {port}, {endpoint} }}\n"
    );
    let policy = Document::parse("policy.yaml", &policy).unwrap();
    Arc::new(Policy {
        compiled: Compiled::new(&policy.network).unwrap(),
        rules: None,
        learning: None,
        middlewares: policy.network_middlewares,
        open: None,
    })
}

impl Scene {
    async fn new(endpoint: &str, secure: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let issuer = Authority::new().unwrap();
        let acceptor = TlsAcceptor::from(issuer.server(&Host::parse(HOST).unwrap(), true).unwrap());
        let (heard, tls) = (Arc::clone(&asked), secure);
        let accepted: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (heard, acceptor) = (Arc::clone(&heard), acceptor.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let heard = Arc::clone(&heard);
                        async move { Ok::<_, Infallible>(serve_one(request, heard).await) }
                    });
                    if !tls {
                        let http1 = hyper::server::conn::http1::Builder::new();
                        let _ = http1.serve_connection(TokioIo::new(socket), service).await;
                        return;
                    }
                    let Ok(stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let io = TokioIo::new(stream);
                    if h2 {
                        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = http2.serve_connection(io, service).await;
                    } else {
                        let http1 = hyper::server::conn::http1::Builder::new();
                        let _ = http1.serve_connection(io, service).await;
                    }
                });
            }
        });
        let mut scene = Self::before(endpoint, server, Some(&issuer));
        (scene.asked, scene.accepted) = (asked, accepted);
        scene
    }

    fn before(endpoint: &str, server: SocketAddr, issuer: Option<&Authority>) -> Self {
        let own = Arc::new(Authority::new().unwrap());
        let scope = |_: &[u8], _| Scope::Private;
        let trust = Arc::new(Trust::in_memory());
        let identifier = Identifier::new(1, trust, Arc::new(Digests::new()), scope).unwrap();
        let mut inspection = Inspection::new(Arc::clone(&own));
        inspection.extra_roots = issuer
            .map(|own| own.certificate().clone())
            .into_iter()
            .collect();
        let config = Config {
            policy: policy(endpoint, server.port()),
            lends: false,
            connections: None,
            bandwidth: None,
            identifier: Arc::new(identifier),
            journal: Journal::default(),
            inspection,
            gateway: Some(server.ip()),
            phases: Phases::default(),
            scrape: None,
        };
        let shared = Shared::new(config, InetDiag::open().unwrap(), 1, None).unwrap();
        Self {
            shared: Arc::new(shared),
            server,
            asked: Arc::default(),
            accepted: Arc::default(),
            trusted: client(&own, &[]),
        }
    }

    /// The leave of a program with this digest to reach the server.
    fn permit(&self, digest: u8) -> Permit {
        let identity = Arc::new(Identity {
            pid: 1,
            executable: Executable {
                path: b"/usr/bin/curl".as_slice().into(),
                digest: Digest([digest; 32]),
                deleted: false,
            },
            ancestors: Box::default(),
            script: None,
            argv: casemate_identity::argv::Argv::default(),
        });
        let host = Host::parse(HOST).unwrap();
        decide::host(&self.shared, &identity, host, self.server.port()).unwrap()
    }

    /// A program's end of a connection to the server.
    async fn connect(&self) -> TcpStream {
        self.connect_as(7).await
    }

    /// That of a program with this digest.
    async fn connect_as(&self, digest: u8) -> TcpStream {
        let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let program = TcpStream::connect(between.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = between.accept().await.unwrap();
        let permit = self.permit(digest);
        let (shared, to) = (Arc::clone(&self.shared), self.server);
        tokio::spawn(async move {
            let world = World::open(&shared, &permit, Way::Address(to))
                .await
                .unwrap();
            carry(&shared, accepted, world, permit, Vec::new()).await;
        });
        program
    }

    async fn secure(&self, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let name = HOST.try_into().unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        connector.connect(name, self.connect().await).await
    }

    /// Says something and hears everything until the end.
    async fn say(&self, text: &str) -> String {
        self.say_as(7, text).await
    }

    async fn say_as(&self, digest: u8, text: &str) -> String {
        let mut program = self.connect_as(digest).await;
        let text = text.replace("HOST", &format!("{HOST}:{}", self.server.port()));
        program.write_all(text.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let _ = program.read_to_end(&mut heard).await;
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Gives the sandbox a credential, which it may use below a path.
    fn give(&mut self, path: &str, secure: bool, header: Option<&str>) {
        let binding = Binding::new(HOST, self.server.port(), path).unwrap();
        let binding = if secure {
            binding
        } else {
            binding.in_the_clear()
        };
        let mut credential = Credential::new("it", Secret::new(SECRET).unwrap(), vec![binding]);
        credential.injection = header.map(|header| Injection {
            header: header.to_owned(),
            form: Form::Text {
                before: "Bearer ".to_owned(),
                after: String::new(),
            },
        });
        let mut credentials = Credentials::default();
        credentials.insert("K", credential);
        let shared = Arc::get_mut(&mut self.shared).unwrap();
        shared.inspection.credentials = Arc::new(credentials);
    }

    /// A client of HTTP/2.
    async fn http2(&self) -> SendRequest<Full<Bytes>> {
        let mut config = (*self.trusted).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = self.secure(&Arc::new(config)).await.unwrap();
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Opens a WebSocket, says something and gives what is said back.
    async fn websocket(&self, path: &str, said: &Message) -> Message {
        let mut program = self.connect().await;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            self.server.port()
        );
        program.write_all(request.as_bytes()).await.unwrap();
        let (mut head, mut byte) = (Vec::new(), [0u8; 1]);
        while !head.ends_with(b"\r\n\r\n") {
            program.read_exact(&mut byte).await.unwrap();
            head.push(byte[0]);
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        let mut text = Vec::new();
        encode(said, Some([1, 2, 3, 4]), &mut text);
        program.write_all(&text).await.unwrap();
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        loop {
            program.read_exact(&mut byte).await.unwrap();
            if let (_, Some(message)) = decoder.push(&byte).unwrap() {
                break message;
            }
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

const REST: &str = "protocol: rest, enforcement: enforce, \
    rules: [{ allow: { method: GET, path: '/ok/**' } }, { allow: { method: POST, path: '/ok/**' } }]";

#[tokio::test]
async fn what_is_allowed_is_forwarded_in_its_canonical_form() {
    let scene = Scene::new(REST, false).await;
    let heard = scene
        .say("GET /x/..//ok/./%61 HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
        .await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    assert!(
        heard.ends_with("hello\r\n0\r\n\r\n") || heard.ends_with("hello"),
        "{heard}"
    );
    assert_eq!(scene.asked(), ["GET /ok/a "]);
}

#[tokio::test]
async fn what_is_denied_is_answered_and_the_connection_goes_on() {
    let scene = Scene::new(REST, false).await;
    let heard = scene
        .say(
            "GET /ok/../secret HTTP/1.1\r\nHost: HOST\r\n\r\n\
             GET /ok/b HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(heard.starts_with("HTTP/1.1 403"), "{heard}");
    assert!(heard.contains("\"error\":\"policy_denied\""), "{heard}");
    assert!(heard.contains("\"layer\":\"l7\"") && heard.contains("\"path\":\"/secret\""));
    assert!(heard.contains("HTTP/1.1 200"), "{heard}");
    assert_eq!(scene.asked(), ["GET /ok/b "]);
}

#[tokio::test]
async fn what_is_only_audited_passes() {
    let scene = Scene::new(&REST.replace("enforce,", "audit,"), false).await;
    let heard = scene
        .say("GET /secret HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
        .await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    assert_eq!(scene.asked(), ["GET /secret "]);
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_never_reaches_the_server() {
    let scene = Scene::new(REST, false).await;
    for request in [
        "POST /ok/a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /ok/a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "GET /ok/a HTTP/1.1\r\nHost: other.example.com\r\nConnection: close\r\n\r\n",
        "GET /ok/a HTTP/1.1\nHost: HOST\n\n",
        "GET /ok/%2e%2e%2fsecret HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
    ] {
        let heard = scene.say(request).await;
        assert!(heard.starts_with("HTTP/1.1 400"), "{request:?}: {heard}");
    }
    assert!(scene.asked().is_empty());
}

#[tokio::test]
async fn bodies_are_framed_anew() {
    let scene = Scene::new(REST, false).await;
    let heard = scene
        .say(
            "POST /ok/a HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\n\
             Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: v\r\n\r\n\
             POST /ok/b HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\nConnection: close\r\n\r\nde",
        )
        .await;
    assert!(
        heard.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"),
        "{heard}"
    );
    assert_eq!(scene.asked(), ["POST /ok/a abc", "POST /ok/b de"]);
}

#[tokio::test]
async fn who_trickles_a_head_is_hung_up_on() {
    let mut scene = Scene::new(REST, false).await;
    let shared = Arc::get_mut(&mut scene.shared).unwrap();
    shared.inspection.patience.head = Duration::from_millis(50);
    // Without an end of the head, only the proxy's patience ends this.
    assert_eq!(scene.say("GET /ok/a HTTP/1.1\r\nHost:").await, "");
    assert!(scene.asked().is_empty());
}

#[tokio::test]
async fn graphql_is_judged_by_its_operations() {
    let endpoint = "path: /graphql, protocol: graphql, enforcement: enforce, access: read-only";
    let scene = Scene::new(endpoint, false).await;
    let post = |query: &str| {
        let body = format!("{{\"query\":\"{query}\"}}");
        format!(
            "POST /graphql HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    assert!(
        scene
            .say(&post("{ viewer { id } }"))
            .await
            .starts_with("HTTP/1.1 200")
    );
    let heard = scene.say(&post("mutation { drop }")).await;
    assert!(heard.starts_with("HTTP/1.1 403"), "{heard}");
    assert!(heard.contains("\"protocol\":\"graphql\""), "{heard}");
    assert_eq!(scene.asked().len(), 1);
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_refused() {
    let scene = Scene::new(REST, false).await;
    assert_eq!(scene.say("\x00\x01binary").await, "");
    assert_eq!(scene.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, "");
    let denied = scene.shared.ledger.connections();
    assert!(
        denied
            .iter()
            .any(|row| row.because.contains("unsupported_l7_protocol"))
    );
}

#[tokio::test]
async fn tls_is_terminated_and_sessions_are_resumed() {
    let scene = Scene::new(REST, true).await;
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = scene.secure(&scene.trusted).await.unwrap();
        let request = format!(
            "GET /ok/a HTTP/1.1\r\nHost: {HOST}:{}\r\nConnection: close\r\n\r\n",
            scene.server.port()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        assert!(
            heard.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&heard)
        );
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn another_name_or_other_roots_end_the_handshake() {
    let scene = Scene::new(REST, true).await;
    let connector = TlsConnector::from(Arc::clone(&scene.trusted));
    let other = "other.example.com".try_into().unwrap();
    assert!(
        connector
            .connect(other, scene.connect().await)
            .await
            .is_err()
    );
    let pinned = client(&Authority::new().unwrap(), &[]);
    assert!(scene.secure(&pinned).await.is_err());
    assert!(scene.asked().is_empty());
}

#[tokio::test]
async fn http2_is_judged_request_by_request_and_keeps_trailers() {
    let scene = Scene::new(REST, true).await;
    let mut sender = scene.http2().await;
    let url = |path: &str| format!("https://{HOST}:{}{path}", scene.server.port());
    let request = |path: &str| {
        let body = Full::new(Bytes::from_static(b"ping"));
        Request::post(url(path))
            .header("te", "trailers")
            .body(body)
            .unwrap()
    };
    let allowed = sender.send_request(request("/ok/call")).await.unwrap();
    assert_eq!(allowed.status(), 200);
    let collected = allowed.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    let denied = sender.send_request(request("/secret")).await.unwrap();
    assert_eq!(denied.status(), 403);
    let body = denied.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("policy_denied"));
    assert_eq!(scene.asked(), ["POST /ok/call ping"]);
}

#[tokio::test]
async fn mcp_is_judged_by_its_tools() {
    let endpoint = "path: /mcp, protocol: mcp, enforcement: enforce, \
        rules: [{ allow: { method: tools/call, tool: search } }]";
    let scene = Scene::new(endpoint, false).await;
    let call = |tool: &str| {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\
             \"params\":{{\"name\":\"{tool}\",\"arguments\":{{}}}}}}"
        );
        format!(
            "POST /mcp HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let heard = scene.say(&call("search")).await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    let heard = scene.say(&call("delete")).await;
    assert!(heard.starts_with("HTTP/1.1 403"), "{heard}");
    assert_eq!(scene.asked().len(), 1);
}

/// A server that upgrades and says back what it hears; only one connection.
async fn echo(listener: TcpListener) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let (mut read, mut buffer) = (Vec::new(), [0u8; 1024]);
    while !read.ends_with(b"\r\n\r\n") {
        let count = socket.read(&mut buffer).await.unwrap();
        read.extend_from_slice(&buffer[..count]);
    }
    let head = String::from_utf8(read).unwrap();
    assert!(!head.contains("permessage-deflate"), "{head}");
    let key = head
        .lines()
        .find_map(|own| own.strip_prefix("Sec-WebSocket-Key: "));
    let accept = accept_for(key.unwrap());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    socket.write_all(answer.as_bytes()).await.unwrap();
    let mut decoder = Decoder::new(Role::Client, Limits::default());
    while let Ok(count @ 1..) = socket.read(&mut buffer).await {
        let (_, message) = decoder.push(&buffer[..count]).unwrap();
        let mut out = Vec::new();
        encode(&message.unwrap(), None, &mut out);
        let _ = socket.write_all(&out).await;
    }
}

#[tokio::test]
async fn messages_of_websocket_are_judged_one_by_one() {
    let text = || Message::Text("hi".to_owned());
    // Which a careless server would take for text.
    let query = "{\"type\":\"subscribe\",\"id\":\"1\",\"payload\":{\"query\":\"{ a }\"}}";
    let (operation, binary) = (
        || Message::Text(query.to_owned()),
        || Message::Binary(query.as_bytes().to_vec()),
    );
    let graphql = "rules: [{ allow: { method: GET } }, { allow: { operation_type: query } }]";
    for (rules, said, code) in [
        ("access: read-write", text(), None),
        ("access: read-write", binary(), None),
        ("access: full", binary(), None),
        ("access: read-only", text(), Some(1008)),
        ("access: read-only", binary(), Some(1008)),
        (graphql, operation(), None),
        (graphql, binary(), Some(1008)),
    ] {
        let endpoint = format!("protocol: websocket, enforcement: enforce, {rules}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scene = Scene::before(&endpoint, listener.local_addr().unwrap(), None);
        tokio::spawn(echo(listener));
        let heard = scene.websocket("/ws", &said).await;
        match code {
            None => assert_eq!(heard, said, "{rules}"),
            Some(code) => {
                let closed = matches!(heard, Message::Close(Some((own, _))) if own == code);
                assert!(closed, "{rules}: {said:?}: {heard:?}");
            }
        }
    }
}

const FILLED: &str = "protocol: rest, enforcement: enforce, access: full, \
    request_body_credential_rewrite: true";

#[tokio::test]
async fn credentials_are_filled_in_over_http2() {
    let mut scene = Scene::new(FILLED, true).await;
    scene.give("/v1", true, None);
    let mut sender = scene.http2().await;
    let url = |path: &str| format!("https://{HOST}:{}{path}", scene.server.port());
    let json = ("content-type", "application/json");
    let mut send = async |path: &str, header: (&str, &str), body: &'static str| {
        let request = Request::post(url(path)).header(header.0, header.1);
        let request = request.body(Full::new(Bytes::from_static(body.as_bytes())));
        let response = sender.send_request(request.unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let said = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&said).into_owned())
    };
    let bearer = ("authorization", "Bearer casemate:credential:K");
    assert_eq!(
        send("/v1/a?k=casemate:credential:K", bearer, "").await.0,
        200
    );
    let body = "{\"k\":\"casemate:credential:K\"}";
    assert_eq!(send("/v1/b", json, body).await.0, 200);
    for (path, header, body) in [
        ("/v2", bearer, ""),
        ("/v2?casemate:credential:K", json, ""),
        ("/v2/casemate:credential:K", json, ""),
        ("/v2", json, body),
    ] {
        let (status, said) = send(path, header, body).await;
        assert_eq!(status, 403, "{path}: {said}");
        assert!(said.contains("credential_endpoint_mismatch"), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    let named = ("x-openshell-resolve-env-k", "v");
    assert_eq!(send("/v1/c", named, "").await.0, 200);
    assert_eq!(
        scene.asked(),
        [
            "POST /v1/a?k=s3cr3t  [Bearer s3cr3t]",
            "POST /v1/b {\"k\":\"s3cr3t\"}",
            "POST /v1/c ",
        ]
    );
}

#[tokio::test]
async fn a_header_is_put_on_over_http2() {
    let mut scene = Scene::new(FILLED, true).await;
    scene.give("/v1", true, Some("Authorization"));
    let mut sender = scene.http2().await;
    for path in ["/v1/a", "/v2"] {
        let url = format!("https://{HOST}:{}{path}", scene.server.port());
        let request = Request::get(url)
            .header("authorization", "Bearer mine")
            .header("authorization", "Bearer casemate:credential:K");
        let request = request.body(Full::default()).unwrap();
        let _ = sender.send_request(request).await.unwrap();
    }
    // Where it isn't bound, the second one is a placeholder in the wrong place.
    assert_eq!(scene.asked(), ["GET /v1/a  [Bearer s3cr3t]"]);
}

#[tokio::test]
async fn a_placeholder_in_pieces_is_found() {
    let mut scene = Scene::new(FILLED, false).await;
    scene.give("/v1", false, None);
    for (path, expected) in [("/v1", "HTTP/1.1 200"), ("/v2", "HTTP/1.1 403")] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: HOST\r\nContent-Type: text/plain\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n9\r\ncasemate:\r\n1\r\nc\r\na\r\nredential:\r\n1\r\nK\r\n0\r\n\r\n"
        );
        let heard = scene.say(&request).await;
        assert!(heard.starts_with(expected), "{heard}");
    }
    assert_eq!(scene.asked(), ["POST /v1 s3cr3t"]);
}

#[tokio::test]
async fn what_a_credential_would_break_is_refused() {
    let mut scene = Scene::new(FILLED, false).await;
    scene.give("/v1", false, None);
    let head = "Host: HOST\r\nConnection: close\r\n";
    for (request, error) in [
        (
            format!("GET /v1 HTTP/1.1\r\n{head}X-OPENSHELL-RESOLVE-ENV-K: v\r\n\r\n"),
            "invalid_credential_placeholder",
        ),
        (
            format!("TRACE /v1 HTTP/1.1\r\n{head}X: casemate:credential:K\r\n\r\n"),
            "invalid_credential_placeholder",
        ),
        (
            format!("GET /v1/../v2 HTTP/1.1\r\n{head}X: casemate:credential:K\r\n\r\n"),
            "credential_endpoint_mismatch",
        ),
        (
            format!("GET /v1%2f..%2fv2 HTTP/1.1\r\n{head}X: casemate:credential:K\r\n\r\n"),
            "invalid_request_target",
        ),
        (
            format!("GET /v1 HTTP/1.1\r\n{head}X: casemate:\r\n credential:K\r\n\r\n"),
            "malformed_request",
        ),
    ] {
        let heard = scene.say(&request).await;
        assert!(heard.contains(error), "{request}: {heard}");
    }
    assert!(scene.asked().is_empty());
}

#[tokio::test]
async fn texts_of_websocket_are_filled_in_where_the_policy_says_so() {
    for (path, ok) in [("/v1/ws", true), ("/v2/ws", false)] {
        let endpoint = "protocol: websocket, enforcement: enforce, access: read-write, \
            websocket_credential_rewrite: true";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut scene = Scene::before(endpoint, listener.local_addr().unwrap(), None);
        scene.give("/v1", false, None);
        tokio::spawn(echo(listener));
        let said = Message::Text("{\"k\":\"casemate:credential:K\"}".to_owned());
        let heard = scene.websocket(path, &said).await;
        match ok {
            // The server says back what it heard: it had the secret.
            true => assert_eq!(heard, Message::Text("{\"k\":\"s3cr3t\"}".to_owned())),
            false => assert!(
                matches!(heard, Message::Close(Some((1008, _)))),
                "{heard:?}"
            ),
        }
    }
}

#[tokio::test]
async fn what_has_to_be_seen_does_not_pass_unseen() {
    for (endpoint, refused) in [
        ("protocol: any", true),
        ("protocol: any, allow_uninspected_credentials: true", false),
    ] {
        let mut scene = Scene::new(endpoint, false).await;
        let open = async |scene: &Scene| {
            let way = Way::Address(scene.server);
            World::open(&scene.shared, &scene.permit(7), way).await
        };
        assert!(open(&scene).await.is_ok());
        scene.give("/", true, None);
        let code = match open(&scene).await {
            Ok(_) => None,
            Err(Failed::Unseen(code, _)) => Some(code),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(code, refused.then_some(ErrorCode::UninspectedCredentials));
    }
}
