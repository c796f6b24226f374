//! The validated model: what the file says, every value of it known to make sense.
//!
//! Nothing is expanded here: presets are still presets and patterns are still text. The reader
//! makes this from the YAML; the compiler makes the matcher from this.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::overlap;
use crate::position::{Located, Position};

/// All that the policy says of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The entries, in the order of the file.
    pub entries: Vec<Entry>,
    /// Names that may be resolved although no entry allows a connection to them (`dns.allow`).
    pub dns_allow: Vec<Located<String>>,
    /// Names that are never resolved (`dns.deny`).
    pub dns_deny: Vec<Located<String>>,
    /// Rules in Rego that are consulted besides the entries.
    pub rego: Option<Located<Rego>>,
}

/// One entry: all its endpoints are open to all its binaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key in the file.
    pub key: Located<String>,
    /// What decisions and logs call it: `name`, or the key.
    pub name: String,
    /// Who; nobody if it is empty.
    pub binaries: Vec<Binary>,
    /// Where to.
    pub endpoints: Vec<Endpoint>,
    /// How much.
    pub limits: EntryLimits,
}

/// `binaries[]`: an executable, by path or pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// A path, or a glob if it has a `*`; `/` separates.
    pub path: Located<String>,
    /// Digests that the file must have one of; any if it is empty.
    pub sha256: Vec<[u8; 32]>,
    /// The script that the interpreter must run (a glob like `path`).
    pub script: Option<Located<String>>,
}

/// `limits` of an entry. None is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryLimits {
    /// Connections at one time.
    pub connections: Option<u32>,
    /// Bytes in both directions, of all connections of the entry together.
    pub bytes: Option<u64>,
    /// New connections per second.
    pub rate: Option<u32>,
}

/// `endpoints[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it begins in the file.
    pub position: Position,
    /// In lower case: a name, a pattern, or an address; none if `allowed_ips` alone says where to.
    pub host: Option<Located<String>>,
    /// At least one; sorted, each once.
    pub ports: Vec<u16>,
    /// Which paths of the host this endpoint is about; all if none.
    pub path: Option<Located<String>>,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Whether TLS may be terminated.
    pub tls: Tls,
    /// Whether a request against the rules is refused or only logged.
    pub enforcement: Enforcement,
    /// A preset instead of `rules`.
    pub access: Option<Access>,
    /// What is allowed; `access` is not expanded into it.
    pub rules: Vec<Rule>,
    /// What is refused even if it is allowed.
    pub deny_rules: Vec<Rule>,
    /// The addresses that the host may have; any public one if it is empty. None of the networks
    /// has an address that is always blocked, except [`NOWHERE`].
    pub allowed_ips: Vec<IpNet>,
    /// `%2F` in a path is left as it is instead of refused.
    pub allow_encoded_slash: bool,
    /// Placeholders of credentials are replaced in text messages of WebSockets.
    pub websocket_credential_rewrite: bool,
    /// Placeholders of credentials are replaced in bodies.
    pub request_body_credential_rewrite: bool,
    /// A credential may be bound to this endpoint although nothing inspects it.
    pub allow_uninspected_credentials: bool,
    /// Signing again with real AWS credentials.
    pub signing: Option<Signing>,
    /// `credential_binding.provider`.
    pub credential_provider: Option<Located<String>>,
    /// GraphQL's options.
    pub graphql: GraphqlOptions,
    /// MCP's options.
    pub mcp: McpOptions,
    /// How much of a body is read for inspection.
    pub body: BodyLimits,
}

impl Endpoint {
    /// Whether each request is judged here. `sql` is not understood, so it's only bytes.
    pub fn has_rules(&self) -> bool {
        use Protocol::{Any, Graphql, JsonRpc, Mcp, Rest, Sql, Tcp, Unspecified, Websocket};
        match self.protocol {
            Rest | Websocket | Graphql | JsonRpc | Mcp => true,
            Unspecified | Any | Tcp | Sql => false,
        }
    }

    /// Whether the plain text of the connection has to be seen: for rules, or for credentials.
    pub fn needs_inspection(&self) -> bool {
        self.has_rules()
            || self.websocket_credential_rewrite
            || self.request_body_credential_rewrite
            || self.signing.is_some()
            || self.credential_provider.is_some() && !self.allow_uninspected_credentials
    }

    /// Whether it may be about a connection to this port of a host, or of one that a pattern has.
    pub fn meets(&self, host: &str, port: u16) -> bool {
        let own = self.host.as_ref();
        self.ports.contains(&port) && own.is_some_and(|own| overlap::hosts(&own.value, host))
    }
}

/// What [`Endpoint::allowed_ips`] is where the file's is wrong and OpenShell's leniency was asked
/// for: the unspecified address, which no connection may have, so that none is allowed.
pub const NOWHERE: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 32));

