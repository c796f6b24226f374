//! Policies at random.

use std::collections::BTreeMap;

use casemate_policy::network::{
    Access, Binary, BodyLimits, Endpoint, Enforcement, Entry, EntryLimits, GraphqlOptions, Matcher,
    McpOptions, Network, OperationType, PersistedQueries, Protocol, RegisteredQuery, Rule, Tls,
};
use casemate_policy::{Located, Position};

use crate::chance::Chance;
use crate::words;

const OPERATION_TYPES: [OperationType; 4] = [
    OperationType::Query,
    OperationType::Mutation,
    OperationType::Subscription,
    OperationType::Any,
];

/// Up to five entries, in the order of their keys, whose names are in another order.
pub(crate) fn network(chance: &mut Chance, protocols: &[Protocol]) -> Network {
    let count = 1 + chance.below(5);
    let entries = (0..count).map(|index| Entry {
        key: located(&format!("k{index}")),
        name: format!("n{}-{index}", chance.below(10)),
        binaries: binaries(chance),
        endpoints: (0..1 + chance.below(3))
            .map(|_| endpoint(chance, protocols))
            .collect(),
        limits: EntryLimits::default(),
    });
    Network {
        entries: entries.collect(),
        ..Network::default()
    }
}

fn binaries(chance: &mut Chance) -> Vec<Binary> {
    let paths = chance.some(&words::PROGRAM_PATTERNS, 0, 3);
    let binaries = paths.into_iter().map(|path| Binary {
        path: located(path),
        sha256: match chance.percent(20) {
            true => chance.some(&words::DIGESTS, 1, 2),
            false => Vec::new(),
        },
        script: maybe(chance, 15, &words::SCRIPT_PATTERNS),
    });
    binaries.collect()
}

fn endpoint(chance: &mut Chance, protocols: &[Protocol]) -> Endpoint {
    let protocol = chance.of(protocols);
    let host = maybe(chance, 92, &words::HOST_PATTERNS);
    let listed = host.is_none() || chance.percent(15);
    let nets = ["10.0.0.0/8", "10.0.0.6/32", "192.168.0.0/16"];
    let mut ports = chance.some(&words::PORTS, 1, 2);
    ports.sort_unstable();
    ports.dedup();
    let access = match chance.percent(25) {
        true => Some(chance.of(&[Access::ReadOnly, Access::ReadWrite, Access::Full])),
        false => None,
    };
    let speaks_graphql = protocol == Protocol::Websocket && chance.percent(40);
    let mut rules = |most: usize| {
        let count = chance.below(most + 1);
        let made = (0..count).map(|_| rule(chance, protocol, speaks_graphql));
        made.collect::<Vec<_>>()
    };
    let (allow, deny) = match access {
        Some(_) => (Vec::new(), rules(2)),
        None => (rules(3), rules(2)),
    };
    Endpoint {
        position: Position::default(),
        host,
        ports,
        path: maybe(chance, 35, &words::SELECTORS),
        protocol,
        tls: Tls::Auto,
        enforcement: chance.of(&[
            Enforcement::Audit,
            Enforcement::Enforce,
            Enforcement::Enforce,
        ]),
        access,
        rules: allow,
        deny_rules: deny,
        allowed_ips: match listed {
            true => chance
                .some(&nets, 1, 2)
                .iter()
                .map(|net| net.parse().expect("a net"))
                .collect(),
            false => Vec::new(),
        },
        allow_encoded_slash: false,
        websocket_credential_rewrite: false,
        request_body_credential_rewrite: false,
        allow_uninspected_credentials: false,
        signing: None,
        credential_provider: None,
        graphql: GraphqlOptions {
            persisted_queries: chance.of(&[
                PersistedQueries::Deny,
                PersistedQueries::AllowRegistered,
                PersistedQueries::AllowRegistered,
            ]),
            registered: registered(chance),
        },
        mcp: McpOptions {
            strict_tool_names: chance.percent(70),
            allow_all_known_methods: chance.percent(40),
        },
        body: BodyLimits::default(),
    }
}

fn registered(chance: &mut Chance) -> BTreeMap<String, RegisteredQuery> {
    let ids = chance.some(&words::STORED[..3], 0, 3);
    let queries = ids.into_iter().map(|id| {
        let query = RegisteredQuery {
            operation_type: chance.of(&OPERATION_TYPES[..3]),
            operation_name: chance.of(&words::OPERATIONS).to_owned(),
            fields: chance
                .some(&words::FIELDS, 1, 2)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        };
        (id.to_owned(), query)
    });
    let mut queries: BTreeMap<_, _> = queries.collect();
    // One query that has an id and a digest.
    if let Some(query) = queries.get("q1").cloned().filter(|_| chance.percent(50)) {
        queries.insert("h1".to_owned(), query);
    }
    queries
}

fn rule(chance: &mut Chance, protocol: Protocol, speaks_graphql: bool) -> Rule {
    match protocol {
        Protocol::Graphql => operation_rule(chance),
        Protocol::Websocket if speaks_graphql => operation_rule(chance),
        Protocol::JsonRpc | Protocol::Mcp => Rule {
            method: maybe(chance, 90, &words::RPC_PATTERNS),
            params: params(chance),
            ..Rule::default()
        },
        _ => {
            let any_method = chance.percent(20);
            Rule {
                method: match any_method {
                    true => Some(located("*")),
                    false => maybe(chance, 92, &words::METHODS),
                },
                path: maybe(chance, 92, &words::PATH_PATTERNS),
                query: match chance.percent(30) {
                    true => matchers(chance, &words::KEYS, &words::VALUE_PATTERNS),
                    false => BTreeMap::new(),
                },
                ..Rule::default()
            }
        }
    }
}

fn operation_rule(chance: &mut Chance) -> Rule {
    let given = chance.percent(92);
    Rule {
        operation_type: given.then(|| chance.of(&OPERATION_TYPES)),
        operation_name: maybe(chance, 30, &words::OPERATION_PATTERNS),
        fields: match chance.percent(60) {
            true => chance
                .some(&words::FIELD_PATTERNS, 1, 3)
                .into_iter()
                .map(located)
                .collect(),
            false => Vec::new(),
        },
        ..Rule::default()
    }
}

fn params(chance: &mut Chance) -> BTreeMap<String, Matcher> {
    let mut params = BTreeMap::new();
    if chance.percent(40) {
        params.extend(matchers(chance, &["name"], &words::TOOL_PATTERNS));
    }
    if chance.percent(15) {
        params.extend(matchers(
            chance,
            &[words::ARGUMENT],
            &words::ARGUMENT_PATTERNS,
        ));
    }
    params
}

fn matchers(
    chance: &mut Chance,
    keys: &[&str],
    patterns: &[&'static str],
) -> BTreeMap<String, Matcher> {
    let keys = chance.some(keys, 1, 2);
    let matchers = keys.into_iter().map(|key| {
        let any = chance
            .some(patterns, 1, 2)
            .into_iter()
            .map(located)
            .collect();
        (key.to_owned(), Matcher { any })
    });
    matchers.collect()
}

fn maybe(chance: &mut Chance, share: usize, list: &[&str]) -> Option<Located<String>> {
    chance.percent(share).then(|| located(chance.of(list)))
}

fn located(text: &str) -> Located<String> {
    Located {
        value: text.to_owned(),
        position: Position::default(),
    }
}
