//! What is wrong with `network_policies` and the sections around it, and exactly what is said.

use casemate_policy::{Document, PolicyError};

fn refused(text: &str) -> PolicyError {
    match Document::parse("p", text) {
        Ok(policy) => panic!("accepted as {policy:?}:\n{text}"),
        Err(error) => error,
    }
}

/// Each text is the only endpoint of the entry `a`, and begins at 6:8.
fn check(cases: &[(&str, &str)]) {
    for (endpoint, expected) in cases {
        let text = format!(
            "version: 1\nnetwork_policies:\n  a:\n    binaries: [{{path: /usr/bin/x}}]\n    \
             endpoints:\n    - {{{endpoint}}}"
        );
        let told = refused(&text).to_string();
        // The whole name once would be enough.
        let told = told.replace("network_policies.a.endpoints[0]", "E");
        assert_eq!(told, *expected, "{endpoint}");
    }
}

/// Each text is a section, and begins on line 2.
fn check_section(cases: &[(&str, &str)]) {
    for (section, expected) in cases {
        let told = refused(&format!("version: 1\n{section}")).to_string();
        assert_eq!(told, *expected, "{section}");
    }
}

/// The endpoints are on lines 3 and 4, in the entries `a` and `b`.
fn two(endpoints: [&str; 2]) -> String {
    let [one, other] = endpoints;
    format!(
        "version: 1\nnetwork_policies:\n  a: {{binaries: [{{path: /x}}], endpoints: [{{{one}}}]}}\n  \
         b: {{binaries: [{{path: /y}}], endpoints: [{{{other}}}]}}"
    )
}

#[test]
fn hosts_and_ports() {
    check(&[
        (
            "host: x.example, port: 443, protocol: http",
            "p:6:46: unknown value `http` for `E.protocol`\nhint: the values are `any`, `tcp`, `rest`, `websocket`, `graphql`, `sql`, `json-rpc`, `mcp`",
        ),
        (
            "host: '', port: 443, protocol: any",
            "p:6:7: missing field `host`\nhint: name the host; only `allowed_ips` can stand in for it",
        ),
        (
            "port: 443, protocol: tcp, allowed_ips: [10.0.0.0/8]",
            "p:6:7: missing field `host`\nhint: `protocol: tcp` and `protocol: mcp` need a host",
        ),
        (
            "host: 10.0.0.1, port: 443, protocol: tcp",
            "p:6:14: `protocol: tcp` needs a name as its host, found the address `10.0.0.1`\nhint: connections are recognised by the name that was resolved; leave `protocol` out, or write `any`, to open an address",
        ),
        (
            "host: x.example, protocol: any",
            "p:6:7: missing field `port`\nhint: name at least one: `port: 443`, or `ports: [80, 443]`",
        ),
        (
            "host: x.example, ports: [], protocol: any",
            "p:6:7: missing field `port`\nhint: name at least one: `port: 443`, or `ports: [80, 443]`",
        ),
        (
            "host: x.example, port: 0, protocol: any",
            "p:6:31: `E.port` must be a number from 1 to 65535, found the number `0`",
        ),
        (
            "host: x.example, port: 70000, protocol: any",
            "p:6:31: `E.port` must be a number from 1 to 65535, found the number `70000`",
        ),
        (
            "host: x.example, port: '443', protocol: any",
            "p:6:31: `E.port` must be a number from 1 to 65535, found the string `443`",
        ),
        (
            "host: x.example, ports: [443, x], protocol: any",
            "p:6:38: every entry of `E.ports` must be a number from 1 to 65535, found the string `x`",
        ),
        (
            "host: x.example, ports: 443, protocol: any",
            "p:6:32: `E.ports` must be a list, found the number `443`",
        ),
        (
            "host: '*', port: 443, protocol: any",
            "p:6:14: `*` in `E.host` spans the domains of different owners\nhint: put the wildcard below a domain, as in `*.example.com`",
        ),
        (
            "host: '*.com', port: 443, protocol: any",
            "p:6:14: `*.com` in `E.host` spans the domains of different owners\nhint: put the wildcard below a domain, as in `*.example.com`",
        ),
        (
            "host: 'foo.us-*.x.com', port: 443, protocol: any",
            "p:6:14: `foo.us-*.x.com` in `E.host` has a `*` inside a label that isn't the first one\nhint: further on, a `*` is a whole label, as in `*.s3.*.example.com`",
        ),
        (
            "host: 'foo.**.x.com', port: 443, protocol: any",
            "p:6:14: `foo.**.x.com` in `E.host` has a `**` that isn't the whole first label\nhint: `**` stands for one or more labels at the beginning, as in `**.example.com`",
        ),
        (
            "host: 'https://x.example', port: 443, protocol: any",
            "p:6:14: `https://x.example` in `E.host` is a URL\nhint: give the name alone, without scheme and path",
        ),
        (
            "host: 'x.example:443', port: 443, protocol: any",
            "p:6:14: `x.example:443` in `E.host` has a port in it\nhint: the port goes into `port`",
        ),
        (
            "host: 'x.example/y', port: 443, protocol: any",
            "p:6:14: `x.example/y` in `E.host` has a `/` in it\nhint: a path goes into `path`, a network into `allowed_ips`",
        ),
        (
            "host: '{a,b}.x.example', port: 443, protocol: any",
            "p:6:14: `{a,b}.x.example` in `E.host` has a `{`\nhint: the only wildcard in a host is `*`; write an endpoint for each of several names",
        ),
        (
            "host: \"b\\u00fccher.example\", port: 443, protocol: any",
            "p:6:14: `bücher.example` in `E.host` isn't ASCII\nhint: write an international name as it is in the DNS: `xn--…`",
        ),
        (
            "host: 'x.example.', port: 443, protocol: any",
            "p:6:14: `x.example.` in `E.host` ends in a dot\nhint: write it without; names are absolute anyway",
        ),
        (
            "host: 'a..example', port: 443, protocol: any",
            "p:6:14: `a..example` in `E.host` has an empty label\nhint: check the dots",
        ),
        (
            "host: '127.1', port: 443, protocol: any",
            "p:6:14: `127.1` in `E.host` ends in a number, but is no address\nhint: an IPv4 address is four decimal numbers without leading zeros; networks go into `allowed_ips`",
        ),
        (
            "host: 443, port: 443, protocol: any",
            "p:6:14: `E.host` must be a string, found the number `443`\nhint: put quotes around it",
        ),
        (
            "host: x.example, port: 443, protocol: any, allowed_ips: [127.0.0.1]",
            "p:6:65: `127.0.0.1` in `E.allowed_ips` has addresses of 127.0.0.0/8, which is always blocked\nhint: name the networks that are meant, without that one",
        ),
        (
            "host: x.example, port: 443, protocol: any, allowed_ips: [0.0.0.0/0, 10.0.0.0/8]",
            "p:6:65: `0.0.0.0/0` in `E.allowed_ips` has addresses of 127.0.0.0/8, which is always blocked\nhint: name the networks that are meant, without that one",
        ),
        (
            "host: x.example, port: 443, protocol: any, hots: y",
            "p:6:51: unknown field `hots` in `E`\nhint: did you mean `host`?",
        ),
    ]);
}

