//! What `network_policies` and the sections around it mean.

use std::path::PathBuf;

use casemate_policy::network::{
    Access, BodyLimits, Endpoint, Enforcement, EntryLimits, McpOptions, MiddlewareKind, NOWHERE,
    OnError, OperationType, PersistedQueries, Protocol, Rego, Signing, Tls,
};
use casemate_policy::{Document, Located, ReadOptions};

fn read(text: &str, options: ReadOptions) -> Document {
    Document::parse_with("p", text, options).unwrap_or_else(|error| panic!("{error}\nin:\n{text}"))
}

/// With `version: 1` before it, so that the text begins on line 2.
fn versioned(text: &str) -> Document {
    read(&format!("version: 1\n{text}"), ReadOptions::default())
}

fn endpoint_with(fields: &str, options: ReadOptions) -> Endpoint {
    let text = format!("version: 1\nnetwork_policies: {{a: {{endpoints: [{{{fields}}}]}}}}");
    read(&text, options).network.entries[0].endpoints[0].clone()
}

fn endpoint(fields: &str) -> Endpoint {
    endpoint_with(fields, ReadOptions::default())
}

fn lenient(fields: &str) -> Endpoint {
    let options = ReadOptions {
        openshell_lenient: true,
    };
    endpoint_with(fields, options)
}

fn text<T: AsRef<str>>(value: &Option<Located<T>>) -> Option<&str> {
    value.as_ref().map(|value| value.value.as_ref())
}

fn texts(values: &[Located<String>]) -> Vec<&str> {
    values.iter().map(|value| &*value.value).collect()
}

const X: &str = "host: x.example, port: 443";

#[test]
fn the_complete_example() {
    let policy = read(include_str!("complete.yaml"), ReadOptions::default());
    let entries = &policy.network.entries;
    let names: Vec<_> = entries.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["github", "git_clone", "npm", "mcp", "redis", "s3"]);
    assert_eq!(policy.at(entries[1].key.position), "p:14:3");

    let [rest, graphql] = &*entries[0].endpoints else {
        panic!("two endpoints")
    };
    assert_eq!(text(&rest.host), Some("api.github.com"));
    assert_eq!(
        (rest.protocol, rest.enforcement, rest.access),
        (
            Protocol::Rest,
            Enforcement::Enforce,
            Some(Access::ReadWrite)
        )
    );
    assert_eq!(text(&rest.deny_rules[0].method), Some("*"));
    assert_eq!(text(&rest.deny_rules[0].path), Some("/repos/*/*/rulesets"));
    assert_eq!(
        (&*rest.ports, rest.tls, &rest.path),
        (&[443][..], Tls::Auto, &None)
    );
    assert_eq!(text(&graphql.path), Some("/graphql"));
    let rule = &graphql.rules[0];
    assert_eq!(rule.operation_type, Some(OperationType::Query));
    assert_eq!(texts(&rule.fields), ["viewer", "repository"]);
    let binaries: Vec<_> = entries[0]
        .binaries
        .iter()
        .map(|one| &*one.path.value)
        .collect();
    assert_eq!(binaries, ["/usr/bin/gh", "/usr/local/bin/claude"]);

    let clone = &entries[1].endpoints[0];
    assert_eq!(texts(&clone.rules[0].query["service"].any), ["git-*"]);
    assert_eq!(text(&clone.rules[1].method), Some("POST"));
    assert!(entries[2].endpoints[0].allow_encoded_slash);

    let mcp = &entries[3].endpoints[0];
    assert_eq!(mcp.ports, [443, 8443]);
    assert_eq!((mcp.mcp, mcp.body.mcp), (McpOptions::default(), 131_072));
    assert_eq!(
        texts(&mcp.rules[2].params["name"].any),
        ["search_web", "list_*"]
    );
    assert_eq!(
        texts(&mcp.deny_rules[0].params["name"].any),
        ["execute_code"]
    );

    let redis = &entries[4].endpoints[0];
    assert_eq!(redis.protocol, Protocol::Tcp);
    assert_eq!(redis.allowed_ips, ["10.0.0.0/8".parse().unwrap()]);
    let signing = Signing {
        body: None,
        service: "s3".into(),
        region: None,
    };
    assert_eq!(entries[5].endpoints[0].signing, Some(signing));

    let [redact] = &*policy.network_middlewares else {
        panic!("one middleware")
    };
    assert_eq!(redact.kind, MiddlewareKind::Redact);
    assert_eq!((redact.order, redact.on_error), (10, OnError::FailClosed));
    assert_eq!(texts(&redact.include), ["*.example.com"]);
    assert_eq!(texts(&redact.exclude), ["trusted.example.com"]);

    // Each is true of the example, and none is about something that doesn't work.
    let warnings: Vec<_> = policy
        .warnings()
        .iter()
        .map(|warning| warning.lint.map_or("", |lint| lint.id()))
        .collect();
    assert_eq!(
        warnings,
        [
            "read-write-has-no-delete",
            "dot-crossing-glob",
            "dot-crossing-glob",
            "allowed-ips-broad",
            "any-binary"
        ]
    );
}

