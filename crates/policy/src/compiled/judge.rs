//! May this be said on the connection?
//!
//! The endpoint that describes the path most closely says which protocol is spoken, and whether a
//! denial is enforced or only logged. Endpoints of that protocol may allow the request; every
//! endpoint that is about the path may deny it, and denying wins. What couldn't be understood, and
//! what a client never says, is denied even where denials are only logged.

use super::endpoint::Endpoint;
use super::grant::Grant;
use super::request::Request;
use crate::network::{Enforcement, Protocol};
use crate::position::Position;
use crate::quote::escaped;

/// The answer about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestDecision {
    /// Say it.
    Allow,
    /// Don't; or, if it isn't enforced, say it and log this.
    Deny(DeniedRequest),
}

/// Why a request is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedRequest {
    /// In the terms of the original format.
    pub reason: String,
    /// The entry whose endpoint decided; None if no endpoint is about the path.
    pub entry: Option<String>,
    /// The rule of `deny_rules` that is met.
    pub rule: Option<Position>,
    /// False: it's only logged.
    pub enforced: bool,
}

impl RequestDecision {
    /// Whether the request goes through: it's allowed, or its denial is only logged.
    pub fn passes(&self) -> bool {
        match self {
            RequestDecision::Allow => true,
            RequestDecision::Deny(denied) => !denied.enforced,
        }
    }
}

impl Grant<'_> {
    /// Judges a request. Where no endpoint has rules, everything may be said.
    pub fn request(&self, request: &Request<'_>) -> RequestDecision {
        if !self.has_rules() {
            return RequestDecision::Allow;
        }
        let lead = self.endpoint_for(request.path);
        let Some(lead) = lead.filter(|lead| lead.has_rules()) else {
            return self.denied(None, not_permitted(request), true);
        };
        if let Some(reason) = never_said(request, lead) {
            return self.denied(Some((lead, None)), reason, true);
        }
        let about = || {
            let judges = self.endpoints().filter(|own| own.has_rules());
            judges.filter(|own| own.specificity(request.path).is_some())
        };
        let spoken = || about().filter(|own| own.protocol() == lead.protocol());
        if let Some((own, rule)) = about().find_map(|own| Some((own, own.denies(request)?))) {
            let enforced = self.enforces(lead, request.path);
            return self.denied(Some((own, Some(rule))), blocked(request, own), enforced);
        }
        if spoken().any(|own| own.allows(request)) {
            return RequestDecision::Allow;
        }
        let reason = if !reads_graphql(request, lead) {
            not_permitted(request)
        } else if unregistered(request, spoken) {
            "GraphQL persisted query is not registered".to_owned()
        } else {
            "GraphQL operation not permitted by policy".to_owned()
        };
        self.denied(
            Some((lead, None)),
            reason,
            self.enforces(lead, request.path),
        )
    }

    /// Whether denials are enforced. Endpoints that lead together should agree; if they don't, they
    /// are.
    fn enforces(&self, lead: &Endpoint, path: &str) -> bool {
        let specificity = lead.specificity(path);
        let mut leading = self
            .endpoints()
            .filter(|own| own.has_rules() && own.specificity(path) == specificity);
        leading.any(|own| own.declared().enforcement == Enforcement::Enforce)
    }

    fn denied(
        &self,
        by: Option<(&Endpoint, Option<Position>)>,
        reason: String,
        enforced: bool,
    ) -> RequestDecision {
        RequestDecision::Deny(DeniedRequest {
            reason,
            entry: by.map(|(own, _)| self.entry_of(own).to_owned()),
            rule: by.and_then(|(_, rule)| rule),
            enforced,
        })
    }
}

/// Why the request is denied whatever the rules are.
fn never_said(request: &Request<'_>, lead: &Endpoint) -> Option<String> {
    if let Some(error) = request.graphql.and_then(|graphql| graphql.error) {
        return Some(format!("GraphQL request rejected: {}", escaped(error)));
    }
    let rpc = request.rpc?;
    if let Some(error) = rpc.error {
        return Some(format!("JSON-RPC request rejected: {}", escaped(error)));
    }
    let response = rpc.has_response && lead.protocol() == Protocol::JsonRpc;
    response.then(|| "JSON-RPC response frames are not permitted from client to server".to_owned())
}

fn reads_graphql(request: &Request<'_>, endpoint: &Endpoint) -> bool {
    match endpoint.protocol() {
        Protocol::Graphql => true,
        _ => endpoint.reads_graphql_messages() && request.graphql.is_some(),
    }
}

/// Whether an operation is a stored query that no endpoint knows.
fn unregistered<'a, I: Iterator<Item = &'a Endpoint>>(
    request: &Request<'_>,
    spoken: impl Fn() -> I,
) -> bool {
    let operations = request
        .graphql
        .map_or(&[][..], |graphql| graphql.operations);
    let mut stored = operations.iter().filter(|own| own.persisted.is_some());
    stored.any(|operation| spoken().all(|own| own.registered(operation).is_none()))
}

fn blocked(request: &Request<'_>, by: &Endpoint) -> String {
    if reads_graphql(request, by) {
        return "GraphQL operation blocked by endpoint policy".to_owned();
    }
    let (method, path) = (escaped(request.method), escaped(request.path));
    format!("{method} {path} blocked by deny rule")
}

fn not_permitted(request: &Request<'_>) -> String {
    let (method, path) = (escaped(request.method), escaped(request.path));
    format!("{method} {path} not permitted by policy")
}
