//! What a body says, where the endpoint's rules are about that.

use crate::graphql;
use crate::http1::Headers;
use crate::jsonrpc::{self, Call, Message};
use crate::mcp::{self, Exchange, ToolCall};
use crate::path::CanonicalTarget;
use casemate_policy::compiled::{
    Endpoint, Graphql, Operation, Params, Persisted, Request, RequestDecision, Rpc,
};
use casemate_policy::network::{OperationType, Protocol};
use std::borrow::Cow;

/// Whether a body has to be read to judge its request, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Method, path and query are all that rules are about.
    Head,
    Graphql(usize),
    JsonRpc(usize),
    Mcp(usize, StrictNames),
}

/// Whether tools have to have names of the recommended form.
type StrictNames = bool;

/// What was read.
pub(super) enum Said {
    /// Rules don't ask.
    Nothing,
    Graphql(Result<graphql::Request, String>),
    Rpc(Result<Vec<Message>, String>),
    /// MCP without a message: a stream of events is asked for, or the session ends.
    McpSession,
}

impl Reading {
    /// What the endpoint wants to know that the request is about.
    pub(super) fn of(endpoint: Option<&Endpoint>) -> Self {
        let Some(endpoint) = endpoint else {
            return Self::Head;
        };
        let declared = endpoint.declared();
        match endpoint.protocol() {
            Protocol::Graphql => Self::Graphql(declared.body.graphql as usize),
            Protocol::JsonRpc => Self::JsonRpc(declared.body.json_rpc as usize),
            Protocol::Mcp => Self::Mcp(declared.body.mcp as usize, declared.mcp.strict_tool_names),
            _ => Self::Head,
        }
    }

    /// How much of the body is read at most; None if it isn't.
    pub(super) fn most(self) -> Option<usize> {
        match self {
            Self::Head => None,
            Self::Graphql(most) | Self::JsonRpc(most) | Self::Mcp(most, _) => Some(most),
        }
    }

    /// Reads a request whose body is all there.
    pub(super) fn read(
        self,
        method: &str,
        headers: &Headers,
        target: &CanonicalTarget,
        body: &[u8],
    ) -> Said {
        match self {
            Self::Head => Said::Nothing,
            Self::Graphql(most) => {
                let pairs = target.pairs();
                Said::Graphql(plain(headers).and_then(|kind| match method {
                    "POST" => graphql::parse_post(kind, pairs, body, most).map_err(|bad| bad.0),
                    "GET" if body.is_empty() => graphql::parse_get(pairs).map_err(|bad| bad.0),
                    _ => Err("it's neither a POST nor a GET without a body".to_owned()),
                }))
            }
            Self::JsonRpc(most) => Said::Rpc(match method {
                "POST" => messages(headers, body, most),
                _ => Err("it's no POST".to_owned()),
            }),
            Self::Mcp(most, strict) => match Exchange::of(method, headers) {
                None => Said::Rpc(Err("it's no request of MCP".to_owned())),
                Some(Exchange::Messages) => {
                    let read = messages(headers, body, most);
                    Said::Rpc(read.and_then(|read| consistent(read, headers, strict)))
                }
                Some(_) if body.is_empty() => Said::McpSession,
                Some(_) => Said::Rpc(Err("it has a body and shouldn't".to_owned())),
            },
        }
    }
}

/// The content type of a body that isn't compressed.
fn plain(headers: &Headers) -> Result<Option<&str>, String> {
    let coded = headers.list("content-encoding");
    if coded.iter().any(|coding| coding != "identity") {
        return Err("its body is compressed".to_owned());
    }
    let kind = headers.only("content-type");
    kind.map_err(|malformed| malformed.why().to_owned())
}

fn messages(headers: &Headers, body: &[u8], most: usize) -> Result<Vec<Message>, String> {
    let kind = plain(headers)?.unwrap_or_default().to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let json = parts.next() == Some("application/json");
    // Bytes that are JSON in UTF-8 may say something else in another encoding.
    let utf8 = |part: &str| !part.starts_with("charset") || part == "charset=utf-8";
    if !json || !parts.all(utf8) {
        return Err("its content type isn't application/json".to_owned());
    }
    let parsed = jsonrpc::parse(body, most).map_err(|bad| bad.0)?;
    Ok(parsed.messages)
}