#[test]
fn what_an_endpoint_leaves_out_has_its_default() {
    let endpoint = endpoint("host: X.Example, port: 443, protocol: any");
    assert_eq!(text(&endpoint.host), Some("x.example"));
    assert_eq!(endpoint.position.to_string(), "2:36");
    let bare = Endpoint {
        position: endpoint.position,
        host: endpoint.host.clone(),
        ports: vec![443],
        path: None,
        protocol: Protocol::Any,
        tls: Tls::Auto,
        enforcement: Enforcement::Audit,
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
        graphql: Default::default(),
        mcp: McpOptions::default(),
        body: BodyLimits::default(),
    };
    assert_eq!(endpoint, bare);
}

#[test]
fn entries_and_binaries() {
    let digest = "0123456789abcdefABCDEF0000000000000000000000000000000000000000ff";
    let policy = versioned(&format!(
        "network_policies:\n  a:\n    name: first\n    limits: {{connections: 16, bytes: 2G, rate: 20}}\n    \
         endpoints: [{{{X}, protocol: any}}]\n    binaries:\n    \
         - {{path: /usr/bin/python3, script: /opt/*.py, sha256: {digest}}}\n    \
         - {{path: '**/node', sha256: ['{digest}', '{digest}']}}\n  b: {{}}\n"
    ));
    let [first, second] = &*policy.network.entries else {
        panic!("two entries")
    };
    assert_eq!((&*first.key.value, &*first.name), ("a", "first"));
    assert_eq!(
        first.limits,
        EntryLimits {
            connections: Some(16),
            bytes: Some(2 << 30),
            rate: Some(20),
        }
    );
    let [python, node] = &*first.binaries else {
        panic!("two binaries")
    };
    assert_eq!(text(&python.script), Some("/opt/*.py"));
    assert_eq!(python.sha256[0][..5], [0x01, 0x23, 0x45, 0x67, 0x89]);
    assert_eq!((python.sha256.len(), node.sha256.len()), (1, 2));
    assert!(second.binaries.is_empty() && second.limits == EntryLimits::default());
}

#[test]
fn destinations() {
    let several = endpoint("host: '[FE80::1]', ports: [8443, 80, 80], protocol: any");
    assert_eq!(text(&several.host), Some("fe80::1"));
    assert_eq!(several.ports, [80, 8443]);
    for host in ["*-ai.x.com", "**.example.com", "*.s3.*.amazonaws.com"] {
        let wild = endpoint(&format!("host: '{host}', port: 443, protocol: tcp"));
        assert_eq!(text(&wild.host), Some(host));
    }
    let hostless = endpoint("port: 5432, allowed_ips: [10.1.2.3, 'fd00:1:2::/48', 10.9.8.7/24]");
    assert_eq!(hostless.host, None);
    let networks: Vec<_> = hostless
        .allowed_ips
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(networks, ["10.1.2.3/32", "fd00:1:2::/48", "10.9.8.0/24"]);
}

#[test]
fn every_protocol() {
    for (fields, protocol) in [
        ("protocol: ''", Protocol::Unspecified),
        ("protocol: any", Protocol::Any),
        ("protocol: tcp", Protocol::Tcp),
        ("protocol: rest, access: full", Protocol::Rest),
        (
            "protocol: websocket, access: read-only",
            Protocol::Websocket,
        ),
        ("protocol: graphql, access: read-write", Protocol::Graphql),
        (
            "protocol: sql, rules: [{allow: {command: SELECT}}]",
            Protocol::Sql,
        ),
        (
            "protocol: json-rpc, rules: [{allow: {method: '*'}}]",
            Protocol::JsonRpc,
        ),
        (
            "protocol: mcp, mcp: {allow_all_known_mcp_methods: true}",
            Protocol::Mcp,
        ),
    ] {
        assert_eq!(
            endpoint(&format!("{X}, {fields}")).protocol,
            protocol,
            "{fields}"
        );
    }
}

