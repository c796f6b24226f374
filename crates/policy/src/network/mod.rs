//! `network_policies`: where a program may connect to, and what it may say there.
//!
//! ```text
//! Node tree ──read──▶ Network (this model) ──compile──▶ Compiled ──connect()/request()──▶ Decision
//! ```
//!
//! The reader is one file a subject: an `entry` has endpoints and binaries; an `endpoint` has a
//! `destination`, an `inspection` with its `rule`s and their `matcher`s, and `credentials`. When
//! each endpoint is known to make sense by itself, `ambiguity` looks at them all together.

mod address;
mod ambiguity;
mod binary;
mod conditions;
mod credentials;
mod destination;
mod endpoint;
mod entry;
mod glob;
mod host;
mod inspection;
mod limits;
mod matcher;
mod mcp;
mod middleware;
mod model;
mod names;
mod options;
mod overlap;
mod read;
mod rego;
mod rule;
mod unseen;

pub(crate) use ambiguity::contradict;
pub(crate) use binary::{digest, digits};
pub(crate) use host::{checked as checked_host, told as host_or_pattern};
pub use middleware::{Middleware, MiddlewareKind, OnError};
pub use model::{
    Access, Binary, BodyLimits, Endpoint, Enforcement, Entry, EntryLimits, GraphqlOptions, Matcher,
    McpOptions, NOWHERE, Network, OperationType, PersistedQueries, Protocol, RegisteredQuery, Rego,
    Rule, Signing, Tls,
};
pub(crate) use read::read;
