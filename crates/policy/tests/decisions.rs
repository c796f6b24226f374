//! Decisions that the original has no words for, or that are easily got wrong.

mod model;

use std::net::IpAddr;

use casemate_policy::compiled::{
    Ancestor, Closest, Compiled, Decision, Grant, Graphql, Reach, Request, RequestDecision, Rpc,
    Subject, Target, WEBSOCKET_TEXT,
};
use casemate_policy::network::{
    Binary, Endpoint, Enforcement, Entry, Network, Protocol, Rule, Tls,
};
use model::{binary, endpoint, entry, located, matchers, network, rule};

const CURL: Subject<'static> = Subject {
    executable: b"/usr/bin/curl",
    sha256: None,
    script: None,
    ancestors: &[],
};

fn compiled(network: &Network) -> Compiled {
    Compiled::new(network).expect("a policy")
}

fn at(host: &str) -> Target<'_> {
    Target { host, port: 443 }
}

fn open(compiled: &Compiled, subject: &Subject<'_>, host: &str) -> bool {
    matches!(compiled.connect(subject, &at(host)), Decision::Allow(_))
}

#[track_caller]
fn grant<'a>(compiled: &'a Compiled, host: &str) -> Grant<'a> {
    compiled.connect(&CURL, &at(host)).grant().expect("a grant")
}

#[track_caller]
fn denial(compiled: &Compiled, subject: &Subject<'_>, target: &Target<'_>) -> (String, Closest) {
    match compiled.connect(subject, target) {
        Decision::Deny(denial) => (denial.reason, denial.closest),
        Decision::Allow(grant) => panic!("{grant:?}"),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Shared between threads and swapped as a whole.
#[test]
fn a_policy_can_be_shared() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&compiled(&Network::default()));
}

#[test]
fn a_digest_is_that_of_the_very_program() {
    let listed = Binary {
        sha256: vec![[1; 32], [2; 32]],
        ..binary("/usr/bin/curl")
    };
    let policy = compiled(&network([Entry {
        binaries: vec![listed],
        ..entry("e", &[], vec![endpoint("x.example.com", Protocol::Any)])
    }]));
    let with = |sha256| Subject { sha256, ..CURL };
    assert!(open(&policy, &with(Some(&[2; 32])), "x.example.com"));
    assert!(!open(&policy, &with(Some(&[3; 32])), "x.example.com"));
    assert!(!open(&policy, &with(None), "x.example.com"));
    // The digest of another program in the chain says nothing of this one.
    let chain = [Ancestor {
        executable: b"/bin/sh",
        sha256: Some(&[1; 32]),
        script: None,
    }];
    let subject = Subject {
        ancestors: &chain,
        ..CURL
    };
    let (reason, closest) = denial(&policy, &subject, &at("x.example.com"));
    assert_eq!(
        reason,
        "binary '/usr/bin/curl' not allowed in policy 'e' (ancestors: [/bin/sh], cmdline: []). \
         DIGEST: the path is listed, the file's sha256 is not"
    );
    assert!(matches!(closest, Closest::Binary { entries } if entries[0].wrong_digest));
}

#[test]
fn an_ancestor_holds_the_grant_with_its_own_digest_and_script() {
    let listed = Binary {
        sha256: vec![[1; 32]],
        script: Some(located("/app/*.py")),
        ..binary("/usr/bin/python3")
    };
    let policy = compiled(&network([Entry {
        binaries: vec![listed],
        ..entry("e", &[], vec![endpoint("x.example.com", Protocol::Any)])
    }]));
    let open_from = |sha256, script| {
        let ancestors = [Ancestor {
            executable: b"/usr/bin/python3",
            sha256: Some(sha256),
            script,
        }];
        let subject = Subject {
            ancestors: &ancestors,
            ..CURL
        };
        open(&policy, &subject, "x.example.com")
    };
    assert!(open_from(&[1; 32], Some(&b"/app/main.py"[..])));
    assert!(!open_from(&[2; 32], Some(b"/app/main.py")));
    assert!(!open_from(&[1; 32], Some(b"/srv/main.py")));
    assert!(!open_from(&[1; 32], None));
}

