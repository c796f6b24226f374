//! JSON-RPC 2.0: which methods a body calls, and with what.
//!
//! A batch is judged by all of its members. Anything that parsers read differently is refused by
//! [`crate::json`]; here, so is anything that isn't plainly a call or a response.
//!
//! Source: the JSON-RPC 2.0 specification §4 to §6.

use std::fmt;

use serde_json::{Map, Value};

use crate::json;

/// The most messages in one batch.
pub const MAX_BATCH: usize = 256;

/// The longest name of a method.
pub const MAX_METHOD_BYTES: usize = 256;

const KEYS: [&str; 6] = ["jsonrpc", "method", "params", "id", "result", "error"];

/// A body: one message, or a batch of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// At least one.
    pub messages: Vec<Message>,
    /// Whether they came in an array.
    pub is_batch: bool,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// It calls a method.
    Call(Call),
    /// It answers a call of the other side.
    Response,
}

/// A request, or a notification if it has no id.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which method.
    pub method: String,
    /// An object or an array, if it's there.
    pub params: Option<Value>,
    /// Whether an answer is expected.
    pub has_id: bool,
}

/// Why a body can't be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRpc(pub String);

impl fmt::Display for InvalidRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid JSON-RPC: {}", self.0)
    }
}

impl std::error::Error for InvalidRpc {}

/// Reads a body of at most `max_bytes`.
pub fn parse(body: &[u8], max_bytes: usize) -> Result<Body, InvalidRpc> {
    let value = json::parse(body, max_bytes).map_err(|error| InvalidRpc(error.to_string()))?;
    match value {
        Value::Array(members) => {
            if members.is_empty() || members.len() > MAX_BATCH {
                return Err(wrong("the batch is empty or too long"));
            }
            Ok(Body {
                messages: members.into_iter().map(message).collect::<Result<_, _>>()?,
                is_batch: true,
            })
        }
        single => Ok(Body {
            messages: vec![message(single)?],
            is_batch: false,
        }),
    }
}

fn message(value: Value) -> Result<Message, InvalidRpc> {
    let Value::Object(mut object) = value else {
        return Err(wrong("a message isn't an object"));
    };
    if let Some(key) = json::lookalike(&object, &KEYS) {
        return Err(InvalidRpc(format!(
            "the key {key:?} is easily taken for another"
        )));
    }
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(wrong("a message isn't of version 2.0"));
    }
    let has_id = match object.get("id") {
        None => false,
        Some(Value::Null | Value::String(_) | Value::Number(_)) => true,
        Some(_) => return Err(wrong("an id is neither a string nor a number")),
    };
    let answers = object.contains_key("result") || object.contains_key("error");
    match (object.remove("method"), answers) {
        (Some(Value::String(method)), false) => call(method, has_id, &mut object),
        (None, true) if has_id => Ok(Message::Response),
        _ => Err(wrong("a message is neither a call nor a response")),
    }
}

fn call(
    method: String,
    has_id: bool,
    object: &mut Map<String, Value>,
) -> Result<Message, InvalidRpc> {
    if method.is_empty() || method.len() > MAX_METHOD_BYTES {
        return Err(wrong("the name of a method is empty or too long"));
    }
    let params = match object.remove("params") {
        None => None,
        Some(params @ (Value::Object(_) | Value::Array(_))) => Some(params),
        Some(_) => return Err(wrong("params are neither an object nor an array")),
    };
    Ok(Message::Call(Call {
        method,
        params,
        has_id,
    }))
}

impl Call {
    /// The parameter of this name, or what a JSON pointer (RFC 6901) that begins with `/` leads to.
    pub fn param(&self, key: &str) -> Option<&Value> {
        let params = self.params.as_ref()?;
        if key.starts_with('/') {
            return params.pointer(key);
        }
        params.as_object()?.get(key)
    }