/// `protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Not given: any bytes, decided by host and port alone.
    #[default]
    Unspecified,
    /// `any`: the same, and meant so.
    Any,
    /// `tcp`: any bytes, on the transparent path.
    Tcp,
    /// `rest`: HTTP by method, path and query.
    Rest,
    /// `websocket`.
    Websocket,
    /// `graphql`.
    Graphql,
    /// `sql`: only audited, as bytes.
    Sql,
    /// `json-rpc`.
    JsonRpc,
    /// `mcp`.
    Mcp,
}

impl Protocol {
    /// Whether requests are looked at one by one.
    pub fn is_inspected(self) -> bool {
        !matches!(self, Self::Unspecified | Self::Any | Self::Tcp)
    }
}

/// Displayed as the file says it: `protocol: rest`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "no protocol",
            Self::Any => "protocol: any",
            Self::Tcp => "protocol: tcp",
            Self::Rest => "protocol: rest",
            Self::Websocket => "protocol: websocket",
            Self::Graphql => "protocol: graphql",
            Self::Sql => "protocol: sql",
            Self::JsonRpc => "protocol: json-rpc",
            Self::Mcp => "protocol: mcp",
        })
    }
}

/// `tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tls {
    /// Terminated only where rules or credentials need it.
    #[default]
    Auto,
    /// `skip`: never terminated.
    Skip,
}

/// `enforcement`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Enforcement {
    /// Logged, and let through: the default, as in the original format.
    #[default]
    Audit,
    /// Refused.
    Enforce,
}

/// `access`: a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// `read-only`.
    ReadOnly,
    /// `read-write`.
    ReadWrite,
    /// `full`.
    Full,
}

/// One of `rules` (what stands below `allow`) or of `deny_rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Where it begins.
    pub position: Position,
    /// HTTP's method, WEBSOCKET_TEXT, or the method of JSON-RPC and MCP.
    pub method: Option<Located<String>>,
    /// A glob; `/` separates.
    pub path: Option<Located<String>>,
    /// Of SQL.
    pub command: Option<Located<String>>,
    /// By key.
    pub query: BTreeMap<String, Matcher>,
    /// Of GraphQL.
    pub operation_type: Option<OperationType>,
    /// Of GraphQL; a glob.
    pub operation_name: Option<Located<String>>,
    /// Root fields of GraphQL.
    pub fields: Vec<Located<String>>,
    /// Arguments of JSON-RPC and MCP: by name, or by JSON pointer if it begins with `/`.
    /// `tool` of the file is `name` here.
    pub params: BTreeMap<String, Matcher>,
}

/// A value that is a glob, or one of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// At least one.
    pub any: Vec<Located<String>>,
}

/// `operation_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationType {
    /// `query`.
    Query,
    /// `mutation`.
    Mutation,
    /// `subscription`.
    Subscription,
    /// `*`: in deny rules only, since the original's validator refuses it in others.
    Any,
}

/// `credential_signing`, `signing_service`, `signing_region`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// None: as the request's own payload hash says. Some(true): the body is hashed. Some(false): UNSIGNED-PAYLOAD.
    pub body: Option<bool>,
    /// For example `s3`.
    pub service: String,
    /// None: what the request was signed for.
    pub region: Option<String>,
}

/// `persisted_queries`, `graphql_persisted_queries`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphqlOptions {
    /// What happens to a request that names a stored query only.
    pub persisted_queries: PersistedQueries,
    /// What the stored queries are.
    pub registered: BTreeMap<String, RegisteredQuery>,
}

/// `persisted_queries`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PersistedQueries {
    /// Refused.
    #[default]
    Deny,
    /// Judged as what is registered under its id or hash; refused if nothing is.
    AllowRegistered,
}

/// An entry of `graphql_persisted_queries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredQuery {
    /// Never [`OperationType::Any`].
    pub operation_type: OperationType,
    /// Empty if it has none.
    pub operation_name: String,
    /// Root fields.
    pub fields: Vec<String>,
}

/// `mcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McpOptions {
    /// Names of tools must be of the form that the protocol recommends.
    pub strict_tool_names: bool,
    /// Without rules, every method is allowed.
    pub allow_all_known_methods: bool,
}

impl Default for McpOptions {
    fn default() -> Self {
        Self {
            strict_tool_names: true,
            allow_all_known_methods: false,
        }
    }
}

/// Bytes of a body that inspection reads at most; 65,536 each unless the file says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// `graphql_max_body_bytes`.
    pub graphql: u32,
    /// `json_rpc.max_body_bytes`.
    pub json_rpc: u32,
    /// `mcp.max_body_bytes`.
    pub mcp: u32,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            graphql: 65_536,
            json_rpc: 65_536,
            mcp: 65_536,
        }
    }
}

/// `rego`: a module of the policy's author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rego {
    /// The module itself.
    Inline(String),
    /// A file. A relative path was written relative to the policy and now begins with its folder.
    File(PathBuf),
}
