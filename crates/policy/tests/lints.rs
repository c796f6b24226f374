//! What is allowed and probably not meant.

use std::collections::BTreeSet;

use casemate_policy::{Document, Lint, ReadOptions};

const LENIENT: ReadOptions = ReadOptions {
    openshell_lenient: true,
};

/// The warnings, each with its lint's name before it.
fn warnings(text: &str, options: ReadOptions) -> String {
    let policy = Document::parse_with("p", text, options)
        .unwrap_or_else(|error| panic!("{error}\nin:\n{text}"));
    let warnings = policy.warnings().iter();
    let told: Vec<_> = warnings
        .map(|warning| {
            let lint = warning.lint.expect("a warning has a lint");
            format!("{} {}", lint.id(), policy.told(warning))
        })
        .collect();
    told.join("\n")
}

/// Where the endpoint begins at 6:8.
fn endpoint(fields: &str) -> String {
    format!(
        "version: 1\nnetwork_policies:\n  a:\n    binaries: [{path}]\n    endpoints:\n    - {{{fields}}}",
        path = "{path: /usr/bin/x}"
    )
}

/// An endpoint, and the warnings about it with `E` for its name.
const ENDPOINTS: &[(&str, &str)] = &[
    (
        "host: x.example, port: 443, protocol: rest, access: full",
        "audit-by-default p:6:7: `E` has no `enforcement`, so requests against the rules are only logged\nhint: write `enforcement: enforce`, or `enforcement: audit` if that's meant",
    ),
    (
        "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: read-write",
        "read-write-has-no-delete p:6:82: `access: read-write` doesn't allow DELETE\nhint: if it's needed, write `rules`, or `access: full` with `deny_rules`",
    ),
    (
        "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, query: {v: 'v1.*', w: '**', x: {any: [a, 'b*']}}}}]",
        "dot-crossing-glob p:6:115: the `*` of `v1.*` in `E.rules[0].allow.query.v` doesn't match a dot\nhint: `**` by itself matches everything\ndot-crossing-glob p:6:145: the `*` of `b*` in `E.rules[0].allow.query.x` doesn't match a dot\nhint: `**` by itself matches everything",
    ),
    (
        "host: x.example, port: 443",
        "protocol-not-given p:6:7: `E` has no `protocol`, so any bytes pass\nhint: add `protocol: rest` and rules, or write `protocol: any` if that's meant",
    ),
    (
        "host: x.example, port: 443, protocol: any, tls: terminate",
        "deprecated-tls p:6:56: this value of `E.tls` is deprecated and has no effect\nhint: leave the field out: TLS is terminated where rules or credentials need it",
    ),
    (
        "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: full, tls: skip",
        "tls-skip-with-rules p:6:88: `E.tls: skip` leaves rules and credentials nothing to see in TLS\nhint: remove it, or write `protocol: any` if any bytes may pass",
    ),
    (
        "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: FETCH}}]",
        "unknown-method p:6:99: HTTP has no method `FETCH`\nhint: the methods are `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`, `CONNECT`, `TRACE` and `*`",
    ),
    (
        "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: get, path: '/a[b'}}]",
        "unmatched-bracket p:6:110: a `[` in `/a[b` is never closed, so `E.rules[0].allow.path` matches nothing\nhint: write `[[]` if the character itself is meant",
    ),
    (
        "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: '*', path: '*'}}]",
        "path-never-matches p:6:110: no path matches `*` in `E.rules[0].allow.path`\nhint: a path begins with `/`, which `*` doesn't match; `**` matches every path",
    ),
    (
        "host: x.example, port: 443, protocol: any, allowed_ips: [10.0.0.1/16, 172.16.0.0/12, 'fd00::/16', 10.0.0.1]",
        "allowed-ips-host-bits p:6:65: `10.0.0.1/16` in `E.allowed_ips` is an address in a network\nhint: the whole network `10.0.0.0/16` is allowed\nallowed-ips-broad p:6:78: `172.16.0.0/12` in `E.allowed_ips` is a very large network\nhint: name the smaller ones that are needed\nallowed-ips-broad p:6:93: `fd00::/16` in `E.allowed_ips` is a very large network\nhint: name the smaller ones that are needed",
    ),
    (
        "host: 'www.*.com', port: 443, protocol: any",
        "broad-host p:6:14: `www.*.com` in `E.host` matches names that anybody may register\nhint: write out the registered domain, and put the wildcard below it",
    ),
    (
        "host: 127.0.0.1, port: 443, protocol: any",
        "blocked-host p:6:14: `127.0.0.1` is in 127.0.0.0/8, which is always blocked\nhint: remove the endpoint",
    ),
    (
        "host: x.example, port: 443, protocol: tcp, enforcement: enforce, graphql_max_body_bytes: 5, json_rpc: {max_body_bytes: 5}, allow_encoded_slash: true, signing_region: eu",
        "ignored-field p:6:51: `E.enforcement` has no effect with `protocol: tcp`\nhint: remove it: who may connect where is always enforced\nignored-field p:6:73: `E.graphql_max_body_bytes` has no effect with `protocol: tcp`\nhint: remove it, or name the protocol that it's for\nignored-field p:6:100: `E.json_rpc` has no effect with `protocol: tcp`\nhint: remove it, or name the protocol that it's for\nignored-field p:6:131: `E.allow_encoded_slash` has no effect with `protocol: tcp`\nhint: remove it: paths are not looked at there\nignored-field p:6:158: `E.signing_region` has no effect without `credential_signing`\nhint: add `credential_signing: sigv4`, or remove it",
    ),
    (
        "host: x.example, port: 443, protocol: graphql, enforcement: enforce, rules: [{allow: {operation_type: query, command: x}}], graphql_persisted_queries: {a: {operation_type: query}}",
        "ignored-field p:6:117: `E.rules[0].allow.command` has no effect with `protocol: graphql`\nhint: the conditions are `operation_type`, `operation_name`, `fields`\nignored-field p:6:132: `E.graphql_persisted_queries` has no effect, because stored queries are denied\nhint: add `persisted_queries: allow_registered`",
    ),
    (
        "host: x.example, port: 443, protocol: sql, access: read-only",
        "ignored-field p:6:59: `protocol: sql` is only audited, and its presets are all the same\nhint: write `access: full`",
    ),
];

