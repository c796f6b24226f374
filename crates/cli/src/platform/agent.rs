//! The agent of one sandbox: plain requests, and calls of Connect RPC
//! (connectrpc.com/docs/protocol) in its binary encoding.

use super::api::Detail;
use super::http::{self, Answer, Body, Failed, Line, Site, accepted, full, soon};
use super::server::Server;
use ::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ::http::request::Builder;
use ::http::{HeaderMap, Request, Response, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use casemate_core::error::Error;
use casemate_proto::buffa::Message;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

/// The agent's port, as clients write it.
const PORT: &str = "49983";
/// Flags and length before each message of a stream.
const HEAD: usize = 5;
/// Bytes of one message; the agent's own are far smaller.
const LONGEST: usize = 32 << 20;
const COMPRESSED: u8 = 1;
const END: u8 = 2;

/// See the module.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) site: Site,
    pub(super) id: String,
    token: Option<String>,
    user: Option<String>,
}

impl Agent {
    /// The agent of this sandbox, for what this user does; its own default user if `None`.
    pub(super) fn new(server: &Server, detail: &Detail, user: Option<String>) -> Self {
        Self {
            site: server.sandboxes.clone(),
            id: detail.id.clone(),
            token: detail.envd_access_token.clone(),
            user,
        }
    }

    /// An agent that is reached without a server.
    pub(super) fn direct(id: String, token: Option<String>, direct: http::Direct) -> Self {
        Self {
            site: Site::direct("sandbox", direct),
            id,
            token,
            user: None,
        }
    }

    /// The user that was named.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The head of a request.
    pub(super) fn request(&self, path: &str) -> Builder {
        let mut request = Request::builder()
            .uri(path)
            .header("e2b-sandbox-id", &self.id)
            .header("e2b-sandbox-port", PORT);
        if let Some(token) = &self.token {
            request = request.header("x-access-token", token);
        }
        if let Some(user) = &self.user {
            let pair = BASE64_STANDARD.encode(format!("{user}:"));
            request = request.header(AUTHORIZATION, format!("Basic {pair}"));
        }
        request
    }

    /// A call with one answer.
    pub(super) async fn call<T: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Answer<T> {
        soon(async {
            self.call_on(&mut self.site.connect().await?, method, message)
                .await
        })
        .await
    }

    /// The same over this connection.
    pub(super) async fn call_on<T: Message + Default>(
        &self,
        line: &mut Line,
        method: &str,
        message: &impl Message,
    ) -> Answer<T> {
        let request = self
            .request(method)
            .method("POST")
            .header(CONTENT_TYPE, "application/proto")
            .body(full(message.encode_to_vec()));
        let response = accepted(line.send(request.map_err(odd)?).await?).await?;
        let answer = http::whole(response).await?;
        T::decode_from_slice(&answer).map_err(odd)
    }

    /// A call whose answers follow one after the other.
    pub(super) async fn follow(
        &self,
        method: &str,
        message: &impl Message,
        more: &[(&'static str, String)],
    ) -> Answer<Stream> {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).map_err(odd)?;
        let body = [&[0], &length.to_be_bytes()[..], &message].concat();
        let mut request = self
            .request(method)
            .method("POST")
            .header(CONTENT_TYPE, "application/connect+proto");
        for (name, value) in more {
            request = request.header(*name, value);
        }
        let request = request.body(full(body)).map_err(odd)?;
        let response = soon(self.site.send(request)).await?;
        Ok(Stream::new(accepted(response).await?))
    }

    /// A plain request.
    pub(super) async fn plain(&self, request: Builder, body: Body) -> Answer<Response<Incoming>> {
        let request = request.body(body).map_err(odd)?;
        accepted(self.site.send(request).await?).await
    }
}

fn odd(error: impl std::fmt::Display) -> Failed {
    Failed::Lost(Error::rule(
        "talk to the sandbox's agent",
        error.to_string(),
    ))
}

/// Messages in envelopes.
pub(super) struct Stream {
    /// What came with the first of them.
    pub(super) headers: HeaderMap,
    body: Incoming,
    read: BytesMut,
}

impl Stream {
    fn new(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            headers: parts.headers,
            body,
            read: BytesMut::new(),
        }
    }

    /// The next one; `None` at the end. Nothing is lost if this is given up.
    pub(super) async fn next<T: Message + Default>(&mut self) -> Answer<Option<T>> {
        loop {
            if let Some((flags, message)) = envelope(&mut self.read)? {
                if flags & END != 0 {
                    return ending(&message).map(|()| None);
                }
                return T::decode_from_slice(&message).map(Some).map_err(odd);
            }
            let frame = self.body.frame().await;
            let frame = frame.ok_or_else(|| odd("the stream broke off"))?;
            if let Ok(data) = frame.map_err(odd)?.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}

/// Takes the first envelope out, once it is whole.
fn envelope(read: &mut BytesMut) -> Answer<Option<(u8, Bytes)>> {
    let Some([flags, length @ ..]) = read.first_chunk::<HEAD>().copied() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST || flags & COMPRESSED != 0 {
        return Err(odd("a message is too long, or compressed"));
    }
    if read.len() < HEAD + length {
        return Ok(None);
    }
    read.advance(HEAD);
    Ok(Some((flags, read.split_to(length).freeze())))
}

/// The last message: nothing, or what went wrong.
fn ending(message: &[u8]) -> Answer<()> {
    let end: Value = serde_json::from_slice(message).map_err(odd)?;
    let Some(error) = end.get("error") else {
        return Ok(());
    };
    let text = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let status = match text("code") {
        // The way to the agent broke, or what is behind it.
        "unavailable" => return Err(odd(text("message"))),
        "not_found" => StatusCode::NOT_FOUND,
        "unauthenticated" => StatusCode::UNAUTHORIZED,
        "deadline_exceeded" => StatusCode::REQUEST_TIMEOUT,
        "invalid_argument" => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let message = text("message").to_owned();
    Err(Failed::Refused { status, message })
}

#[cfg(test)]
mod tests {
    use super::{BytesMut, Failed, ending, envelope};

    #[test]
    fn envelopes_come_out_whole_however_they_are_cut() {
        let whole = b"\x00\x00\x00\x00\x02ab\x02\x00\x00\x00\x02{}";
        for cut in 0..whole.len() {
            let mut read = BytesMut::from(&whole[..cut]);
            let mut found = Vec::new();
            while let Some(next) = envelope(&mut read).unwrap() {
                found.push(next);
            }
            read.extend_from_slice(&whole[cut..]);
            while let Some(next) = envelope(&mut read).unwrap() {
                found.push(next);
            }
            assert_eq!(found, [(0, "ab".into()), (2, "{}".into())], "{cut}");
        }
    }

    #[test]
    fn what_is_too_long_or_compressed_is_refused() {
        for head in [b"\x00\xff\xff\xff\xff", b"\x01\x00\x00\x00\x01"] {
            assert!(envelope(&mut BytesMut::from(&head[..])).is_err());
        }
    }

    #[test]
    fn an_end_says_whether_the_way_or_the_request_was_wrong() {
        assert!(ending(b"{}").is_ok());
        let gone = br#"{"error":{"code":"unavailable","message":"gone"}}"#;
        assert!(ending(gone).unwrap_err().is_lost());
        let wrong = br#"{"error":{"code":"not_found","message":"no"}}"#;
        assert!(matches!(ending(wrong), Err(Failed::Refused { message, .. }) if message == "no"));
        assert!(ending(b"x").is_err());
    }
}