#[test]
fn rules_and_presets() {
    check(&[
        (
            "host: x.example, port: 443, protocol: rst, access: full",
            "p:6:46: unknown value `rst` for `E.protocol`\nhint: did you mean `rest`?",
        ),
        (
            "port: 443, protocol: rest, access: full, enforcement: audit",
            "p:6:7: missing field `host`\nhint: name the host; only `allowed_ips` can stand in for it",
        ),
        (
            "host: x.example, port: 443, protocol: tcp, access: full, enforcement: enforce, path: /x",
            "p:6:51: `E.access` doesn't go with `protocol: tcp`\nhint: bytes pass unseen there; remove the field, or name a protocol that is looked at\np:6:87: `E.path` doesn't go with `protocol: tcp`\nhint: bytes pass unseen there; remove the field, or name a protocol that is looked at",
        ),
        (
            "host: x.example, port: 443, protocol: any, rules: [], deny_rules: []",
            "p:6:51: `E.rules` doesn't go with `protocol: any`\nhint: bytes pass unseen there; remove the field, or name a protocol that is looked at\np:6:62: `E.deny_rules` doesn't go with `protocol: any`\nhint: bytes pass unseen there; remove the field, or name a protocol that is looked at",
        ),
        (
            "host: x.example, port: 443, deny_rules: [{method: GET}]",
            "p:6:36: `E.deny_rules` needs a `protocol`\nhint: add `protocol: rest`, or whatever is spoken there",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce",
            "p:6:7: `E` doesn't say what is allowed\nhint: write `rules`, or a preset such as `access: read-only`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: full, rules: [{allow: {method: GET}}]",
            "p:6:88: `E` has both `access` and `rules`\nhint: `access` is a preset in place of `rules`; keep one of them",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: []",
            "p:6:74: `E.rules` is empty, so everything would be denied\nhint: write a rule, or remove the endpoint",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{method: GET}]",
            "p:6:83: unknown field `method` in `E.rules[0]`\nhint: `method` belongs in `rules[].allow`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {}}]",
            "p:6:90: `E.rules[0].allow` has no condition for `protocol: rest`\nhint: the conditions are `method`, `path`, `query`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {path: /x}}]",
            "p:6:90: missing field `method`\nhint: write `method: \"*\"` if every method is meant",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: full, deny_rules: [{allow: {method: GET}}]",
            "p:6:102: unknown field `allow` in `E.deny_rules[0]`\nhint: a deny rule has its fields directly, without `allow`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: full, path: x",
            "p:6:94: `x` in `E.path` doesn't begin with `/`\nhint: a path begins with `/`; `**` is every path",
        ),
        (
            "host: x.example, port: 443, protocol: sql, enforcement: enforce, access: full",
            "p:6:64: `protocol: sql` can't be enforced, because SQL isn't parsed\nhint: write `enforcement: audit`",
        ),
        (
            "host: x.example, port: 443, protocol: sql, rules: [{allow: {method: GET}}]",
            "p:6:67: `E.rules[0].allow` has no condition for `protocol: sql`\nhint: the conditions are `command`",
        ),
    ]);
}

