//! What a program says on a connection, as the parsers of the way out give it.

use std::borrow::Cow;

use serde_json::Value;

use crate::network::OperationType;

/// One request, or one text message of a WebSocket.
///
/// A batch of JSON-RPC is several requests: the caller asks for each, and all have to pass.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// HTTP's method; [`WEBSOCKET_TEXT`](super::WEBSOCKET_TEXT) for a message.
    pub method: &'a str,
    /// The path in its canonical form, without the query; of a message, that of the handshake.
    pub path: &'a str,
    /// The query, decoded, in its order.
    pub query: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// What the body or message says in GraphQL.
    pub graphql: Option<Graphql<'a>>,
    /// What the body says in JSON-RPC or MCP.
    pub rpc: Option<Rpc<'a>>,
}

/// A document of GraphQL.
#[derive(Clone, Copy, Debug, Default)]
pub struct Graphql<'a> {
    /// Every operation that the request may run.
    pub operations: &'a [Operation<'a>],
    /// Why it can't be understood; then nothing else is looked at.
    pub error: Option<&'a str>,
}

/// An operation of GraphQL.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// Its type, never [`OperationType::Any`]; what is stored decides if `persisted` is given.
    pub kind: OperationType,
    /// Its name; empty if it has none.
    pub name: &'a str,
    /// Its root fields, those of fragments included.
    pub fields: &'a [&'a str],
    /// Given if the request only names a stored query.
    pub persisted: Option<Persisted<'a>>,
}

/// How a stored query is named. If it's named in both ways, both must be the same query.
#[derive(Clone, Copy, Debug, Default)]
pub struct Persisted<'a> {
    /// By its digest.
    pub hash: Option<&'a str>,
    /// By its id.
    pub id: Option<&'a str>,
}

/// A message of JSON-RPC or MCP.
#[derive(Clone, Copy, Default)]
pub struct Rpc<'a> {
    /// The method; empty if it's a response or a stream.
    pub method: &'a str,
    /// The tool that is called, if one is.
    pub tool: Option<&'a str>,
    /// The arguments.
    pub params: Option<&'a dyn Params>,
    /// A GET that waits for the server's messages (MCP).
    pub receive_stream: bool,
    /// The message is a response to the server.
    pub has_response: bool,
    /// Why it can't be understood; then nothing else is looked at.
    pub error: Option<&'a str>,
}

/// `params` of JSON-RPC.
pub trait Params {
    /// The value of a name, or of a JSON pointer if `key` begins with `/`.
    fn value(&self, key: &str) -> Param<'_>;

    /// All of them, for rules in Rego.
    fn data(&self) -> Value;
}

/// A value in `params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param<'a> {
    /// There is none.
    Absent,
    /// A string, or a number or boolean as it's written.
    Text(Cow<'a, str>),
    /// Something that has no text: no rule allows it, and each rule about it refuses it.
    Opaque,
}

/// A flat list of names and texts.
impl Params for [(&str, &str)] {
    fn value(&self, key: &str) -> Param<'_> {
        let own = self.iter().find(|(name, _)| *name == key);
        own.map_or(Param::Absent, |(_, text)| Param::Text(Cow::Borrowed(text)))
    }

    fn data(&self) -> Value {
        let own = self
            .iter()
            .map(|(key, text)| ((*key).to_owned(), Value::from(*text)));
        Value::Object(own.collect())
    }
}

impl Params for Value {
    fn value(&self, key: &str) -> Param<'_> {
        let value = match key.strip_prefix('/') {
            Some(pointer) => pointed_at(self, pointer),
            None => self.get(key),
        };
        match value {
            None => Param::Absent,
            Some(Value::String(text)) => Param::Text(Cow::Borrowed(text)),
            Some(Value::Number(number)) => Param::Text(Cow::Owned(number.to_string())),
            Some(Value::Bool(true)) => Param::Text(Cow::Borrowed("true")),
            Some(Value::Bool(false)) => Param::Text(Cow::Borrowed("false")),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => Param::Opaque,
        }
    }

    fn data(&self) -> Value {
        self.clone()
    }
}

/// As RFC 6901 has it. `Value::pointer` takes memory for each step.
fn pointed_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer
        .split('/')
        .try_fold(value, |value, step| match value {
            Value::Object(members) if step.contains('~') => {
                members.get(&step.replace("~1", "/").replace("~0", "~"))
            }
            Value::Object(members) => members.get(step),
            Value::Array(items) if step == "0" || !step.starts_with(['0', '+']) => {
                items.get(step.parse::<usize>().ok()?)
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::pointed_at;

    #[test]
    fn pointers_lead_where_the_library_says() {
        let value = json!({ "a": [{ "b/c": 1, "~": 2 }, [3]], "": { "": 4 }, "01": 5 });
        for pointer in [
            "/a",
            "/a/0/b~1c",
            "/a/0/~0",
            "/a/1/0",
            "/a/01",
            "/a/+1",
            "/a/2",
            "/a/-",
            "/",
            "//",
            "/01",
            "/a/0/b/c",
            "/a/1/0/x",
            "/~01",
        ] {
            assert_eq!(
                pointed_at(&value, &pointer[1..]),
                Value::pointer(&value, pointer),
                "{pointer}"
            );
        }
    }
}
