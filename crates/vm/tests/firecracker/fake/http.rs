//! HTTP/1.1 as Firecracker has it: requests with a length, one after another.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Firecracker's own limit of a request, bytes.
const LONGEST: usize = 51_200;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Null if there is none.
    pub(crate) body: Value,
}

/// The next one; `None` at the connection's end, and for what is none.
pub(super) async fn read(stream: &mut BufReader<UnixStream>) -> Option<Request> {
    let first = line(stream).await?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    assert_eq!(words.next(), Some("HTTP/1.1"), "{first}");
    let mut length = 0;
    loop {
        let header = line(stream).await?;
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.parse().expect("a number");
        }
    }
    assert!(length <= LONGEST, "a request of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&body).expect("it is JSON"),
    };
    Some(Request { method, path, body })
}

async fn line(stream: &mut BufReader<UnixStream>) -> Option<String> {
    let mut line = String::new();
    match stream.read_line(&mut line).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end_matches("\r\n").to_owned()),
    }
}

pub(super) async fn write(stream: &mut UnixStream, status: u16, body: &str) {
    let head = "Server: Firecracker API\r\nConnection: keep-alive\r\n";
    let answer = match status {
        204 => format!("HTTP/1.1 204 \r\n{head}\r\n"),
        _ => format!(
            "HTTP/1.1 {status} \r\n{head}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    };
    // Whoever asked may be gone.
    let _ = stream.write_all(answer.as_bytes()).await;
}
