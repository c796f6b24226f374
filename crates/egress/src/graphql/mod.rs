//! GraphQL requests: which operations they run, and which root fields those touch.
//!
//! ```text
//! body, query ──request──▶ envelope ──lexer──▶ parser──▶ Document ──select──▶ Operation
//! ```
//!
//! Only the grammar of executable documents is read, by a parser of our own: it's small, and it
//! stops at the first error. A parser that recovers from errors would let a document pass whose
//! meaning the server decides.
//!
//! Whatever makes a request mean two things is an error: a query in the URL and another in the
//! body, a stored query's id together with a document, keys that differ in case only.
//!
//! Sources: the GraphQL specification (October 2021) §2, §6.1; GraphQL over HTTP (draft).

mod document;
mod lexer;
mod parser;
mod request;

use std::fmt;

pub use document::{MAX_DEPTH, MAX_TOKENS};
pub use request::{MAX_BATCH, Request, parse_get, parse_post, parse_value};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationType {
    /// `query`.
    Query,
    /// `mutation`.
    Mutation,
    /// `subscription`.
    Subscription,
}

impl OperationType {
    /// As it's written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// One operation that a request runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// None if only a stored query is named.
    pub operation_type: Option<OperationType>,
    /// Empty if it has none.
    pub operation_name: String,
    /// The fields of the root, aliases resolved, fragments included; sorted, each once.
    pub fields: Vec<String>,
    /// A stored query by its SHA-256 (`extensions.persistedQuery.sha256Hash`), in lower case.
    pub persisted_hash: Option<String>,
    /// A stored query by its id (`id`, `documentId`, `queryId`, `doc_id`).
    pub persisted_id: Option<String>,
}

impl Operation {
    /// Whether it names a stored query, so that there is no document to judge.
    pub fn is_persisted_only(&self) -> bool {
        self.operation_type.is_none()
    }
}

/// Why a request can't be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidGraphql(pub String);

impl InvalidGraphql {
    fn new(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl fmt::Display for InvalidGraphql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid GraphQL request: {}", self.0)
    }
}

impl std::error::Error for InvalidGraphql {}
