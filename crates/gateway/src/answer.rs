//! What the gateway says by itself.
//!
//! The texts about a sandbox that is gone and a port that is closed are those that E2B's clients
//! look for.

use bytes::Bytes;
use casemate_core::node::Refusal;
use casemate_core::sandbox::SandboxId;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde_json::{Value, json};

/// Why a body broke off.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// The header that opens private ports.
pub(crate) const TRAFFIC_TOKEN: &str = "e2b-traffic-access-token";

/// What a client is told in place of a sandbox's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The request can't be read in one way only; the text says why.
    Bad(&'static str),
    /// There is nothing there for clients.
    NotFound,
    /// The gateway is no proxy of this kind.
    NoConnect,
    /// No sandbox has this signature.
    Unsigned,
    /// The agent would say the same, and the sandbox needn't wake for that.
    Unauthorized,
    /// The sandbox is no more, or sleeps and may not be woken.
    Gone(SandboxId),
    /// Nothing listens on the port.
    Closed(SandboxId, u16),
    /// The port is private, and the token isn't right.
    Private(SandboxId),
    /// It couldn't be woken or reached; the text says why.
    Failed(SandboxId, StatusCode, String),
    /// This gateway is about to stop.
    Stopping,
    /// The path mode's folder, with its slash.
    Folder(HeaderValue),
}

impl Answer {
    /// For a sandbox that a node didn't open.
    pub(crate) fn refused(id: &SandboxId, refusal: &Refusal) -> Self {
        let failed = |status, why: String| Self::Failed(id.clone(), status, why);
        match refusal {
            // One that was paused meanwhile is to a client what one that is paused is.
            Refusal::Unknown | Refusal::State(_) => Self::Gone(id.clone()),
            Refusal::Closed(port) => Self::Closed(id.clone(), *port),
            Refusal::Full(_) => failed(
                StatusCode::SERVICE_UNAVAILABLE,
                "The sandbox can't be continued now: its machine is full".into(),
            ),
            Refusal::Slow(after) => failed(
                StatusCode::GATEWAY_TIMEOUT,
                format!("The sandbox gave no answer within {after:?}"),
            ),
            // What exactly broke is about the machine, and the node's log has it.
            Refusal::NoTemplate(_)
            | Refusal::Invalid(_)
            | Refusal::Unsupported(_)
            | Refusal::Failed(_) => failed(
                StatusCode::BAD_GATEWAY,
                "The sandbox can't be reached".into(),
            ),
        }
    }

    pub(crate) fn busy(id: &SandboxId) -> Self {
        let why = "The sandbox has too many open requests".into();
        Self::Failed(id.clone(), StatusCode::SERVICE_UNAVAILABLE, why)
    }

    pub(crate) fn broken(id: &SandboxId, why: &str) -> Self {
        Self::Failed(id.clone(), StatusCode::BAD_GATEWAY, why.into())
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NoConnect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unsigned | Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Gone(_) | Self::Closed(..) => StatusCode::BAD_GATEWAY,
            Self::Private(_) => StatusCode::FORBIDDEN,
            Self::Failed(_, status, _) => *status,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Folder(_) => StatusCode::TEMPORARY_REDIRECT,
        }
    }

    fn json(&self) -> Value {
        let code = self.status().as_u16();
        match self {
            Self::Bad(why) => json!({"code": code, "message": why}),
            Self::NotFound => json!({"code": code, "message": "not found"}),
            Self::NoConnect => json!({"code": code, "message": "CONNECT isn't served here"}),
            Self::Unsigned => json!({"code": code, "message": "no sandbox has this signature"}),
            Self::Unauthorized => {
                json!({"code": code, "message": "the access token is missing or wrong"})
            }
            Self::Gone(id) => json!({
                "sandboxId": id.as_str(), "message": "The sandbox was not found", "code": code,
            }),
            Self::Closed(id, port) => json!({
                "sandboxId": id.as_str(), "port": port, "code": code,
                "message": "The sandbox is running but port is not open",
            }),
            Self::Private(id) => json!({
                "sandboxId": id.as_str(), "code": code,
                "message": format!("The sandbox's ports are private: header '{TRAFFIC_TOKEN}' is missing or wrong"),
            }),
            Self::Failed(id, _, why) => {
                json!({"sandboxId": id.as_str(), "message": why, "code": code})
            }
            Self::Stopping => json!({
                "code": code, "message": "the server is stopping; sandboxes go on, ask again soon",
            }),
            Self::Folder(_) => Value::Null,
        }
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let json = self.json();
        let text = match json {
            Value::Null => String::new(),
            _ => json.to_string(),
        };
        let mut response = Response::new(full(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Folder(location) => drop(headers.insert(LOCATION, location.clone())),
            _ => drop(headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"))),
        }
        // Who speaks in riddles isn't heard twice.
        if let Self::Bad(_) | Self::Stopping = self {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::Answer;
    use casemate_core::sandbox::SandboxId;

    #[test]
    fn what_clients_look_for_is_said_to_the_letter() {
        let id = SandboxId::of([0; 20]);
        let gone = Answer::Gone(id.clone()).json();
        let text = "The sandbox was not found";
        let wanted = serde_json::json!({"sandboxId": id.as_str(), "message": text, "code": 502});
        assert_eq!(gone, wanted);
        let closed = Answer::Closed(id.clone(), 3000).json();
        let text = "The sandbox is running but port is not open";
        let wanted = serde_json::json!(
            {"sandboxId": id.as_str(), "port": 3000, "message": text, "code": 502}
        );
        assert_eq!(closed, wanted);
    }
}