#[test]
fn an_empty_condition_is_no_condition() {
    check(&[
        (
            "host: x.example, port: 443, protocol: rest, access: full, deny_rules: [{method: ''}]",
            "p:6:80: `E.deny_rules[0].method` is empty\nhint: leave it out if it doesn't matter",
        ),
        (
            "host: x.example, port: 443, protocol: rest, rules: [{allow: {method: GET, path: ''}}]",
            "p:6:82: `E.rules[0].allow.path` is empty\nhint: leave it out if it doesn't matter",
        ),
    ]);
}

#[test]
fn matchers() {
    check(&[
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, query: {a: [b]}}}]",
            "p:6:115: `E.rules[0].allow.query.a` must be a pattern, found a list\nhint: several patterns are written `{any: [PATTERN, PATTERN]}`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, query: {a: {any: []}}}}]",
            "p:6:121: `E.rules[0].allow.query.a.any` is empty, so it matches nothing\nhint: list the patterns, or remove the rule",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, query: {a: {any: [b], glob: c}}}}]",
            "p:6:115: `E.rules[0].allow.query.a` has both `glob` and `any`\nhint: put all the patterns into `any`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, query: {a: {}}}}]",
            "p:6:115: `E.rules[0].allow.query.a` has neither `glob` nor `any`\nhint: write a pattern, or `{any: [PATTERN]}`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, query: {a: {all: [b]}}}}]",
            "p:6:116: unknown field `all` in `E.rules[0].allow.query.a`\nhint: the fields here are `any`, `glob`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, query: {a: 1}}}]",
            "p:6:115: `E.rules[0].allow.query.a` must be a string, found the number `1`\nhint: put quotes around it",
        ),
    ]);
}

#[test]
fn graphql_and_websockets() {
    check(&[
        (
            "host: x.example, port: 443, protocol: graphql, enforcement: enforce, rules: [{allow: {operation_type: '*'}}]",
            "p:6:110: unknown value `*` for `E.rules[0].allow.operation_type`\nhint: the values are `query`, `mutation`, `subscription`",
        ),
        (
            "host: x.example, port: 443, protocol: graphql, enforcement: enforce, rules: [{allow: {fields: [a]}}]",
            "p:6:93: missing field `operation_type`\nhint: it's `query`, `mutation` or `subscription`; write a rule for each",
        ),
        (
            "host: x.example, port: 443, protocol: graphql, enforcement: enforce, rules: [{allow: {operation_type: query, fields: []}}]",
            "p:6:125: `E.rules[0].allow.fields` is empty\nhint: leave it out if every field is meant",
        ),
        (
            "host: x.example, port: 443, protocol: websocket, enforcement: enforce, rules: [{allow: {method: GET, operation_type: query}}]",
            "p:6:96: `E.rules[0].allow.method` is mixed with conditions of GraphQL\nhint: write one rule for the upgrade and another for the operations",
        ),
        (
            "host: x.example, port: 443, protocol: graphql, enforcement: enforce, access: full, persisted_queries: allow",
            "p:6:110: unknown value `allow` for `E.persisted_queries`\nhint: did you mean `allow_registered`?",
        ),
        (
            "host: x.example, port: 443, protocol: graphql, enforcement: enforce, access: full, graphql_max_body_bytes: 0",
            "p:6:115: `E.graphql_max_body_bytes` must be a number from 1 to 67108864, found the number `0`",
        ),
        (
            "host: x.example, port: 443, protocol: graphql, enforcement: enforce, access: full, persisted_queries: allow_registered, graphql_persisted_queries: {a: {operation_type: '*'}, b: {}}",
            "p:6:176: unknown value `*` for `E.graphql_persisted_queries.a.operation_type`\nhint: the values are `query`, `mutation`, `subscription`\np:6:185: missing field `operation_type`\nhint: it's `query`, `mutation` or `subscription`",
        ),
        (
            "host: x.example, port: 443, protocol: graphql, enforcement: enforce, access: full, request_body_credential_rewrite: true, websocket_credential_rewrite: true",
            "p:6:91: `E.request_body_credential_rewrite` doesn't go with `protocol: graphql`\nhint: placeholders are found in bodies where `protocol` is `rest`\np:6:130: `E.websocket_credential_rewrite` doesn't go with `protocol: graphql`\nhint: placeholders are found where `protocol` is `rest` or `websocket`",
        ),
    ]);
}

