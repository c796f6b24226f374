//! One endpoint: what it selects and the rules that hold there.

use std::net::IpAddr;
use std::sync::Arc;

use super::glob::{Dialect, Glob, Globs};
use super::methods::{Methods, Operations};
use super::request::{Graphql, Operation, Request};
use super::rule::{BadPattern, Effect, Made, Rule, Rules};
use crate::network::{self, PersistedQueries, Protocol, RegisteredQuery};
use crate::position::Position;

/// An endpoint of a policy, as the way out uses it.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) entry: u32,
    pub(super) index: usize,
    protocol: Protocol,
    /// Apart, so that what decides is close together.
    declared: Box<network::Endpoint>,
    /// The host is a name without patterns, or an address.
    pub(super) exact_host: bool,
    pub(super) literal: bool,
    selector: Option<Selector>,
    rules: Arc<Rules>,
}

/// `path` of an endpoint, which the original reads in two dialects.
#[derive(Debug)]
struct Selector {
    /// Which requests the endpoint is about.
    about: Arc<Glob>,
    /// Which of them its rules can allow.
    allows: Arc<Glob>,
    specificity: usize,
}

impl Endpoint {
    pub(super) fn new(
        declared: &network::Endpoint,
        (entry, index): (u32, usize),
        made: &mut Made,
    ) -> Result<Self, BadPattern> {
        let globs = &mut made.globs;
        let protocol = declared.protocol;
        let mut rules = |list: &[network::Rule], effect| {
            let made = list
                .iter()
                .map(|rule| Rule::new(rule, effect, protocol, globs));
            made.collect::<Result<Vec<_>, _>>()
        };
        let (allow, deny) = (
            rules(&declared.rules, Effect::Allow)?,
            rules(&declared.deny_rules, Effect::Deny)?,
        );
        let host = declared.host.as_ref().map(|host| &*host.value);
        let literal = host.is_some_and(|host| super::name::address(host).is_some());
        let methods = match declared.access {
            Some(access) => Methods::of_preset(access, protocol),
            None => Methods::NONE,
        };
        let operations = match declared.access {
            Some(access) if protocol == Protocol::Graphql => Operations::of_preset(access),
            _ => Operations::default(),
        };
        Ok(Endpoint {
            entry,
            index,
            exact_host: host.is_some_and(|host| literal || super::glob::is_literal(host)),
            literal,
            selector: Selector::new(declared, globs)?,
            rules: made.share(Rules {
                methods,
                operations,
                allow,
                deny,
            }),
            protocol,
            declared: Box::new(declared.clone()),
        })
    }

    /// What the file says of it.
    pub fn declared(&self) -> &network::Endpoint {
        &self.declared
    }

    /// What is spoken there.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether each request is judged here. `sql` is not understood, so it's only bytes.
    pub fn has_rules(&self) -> bool {
        self.declared.has_rules()
    }

    /// Whether the plain text of the connection has to be seen: for rules, or to replace
    /// placeholders of credentials in it.
    pub fn needs_inspection(&self) -> bool {
        self.declared.needs_inspection()
    }

    /// Whether a message of a WebSocket has to be read as GraphQL to be judged.
    pub fn reads_graphql_messages(&self) -> bool {
        let mut rules = self.rules.allow.iter().chain(&self.rules.deny);
        self.protocol == Protocol::Websocket && rules.any(Rule::is_graphql)
    }

    /// Whether `allowed_ips` has the address, or doesn't care.
    pub(super) fn includes(&self, address: IpAddr) -> bool {
        let allowed = &self.declared.allowed_ips;
        allowed.is_empty() || allowed.iter().any(|net| net.contains(&address))
    }

    /// How closely the endpoint describes the path; None if it isn't about it.
    pub(super) fn specificity(&self, path: &str) -> Option<usize> {
        match &self.selector {
            None => Some(0),
            Some(selector) => {
                let about = selector.about.matches(path.as_bytes());
                about.then_some(selector.specificity)
            }
        }
    }

    /// The rule that denies the request.
    pub(super) fn denies(&self, request: &Request<'_>) -> Option<Position> {
        let met = |rule: &&Rule| match self.protocol {
            Protocol::Graphql => self.denies_operation(rule, request.graphql),
            Protocol::JsonRpc | Protocol::Mcp => {
                request.rpc.is_some_and(|rpc| rule.meets_rpc(&rpc))
            }
            Protocol::Websocket if rule.is_graphql() => {
                self.denies_operation(rule, request.graphql)
            }
            _ => rule.meets_http(request),
        };
        let met = self.rules.deny.iter().position(|rule| met(&rule))?;
        Some(self.declared.deny_rules[met].position)
    }