#[test]
fn a_denial_says_what_came_closest() {
    let policy = compiled(&network([
        entry(
            "git",
            &["/usr/bin/git"],
            vec![endpoint("api.example.com", Protocol::Any)],
        ),
        entry(
            "gh",
            &["/usr/bin/gh"],
            vec![endpoint("*.example.com", Protocol::Any)],
        ),
    ]));
    let (reason, closest) = denial(&policy, &CURL, &at("api.example.com"));
    let each = ["git", "gh"].map(|name| {
        format!(
            "binary '/usr/bin/curl' not allowed in policy '{name}' (ancestors: [], cmdline: []). \
             SYMLINK HINT: a binary is known by the path that its symbolic links lead to"
        )
    });
    assert_eq!(reason, each.join("; "));
    let Closest::Binary { entries } = closest else {
        panic!("{closest:?}");
    };
    assert_eq!(entries[1].binaries, ["/usr/bin/gh"]);

    let other_port = Target {
        port: 80,
        ..at("API.example.com")
    };
    let (reason, closest) = denial(&policy, &CURL, &other_port);
    assert_eq!(
        reason,
        "endpoint API.example.com:80 is not allowed by any policy"
    );
    assert_eq!(closest, Closest::Port { ports: vec![443] });

    let (_, closest) = denial(&policy, &CURL, &at("api.example.cmo"));
    assert_eq!(closest, Closest::Host);
    assert_eq!(
        policy.similar_host("api.example.cmo"),
        Some("api.example.com")
    );
    assert_eq!(policy.similar_host("other.org"), None);

    let (reason, _) = denial(&compiled(&Network::default()), &CURL, &at("x.org"));
    assert_eq!(reason, "network connections not allowed by policy");
}

#[test]
fn addresses_are_reached_as_far_as_the_policy_says() {
    let within = |host: &str, net: &str| Endpoint {
        allowed_ips: vec![net.parse().expect("a net")],
        ..endpoint(host, Protocol::Any)
    };
    let policy = compiled(&network([entry(
        "e",
        &["/usr/bin/curl"],
        vec![
            within("", "10.0.0.0/8"),
            within("db.example.com", "192.168.0.0/16"),
            endpoint("www.example.com", Protocol::Any),
            endpoint("*.example.org", Protocol::Any),
            endpoint("172.16.0.1", Protocol::Any),
        ],
    )]));
    let reach = |host: &str, ip: &str| grant(&policy, host).reach(address(ip));
    assert_eq!(reach("db.example.com", "192.168.1.1"), Some(Reach::Listed));
    assert_eq!(reach("db.example.com", "10.1.1.1"), Some(Reach::Listed));
    assert_eq!(reach("db.example.com", "8.8.8.8"), None);
    assert_eq!(
        reach("www.example.com", "172.16.0.9"),
        Some(Reach::ExactHost)
    );
    assert_eq!(reach("a.example.org", "8.8.8.8"), Some(Reach::Public));
    // Only the endpoint without a host has it.
    assert_eq!(reach("other.net", "10.1.1.1"), Some(Reach::Listed));
    assert_eq!(reach("other.net", "8.8.8.8"), None);

    let to = |ip: &str| policy.connect_address(&CURL, address(ip), 443).grant();
    let literal = to("172.16.0.1").expect("a grant");
    assert_eq!(literal.reach(address("172.16.0.1")), Some(Reach::Literal));
    assert!(literal.exact_host());
    assert!(to("10.9.9.9").is_some() && to("172.16.0.2").is_none() && to("::1").is_none());
    assert!(open(&policy, &CURL, "10.9.9.9") && !open(&policy, &CURL, "8.8.8.8"));
    let narrowed = grant(&policy, "a.example.org")
        .at(address("8.8.8.8"))
        .expect("a grant");
    assert_eq!(narrowed.endpoints().count(), 1);
}

#[test]
fn an_endpoint_without_host_and_addresses_is_open_to_nothing() {
    let policy = compiled(&network([entry(
        "e",
        &["**"],
        vec![endpoint("", Protocol::Any)],
    )]));
    assert!(!open(&policy, &CURL, "x.org") && !open(&policy, &CURL, "8.8.8.8"));
}