#[test]
fn json_rpc_and_mcp() {
    check(&[
        (
            "host: x.example, port: 443, protocol: json-rpc, enforcement: enforce",
            "p:6:7: `E` doesn't say what is allowed\nhint: write `rules` with the methods that are allowed",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce",
            "p:6:7: `E` doesn't say what is allowed\nhint: write `rules`, or `mcp: {allow_all_known_mcp_methods: true}`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, tool: x}}]",
            "p:6:104: `E.rules[0].allow.tool` has no effect with `protocol: rest`\nhint: tools are named where the endpoint has `protocol: mcp`",
        ),
        (
            "host: x.example, port: 443, protocol: json-rpc, enforcement: enforce, access: full",
            "p:6:86: `protocol: json-rpc` has no presets\nhint: write `rules` with the methods that are allowed",
        ),
        (
            "host: x.example, port: 443, protocol: json-rpc, enforcement: enforce, rules: [{allow: {params: {a: b}}}]",
            "p:6:94: missing field `method`\nhint: write `method: \"*\"` if every method is meant",
        ),
        (
            "host: x.example, port: 443, protocol: json-rpc, enforcement: enforce, rules: [{allow: {method: 'eth_*'}}]",
            "p:6:103: the method `eth_*` is a pattern, which `protocol: json-rpc` doesn't have\nhint: name one method, or write `*` for all",
        ),
        (
            "host: x.example, port: 443, protocol: json-rpc, enforcement: enforce, rules: [{allow: {method: a, tool: x}}]",
            "p:6:106: `E.rules[0].allow.tool` has no effect with `protocol: json-rpc`\nhint: tools are named where the endpoint has `protocol: mcp`",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce, access: full",
            "p:6:81: `protocol: mcp` has no presets\nhint: write `rules` with the methods that are allowed",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce, rules: [{allow: {method: 'res*'}}]",
            "p:6:98: the method `res*` is a pattern outside `tools/`\nhint: name one method, or write `*` for all",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce, rules: [{allow: {method: tools/call, path: /x}}]",
            "p:6:110: `E.rules[0].allow.path` has no effect with `protocol: mcp`\nhint: `path` of the endpoint says which URL this is about",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce, rules: [{allow: {method: tools/call, tool: a, params: {name: b}}}]",
            "p:6:110: `E.rules[0].allow.tool` stands besides `params.name`, which is the same\nhint: keep one of them",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce, rules: [{allow: {method: tools/list, tool: a}}]",
            "p:6:98: the method `tools/list` has no `tool`\nhint: tools are called by `method: tools/call`",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce, rules: [{allow: {method: tools/call}}, {allow: {method: tools/call, tool: a}}]",
            "p:6:89: this rule allows all tools\nhint: the one at 6:120 allows some of them; remove the one that isn't meant",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce, mcp: {strict_tool_names: false}, rules: [{allow: {method: tools/call, tool: 'a*'}}]",
            "p:6:149: the tool `a*` is a pattern, which needs strict names\nhint: remove `strict_tool_names: false`, or name the tools one by one",
        ),
        (
            "host: x.example, port: 443, protocol: mcp, enforcement: enforce, rules: [{allow: {method: x, params: {/a~b: c}}}]",
            "p:6:101: `/a~b` in `E.rules[0].allow.params` is no JSON pointer\nhint: in a pointer, `~` is written `~0` and a `/` in a name `~1`",
        ),
        (
            "port: 443, allowed_ips: [10.0.0.1], protocol: mcp, enforcement: enforce, rules: [{allow: {method: x}}]",
            "p:6:7: missing field `host`\nhint: `protocol: tcp` and `protocol: mcp` need a host",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: full, mcp: {}",
            "p:6:93: `E.mcp` doesn't go with `protocol: rest`\nhint: it's for `protocol: mcp`",
        ),
    ]);
}

