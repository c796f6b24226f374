//! What a caller is told when there is no reply.

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request isn't what it should be.
    Bad,
    /// No key, or none that is known.
    NoKey,
    /// The key's scope isn't enough.
    Forbidden,
    /// There is no such canister.
    NoCanister,
    /// The canister has no such method.
    NoMethod,
    /// The module doesn't say what its methods take.
    NoInterface,
    /// There is no such route.
    NoRoute,
    /// The route has other methods.
    NoVerb,
    /// The name is taken.
    Taken,
    /// The canister's state doesn't have this: it is stopped, for instance.
    State,
    /// A body that is too long.
    TooLong,
    /// A body that took too long to arrive.
    Slow,
    /// A body of this type can't be used here.
    Media,
    /// The module, or the archive, is refused.
    Refused,
    /// What was run again came to something else.
    Differs,
    /// The canister said no.
    Rejected,
    /// The canister failed; nothing that the call wrote is kept.
    Trapped,
    /// What runs the canister failed; its state is the last commit.
    Crashed,
    /// What the canister answered can't be passed on.
    Answer,
    /// A quota of the key is used up.
    Quota,
    /// Too many calls wait.
    Busy,
    /// No answer in time; the call may still come to its end.
    Late,
    /// Something of ours failed.
    Broken,
}

impl Kind {
    /// The status of a response that says so.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Bad | Self::Refused => StatusCode::BAD_REQUEST,
            Self::NoKey => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NoCanister | Self::NoMethod | Self::NoInterface | Self::NoRoute => {
                StatusCode::NOT_FOUND
            }
            Self::NoVerb => StatusCode::METHOD_NOT_ALLOWED,
            Self::Taken | Self::State | Self::Differs => StatusCode::CONFLICT,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Media => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Rejected => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Trapped | Self::Answer => StatusCode::BAD_GATEWAY,
            Self::Quota => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Crashed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The reject code that a canister would be told (Internet Computer interface specification,
    /// "Reject codes"), where it is about a call at all.
    #[must_use]
    pub fn reject_code(self) -> Option<u8> {
        match self {
            Self::Quota | Self::Busy | Self::Crashed => Some(2),
            Self::NoCanister => Some(3),
            Self::Rejected => Some(4),
            Self::NoMethod | Self::Trapped | Self::State => Some(5),
            Self::Late => Some(6),
            _ => None,
        }
    }
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", hinted(.hint))]
pub struct Fault {
    /// What kind of thing went wrong.
    pub kind: Kind,
    /// What it is.
    pub message: String,
    /// What can be done.
    pub hint: Option<String>,
    /// The reject code, where it is another than the kind's.
    pub reject_code: Option<u8>,
    /// Seconds after which it may be tried again.
    pub retry_after: Option<u64>,
}

fn hinted(hint: &Option<String>) -> String {
    hint.as_ref()
        .map_or(String::new(), |hint| format!("\nhint: {hint}"))
}

impl Fault {
    /// Of this kind, and with these words; what follows `hint: ` on a line of its own is the hint.
    #[must_use]
    pub fn new(kind: Kind, words: impl Into<String>) -> Self {
        let words = words.into();
        let (message, hint) = match words.split_once("\nhint: ") {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (words, None),
        };
        let retry_after = matches!(kind, Kind::Busy | Kind::Crashed).then_some(1);
        Self {
            kind,
            message,
            hint,
            reject_code: kind.reject_code(),
            retry_after,
        }
    }

    /// The same, with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, to be tried again after so many seconds.
    #[must_use]
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// There is a canister of this name.
    pub(crate) fn taken(name: &str) -> Self {
        let why = format!("there is a canister {name:?} already");
        Self::new(Kind::Taken, why).hint("another name, or remove that one first")
    }

    /// As it is told.
    pub(crate) fn json(&self) -> Value {
        json!({
            "code": self.kind.status().as_u16(),
            "kind": self.kind,
            "message": self.message,
            "reject_code": self.reject_code,
            "hint": self.hint,
        })
    }

    /// The response, whose body has more in it than the fault alone. What broke here is the owner's
    /// to know, who reads the log; a caller with a key isn't told more than that it did.
    pub(crate) fn respond(&self, body: &Value) -> Response {
        let mut response = (self.kind.status(), axum::Json(body)).into_response();
        if self.kind == Kind::Broken {
            tracing::error!(why = %self, "a request about a canister failed");
            let told = Self::new(Kind::Broken, "the server failed; its log says how").json();
            response = (self.kind.status(), axum::Json(told)).into_response();
            response.extensions_mut().insert(self.clone());
        }
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        self.respond(&self.json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_told_apart() {
        let fault = Fault::new(Kind::Taken, "there is one\nhint: another\nname");
        assert_eq!(fault.message, "there is one");
        assert_eq!(fault.hint.as_deref(), Some("another\nname"));
        assert_eq!(fault.to_string(), "there is one\nhint: another\nname");
        let told = fault.json();
        assert_eq!(
            (&told["code"], &told["kind"]),
            (&json!(409), &json!("taken"))
        );
    }
}