    /// The same as text to be matched; nothing if it's an array or an object.
    pub fn param_text(&self, key: &str) -> Option<String> {
        match self.param(key)? {
            Value::String(text) => Some(text.clone()),
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => Some(plain.to_string()),
            Value::Array(_) | Value::Object(_) => None,
        }
    }
}

fn wrong(why: &str) -> InvalidRpc {
    InvalidRpc(why.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Body, InvalidRpc> {
        parse(text.as_bytes(), 65_536)
    }

    fn call_of(text: &str) -> Call {
        match read(text).expect("a body").messages.remove(0) {
            Message::Call(call) => call,
            Message::Response => panic!("a response: {text}"),
        }
    }

    #[test]
    fn calls_are_read_with_their_parameters() {
        let call = call_of(
            r#"{"jsonrpc":"2.0","id":1,"method":"a/b","params":{"name":"x","n":3,"deep":{"a/b":["y"]},"/odd":1}}"#,
        );
        assert_eq!((call.method.as_str(), call.has_id), ("a/b", true));
        assert_eq!(call.param_text("name").as_deref(), Some("x"));
        assert_eq!(call.param_text("n").as_deref(), Some("3"));
        assert_eq!(call.param_text("/deep/a~1b/0").as_deref(), Some("y"));
        assert_eq!(call.param_text("deep"), None);
        assert_eq!(call.param("missing"), None);
        assert_eq!(call.param("/missing"), None);
        let array = call_of(r#"{"jsonrpc":"2.0","method":"a","params":["x"]}"#);
        assert_eq!(array.param_text("/0").as_deref(), Some("x"));
        assert!(!array.has_id);
    }

    #[test]
    fn batches_and_responses_are_recognised() {
        let body =
            read(r#"[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","id":"x","result":null}]"#)
                .expect("a body");
        assert!(body.is_batch);
        assert_eq!(body.messages[1], Message::Response);
    }

    #[test]
    fn messages_with_two_meanings_are_refused() {
        for text in [
            "",
            "[]",
            "[1]",
            "{}",
            r#"{"method":"a"}"#,
            r#"{"jsonrpc":"1.0","method":"a"}"#,
            r#"{"jsonrpc":2.0,"method":"a"}"#,
            r#"{"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","method":1}"#,
            r#"{"jsonrpc":"2.0","method":""}"#,
            r#"{"jsonrpc":"2.0","method":"a","method":"b"}"#,
            r#"{"jsonrpc":"2.0","method":"a","Method":"b"}"#,
            r#"{"jsonrpc":"2.0","method":"a","PARAMS":{}}"#,
            r#"{"jsonrpc":"2.0","method":"a","params":"x"}"#,
            r#"{"jsonrpc":"2.0","method":"a","params":null}"#,
            r#"{"jsonrpc":"2.0","method":"a","id":[]}"#,
            r#"{"jsonrpc":"2.0","method":"a","id":1,"result":1}"#,
            r#"{"jsonrpc":"2.0","result":1}"#,
            r#"[[{"jsonrpc":"2.0","method":"a"}]]"#,
            r#"{"jsonrpc":"2.0","method":"a"} {"jsonrpc":"2.0","method":"b"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let one = r#"{"jsonrpc":"2.0","method":"a"},"#;
        let batch = format!("[{}]", one.repeat(257).trim_end_matches(','));
        assert!(read(&batch).is_err());
        let deep = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":{}{}}}",
            "[".repeat(70),
            "]".repeat(70)
        );
        assert!(read(&deep).is_err());
        assert!(parse(one.as_bytes(), 10).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes, 4096);
        }

        #[test]
        fn any_key_is_looked_up_without_harm(key in "\\PC*") {
            let call = call_of(r#"{"jsonrpc":"2.0","method":"a","params":{"a":[1,{"b":2}]}}"#);
            let _ = call.param_text(&key);
            let _ = call.param_text(&format!("/{key}"));
        }
    }
}