#[test]
fn credentials() {
    check(&[
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: full, credential_signing: sigv4",
            "p:6:7: missing field `signing_service`\nhint: name the AWS service that the signature is for, for example `s3`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: full, credential_signing: v4, signing_service: s3",
            "p:6:108: unknown value `v4` for `E.credential_signing`\nhint: the values are `sigv4`, `sigv4:body`, `sigv4:no_body`",
        ),
        (
            "host: x.example, port: 443, protocol: rest, enforcement: enforce, access: full, credential_signing: sigv4, signing_service: s3, request_body_credential_rewrite: true",
            "p:6:88: `E` has both `credential_signing` and `request_body_credential_rewrite`\nhint: a body that is rewritten doesn't fit its signature; keep one of them",
        ),
        (
            "host: x.example, port: 443, protocol: tcp, credential_signing: sigv4, signing_service: s3",
            "p:6:51: `E.credential_signing` doesn't go with `protocol: tcp`\nhint: requests are signed where `protocol` is `rest`",
        ),
        (
            "host: x.example, port: 443, protocol: any, credential_binding: {}",
            "p:6:71: missing field `provider`\nhint: name the provider whose credentials may be used here",
        ),
    ]);
}

#[test]
fn fields_of_endpoints() {
    check(&[
        (
            "host: x.example, port: 443, protocol: any, method: GET",
            "p:6:51: unknown field `method` in `E`\nhint: `method` belongs in `rules[].allow`",
        ),
        (
            "host: x.example, port: 443, protocol: any, tls: true",
            "p:6:56: `E.tls` must be `skip`, `terminate` or `passthrough`, found `true`",
        ),
        (
            "host: x.example, port: 443, protocol: any, allow_encoded_slash: yes",
            "p:6:72: `E.allow_encoded_slash` must be `true` or `false`, found the string `yes`",
        ),
    ]);
}

#[test]
fn entries_and_binaries() {
    check_section(&[
        (
            "network_policies: {a: {endpoint: [], binary: []}}",
            "p:2:24: unknown field `endpoint` in `network_policies.a`\nhint: did you mean `endpoints`?\np:2:38: unknown field `binary` in `network_policies.a`\nhint: the fields here are `name`, `endpoints`, `binaries`, `limits`",
        ),
        (
            "network_policies: {_provider_x: {endpoints: [], binaries: []}}",
            "p:2:20: keys that begin with `_provider_` are reserved\nhint: OpenShell gives them to the entries that it makes itself",
        ),
        (
            "network_policies: {'': {}}",
            "p:2:20: a key has 1 to 256 bytes, found 0",
        ),
        (
            "network_policies: {a: [x]}",
            "p:2:23: `network_policies.a` must be a mapping, found a list",
        ),
        (
            "network_policies: {a: {endpoints: {host: x}, binaries: /usr/bin/x}}",
            "p:2:35: `network_policies.a.endpoints` must be a list, found a mapping\np:2:56: `network_policies.a.binaries` must be a list, found the string `/usr/bin/x`\nhint: a single entry is written as a list too: `binaries: [ENTRY]`",
        ),
        (
            "network_policies: {a: {endpoints: [x], binaries: [/usr/bin/x]}}",
            "p:2:36: `network_policies.a.endpoints[0]` must be a mapping, found the string `x`\np:2:51: `network_policies.a.binaries[0]` must be a mapping, found the string `/usr/bin/x`",
        ),
        (
            "network_policies: {a: {endpoints: [], binaries: [{}, {path: ''}, {path: 5}, {pth: /x}]}}",
            "p:2:50: missing field `path`\nhint: give the executable's path, or a pattern such as `/usr/bin/*`\np:2:54: missing field `path`\nhint: give the executable's path, or a pattern such as `/usr/bin/*`\np:2:73: `network_policies.a.binaries[2].path` must be a string, found the number `5`\nhint: put quotes around it\np:2:77: missing field `path`\nhint: give the executable's path, or a pattern such as `/usr/bin/*`\np:2:78: unknown field `pth` in `network_policies.a.binaries[3]`\nhint: did you mean `path`?",
        ),
        (
            "network_policies: {a: {endpoints: [], binaries: [{path: /x, sha256: abc}, {path: /x, sha256: []}]}}",
            "p:2:69: `network_policies.a.binaries[0].sha256` must be 64 hexadecimal digits, found the string `abc`\nhint: `sha256sum FILE` prints them\np:2:94: `network_policies.a.binaries[1].sha256` is empty\nhint: leave it out to accept the program whatever its digest",
        ),
        (
            "network_policies: {a: {endpoints: [], binaries: [{path: /x, sha256: [1, [2]]}]}}",
            "p:2:70: `network_policies.a.binaries[0].sha256` must be 64 hexadecimal digits, found the number `1`\nhint: `sha256sum FILE` prints them\np:2:73: `network_policies.a.binaries[0].sha256` must be 64 hexadecimal digits, found a list\nhint: `sha256sum FILE` prints them",
        ),
        (
            "network_policies: {a: {name: [], limits: {connections: 0, bytes: 1X, rate: -1}}}",
            "p:2:30: `network_policies.a.name` must be a string, found a list\np:2:56: `network_policies.a.limits.connections` must be a number from 1 to 4294967295, found the number `0`\np:2:66: `network_policies.a.limits.bytes` must be a size such as 512M, found the string `1X`\nhint: a number with K, M, G or T, which are powers of 1024\np:2:76: `network_policies.a.limits.rate` must be a number from 1 to 4294967295, found the number `-1`",
        ),
        (
            "network_policies: {a: {limits: {bytes: 0, byte: 1}}}",
            "p:2:40: `network_policies.a.limits.bytes` must be a size such as 512M, found the number `0`\nhint: a number with K, M, G or T, which are powers of 1024\np:2:43: unknown field `byte` in `network_policies.a.limits`\nhint: did you mean `bytes`?",
        ),
    ]);
}

