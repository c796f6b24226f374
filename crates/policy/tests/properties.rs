//! Whatever the text, reading it ends, soon, in a policy or in its problems.

use casemate_policy::{Document, ReadOptions};
use proptest::prelude::*;

/// Words that lead deep into the readers.
const WORDS: &[&str] = &[
    "version: 1\n",
    "network_policies:",
    "network_middlewares:",
    "endpoints:",
    "binaries:",
    "rules:",
    "deny_rules:",
    "allow:",
    "host:",
    "port:",
    "ports:",
    "path:",
    "protocol:",
    "access:",
    "query:",
    "params:",
    "tool:",
    "any:",
    "glob:",
    "method:",
    "limits:",
    "bytes:",
    "sha256:",
    "dns:",
    "deny:",
    "rego:",
    "file:",
    "extends:",
    "tls: skip",
    "rest",
    "mcp",
    "graphql",
    "json-rpc",
    "websocket",
    "full",
    "\n",
    "\n  ",
    "\n    ",
    "\n      ",
    "\n  - ",
    "\n    - ",
    " ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    ": ",
    "'",
    "\"",
    "*",
    "**",
    "&a ",
    "*a",
    "#",
    "|\n",
    "443",
    "-1",
    "0x1",
    "10.0.0.0/8",
    "::1",
    "*.x.example",
    "a.b",
    "/**",
    "[a",
    "\t",
    "\u{0}",
    "\u{202e}",
    "\u{e4}",
    "!!str ",
    "<<: ",
    "---",
];

fn text() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..120);
    prop_oneof![
        words.prop_map(|words| words.concat()),
        words_in_place(),
        any::<String>(),
    ]
}

/// One of the fields of an endpoint with one of the words, so that most are readable.
fn words_in_place() -> impl Strategy<Value = String> {
    const FIELDS: &[&str] = &[
        "host",
        "port",
        "ports",
        "path",
        "protocol",
        "tls",
        "enforcement",
        "access",
        "rules",
        "deny_rules",
        "allowed_ips",
        "credential_signing",
        "json_rpc",
        "mcp",
        "persisted_queries",
    ];
    const VALUES: &[&str] = &[
        "x.example",
        "'*.x.example'",
        "443",
        "[80, 443]",
        "/a",
        "rest",
        "mcp",
        "graphql",
        "tcp",
        "skip",
        "enforce",
        "full",
        "[{allow: {method: GET}}]",
        "[{method: '*'}]",
        "[10.0.0.0/8]",
        "{}",
        "[]",
        "''",
        "{max_body_bytes: 5}",
        "[{allow: {operation_type: query}}]",
        "any",
    ];
    let field = (
        prop::sample::select(FIELDS).prop_map(str::to_owned),
        prop::sample::select(VALUES).prop_map(str::to_owned),
    );
    let endpoint = prop::collection::btree_map(field.0, field.1, 0..8).prop_map(|fields| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        format!("{{{}}}", fields.join(", "))
    });
    prop::collection::vec(endpoint, 0..6).prop_map(|list| {
        format!(
            "version: 1\nnetwork_policies: {{a: {{endpoints: [{}]}}}}",
            list.join(", ")
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_text_is_read_or_refused(text in text()) {
        let lenient = ReadOptions { openshell_lenient: true };
        let strict = Document::parse("p", &text);
        let lenient = Document::parse_with("p", &text, lenient);
        match (strict, lenient) {
            // Leniency changes nothing about a policy that needs none.
            (Ok(strict), lenient) => prop_assert_eq!(Ok(strict), lenient),
            (Err(error), lenient) => {
                prop_assert!(!error.problems().is_empty() && error.problems().len() <= 50);
                let lines = text.lines().count().max(1) + 1;
                let places = error.problems().iter().filter_map(|problem| problem.position);
                for place in places {
                    prop_assert!(place.line >= 1 && place.column >= 1 && place.line <= lines, "{error}");
                }
                // What only leniency accepts has a warning for each of its errors.
                if let Ok(lenient) = lenient {
                    let errors = error.problems().iter();
                    for problem in errors {
                        prop_assert!(lenient.warnings().contains(problem), "{problem:?}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn formatting_twice_is_formatting_once(text in text()) {
        if let Ok(once) = casemate_policy::fmt("p", &text) {
            prop_assert_eq!(casemate_policy::fmt("p", &once), Ok(once.clone()));
            let read = |text| Document::parse("p", text).map(|policy| policy.warnings().len());
            let problems = |text| read(text).map_err(|error| error.problems().len());
            prop_assert_eq!(problems(&text), problems(&once));
        }
    }
}

#[test]
fn many_comments_are_formatted() {
    let text = format!("version: 1\n{}", "#\n".repeat(500_000));
    assert_eq!(casemate_policy::fmt("p", &text).as_ref(), Ok(&text));
}

/// Endpoints that have to be compared one by one, and differ in what they mustn't if they overlap.
#[test]
fn endpoints_that_nearly_overlap() {
    let policy = |count: usize, endpoint: &dyn Fn(usize, bool) -> String| {
        let endpoints: Vec<_> = (0..count).map(|n| endpoint(n, n % 2 == 0)).collect();
        let endpoints = endpoints.join(", ");
        format!("version: 1\nnetwork_policies: {{a: {{endpoints: [{endpoints}]}}}}")
    };
    let label = "x".repeat(60);
    let tls = |even| if even { "skip" } else { "''" };
    let enforcement = |even| if even { "enforce" } else { "audit" };
    for text in [
        policy(2048, &|n, even| {
            format!("{{host: h{n}.example.com, port: 443, tls: {}}}", tls(even))
        }),
        policy(512, &|n, even| {
            format!(
                "{{host: '*a{n}.{label}.x.com', port: 443, tls: {}}}",
                tls(even)
            )
        }),
        policy(512, &|n, even| {
            format!(
                "{{host: '**.l{n}.*.*.x.com', ports: [1, 2, 3], tls: {}}}",
                tls(even)
            )
        }),
        policy(512, &|n, even| {
            format!(
                "{{host: x.example, port: 443, protocol: rest, access: full, path: '/{n:04}*/y', enforcement: {}}}",
                enforcement(even)
            )
        }),
    ] {
        let read = Document::parse("p", &text);
        assert!(read.is_ok(), "{:.300}", read.unwrap_err().to_string());
    }
}