/// A section that begins on line 2, and the warnings about it.
const SECTIONS: &[(&str, &str)] = &[
    (
        "network_policies: {a: {}}",
        "nothing-reachable p:2:20: `network_policies.a` has no endpoints, so nothing can be reached\nhint: list where to under `endpoints`, or remove the entry\nnobody-matches p:2:20: `network_policies.a` has no binaries, so nobody matches\nhint: list who may connect under `binaries`; `/**` is every program",
    ),
    (
        "network_policies: {a: {endpoints: [{host: x.example, port: 443, protocol: any}], binaries: []}}",
        "nobody-matches p:2:20: `network_policies.a` has no binaries, so nobody matches\nhint: list who may connect under `binaries`; `/**` is every program",
    ),
    (
        "network_policies: {a: {endpoints: [{host: x.example, port: 443, protocol: any}], binaries: [{path: '/**'}, {path: /x, harness: true}]}}",
        "any-binary p:2:100: `/**` matches every program\nhint: name the programs that need this, unless all do\nignored-field p:2:119: `network_policies.a.binaries[1].harness` has no effect\nhint: remove it; OpenShell ignores it too",
    ),
    (
        "network_middlewares: {m: {middleware: x/y, on_error: fail_open, endpoints: {include: ['*']}}}",
        "unknown-middleware p:2:39: there is no middleware `x/y` here\nhint: only `openshell/regex` is built in; for each request, `on_error` decides",
    ),
];

/// An endpoint that only OpenShell accepts, and what is said about it in either case.
const LENIENT_ENDPOINTS: &[(&str, &str, &str)] = &[
    (
        "host: x.example, port: 443, protocol: rest, access: full, enforcement: enforced",
        "unknown-enforcement",
        "p:6:79: unknown value `enforced` for `E.enforcement`\nhint: did you mean `enforce`? OpenShell takes it for `audit`",
    ),
    (
        "host: x.example, port: 443, protocol: any, tls: foo",
        "unknown-tls",
        "p:6:56: unknown value `foo` for `E.tls`\nhint: the values are `skip`, `terminate`, `passthrough`; OpenShell takes it for the default",
    ),
    (
        "host: x.example, port: 443, access: read-only",
        "rules-without-protocol",
        "p:6:36: `E` has `access` but no `protocol`\nhint: add `protocol: rest`, or whatever is spoken there; OpenShell ignores the fields and lets any bytes pass",
    ),
    (
        "host: x.example, port: 443, rules: [{allow: {method: GET}}]",
        "rules-without-protocol",
        "p:6:36: `E` has `rules` but no `protocol`\nhint: add `protocol: rest`, or whatever is spoken there; OpenShell ignores the fields and lets any bytes pass",
    ),
    (
        "host: x.example, port: 443, path: /x, enforcement: enforce",
        "rules-without-protocol",
        "p:6:36: `E` has `path`, `enforcement` but no `protocol`\nhint: add `protocol: rest`, or whatever is spoken there; OpenShell ignores the fields and lets any bytes pass",
    ),
    (
        "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: readonly",
        "unknown-access",
        "p:6:82: unknown value `readonly` for `E.access`\nhint: did you mean `read-only`? OpenShell takes it for no rules at all, so that no request is allowed",
    ),
    (
        "host: x.example, port: 443, ports: [80], protocol: any",
        "port-and-ports",
        "p:6:36: `ports` is given besides the other of `port` and `ports`\nhint: put all the ports into `ports`; OpenShell takes `ports` and ignores `port`",
    ),
    (
        "host: x.example, port: 443, protocol: any, allowed_ips: [10.0.0.0/24, not-an-ip]",
        "invalid-allowed-ips",
        "p:6:78: every entry of `E.allowed_ips` must be an address or a network, found the string `not-an-ip`\nhint: write it like `10.0.0.0/8` or `fd00::1`; OpenShell lets the endpoint reach no address at all then",
    ),
];