#[test]
fn rules_of_http() {
    let rules = endpoint(&format!(
        "{X}, protocol: websocket, rules: [\
         {{allow: {{method: get, path: /a, query: {{k: x, l: {{glob: y}}, m: {{any: [a, b]}}}}}}}}, \
         {{allow: {{method: WEBSOCKET_TEXT}}}}, \
         {{allow: {{operation_type: subscription, operation_name: 'On*'}}}}], \
         deny_rules: [{{path: /a/secret}}]"
    ));
    let [get, message, operation] = &*rules.rules else {
        panic!("three rules")
    };
    assert_eq!(
        (text(&get.method), text(&get.path)),
        (Some("GET"), Some("/a"))
    );
    let query: Vec<_> = get
        .query
        .iter()
        .map(|(key, value)| (&**key, texts(&value.any)))
        .collect();
    assert_eq!(
        query,
        [("k", vec!["x"]), ("l", vec!["y"]), ("m", vec!["a", "b"])]
    );
    assert_eq!(
        (text(&message.method), &message.path),
        (Some("WEBSOCKET_TEXT"), &None)
    );
    assert_eq!(operation.operation_type, Some(OperationType::Subscription));
    assert_eq!(text(&operation.operation_name), Some("On*"));
    assert_eq!(
        (&rules.deny_rules[0].method, text(&rules.deny_rules[0].path)),
        (&None, Some("/a/secret"))
    );
}

#[test]
fn what_the_protocol_has_not_is_left_out() {
    let rules = endpoint(&format!(
        "{X}, protocol: graphql, access: full, deny_rules: [{{operation_type: '*', fields: [f], method: GET, path: /x}}]"
    ));
    let rule = &rules.deny_rules[0];
    assert_eq!(rule.operation_type, Some(OperationType::Any));
    assert_eq!((&rule.method, &rule.path), (&None, &None));
}

#[test]
fn rules_of_json_rpc_and_mcp() {
    let rpc = endpoint(&format!(
        "{X}, protocol: json-rpc, json_rpc: {{max_body_bytes: 1}}, \
         rules: [{{allow: {{method: eth_call, params: {{/0/to: 'a'}}}}}}]"
    ));
    assert_eq!(texts(&rpc.rules[0].params["/0/to"].any), ["a"]);
    assert_eq!(rpc.body.json_rpc, 1);
    let mcp = endpoint(&format!(
        "{X}, protocol: mcp, mcp: {{strict_tool_names: false}}, rules: [{{allow: {{method: 'tools/*', \
         params: {{name: t, /arguments/path: '/tmp/**'}}}}}}, {{allow: {{method: ping}}}}]"
    ));
    assert!(!mcp.mcp.strict_tool_names);
    assert_eq!(texts(&mcp.rules[0].params["name"].any), ["t"]);
    assert_eq!(
        texts(&mcp.rules[0].params["/arguments/path"].any),
        ["/tmp/**"]
    );
}

#[test]
fn credentials_and_stored_queries() {
    let signed = endpoint(&format!(
        "{X}, credential_signing: 'sigv4:no_body', signing_service: s3, signing_region: eu-west-1, \
         credential_binding: {{provider: aws}}, allow_uninspected_credentials: true"
    ));
    let signing = signed.signing.expect("given");
    assert_eq!(
        (signing.body, signing.region.as_deref()),
        (Some(false), Some("eu-west-1"))
    );
    assert_eq!(text(&signed.credential_provider), Some("aws"));
    assert!(signed.allow_uninspected_credentials);
    let rewritten = endpoint(&format!(
        "{X}, protocol: rest, access: full, request_body_credential_rewrite: true, websocket_credential_rewrite: true"
    ));
    assert!(rewritten.request_body_credential_rewrite && rewritten.websocket_credential_rewrite);
    let stored = endpoint(&format!(
        "{X}, protocol: graphql, access: full, graphql_max_body_bytes: 9, persisted_queries: allow_registered, \
         graphql_persisted_queries: {{abc: {{operation_type: query, operation_name: Q, fields: [f]}}}}"
    ));
    assert_eq!(
        stored.graphql.persisted_queries,
        PersistedQueries::AllowRegistered
    );
    let query = &stored.graphql.registered["abc"];
    assert_eq!((&*query.operation_name, query.fields.len()), ("Q", 1));
    assert_eq!(stored.body.graphql, 9);
}

#[test]
fn names_rego_and_middlewares() {
    let policy = versioned(
        "dns: {allow: [Example.com, '*.cdn.example.com'], deny: ['**.zip', '*']}\nrego: {file: rules.rego}\n\
         network_middlewares:\n  b: {middleware: x/y, order: 1, on_error: fail_open, endpoints: {include: ['**']}}\n  \
         a: {name: first, middleware: x/z, order: -1, config: {k: [v]}, endpoints: {include: [10.0.0.1]}}\n",
    );
    assert_eq!(
        texts(&policy.network.dns_allow),
        ["example.com", "*.cdn.example.com"]
    );
    assert_eq!(texts(&policy.network.dns_deny), ["**.zip", "*"]);
    let file = Rego::File(PathBuf::from("rules.rego"));
    assert_eq!(policy.network.rego.map(|rego| rego.value), Some(file));
    let names: Vec<_> = policy
        .network_middlewares
        .iter()
        .map(|one| &*one.name)
        .collect();
    assert_eq!(names, ["first", "b"]);
    assert_eq!(
        policy.network_middlewares[0].kind,
        MiddlewareKind::Unknown("x/z".into())
    );
    assert_eq!(policy.network_middlewares[1].on_error, OnError::FailOpen);

    let inline = versioned("rego: |\n  package casemate\n");
    let module = Rego::Inline("package casemate\n".into());
    assert_eq!(inline.network.rego.map(|rego| rego.value), Some(module));
}