#[test]
fn names_are_resolved_only_for_those_who_could_connect() {
    let mut model = network([
        entry(
            "e",
            &["/usr/bin/curl"],
            vec![endpoint("*.example.com", Protocol::Any)],
        ),
        entry("nobody", &[], vec![endpoint("x.org", Protocol::Any)]),
        entry(
            "any",
            &["**"],
            vec![Endpoint {
                allowed_ips: vec!["10.0.0.0/8".parse().expect("a net")],
                ..endpoint("", Protocol::Any)
            }],
        ),
    ]);
    model.dns_allow = vec![located("**.example.net"), located("bad.example.com")];
    model.dns_deny = vec![located("bad.*.com")];
    let policy = compiled(&model);
    for (name, anybody, curl, git) in [
        ("API.example.com.", true, true, false),
        ("bad.example.com", false, false, false),
        ("a.b.example.net", true, true, true),
        ("x.org", false, false, false),
        ("other.org", false, false, false),
        ("a..example.com", false, false, false),
    ] {
        let git_too = Subject {
            executable: b"/usr/bin/git",
            ..CURL
        };
        let answers = [
            policy.may_resolve(name),
            policy.may_resolve_for(&CURL, name),
            policy.may_resolve_for(&git_too, name),
        ];
        assert_eq!(answers, [anybody, curl, git], "{name}");
    }
}

#[test]
fn inspection_is_only_where_something_needs_it() {
    let skipping = Endpoint {
        tls: Tls::Skip,
        ..endpoint("skip.org", Protocol::Any)
    };
    let rewriting = Endpoint {
        request_body_credential_rewrite: true,
        ..endpoint("rewrite.org", Protocol::Any)
    };
    let policy = compiled(&network([entry(
        "e",
        &["**"],
        vec![
            skipping,
            rewriting,
            endpoint("plain.org", Protocol::Any),
            endpoint("rest.org", Protocol::Rest),
            endpoint("sql.org", Protocol::Sql),
        ],
    )]));
    let needs = |host: &str| {
        let grant = grant(&policy, host);
        (
            grant.skips_tls(),
            grant.needs_inspection(),
            grant.has_rules(),
        )
    };
    assert_eq!(needs("skip.org"), (true, false, false));
    assert_eq!(needs("rewrite.org"), (false, true, false));
    assert_eq!(needs("plain.org"), (false, false, false));
    assert_eq!(needs("rest.org"), (false, true, true));
    assert_eq!(needs("sql.org"), (false, false, false));
}

#[track_caller]
fn judged(policy: &Compiled, request: &Request<'_>) -> Option<(String, bool)> {
    match grant(policy, "x.org").request(request) {
        RequestDecision::Allow => None,
        RequestDecision::Deny(denied) => Some((denied.reason, denied.enforced)),
    }
}

fn one(endpoint: Endpoint) -> Compiled {
    compiled(&network([entry("e", &["**"], vec![endpoint])]))
}

#[test]
fn what_is_not_understood_is_denied_even_in_audit() {
    let audited = |protocol| {
        one(Endpoint {
            enforcement: Enforcement::Audit,
            ..endpoint("x.org", protocol)
        })
    };
    let mut request = Request {
        method: "POST",
        path: "/p",
        ..Request::default()
    };
    let logged = Some(("POST /p not permitted by policy".to_owned(), false));
    assert_eq!(judged(&audited(Protocol::Rest), &request), logged);
    request.graphql = Some(Graphql {
        operations: &[],
        error: Some("line 1"),
    });
    let rejected = Some(("GraphQL request rejected: line 1".to_owned(), true));
    assert_eq!(judged(&audited(Protocol::Graphql), &request), rejected);
    request.graphql = None;
    request.rpc = Some(Rpc {
        has_response: true,
        ..Rpc::default()
    });
    let reason = "JSON-RPC response frames are not permitted from client to server";
    let refused = Some((reason.to_owned(), true));
    assert_eq!(judged(&audited(Protocol::JsonRpc), &request), refused);
    assert_eq!(judged(&audited(Protocol::Mcp), &request), None);
}

#[test]
fn a_request_that_no_endpoint_is_about_is_denied() {
    let policy = one(Endpoint {
        path: Some(located("/api/**")),
        rules: vec![rule("*", "**")],
        enforcement: Enforcement::Audit,
        ..endpoint("x.org", Protocol::Rest)
    });
    let get = |path| Request {
        method: "GET",
        path,
        ..Request::default()
    };
    assert_eq!(judged(&policy, &get("/api/x")), None);
    // About the endpoint in one dialect, not allowed in the other.
    let not_permitted = |path: &str| format!("GET {path} not permitted by policy");
    assert_eq!(
        judged(&policy, &get("/api")),
        Some((not_permitted("/api"), false))
    );
    assert_eq!(
        judged(&policy, &get("/x")),
        Some((not_permitted("/x"), true))
    );
}

