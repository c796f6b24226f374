//! How a fake misbehaves: `VERB METHOD PATH`, for one call.

use super::http::{self, Request};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// What it does in place of an answer to this call; nothing by itself.
#[derive(Debug, Default)]
pub(crate) struct Will(Option<(String, String, String)>);

impl Will {
    pub(crate) fn of(words: &str) -> Self {
        let mut words = words.split_whitespace().map(str::to_owned);
        Self((|| Some((words.next()?, words.next()?, words.next()?)))())
    }

    /// Does it, if this is the call: whether the connection is of use afterwards.
    pub(super) async fn misbehaves(
        &self,
        request: &Request,
        stream: &mut UnixStream,
    ) -> Option<bool> {
        let (verb, method, path) = self.0.as_ref()?;
        if (method, path) != (&request.method, &request.path) {
            return None;
        }
        match verb.as_str() {
            "hang" => std::future::pending().await,
            "die" => std::process::exit(1),
            "close" => {}
            "garbage" => drop(stream.write_all(&[b'\x1b'; 512]).await),
            "no-json" => http::write(stream, 200, "{not}").await,
            "huge" => http::write(stream, 200, &"9".repeat(10 << 20)).await,
            "heads" => {
                let head = format!("HTTP/1.1 200 \r\nx: {}\r\n", "y".repeat(1 << 20));
                drop(stream.write_all(head.as_bytes()).await);
                std::future::pending().await
            }
            "refuse" => {
                let why = json!({ "fault_message": "not\u{1b}[2J today".repeat(1000) });
                http::write(stream, 400, &why.to_string()).await;
            }
            _ => panic!("nobody {verb}s"),
        }
        Some(verb == "refuse")
    }
}
