//! Policies in few words.

use std::collections::BTreeMap;

use casemate_policy::network::{
    Binary, BodyLimits, Endpoint, Enforcement, Entry, EntryLimits, GraphqlOptions, Matcher,
    McpOptions, Network, Protocol, Rule, Tls,
};
use casemate_policy::{Located, Position};

pub(crate) fn located(text: &str) -> Located<String> {
    Located {
        value: text.to_owned(),
        position: Position::default(),
    }
}

pub(crate) fn network(entries: impl IntoIterator<Item = Entry>) -> Network {
    Network {
        entries: entries.into_iter().collect(),
        ..Network::default()
    }
}

pub(crate) fn entry(name: &str, binaries: &[&str], endpoints: Vec<Endpoint>) -> Entry {
    Entry {
        key: located(name),
        name: name.to_owned(),
        binaries: binaries.iter().map(|path| binary(path)).collect(),
        endpoints,
        limits: EntryLimits::default(),
    }
}

pub(crate) fn binary(path: &str) -> Binary {
    Binary {
        path: located(path),
        sha256: Vec::new(),
        script: None,
    }
}

/// On port 443, enforced, with nothing else; an empty host is none.
pub(crate) fn endpoint(host: &str, protocol: Protocol) -> Endpoint {
    Endpoint {
        position: Position::default(),
        host: (!host.is_empty()).then(|| located(host)),
        ports: vec![443],
        path: None,
        protocol,
        tls: Tls::Auto,
        enforcement: Enforcement::Enforce,
        access: None,
        rules: Vec::new(),
        deny_rules: Vec::new(),
        allowed_ips: Vec::new(),
        allow_encoded_slash: false,
        websocket_credential_rewrite: false,
        request_body_credential_rewrite: false,
        allow_uninspected_credentials: false,
        signing: None,
        credential_provider: None,
        graphql: GraphqlOptions::default(),
        mcp: McpOptions::default(),
        body: BodyLimits::default(),
    }
}

pub(crate) fn rule(method: &str, path: &str) -> Rule {
    Rule {
        method: Some(located(method)),
        path: Some(located(path)),
        ..Rule::default()
    }
}

/// Each key has to match its pattern.
pub(crate) fn matchers(pairs: &[(&str, &str)]) -> BTreeMap<String, Matcher> {
    let matchers = pairs.iter().map(|(key, pattern)| {
        let any = vec![located(pattern)];
        ((*key).to_owned(), Matcher { any })
    });
    matchers.collect()
}