/// Checks what MCP asks of messages beyond JSON-RPC.
fn consistent(
    messages: Vec<Message>,
    headers: &Headers,
    strict: StrictNames,
) -> Result<Vec<Message>, String> {
    for message in &messages {
        let Message::Call(call) = message else {
            continue;
        };
        ToolCall::of(call, strict).map_err(|bad| bad.0)?;
        if !mcp::headers_agree(headers, call) {
            return Err("a header says another method or name than the body".to_owned());
        }
    }
    Ok(messages)
}

impl Said {
    /// Asks about everything that was said: all of it has to pass, and the answer is that about
    /// the first that doesn't; one that is only logged counts if there is none.
    pub(super) fn judge(
        &self,
        (method, target): (&str, &CanonicalTarget),
        ask: impl Fn(&Request<'_>) -> RequestDecision,
    ) -> RequestDecision {
        let pairs: Vec<_> = target
            .pairs()
            .iter()
            .map(|(key, value)| (Cow::from(key), Cow::from(value)))
            .collect();
        let request = Request {
            method,
            path: target.path(),
            query: &pairs,
            ..Request::default()
        };
        let with = |rpc| {
            ask(&Request {
                rpc: Some(rpc),
                ..request
            })
        };
        match self {
            Self::Nothing => ask(&request),
            Self::Graphql(read) => operations(&request, read, ask),
            Self::McpSession => with(Rpc {
                receive_stream: true,
                ..Rpc::default()
            }),
            Self::Rpc(Err(error)) => with(Rpc {
                error: Some(error),
                ..Rpc::default()
            }),
            Self::Rpc(Ok(messages)) => {
                let decisions = messages.iter().map(|message| match message {
                    Message::Call(call) => with(called(call)),
                    Message::Response => with(Rpc {
                        has_response: true,
                        ..Rpc::default()
                    }),
                });
                worst(decisions)
            }
        }
    }
}

fn worst(decisions: impl Iterator<Item = RequestDecision>) -> RequestDecision {
    let mut worst = RequestDecision::Allow;
    for decision in decisions {
        if !decision.passes() {
            return decision;
        }
        if worst == RequestDecision::Allow {
            worst = decision;
        }
    }
    worst
}

fn called(call: &Call) -> Rpc<'_> {
    let tool = ToolCall::of(call, false).ok().flatten();
    Rpc {
        method: &call.method,
        tool: tool.map(|tool| tool.name),
        params: call.params.as_ref().map(|params| params as &dyn Params),
        ..Rpc::default()
    }
}

/// Asks about operations of GraphQL, or about the reason why they can't be told.
pub(super) fn operations(
    request: &Request<'_>,
    read: &Result<graphql::Request, String>,
    ask: impl Fn(&Request<'_>) -> RequestDecision,
) -> RequestDecision {
    let parsed = match read {
        Ok(parsed) => parsed.operations.as_slice(),
        Err(_) => &[],
    };
    let fields: Vec<Vec<&str>> = parsed
        .iter()
        .map(|own| own.fields.iter().map(String::as_str).collect())
        .collect();
    let operations: Vec<_> = parsed
        .iter()
        .zip(&fields)
        .map(|(own, fields)| Operation {
            kind: match own.operation_type {
                Some(graphql::OperationType::Mutation) => OperationType::Mutation,
                Some(graphql::OperationType::Subscription) => OperationType::Subscription,
                // Of a stored one, what is stored counts.
                Some(graphql::OperationType::Query) | None => OperationType::Query,
            },
            name: &own.operation_name,
            fields,
            persisted: own.is_persisted_only().then_some(Persisted {
                hash: own.persisted_hash.as_deref(),
                id: own.persisted_id.as_deref(),
            }),
        })
        .collect();
    ask(&Request {
        graphql: Some(Graphql {
            operations: &operations,
            error: read.as_ref().err().map(String::as_str),
        }),
        ..*request
    })
}
