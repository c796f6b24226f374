//! A stream of events as it arrives.

use super::{PATIENCE, decoded};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

/// One message of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) flags: u8,
    pub(crate) bytes: Vec<u8>,
}

/// A response that goes on.
pub(crate) struct Events {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    body: Incoming,
    buffer: Vec<u8>,
}

/// All that a process said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) terminal: Vec<u8>,
    /// The end event, if there was one.
    pub(crate) end: Value,
    /// The error that the stream ended with, or null.
    pub(crate) error: Value,
    pub(crate) chunks: u64,
    pub(crate) keepalives: u64,
}

impl Events {
    pub(crate) fn new(response: http::Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            buffer: Vec::new(),
        }
    }

    /// The next message; `None` after the last byte.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let [flags, a, b, c, d, rest @ ..] = self.buffer.as_slice() {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                if rest.len() >= length {
                    let frame = Frame {
                        flags: *flags,
                        bytes: rest[..length].to_vec(),
                    };
                    self.buffer.drain(..5 + length);
                    return Some(frame);
                }
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame())
                .await
                .unwrap()?;
            self.buffer.extend(frame.unwrap().into_data().unwrap());
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Value {
        let frame = self.frame().await.expect("the stream goes on");
        assert_eq!(frame.flags, 0, "{}", String::from_utf8_lossy(&frame.bytes));
        let message: Value = serde_json::from_slice(&frame.bytes).unwrap();
        message["event"].clone()
    }

    /// The number of the process, which is the first event.
    pub(crate) async fn pid(&mut self) -> u64 {
        self.event().await["start"]["pid"].as_u64().unwrap()
    }

    /// Everything until the end.
    pub(crate) async fn rest(&mut self) -> Said {
        let mut said = Said::default();
        while let Some(frame) = self.frame().await {
            let message: Value = serde_json::from_slice(&frame.bytes).unwrap();
            if frame.flags == 2 {
                said.error = message["error"].clone();
                assert!(self.frame().await.is_none(), "nothing follows the end");
                break;
            }
            said.add(&message["event"]);
        }
        said
    }

    /// Output, until this appears in it.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut said = Said::default();
        loop {
            said.add(&self.event().await);
            let output = [&said.stdout[..], &said.terminal].concat();
            let output = String::from_utf8_lossy(&output).into_owned();
            if output.contains(text) {
                return output;
            }
            assert!(said.end.is_null(), "ended: {said:?}");
        }
    }
}

impl Said {
    fn add(&mut self, event: &Value) {
        if let Some(data) = event.get("data") {
            self.chunks += 1;
            for (name, output) in [
                ("stdout", &mut self.stdout),
                ("stderr", &mut self.stderr),
                ("pty", &mut self.terminal),
            ] {
                if let Some(bytes) = data.get(name) {
                    output.extend(decoded(bytes));
                }
            }
        }
        if let Some(end) = event.get("end") {
            assert!(self.end.is_null(), "one end");
            self.end = end.clone();
        }
        self.keepalives += u64::from(event.get("keepalive").is_some());
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}