    /// Whether the rules or the preset allow the request.
    pub(super) fn allows(&self, request: &Request<'_>) -> bool {
        let selector = self.selector.as_ref();
        if selector.is_some_and(|own| !own.allows.matches(request.path.as_bytes())) {
            return false;
        }
        match self.protocol {
            Protocol::Rest => self.allows_http(request),
            Protocol::Websocket if self.reads_graphql_messages() => self.allows_messages(request),
            Protocol::Websocket => self.allows_http(request),
            Protocol::Graphql => self.allows_graphql(request.graphql),
            Protocol::JsonRpc => self.allows_json_rpc(request),
            Protocol::Mcp => self.allows_mcp(request),
            _ => false,
        }
    }

    fn allows_http(&self, request: &Request<'_>) -> bool {
        self.rules.methods.contains(request.method)
            || self.rules.allow.iter().any(|rule| rule.meets_http(request))
    }

    /// Over a WebSocket: the handshake, operations that the rules allow, and any text if a preset
    /// does.
    fn allows_messages(&self, request: &Request<'_>) -> bool {
        self.allows_http(request)
            || match request.graphql {
                None => request.method.eq_ignore_ascii_case("GET"),
                graphql => self.allows_graphql(graphql),
            }
    }

    fn allows_graphql(&self, graphql: Option<Graphql<'_>>) -> bool {
        let Some(graphql) = graphql else {
            return false;
        };
        let mut operations = graphql.operations.iter();
        !graphql.operations.is_empty()
            && operations.all(|operation| self.allows_operation(operation))
    }

    fn allows_operation(&self, operation: &Operation<'_>) -> bool {
        if operation.persisted.is_none() {
            return self.rules.operations.contains(operation.kind)
                || self.rules.allow.iter().any(|rule| operation.meets(rule));
        }
        self.registered(operation).is_some_and(|stored| {
            self.rules.operations.contains(stored.operation_type)
                || self
                    .rules
                    .allow
                    .iter()
                    .any(|rule| meets_stored(rule, stored))
        })
    }

    fn denies_operation(&self, rule: &Rule, graphql: Option<Graphql<'_>>) -> bool {
        let operations = graphql.map_or(&[][..], |graphql| graphql.operations);
        operations
            .iter()
            .any(|operation| match operation.persisted {
                None => operation.meets(rule),
                Some(_) => {
                    let stored = self.registered(operation);
                    stored.is_some_and(|stored| meets_stored(rule, stored))
                }
            })
    }

    /// What is stored under the name, or under both if there are two: a server may take either.
    pub(super) fn registered(&self, operation: &Operation<'_>) -> Option<&RegisteredQuery> {
        let options = &self.declared.graphql;
        if options.persisted_queries == PersistedQueries::Deny {
            return None;
        }
        let stored = |name: &str| options.registered.get(name);
        let persisted = operation.persisted?;
        match (persisted.hash, persisted.id) {
            (Some(hash), Some(id)) => stored(hash).filter(|query| stored(id) == Some(*query)),
            (Some(one), None) | (None, Some(one)) => stored(one),
            (None, None) => None,
        }
    }

    fn allows_json_rpc(&self, request: &Request<'_>) -> bool {
        request.rpc.is_some_and(|rpc| {
            !rpc.method.is_empty() && self.rules.allow.iter().any(|rule| rule.meets_rpc(&rpc))
        })
    }

    fn allows_mcp(&self, request: &Request<'_>) -> bool {
        let Some(rpc) = request.rpc else {
            return false;
        };
        if rpc.receive_stream || rpc.has_response && rpc.method.is_empty() {
            return true;
        }
        let options = self.declared.mcp;
        if options.strict_tool_names && rpc.tool.is_some_and(|tool| !is_plain_tool_name(tool)) {
            return false;
        }
        let everything = options.allow_all_known_methods && self.rules.allow.is_empty();
        let allowed = everything || self.rules.allow.iter().any(|rule| rule.meets_rpc(&rpc));
        !rpc.method.is_empty() && allowed
    }
}

impl Selector {
    fn new(declared: &network::Endpoint, globs: &mut Globs) -> Result<Option<Self>, BadPattern> {
        let Some(path) = &declared.path else {
            return Ok(None);
        };
        let mut get = |dialect| {
            let glob = globs.get(&path.value, dialect);
            glob.map_err(|bad| (path.position, path.value.clone(), bad))
        };
        Ok(Some(Selector {
            about: get(Dialect::Selector)?,
            allows: get(Dialect::Path)?,
            specificity: path.value.chars().filter(|&c| c != '*').count(),
        }))
    }
}

fn meets_stored(rule: &Rule, stored: &RegisteredQuery) -> bool {
    let name = &stored.operation_name;
    rule.meets_operation(stored.operation_type, name, stored.fields.iter())
}

/// The form that MCP's specification recommends for names of tools (revision 2025-11-25, server/tools).
fn is_plain_tool_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=128).contains(&name.len()) && name.bytes().all(plain)
}
