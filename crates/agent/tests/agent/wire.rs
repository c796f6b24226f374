//! Encodings, protocols, and clients that mean no good.

use crate::support::{Agent, Answer, Events, call, envelope, of, streaming};
use casemate_proto::buffa::Message;
use casemate_proto::oneof::{Event, Output, Selector};
use casemate_proto::process::{
    ListResponse, ProcessConfig, ProcessSelector, SendSignalRequest, StartRequest, StartResponse,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::io::Write;
use tokio::io::AsyncWriteExt;

fn binary_start(script: &str) -> Vec<u8> {
    let process = ProcessConfig {
        cmd: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        ..ProcessConfig::default()
    };
    let request = StartRequest {
        process: process.into(),
        stdin: Some(false),
        ..StartRequest::default()
    };
    request.encode_to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn binary_events(events: &mut Events) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(frame) = events.frame().await {
        if frame.flags == 2 {
            assert_eq!(frame.bytes, b"{}");
        } else {
            let response = StartResponse::decode_from_slice(&frame.bytes).unwrap();
            all.extend(response.event.into_option().unwrap().event);
        }
    }
    all
}

#[tokio::test]
async fn binary_messages_say_the_same() {
    let agent = Agent::start();
    let mut request = streaming("Start", &envelope(0, &binary_start("printf x; exit 3")));
    let binary = "application/connect+proto".parse().unwrap();
    request.headers_mut().insert("content-type", binary);
    let mut events = Events::new(agent.send(request).await);
    let all = binary_events(&mut events).await;
    let [Event::Start(start), Event::Data(data), Event::End(end)] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert!(start.pid > 1);
    assert_eq!(data.output, Some(Output::Stdout(b"x".to_vec())));
    assert_eq!((end.exit_code, end.status.as_str()), (3, "exit status 3"));
    let mut list = call("List", json!({}));
    *list.body_mut() = Full::default();
    list.headers_mut()
        .insert("content-type", "application/proto".parse().unwrap());
    let answer = agent.exchange(list).await;
    assert_eq!(answer.status, 200);
    assert!(
        ListResponse::decode_from_slice(&answer.body)
            .unwrap()
            .processes
            .is_empty()
    );
}

#[tokio::test]
async fn grpc_is_spoken_as_well() {
    let agent = Agent::start();
    let stream = TokioIo::new(agent.connect().await);
    let executor = TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let call = |method: &str, message: &[u8]| {
        Request::post(format!("http://agent/process.Process/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::<hyper::body::Bytes>::from(envelope(0, message)))
            .unwrap()
    };
    let start = call("Start", &binary_start("printf x"));
    let answer = sender.send_request(start).await.unwrap().into_body();
    let answer = answer.collect().await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
    assert!(answer.to_bytes().ends_with(b"exit status 0"));
    let selector = ProcessSelector {
        selector: Some(Selector::Pid(4_000_000)),
        ..ProcessSelector::default()
    };
    let unknown = SendSignalRequest {
        process: selector.into(),
        ..SendSignalRequest::default()
    };
    let answer = sender.send_request(call("SendSignal", &unknown.encode_to_vec()));
    let (head, body) = answer.await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned();
    let status = trailers.unwrap_or(head.headers)["grpc-status"].clone();
    assert_eq!(status, "5", "not found");
}

#[tokio::test]
async fn two_versions_of_http_are_spoken() {
    let agent = Agent::start();
    let stream = TokioIo::new(agent.connect().await);
    let executor = TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://agent/health")
        .body(Full::default())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (204, Version::HTTP_2)
    );
    // Streams share the connection and don't wait for each other.
    let script = json!({"process": {"cmd": "cat"}}).to_string();
    let mut start = streaming("Start", &envelope(0, script.as_bytes()));
    *start.uri_mut() = "http://agent/process.Process/Start".parse().unwrap();
    let mut events = Events::new(sender.send_request(start).await.unwrap());
    let pid = events.pid().await;
    let mut close = call("CloseStdin", json!({"process": of(pid)}));
    *close.uri_mut() = "http://agent/process.Process/CloseStdin".parse().unwrap();
    let answer = Answer::read(sender.send_request(close).await.unwrap()).await;
    assert_eq!(answer.ok(), json!({}));
    assert_eq!(events.rest().await.end["status"], "exit status 0");
}

#[tokio::test]
async fn identity_is_no_compression_and_gzip_is_one() {
    let agent = Agent::start();
    let mut list = call("List", json!({}));
    list.headers_mut()
        .insert("content-encoding", "identity".parse().unwrap());
    list.headers_mut()
        .insert("accept-encoding", "identity".parse().unwrap());
    assert_eq!(agent.exchange(list).await.ok(), json!({}));
    let script = br#"{"process":{"cmd":"echo","args":["a"]}}"#;
    let mut start = streaming("Start", &envelope(1, &gzip(script)));
    let headers = start.headers_mut();
    headers.insert("connect-content-encoding", "gzip".parse().unwrap());
    headers.insert("connect-accept-encoding", "gzip".parse().unwrap());
    headers.insert("accept-encoding", "zstd,gzip,br".parse().unwrap());
    let mut events = Events::new(agent.send(start).await);
    assert!(!events.headers.contains_key("content-encoding"));
    // Answers stay as they are.
    events.pid().await;
    assert_eq!(events.rest().await.text(), "a\n");
}

#[tokio::test]
async fn messages_that_make_no_sense_are_refused() {
    let agent = Agent::start();
    let deep = format!("{{\"x\":{}", "[".repeat(200_000));
    for (body, code) in [
        (&b"{"[..], "invalid_argument"),
        (b"[]", "invalid_argument"),
        (b"\xff\xfe", "invalid_argument"),
        (br#"{"process":{"pid":-1}}"#, "invalid_argument"),
        (br#"{"process":{"pid":99999999999}}"#, "invalid_argument"),
        (
            br#"{"process":{"pid":1},"input":{"stdin":"!!"}}"#,
            "invalid_argument",
        ),
        (
            br#"{"process":{"pid":1},"input":{"stdin":7}}"#,
            "invalid_argument",
        ),
        (deep.as_bytes(), "invalid_argument"),
    ] {
        let mut request = call("SendInput", json!({}));
        *request.body_mut() = Full::from(body.to_vec());
        let answer = agent.exchange(request).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{shown}"
        );
        assert!(answer.body.len() < 1000);
    }
    // Groups in groups, lengths beyond the end, numbers without one.
    let groups = vec![0x0b; 1_000_000];
    for body in [
        &groups[..],
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a",
        &[0xff; 20],
    ] {
        let mut request = call("SendInput", json!({}));
        *request.body_mut() = Full::from(body.to_vec());
        let binary = "application/proto".parse().unwrap();
        request.headers_mut().insert("content-type", binary);
        assert_eq!(agent.exchange(request).await.code(), "invalid_argument");
    }
    agent.is_well().await;
}

#[tokio::test]
async fn streams_that_make_no_sense_are_refused() {
    let agent = Agent::start();
    let mut cut = envelope(0, br#"{"process":{"cmd":"true"}}"#);
    cut.truncate(20);
    let mut huge = vec![0, 0xff, 0xff, 0xff, 0xff];
    huge.extend([b'x'; 1000]);
    let nothing: &[u8] = b"";
    let odd = [
        envelope(0xff, b"{}"),
        envelope(1, b"{}"),
        b"\0\0".to_vec(),
        cut,
        huge,
    ];
    for body in &odd {
        let answer = agent.exchange(streaming("Start", body)).await;
        let shown = String::from_utf8_lossy(&answer.body);
        assert!(shown.contains("\"error\""), "{body:?} {shown}");
    }
    // What is cut off between two messages is the end of a stream of input.
    for body in &odd[3..] {
        let answer = agent.exchange(streaming("StreamInput", body)).await;
        let shown = String::from_utf8_lossy(&answer.body);
        assert!(shown.contains("\"error\""), "{body:?} {shown}");
    }
    let answer = agent.exchange(streaming("Start", nothing)).await;
    assert!(String::from_utf8_lossy(&answer.body).contains("\"error\""));
    let data = json!({"data": {"input": {"stdin": ""}}}).to_string();
    let answer = agent
        .exchange(streaming("StreamInput", &envelope(0, data.as_bytes())))
        .await;
    assert!(String::from_utf8_lossy(&answer.body).contains("data before start"));
    agent.is_well().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_unpacked() {
    let agent = Agent::start();
    let bomb = gzip(&vec![b' '; 17 << 20]);
    assert!(bomb.len() < 1 << 20);
    let mut unary = call("SendInput", json!({}));
    *unary.body_mut() = Full::from(bomb.clone());
    unary
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(agent.exchange(unary).await.code(), "resource_exhausted");
    let mut stream = streaming("Start", &envelope(1, &bomb));
    stream
        .headers_mut()
        .insert("connect-content-encoding", "gzip".parse().unwrap());
    let answer = agent.exchange(stream).await;
    assert!(String::from_utf8_lossy(&answer.body).contains("resource_exhausted"));
    let length = 17 << 20;
    let mut plain = format!(
        "POST /process.Process/SendInput HTTP/1.1\r\nhost: a\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes();
    plain.resize(plain.len() + length, b' ');
    assert!(agent.raw(&plain).await.contains("resource_exhausted"));
    agent.is_well().await;
}

#[tokio::test]
async fn what_is_spoken_by_nobody_is_refused() {
    let agent = Agent::start();
    let with = |name: &'static str, value: &str| {
        let mut request = call("List", json!({}));
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    assert_eq!(
        agent
            .exchange(with("content-type", "text/plain"))
            .await
            .status,
        415
    );
    let encoding = agent.exchange(with("content-encoding", "snappy")).await;
    assert_eq!(encoding.code(), "unimplemented");
    let timeout = agent.exchange(with("connect-timeout-ms", "soon")).await;
    assert!(timeout.status < 500);
    for path in [
        "/process.Process/Nothing",
        "/process.Other/List",
        "/",
        "//",
        "/process.Process/",
    ] {
        let mut request = call("List", json!({}));
        *request.uri_mut() = path.parse().unwrap();
        let status = agent.exchange(request).await.status;
        assert!((400..=501).contains(&status), "{path} {status}");
    }
    agent.is_well().await;
}

#[tokio::test]
async fn heads_are_bounded() {
    let agent = Agent::start();
    let mut many = b"GET /health HTTP/1.1\r\nhost: a\r\n".to_vec();
    for number in 0..10_000 {
        many.extend(format!("x-{number}: y\r\n").bytes());
    }
    many.extend(b"\r\n");
    assert!(agent.raw(&many).await.starts_with("HTTP/1.1 431"));
    let mut long = b"GET /health HTTP/1.1\r\nhost: a\r\nx: ".to_vec();
    long.extend(vec![b'y'; 1 << 20]);
    long.extend(b"\r\n\r\n");
    let answer = agent.raw(&long).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    for noise in [
        &b"\0\0\0\0"[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX",
    ] {
        let answer = agent.raw(noise).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    agent.is_well().await;
}

#[tokio::test]
async fn slow_and_silent_clients_hold_nobody_up() {
    let agent = Agent::start();
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(agent.connect().await);
        let mut slow = agent.connect().await;
        slow.write_all(b"POST /process.Process/List HTTP/1.1\r\nho")
            .await
            .unwrap();
        held.push(slow);
        let mut body = agent.connect().await;
        body.write_all(
            b"POST /process.Process/List HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
              content-length: 1000\r\n\r\n{",
        )
        .await
        .unwrap();
        held.push(body);
    }
    agent.is_well().await;
    assert_eq!(
        agent.shell("echo served").await.rest().await.text(),
        "served\n"
    );
    drop(held);
    agent.is_well().await;
}

#[tokio::test]
async fn a_client_that_vanishes_in_the_middle_breaks_nothing() {
    let agent = Agent::start();
    let body = envelope(
        0,
        br#"{"process":{"cmd":"sh","args":["-c","yes | head -c 9000000"]}}"#,
    );
    for cut in [1, 5, 40] {
        let mut stream = agent.connect().await;
        let head = format!(
            "POST /process.Process/Start HTTP/1.1\r\nhost: a\r\n\
             content-type: application/connect+json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body[..cut]).await.unwrap();
    }
    for _ in 0..20 {
        let mut events = Events::new(agent.send(streaming("Start", &body)).await);
        events.pid().await;
        events.event().await;
    }
    agent.is_well().await;
    assert_eq!(
        agent.shell("echo served").await.rest().await.text(),
        "served\n"
    );
}