#[test]
fn names_and_rego() {
    check_section(&[
        (
            "dns: {allow: ['*', 10.0.0.1, 'a b', ''], deny: ['a..b', '**', 1]}",
            "p:2:15: `*` in `dns.allow` spans the domains of different owners\nhint: put the wildcard below a domain, as in `*.example.com`\np:2:20: `10.0.0.1` in `dns.allow` is an address\nhint: only names can stand here\np:2:30: `a b` in `dns.allow` has a ` `\nhint: a name has letters, digits, `-`, `_` and dots\np:2:37: empty text in `dns.allow`\np:2:49: `a..b` in `dns.deny` has an empty label\nhint: check the dots\np:2:63: every entry of `dns.deny` must be a string, found the number `1`",
        ),
        (
            "rego: []",
            "p:2:7: `rego` must be a module or `{file: PATH}`, found a list\nhint: write the module as a block: `rego: |`",
        ),
        (
            "rego: ''",
            "p:2:7: `rego` must be a module or `{file: PATH}`, found the string ``\nhint: write the module as a block: `rego: |`",
        ),
        (
            "rego: {path: x}",
            "p:2:7: missing field `file`\nhint: give the path of a `.rego` file, relative to the policy\np:2:8: unknown field `path` in `rego`\nhint: `path` belongs in `endpoints[]`",
        ),
        (
            "rego: {file: ''}",
            "p:2:7: missing field `file`\nhint: give the path of a `.rego` file, relative to the policy",
        ),
        (
            "rego: {}",
            "p:2:7: missing field `file`\nhint: give the path of a `.rego` file, relative to the policy",
        ),
        (
            "extends: base.yaml",
            "p:2:1: `extends` needs a policy that is in a file\nhint: its paths start at the folder of that file",
        ),
    ]);
}

