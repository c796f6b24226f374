//! What a host asks of a machine, in as few words as that takes.

use crate::machine::PATIENCE;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_core::guest::{Answer, Request};
use casemate_mux::{Door, Session};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// Asks process 1.
pub(crate) async fn control(session: &Session, request: &Request) -> Answer {
    let exchange = async {
        let mut stream = session.open(Door::Control).unwrap();
        let mut line = serde_json::to_string(request).unwrap();
        line.push('\n');
        stream.write_all(line.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut stream = BufReader::new(stream);
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        stream.shutdown().await.unwrap();
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"))
    };
    timeout(PATIENCE, exchange).await.unwrap()
}

/// Asks the agent, and gives all of its answer.
pub(crate) async fn get(session: &Session, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    String::from_utf8(exchange(session, request.as_bytes()).await).unwrap()
}

/// Runs a script in the machine's shell, as root, and gives what it prints: as much as had come if
/// the agent ends before it does.
pub(crate) async fn run(session: &Session, script: &str) -> String {
    let message = json!({"process": {"cmd": "/bin/sh", "args": ["-c", script]}, "stdin": false});
    let message = message.to_string();
    let length = u32::try_from(message.len()).unwrap();
    let head = format!(
        "POST /process.Process/Start HTTP/1.0\r\nHost: a\r\nConnect-Protocol-Version: 1\r\n\
         Content-Type: application/connect+json\r\nContent-Length: {}\r\n\r\n",
        5 + length
    );
    let request = [
        head.as_bytes(),
        &[0],
        &length.to_be_bytes(),
        message.as_bytes(),
    ]
    .concat();
    let answer = exchange(session, &request).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || text.contains(" 200 OK\r\n"), "{text}");
    // HTTP/1.0 has no chunks: behind the head are messages, each with a flag and its length.
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let mut body = body.map_or(&[][..], |end| &answer[end + 4..]);
    let mut said = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some((message, rest)) = rest.split_at_checked(length) else {
            break;
        };
        body = rest;
        let message: Value = serde_json::from_slice(message).unwrap();
        for stream in ["stdout", "stderr"] {
            let data = message["event"]["data"][stream]
                .as_str()
                .unwrap_or_default();
            said.extend(BASE64_STANDARD.decode(data).unwrap());
        }
    }
    String::from_utf8(said).unwrap()
}

/// An agent that ends in the middle cuts the stream off; what came before that counts.
async fn exchange(session: &Session, request: &[u8]) -> Vec<u8> {
    let exchange = async {
        let mut stream = session.open(Door::Agent).unwrap();
        stream.write_all(request).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    timeout(PATIENCE, exchange).await.unwrap()
}
