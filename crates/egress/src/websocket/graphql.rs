//! GraphQL over WebSocket: what a client's text message asks for.
//!
//! Two subprotocols are in use. `graphql-transport-ws` says `subscribe`, its predecessor
//! `graphql-ws` says `start`; both carry the same payload, a GraphQL request.

use serde_json::Value;

use crate::graphql::{InvalidGraphql, Request, parse_value};
use crate::json;

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// It runs operations.
    Operation(Request),
    /// It opens, keeps or ends something: `connection_init`, `ping`, `pong`, `complete`, `stop`,
    /// `connection_terminate`.
    Control,
}

const CONTROL: [&str; 6] = [
    "connection_init",
    "connection_terminate",
    "ping",
    "pong",
    "complete",
    "stop",
];

/// Reads a text message from a client.
pub fn parse(text: &str, max_bytes: usize) -> Result<ClientMessage, InvalidGraphql> {
    let wrong = |why: &str| InvalidGraphql(why.to_owned());
    let value = json::parse(text.as_bytes(), max_bytes)
        .map_err(|error| InvalidGraphql(error.to_string()))?;
    let Value::Object(message) = &value else {
        return Err(wrong("the message isn't an object"));
    };
    if json::lookalike(message, &["type", "payload", "id"]).is_some() {
        return Err(wrong("a key of the message is easily taken for another"));
    }
    match message.get("type").and_then(Value::as_str) {
        Some("subscribe" | "start") => match message.get("payload") {
            Some(payload @ Value::Object(_)) => parse_value(payload).map(ClientMessage::Operation),
            _ => Err(wrong("the message has no payload")),
        },
        Some(kind) if CONTROL.contains(&kind) => Ok(ClientMessage::Control),
        _ => Err(wrong("the message is of an unknown type")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<ClientMessage, InvalidGraphql> {
        parse(text, 1000)
    }

    #[test]
    fn both_subprotocols_are_read() {
        for kind in ["subscribe", "start"] {
            let text =
                format!(r#"{{"id":"1","type":"{kind}","payload":{{"query":"mutation{{x}}"}}}}"#);
            let Ok(ClientMessage::Operation(request)) = read(&text) else {
                panic!("not read: {text}");
            };
            assert_eq!(request.operations[0].fields, ["x"]);
        }
        assert_eq!(
            read(r#"{"type":"connection_init","payload":{"token":"t"}}"#),
            Ok(ClientMessage::Control)
        );
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":"data"}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","payload":[{"query":"{a}"}]}"#,
            r#"{"type":"ping","Type":"subscribe","payload":{"query":"mutation{x}"}}"#,
            r#"{"type":"ping","type":"subscribe","payload":{"query":"mutation{x}"}}"#,
            r#"{"type":"subscribe","payload":{"query":"{"}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = read(&text);
        }
    }
}