#[test]
fn middlewares() {
    check_section(&[
        (
            "network_middlewares: {m: {}}",
            "p:2:26: missing field `middleware`\nhint: say which one, for example `openshell/regex`\np:2:26: missing field `endpoints`\nhint: say which hosts: `endpoints: {include: [\"*.example.com\"]}`",
        ),
        (
            "network_middlewares: {m: {middleware: '', endpoints: {include: [x.example]}}}",
            "p:2:26: missing field `middleware`\nhint: say which one, for example `openshell/regex`",
        ),
        (
            "network_middlewares: {m: {middleware: openshell/regex, endpoints: {include: [x.example]}}}",
            "p:2:26: missing field `config`\nhint: write `config: {mode: redact}`",
        ),
        (
            "network_middlewares: {m: {middleware: openshell/regex, config: {mode: block}, endpoints: {include: [x.example]}}}",
            "p:2:71: unknown value `block` for `network_middlewares.m.config.mode`\nhint: the only value is `redact`",
        ),
        (
            "network_middlewares: {m: {middleware: openshell/regex, config: {patterns: []}, endpoints: {include: [x.example]}}}",
            "p:2:64: missing field `mode`\nhint: write `mode: redact`\np:2:65: unknown field `patterns` in `network_middlewares.m.config`\nhint: the fields here are `mode`",
        ),
        (
            "network_middlewares: {m: {middleware: openshell/regex, config: {mode: redact}, on_error: open, order: 1.5, endpoints: {include: []}}}",
            "p:2:90: unknown value `open` for `network_middlewares.m.on_error`\nhint: it's either `fail_closed` or `fail_open`\np:2:103: `network_middlewares.m.order` must be a whole number of 32 bits, found the number `1.5`\np:2:119: `network_middlewares.m.endpoints.include` has no host\nhint: say which hosts: `endpoints: {include: [\"*.example.com\"]}`",
        ),
        (
            "network_middlewares: {m: {middleware: openshell/regex, config: {mode: redact}, endpoints: {include: ['a b', '{a}', 'a..b'], exclude: ['/']}}}",
            "p:2:102: `a b` in `network_middlewares.m.endpoints.include` has a ` `\nhint: a name has letters, digits, `-`, `_` and dots\np:2:109: `{a}` in `network_middlewares.m.endpoints.include` has a `{`\nhint: the only wildcard in a host is `*`; write an endpoint for each of several names\np:2:116: `a..b` in `network_middlewares.m.endpoints.include` has an empty label\nhint: check the dots\np:2:135: `/` in `network_middlewares.m.endpoints.exclude` has a `/` in it\nhint: a path goes into `path`, a network into `allowed_ips`",
        ),
        (
            "network_middlewares: {m: {middleware: x/y, config: 1, endpoints: {include: [a.example]}}, n: {middleware: x/y, endpoints: {include: [b.example]}}}",
            "p:2:52: `network_middlewares.m.config` must be a mapping, found the number `1`\np:2:91: `n` has the same `order` as the middleware at 2:23: 0\nhint: number them in the order in which they act; the default is 0",
        ),
    ]);
}

#[test]
fn endpoints_that_disagree() {
    for (endpoints, expected) in [
        (
            [
                "host: '*.x.example', port: 443, protocol: rest, access: full, enforcement: enforce",
                "host: api.x.example, port: 443, protocol: rest, access: full",
            ],
            "p:4:43: `api.x.example` of `b` and `*.x.example` of `a` at 3:43 overlap on port 443, but differ in `enforcement`\nhint: one enforces, the other audits, which is the default; write `enforcement: enforce` in both",
        ),
        (
            [
                "host: x.example, port: 443, protocol: tcp",
                "host: x.example, ports: [80, 443], protocol: any",
            ],
            "p:4:43: `x.example` of `b` and `x.example` of `a` at 3:43 overlap on port 443, but differ in `protocol: tcp`\nhint: the same connection can be about both; write the same in both, or hosts that don't overlap",
        ),
        (
            [
                "host: x.example, port: 443, protocol: any",
                "host: x.example, port: 443, protocol: any, tls: skip, allowed_ips: [10.0.0.0/8]",
            ],
            "p:4:43: `x.example` of `b` and `x.example` of `a` at 3:43 overlap on port 443, but differ in `tls`, `allowed_ips`\nhint: the same connection can be about both; write the same in both, or hosts that don't overlap",
        ),
        (
            [
                "host: 'a*.x.example', port: 443, protocol: rest, access: full, enforcement: enforce",
                "host: '*b.x.example', port: 443, protocol: graphql, access: full, enforcement: audit, allow_encoded_slash: true, graphql_max_body_bytes: 5",
            ],
            "p:4:43: `*b.x.example` of `b` and `a*.x.example` of `a` at 3:43 overlap on port 443, but differ in `protocol`, `enforcement`, `allow_encoded_slash`, `max_body_bytes`\nhint: the same connection can be about both; write the same in both, or hosts that don't overlap",
        ),
        (
            [
                "host: x.example, port: 443, protocol: rest, access: full, enforcement: enforce, path: /a/*",
                "host: x.example, port: 443, protocol: websocket, access: full, enforcement: enforce, path: '/*/b', websocket_credential_rewrite: true",
            ],
            "p:4:43: `x.example` of `b` and `x.example` of `a` at 3:43 overlap on port 443, but differ in `protocol`, `websocket_credential_rewrite`\nhint: the same connection can be about both; write the same in both, or hosts that don't overlap",
        ),
        (
            [
                "port: 443, protocol: any, allowed_ips: [10.0.0.0/8]",
                "port: 443, protocol: any, allowed_ips: [10.0.0.0/16]",
            ],
            "p:4:43: no host of `b` and no host of `a` at 3:43 overlap on port 443, but differ in `allowed_ips`\nhint: the same connection can be about both; write the same in both, or hosts that don't overlap",
        ),
    ] {
        assert_eq!(
            refused(&two(endpoints)).to_string(),
            expected,
            "{endpoints:?}"
        );
    }
}