#[test]
fn leniency_means_what_openshell_does() {
    let misspelt = lenient(&format!(
        "{X}, protocol: rest, access: full, enforcement: enforced"
    ));
    assert_eq!(misspelt.enforcement, Enforcement::Audit);
    let ruled = lenient(&format!(
        "{X}, path: /x, enforcement: enforce, rules: [{{allow: {{method: GET}}}}]"
    ));
    assert_eq!(
        (ruled.protocol, ruled.enforcement),
        (Protocol::Unspecified, Enforcement::Audit)
    );
    assert!(ruled.rules.is_empty() && ruled.path.is_none());
    assert_eq!(lenient(&format!("{X}, access: read-only")).access, None);
    let preset = lenient(&format!("{X}, protocol: rest, access: readonly"));
    assert!(preset.access.is_none() && preset.rules.is_empty());
    assert_eq!(
        lenient(&format!("{X}, ports: [80], protocol: any")).ports,
        [80]
    );
    assert_eq!(
        lenient(&format!("{X}, ports: [], protocol: any")).ports,
        [443]
    );
    assert_eq!(
        lenient(&format!("{X}, protocol: any, tls: foo")).tls,
        Tls::Auto
    );
    let nowhere = lenient(&format!(
        "{X}, protocol: any, allowed_ips: [10.0.0.0/24, not-an-ip]"
    ));
    assert_eq!(nowhere.allowed_ips, [NOWHERE]);
}

/// What the original's parser and validator were seen to refuse is refused in either case.
#[test]
fn leniency_has_its_bounds() {
    let options = ReadOptions {
        openshell_lenient: true,
    };
    let one = |fields: &str| {
        format!("version: 1\nnetwork_policies: {{a: {{endpoints: [{{{fields}}}]}}}}")
    };
    for text in [
        "network_policies: {}".to_owned(),
        "version: 1\nfilesystem: {}".to_owned(),
        "version: one".to_owned(),
        String::new(),
        one("host: x.example, port: 70000"),
        one("host: x.example, port: 0"),
        one("host: x.example"),
        one("host: x.example, port: 443, deny_rules: [{method: GET}]"),
        one("host: x.example, port: 443, protocol: rest, rules: []"),
        one(
            "host: x.example, port: 443, protocol: rest, access: full, rules: [{allow: {method: GET}}]",
        ),
        one("host: x.example, port: 443, protocol: mcp"),
        one("host: x.example, port: 443, protocol: sql, access: full, enforcement: enforce"),
        one(
            "host: x.example, port: 443, protocol: graphql, rules: [{allow: {operation_type: '*'}}]",
        ),
        one("host: 10.0.0.1, port: 443, protocol: tcp"),
        one("host: '*', port: 443"),
        one("host: '*.com', port: 443"),
        one("host: '**.com', port: 443"),
        one("host: 'foo.us-*.x.com', port: 443"),
        one("host: x.example, port: 443, allowed_ips: [169.254.169.254]"),
        "version: 1\nprocess: {run_as_user: root}".to_owned(),
        "version: 1\nprocess: {run_as_group: 0}".to_owned(),
        "version: 1\nfilesystem_policy: {read_only: [usr]}".to_owned(),
        "version: 1\nfilesystem_policy: {read_only: [/a/../b]}".to_owned(),
        "version: 1\nfilesystem_policy: {read_write: [/]}".to_owned(),
    ] {
        let strict = Document::parse("p", &text).expect_err(&text);
        let lenient = Document::parse_with("p", &text, options).expect_err(&text);
        assert_eq!(strict, lenient, "{text}");
    }
    for text in [
        "version: 1\nprocess: {run_as_user: 1500}".to_owned(),
        one("host: '*-ai.x.com', port: 443"),
        one("port: 443, allowed_ips: [10.0.0.0/16]"),
        "version: 1\nnetwork_policies: {a: {endpoints: [{host: x.example, port: 443}]}}".to_owned(),
    ] {
        let strict = Document::parse("p", &text).expect(&text);
        assert_eq!(strict, read(&text, options), "{text}");
    }
}