#[test]
fn a_nul_byte_meets_deny_rules_only() {
    let with = |pattern: &str, deny: bool| {
        let asked = Rule {
            query: matchers(&[("q", pattern)]),
            ..rule("*", "**")
        };
        let (rules, deny_rules) = match deny {
            true => (vec![rule("*", "**")], vec![asked]),
            false => (vec![asked], Vec::new()),
        };
        one(Endpoint {
            rules,
            deny_rules,
            ..endpoint("x.org", Protocol::Rest)
        })
    };
    let query = [("q".into(), "a\0b".into())];
    let request = Request {
        method: "GET",
        path: "/",
        query: &query,
        ..Request::default()
    };
    assert!(judged(&with("**", false), &request).is_some());
    assert!(judged(&with("nothing", true), &request).is_some());
}

#[test]
fn arguments_are_looked_up_by_pointer() {
    let asked = |deny| {
        let call = Rule {
            method: Some(located("tools/call")),
            params: matchers(&[("/arguments/path", "/etc/**")]),
            ..Rule::default()
        };
        let every = Rule {
            method: Some(located("*")),
            ..Rule::default()
        };
        let (rules, deny_rules) = match deny {
            true => (vec![every], vec![call]),
            false => (vec![call], Vec::new()),
        };
        one(Endpoint {
            rules,
            deny_rules,
            ..endpoint("x.org", Protocol::JsonRpc)
        })
    };
    for (path, allowed, denied) in [
        (serde_json::json!("/etc/passwd"), true, true),
        (serde_json::json!("/tmp/x"), false, false),
        // Neither allowed nor fit to slip past a rule that denies.
        (serde_json::json!(["/etc/passwd"]), false, true),
    ] {
        let params = serde_json::json!({ "arguments": { "path": path } });
        let request = Request {
            method: "POST",
            path: "/",
            rpc: Some(Rpc {
                method: "tools/call",
                params: Some(&params),
                ..Rpc::default()
            }),
            ..Request::default()
        };
        assert_eq!(
            judged(&asked(false), &request).is_none(),
            allowed,
            "{params}"
        );
        assert_eq!(judged(&asked(true), &request).is_some(), denied, "{params}");
    }
}

#[test]
fn messages_of_a_websocket_have_a_method_of_their_own() {
    let policy = one(Endpoint {
        access: Some(casemate_policy::network::Access::ReadOnly),
        ..endpoint("x.org", Protocol::Websocket)
    });
    let said = |method| Request {
        method,
        path: "/ws",
        ..Request::default()
    };
    assert_eq!(judged(&policy, &said("GET")), None);
    assert!(judged(&policy, &said(WEBSOCKET_TEXT)).is_some());
}

#[test]
fn more_endpoints_than_fit_in_place_are_all_found() {
    let names: Vec<_> = (0..100).map(|n| format!("e{n:03}")).collect();
    let entries = names
        .iter()
        .map(|name| entry(name, &["**"], vec![endpoint("x.org", Protocol::Any)]));
    let policy = compiled(&network(entries));
    let grant = grant(&policy, "x.org");
    assert_eq!(grant.entries().collect::<Vec<_>>(), names);
    assert_eq!(grant.entry(), "e000");
}

#[test]
fn rules_in_rego_grant_public_addresses_only() {
    let policy = compiled(&Network::default());
    let grant = Grant::by_rego(&policy);
    assert_eq!(grant.reach(address("8.8.8.8")), Some(Reach::Public));
    assert!(!grant.skips_tls() && !grant.needs_inspection());
    assert_eq!(grant.entry(), "rego");
    assert!(grant.request(&Request::default()).passes());
}

#[test]
fn a_pattern_that_is_none_is_an_error_with_its_place() {
    let error = |host: &str| {
        let model = network([entry("e", &[], vec![endpoint(host, Protocol::Any)])]);
        Compiled::new(&model).expect_err(host).to_string()
    };
    assert_eq!(
        error("{a.example.com"),
        "1:1: `{a.example.com` is not a pattern\n\
         hint: close every `[` and `{`; write `\\[` for the character itself"
    );
    assert!(error(&format!("*a{}.org", "?".repeat(60))).contains("too complex"));
}