#[test]
fn endpoints_that_need_not_agree() {
    for endpoints in [
        [
            "host: x.example, port: 443, protocol: rest, access: full, enforcement: enforce",
            "host: x.example, port: 443, protocol: graphql, access: full, enforcement: audit, path: /graphql",
        ],
        [
            "host: x.example, port: 443, protocol: rest, access: full, enforcement: enforce, path: /a/**",
            "host: x.example, port: 443, protocol: rest, access: full, enforcement: audit, path: /b/**",
        ],
        [
            "host: x.example, port: 443, protocol: any",
            "host: x.example, port: 80, protocol: any, tls: skip",
        ],
        [
            "host: '*.x.example', port: 443, protocol: any",
            "host: a.b.x.example, port: 443, protocol: tcp",
        ],
        [
            "host: x.example, port: 443, protocol: any",
            "port: 443, protocol: any, allowed_ips: [10.0.0.0/8]",
        ],
        [
            "host: x.example, port: 443, protocol: any",
            "host: x.example, port: 443, protocol: rest, access: full, enforcement: enforce",
        ],
    ] {
        let read = Document::parse("p", &two(endpoints));
        assert!(read.is_ok(), "{endpoints:?}: {}", read.unwrap_err());
    }
}

#[test]
fn a_middleware_needs_to_see_its_hosts() {
    let text = |exclude: &str| {
        format!(
            "version: 1\nnetwork_policies: {{a: {{endpoints: [{{host: a.x.example, port: 443, protocol: any, tls: skip}}]}}}}\n\
             network_middlewares: {{m: {{middleware: openshell/regex, config: {{mode: redact}}, \
             endpoints: {{include: ['*.x.example'], exclude: [{exclude}]}}}}}}"
        )
    };
    assert_eq!(
        refused(&text("b.x.example")).to_string(),
        "p:3:23: `m` is for `a.x.example` of `a`, which has `tls: skip` at 2:43\n\
         hint: exclude that host, or let TLS be terminated there"
    );
    Document::parse("p", &text("a.x.example")).expect("excluded");
}

#[test]
fn too_much_of_something() {
    let many = |count: usize, one: &dyn Fn(usize) -> String| {
        (0..count).map(one).collect::<Vec<_>>().join(", ")
    };
    let endpoint = |n: usize| format!("{{host: h{n}.example, port: 443, protocol: any}}");
    for (section, expected) in [
        (
            format!(
                "network_policies: {{{}}}",
                many(1025, &|n| format!("e{n}: {{}}"))
            ),
            "1025 entries in `network_policies`; at most 1024 are allowed",
        ),
        (
            format!(
                "network_policies: {{a: {{endpoints: [{}]}}}}",
                many(2049, &endpoint)
            ),
            "2049 entries in `network_policies.a.endpoints`; at most 2048 are allowed",
        ),
        (
            format!(
                "network_policies: {{a: {{endpoints: [{}]}}, b: {{endpoints: [{}]}}}}",
                many(2048, &endpoint),
                endpoint(2048)
            ),
            "more than 2048 endpoints in `network_policies`",
        ),
        (
            format!(
                "network_policies: {{a: {{endpoints: [{{ports: [{}]}}]}}}}",
                many(257, &|n| (n + 1).to_string())
            ),
            "257 entries in `network_policies.a.endpoints[0].ports`; at most 256 are allowed",
        ),
        (
            format!(
                "network_middlewares: {{{}}}",
                many(11, &|n| format!(
                    "m{n}: {{middleware: x/y, order: {n}, endpoints: {{include: [x]}}}}"
                ))
            ),
            "11 entries in `network_middlewares`; at most 10 are allowed",
        ),
        (
            format!(
                "network_middlewares: {{m: {{middleware: x/y, endpoints: {{include: [{}]}}}}}}",
                many(33, &|n| format!("h{n}"))
            ),
            "33 entries in `network_middlewares.m.endpoints.include`; at most 32 are allowed",
        ),
        (
            format!("dns: {{allow: [{}]}}", "x".repeat(1025)),
            "every entry of `dns.allow` has 1025 bytes; at most 1024 are allowed",
        ),
    ] {
        let error = refused(&format!("version: 1\n{section}"));
        let told: Vec<_> = error
            .problems()
            .iter()
            .map(|problem| &*problem.message)
            .collect();
        assert!(told.contains(&expected), "{expected}: {told:?}");
    }
}