/// Likewise, of whole policies.
const LENIENT_POLICIES: &[(&str, &str, &str)] = &[
    (
        "version: 2",
        "unknown-version",
        "p:1:10: `version` must be the number 1, found the number `2`\nhint: OpenShell doesn't look at the number",
    ),
    (
        "version: 1\nlandlock: {compatibility: hard-requirement}",
        "unknown-compatibility",
        "p:2:27: unknown value `hard-requirement` for `landlock.compatibility`\nhint: did you mean `hard_requirement`? OpenShell takes it for `best_effort`",
    ),
    (
        "version: 1\nnetwork_policies: {a: {endpoints: [{host: x.example, port: 443, protocol: any}], binaries: [{path: curl}]}}",
        "binary-never-matches",
        "p:2:100: `network_policies.a.binaries[0].path` is relative, so no program matches `curl`\nhint: write the executable's absolute path; OpenShell compares the text as it is",
    ),
    (
        "version: 1\nnetwork_policies: {a: {endpoints: [{host: x.example, port: 443, protocol: any}], binaries: [{path: /usr/../bin/curl}]}}",
        "binary-never-matches",
        "p:2:100: `network_policies.a.binaries[0].path` has a `.`, `..` or empty component, so no program matches `/usr/../bin/curl`\nhint: write the executable's absolute path; OpenShell compares the text as it is",
    ),
];

#[test]
fn each_is_told() {
    for (fields, expected) in ENDPOINTS {
        let told = warnings(&endpoint(fields), ReadOptions::default());
        let told = told.replace("network_policies.a.endpoints[0]", "E");
        assert_eq!(told, *expected, "{fields}");
    }
    for (section, expected) in SECTIONS {
        let told = warnings(&format!("version: 1\n{section}"), ReadOptions::default());
        assert_eq!(told, *expected, "{section}");
    }
}

#[test]
fn what_openshell_accepts_is_an_error_that_can_be_a_warning() {
    let endpoints = LENIENT_ENDPOINTS.iter();
    let endpoints = endpoints.map(|(fields, lint, told)| (endpoint(fields), *lint, *told));
    let policies = LENIENT_POLICIES.iter();
    let policies = policies.map(|(text, lint, told)| (text.to_string(), *lint, *told));
    for (text, lint, expected) in endpoints.chain(policies) {
        let short = |told: String| told.replace("network_policies.a.endpoints[0]", "E");
        let error = Document::parse("p", &text).expect_err("only OpenShell accepts it");
        assert_eq!(short(error.to_string()), expected, "{text}");
        let lints: Vec<_> = error
            .problems()
            .iter()
            .map(|problem| problem.lint)
            .collect();
        assert_eq!(lints.len(), 1, "{text}");
        assert_eq!(lints[0].map(Lint::id), Some(lint), "{text}");
        let warned = short(warnings(&text, LENIENT));
        assert_eq!(warned, format!("{lint} {expected}"), "{text}");
    }
}

#[test]
fn no_lint_is_left_out() {
    let lines = |table: &[(&str, &str)]| -> Vec<String> {
        table
            .iter()
            .flat_map(|(_, told)| told.lines())
            .map(str::to_owned)
            .collect()
    };
    let mut seen: BTreeSet<String> = lines(ENDPOINTS)
        .into_iter()
        .chain(lines(SECTIONS))
        .filter_map(|line| line.split_once(' ').map(|(id, _)| id.to_owned()))
        .collect();
    let lenient = LENIENT_ENDPOINTS.iter().chain(LENIENT_POLICIES);
    seen.extend(lenient.map(|(_, id, _)| (*id).to_owned()));
    let missing: Vec<_> = Lint::ALL
        .iter()
        .filter(|lint| !seen.contains(lint.id()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
