//! The Model Context Protocol on Streamable HTTP: which tool is called, and with what.
//!
//! Its messages are JSON-RPC; what is added here is the tool of a `tools/call`, and what a request
//! to the one endpoint is for. Headers of a session (`Mcp-Session-Id`, `MCP-Protocol-Version`,
//! `Last-Event-ID`) are end-to-end, so they pass.
//!
//! Source: the MCP specification, 2025-11-25: transports, tools.

use serde_json::{Map, Value};

use crate::http1::Headers;
use crate::jsonrpc::{Call, InvalidRpc};

/// The longest name of a tool.
pub const MAX_TOOL_NAME_BYTES: usize = 128;

/// What clients call by the specification.
const KNOWN_METHODS: [&str; 22] = [
    "initialize",
    "ping",
    "completion/complete",
    "logging/setLevel",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tools/call",
    "tools/list",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
];

/// Whether clients call it by the specification.
pub fn is_known_method(method: &str) -> bool {
    KNOWN_METHODS.contains(&method)
}

/// What a request to the endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// POST: its body has messages.
    Messages,
    /// GET: the client wants to receive a stream of events.
    ReceiveStream,
    /// DELETE: the session ends.
    EndSession,
}

impl Exchange {
    /// What a request of this method and with these fields is for; nothing if it isn't MCP.
    pub fn of(method: &str, headers: &Headers) -> Option<Self> {
        let events = |member: &String| {
            let kind = member.split(';').next().unwrap_or_default().trim();
            kind == "text/event-stream"
        };
        match method {
            "POST" => Some(Self::Messages),
            "GET" if headers.list("accept").iter().any(events) => Some(Self::ReceiveStream),
            "DELETE" if headers.has("mcp-session-id") => Some(Self::EndSession),
            _ => None,
        }
    }
}

/// A `tools/call`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToolCall<'a> {
    /// Which tool.
    pub name: &'a str,
    /// With what, if with anything.
    pub arguments: Option<&'a Map<String, Value>>,
}

impl<'a> ToolCall<'a> {
    /// The tool that is called; nothing if it's another method. `strict` refuses names that aren't
    /// of the form that the specification recommends.
    pub fn of(call: &'a Call, strict: bool) -> Result<Option<Self>, InvalidRpc> {
        if call.method != "tools/call" {
            return Ok(None);
        }
        let wrong = |why: &str| InvalidRpc(why.to_owned());
        let Some(Value::Object(params)) = &call.params else {
            return Err(wrong("tools/call has no params"));
        };
        if crate::json::lookalike(params, &["name", "arguments"]).is_some() {
            return Err(wrong("a key of the params is easily taken for another"));
        }
        let Some(Value::String(name)) = params.get("name") else {
            return Err(wrong("tools/call names no tool"));
        };
        if strict && !is_strict_tool_name(name) {
            return Err(wrong("the name of the tool has a form that isn't allowed"));
        }
        let arguments = match params.get("arguments") {
            None => None,
            Some(Value::Object(arguments)) => Some(arguments),
            Some(_) => return Err(wrong("the arguments of the tool aren't an object")),
        };
        Ok(Some(Self { name, arguments }))
    }
}

/// 1 to 128 letters, digits, `_`, `-` and `.`.
pub fn is_strict_tool_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=MAX_TOOL_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

/// Whether the fields that repeat a message for intermediaries (`Mcp-Method`, `Mcp-Name`), where
/// they're sent, say what the message says. A server may route by the one and run the other.
pub fn headers_agree(headers: &Headers, call: &Call) -> bool {
    let subject = || call.param_text("name").or_else(|| call.param_text("uri"));
    let same = |name: &str, value: Option<&str>| {
        let mut sent = headers.all(name);
        sent.all(|sent| value.is_some_and(|value| value.as_bytes() == sent))
    };
    same("mcp-method", Some(&call.method)) && same("mcp-name", subject().as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Limits, RequestHead};
    use crate::jsonrpc::{Message, parse};

    fn call(params: &str) -> Call {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        match parse(body.as_bytes(), 4096)
            .expect("a body")
            .messages
            .remove(0)
        {
            Message::Call(call) => call,
            Message::Response => panic!("a response"),
        }
    }

    fn headers(lines: &str) -> Headers {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let head = RequestHead::parse(head.as_bytes(), &Limits::default());
        head.expect("a request").headers
    }

    #[test]
    fn the_tool_and_its_arguments_are_found() {
        let called = call(r#"{"name":"search_web","arguments":{"q":"x"}}"#);
        let tool = ToolCall::of(&called, true)
            .expect("a call")
            .expect("a tool");
        assert_eq!(tool.name, "search_web");
        assert_eq!(tool.arguments.map(Map::len), Some(1));
        assert_eq!(called.param_text("/arguments/q").as_deref(), Some("x"));
    }

    #[test]
    fn unclear_calls_are_refused() {
        for params in [
            "[]",
            "{}",
            r#"{"name":1}"#,
            r#"{"name":""}"#,
            r#"{"name":"a b"}"#,
            r#"{"name":"a/b"}"#,
            r#"{"name":"a\u0000"}"#,
            r#"{"name":"ä"}"#,
            r#"{"name":"a","Name":"b"}"#,
            r#"{"name":"a","arguments":[]}"#,
        ] {
            assert!(ToolCall::of(&call(params), true).is_err(), "{params}");
        }
        assert!(ToolCall::of(&call(r#"{"name":"a b"}"#), false).is_ok());
        assert!(is_strict_tool_name(&"a".repeat(128)) && !is_strict_tool_name(&"a".repeat(129)));
    }

    #[test]
    fn requests_are_told_apart() {
        let events = headers("Accept: application/json, text/event-stream;q=0.9\r\n");
        assert_eq!(Exchange::of("GET", &events), Some(Exchange::ReceiveStream));
        assert_eq!(Exchange::of("GET", &headers("")), None);
        assert_eq!(Exchange::of("POST", &headers("")), Some(Exchange::Messages));
        let session = headers("Mcp-Session-Id: 1\r\n");
        assert_eq!(Exchange::of("DELETE", &session), Some(Exchange::EndSession));
        assert_eq!(Exchange::of("PUT", &session), None);
        assert!(is_known_method("tools/list") && !is_known_method("tools/List"));
    }

    #[test]
    fn headers_must_say_what_the_message_says() {
        let called = call(r#"{"name":"a"}"#);
        assert!(headers_agree(&headers(""), &called));
        assert!(headers_agree(
            &headers("Mcp-Method: tools/call\r\nMcp-Name: a\r\n"),
            &called
        ));
        assert!(!headers_agree(
            &headers("Mcp-Method: tools/list\r\n"),
            &called
        ));
        assert!(!headers_agree(
            &headers("Mcp-Name: a\r\nMcp-Name: b\r\n"),
            &called
        ));
    }
}
