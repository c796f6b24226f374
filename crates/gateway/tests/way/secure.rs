//! TLS, HTTP/2 and names.

use crate::world::*;
use bytes::Bytes;
use casemate_core::node::Door;
use casemate_gateway::dns::Responder;
use casemate_gateway::tls::{Authority, given};
use futures_util::StreamExt;
use http::{Request, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn tls(
    world: &World,
    pem: &str,
    name: String,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(world.address).await?;
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn h2<B>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> http2::SendRequest<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn full(uri: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri.parse().unwrap();
    *request.version_mut() = Version::HTTP_2;
    request
}

#[tokio::test]
async fn http2_is_served_with_and_without_tls() {
    let authority = Authority::new("sbx.test").unwrap();
    for secure in [true, false] {
        let world = World::with_tls(settings(patient()), secure.then(|| authority.server())).await;
        let (address, _served) = mirror().await;
        world.port(3000, address);
        let mut sender = match secure {
            true => {
                let stream = tls(&world, authority.pem(), host(3000), b"h2")
                    .await
                    .unwrap();
                h2(stream).await
            }
            false => h2(TcpStream::connect(world.address).await.unwrap()).await,
        };
        let scheme = if secure { "https" } else { "http" };
        let mut request = full(&format!("{scheme}://{}/a//b?c", host(3000)));
        request
            .headers_mut()
            .append("cookie", "a=1".parse().unwrap());
        request
            .headers_mut()
            .append("cookie", "b=2".parse().unwrap());
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.starts_with("GET /a//b?c HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("\r\ncookie: a=1; b=2\r\n"), "{text}");
        assert!(
            text.contains(&format!("\r\nx-forwarded-proto: {scheme}\r\n")),
            "{text}"
        );
        assert!(
            text.contains(&format!("\r\nhost: {}\r\n", host(3000))),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_http2_stream_breaks_off_with_an_error() {
    let world = World::new().await;
    let (address, _served) =
        parrot("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    world.port(3000, address);
    let mut sender = h2(TcpStream::connect(world.address).await.unwrap()).await;
    let request = full(&format!("http://{}/", host(3000)));
    let response = sender.send_request(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    // Only that stream: the connection goes on.
    let response = sender
        .send_request(full("http://localhost/x"))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

fn post<B>(port: u16, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = format!("http://{}/", host(port)).parse().unwrap();
    request
}

#[tokio::test]
async fn uploads_that_nobody_reads_leave_room_for_others() {
    let world = World::new().await;
    // It reads heads, and never a body.
    let (address, _served) = server(|mut wire| async move {
        wire.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    world.port(3000, address);
    let (mirror, _mirror) = mirror().await;
    world.port(3001, mirror);
    type Piece = Result<http_body::Frame<Bytes>, std::convert::Infallible>;
    let mut sender = h2(TcpStream::connect(world.address).await.unwrap()).await;
    let said = Arc::new(AtomicUsize::new(0));
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let said = Arc::clone(&said);
        let pieces = futures_util::stream::repeat_with(move || -> Piece {
            said.fetch_add(1, Ordering::Relaxed);
            Ok(http_body::Frame::data(Bytes::from_static(&[0; 16 << 10])))
        });
        let request = post(3000, StreamBody::new(pieces.boxed()));
        stuck.push(tokio::spawn(sender.send_request(request)));
    }
    // Until none of them gets on, and then some more.
    let (mut before, mut still) = (0, 0);
    while still < 50 {
        let piece: Piece = Ok(http_body::Frame::data(vec![b'k'; 60_000].into()));
        let once = futures_util::stream::iter([piece]);
        let request = post(3001, StreamBody::new(once.boxed()));
        let response = sender.send_request(request).await.unwrap();
        let echoed = response.into_body().collect().await.unwrap().to_bytes();
        assert!(echoed.ends_with(&[b'k'; 60_000]));
        let now = said.load(Ordering::Relaxed);
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn two_authorities_in_one_http2_request_are_refused() {
    let world = World::new().await;
    let mut sender = h2(TcpStream::connect(world.address).await.unwrap()).await;
    let mut request = full("http://localhost/x");
    request
        .headers_mut()
        .insert("host", host(3000).parse().unwrap());
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn the_authority_is_good_for_its_domain_alone() {
    let authority = Authority::new("sbx.test").unwrap();
    let world = World::with_tls(settings(patient()), Some(authority.server())).await;
    for name in [
        host(49983),
        "api.sbx.test".into(),
        "localhost".into(),
        "127.0.0.1".into(),
    ] {
        let mut stream = tls(&world, authority.pem(), name, b"http/1.1")
            .await
            .unwrap();
        stream
            .write_all(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        assert!(text.ends_with("api GET /x true"), "{text}");
    }
    for name in ["example.com", "a.b.sbx.test", "127.0.0.2"] {
        assert!(
            tls(&world, authority.pem(), name.into(), b"h2")
                .await
                .is_err(),
            "{name}"
        );
    }
    // The same authority's signature under another name isn't believed.
    let other = Authority::new("other.test").unwrap();
    assert!(tls(&world, other.pem(), host(49983), b"h2").await.is_err());
}

#[tokio::test]
async fn curl_trusts_the_authoritys_file_and_nobody_elses() {
    let authority = Authority::new("sbx.test").unwrap();
    let world = World::with_tls(settings(patient()), Some(authority.server())).await;
    let path = world.path("agent.sock");
    let _served = unix_server(&path, reflect).await;
    world.open(Door::Agent, Behind::Unix(path));
    let file = world.path("ca.pem");
    authority.write(&file).unwrap();
    let (name, port) = (host(49983), world.address.port());
    let resolve = format!("{name}:{port}:127.0.0.1");
    let url = format!("https://{name}:{port}/health");
    let curl = async |more: &[&std::ffi::OsStr]| {
        let mut command = Command::new("curl");
        command
            .args([
                "-sS",
                "--http2",
                "--noproxy",
                "*",
                "--resolve",
                &resolve,
                &url,
            ])
            .args(more);
        tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
    };
    let Ok(output) = curl(&["--cacert".as_ref(), file.as_os_str()]).await else {
        eprintln!("skipped: there is no curl");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("GET /health HTTP/1.1\r\n"), "{output:?}");
    assert!(!curl(&[]).await.unwrap().status.success());
    // In OpenSSL's eyes, too, it may not sign for others.
    let text = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in"])
        .arg(&file)
        .output();
    if let Ok(text) = text {
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains("Name Constraints: critical"), "{text}");
        assert!(text.contains("DNS:sbx.test"), "{text}");
    }
}

#[tokio::test]
async fn a_given_certificate_is_used() {
    let names = vec!["given.test".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let world = World::new().await;
    let (chain, key) = (world.path("chain.pem"), world.path("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = given(&chain, &key).unwrap();
    let world = World::with_tls(settings(patient()), Some(config)).await;
    assert!(
        tls(&world, &made.cert.pem(), "given.test".into(), b"h2")
            .await
            .is_ok()
    );
    let error = given(&key, &key).map(drop).unwrap_err().to_string();
    assert!(
        error.contains("key.pem") && error.contains("hint: "),
        "{error}"
    );
}

#[tokio::test]
async fn names_are_answered_by_udp_and_tcp() {
    let responder = Responder::new("sbx.test", vec!["127.0.0.1".parse().unwrap()]).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let served = tokio::spawn(async move {
        responder.serve(udp, tcp, std::future::pending()).await;
    });
    // api.sbx.test, A, IN
    let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03api\x03sbx\x04test\0\0\x01\0\x01";
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    client.send(question).await.unwrap();
    let mut answer = [0; 512];
    let length = client.recv(&mut answer).await.unwrap();
    assert!(answer[..length].ends_with(&[0, 4, 127, 0, 0, 1]));
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        stream.write_u16(question.len() as u16).await.unwrap();
        stream.write_all(question).await.unwrap();
        let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.ends_with(&[0, 4, 127, 0, 0, 1]));
    }
    served.abort();
}
