//! The whole policy, entries and rules in Rego together: what is ruled and what is explained are
//! the same.

#![cfg(feature = "rego")]

use casemate_policy::{Asked, Document, Judge, Outcome, Question, Ruling};

const POLICY: &str = r#"version: 1
network_policies:
  web:
    endpoints:
      - { host: rest.example, port: 443, protocol: rest, enforcement: enforce, access: read-only }
      - { host: audit.example, port: 443, protocol: rest, enforcement: audit, access: read-only }
      - { host: mcp.example, port: 443, path: /mcp, protocol: mcp, enforcement: enforce, rules: [{ allow: { method: initialize } }] }
    binaries: [{ path: /usr/bin/agent }]
rego: |
  package casemate.policy
  deny contains "never there" if input.network.host == "denied.example"
  deny contains "no DELETE" if input.request.method == "DELETE"
  allow if input.exec.path == "/usr/bin/trusted"
  allow if input.request.path == "/open"
"#;

fn ask(judge: &Judge, binary: &str, host: &str, request: Option<(&str, &str)>) -> Ruling {
    let question = Question {
        binary: binary.into(),
        host: host.into(),
        port: 443,
        request: request.map(|(method, path)| Asked {
            method: method.into(),
            path: path.into(),
            query: Vec::new(),
        }),
        ..Question::default()
    };
    let ruling = judge.rule(&question);
    let explanation = judge.explain(&question);
    assert_eq!(
        explanation.allowed,
        ruling.outcome != Outcome::Deny,
        "{question:?}\n{ruling:?}\n{explanation}"
    );
    ruling
}

fn judge() -> Judge {
    let document = Document::parse("p", POLICY).expect("a policy");
    Judge::new(&document).expect("rules")
}

#[test]
fn the_rules_refuse_and_allow() {
    let judge = judge();
    let (agent, trusted) = ("/usr/bin/agent", "/usr/bin/trusted");
    for (binary, host, request, outcome, reason, entries) in [
        (agent, "rest.example", None, Outcome::Allow, "", "web"),
        (
            agent,
            "rest.example",
            Some(("GET", "/a")),
            Outcome::Allow,
            "",
            "web",
        ),
        (
            agent,
            "rest.example",
            Some(("PUT", "/a")),
            Outcome::Deny,
            "PUT /a not permitted by policy",
            "web",
        ),
        (
            agent,
            "rest.example",
            Some(("PUT", "/open")),
            Outcome::Allow,
            "",
            "rego",
        ),
        (
            agent,
            "audit.example",
            Some(("PUT", "/a")),
            Outcome::Audit,
            "PUT /a not permitted by policy",
            "web",
        ),
        (
            agent,
            "audit.example",
            Some(("DELETE", "/a")),
            Outcome::Deny,
            "no DELETE",
            "rego",
        ),
        (
            agent,
            "other.example",
            None,
            Outcome::Deny,
            "endpoint other.example:443 is not allowed by any policy",
            "",
        ),
        (trusted, "other.example", None, Outcome::Allow, "", "rego"),
        (
            trusted,
            "other.example",
            Some(("PUT", "/a")),
            Outcome::Allow,
            "",
            "rego",
        ),
        (
            trusted,
            "denied.example",
            None,
            Outcome::Deny,
            "never there",
            "rego",
        ),
        (
            trusted,
            "other.example",
            Some(("DELETE", "/")),
            Outcome::Deny,
            "no DELETE",
            "rego",
        ),
    ] {
        let ruling = ask(&judge, binary, host, request);
        let found = (ruling.outcome, &*ruling.reason, &*ruling.entries.join(","));
        assert_eq!(
            found,
            (outcome, reason, entries),
            "{binary} {host} {request:?}"
        );
    }
}

#[test]
fn what_is_explained_is_what_is_ruled() {
    let judge = judge();
    for binary in ["/usr/bin/agent", "/usr/bin/trusted", "/usr/bin/other"] {
        for host in [
            "rest.example",
            "audit.example",
            "mcp.example",
            "denied.example",
            "x",
        ] {
            ask(&judge, binary, host, None);
            for method in ["GET", "PUT", "DELETE"] {
                for path in ["/", "/mcp", "/open"] {
                    ask(&judge, binary, host, Some((method, path)));
                }
            }
        }
    }
}

#[test]
fn rules_that_cannot_be_used_are_told_with_their_place() {
    let text = "version: 1\nrego: \"package other\"\n";
    let document = Document::parse("p", text).expect("a policy");
    let error = Judge::new(&document).err().expect("no rules");
    assert_eq!(
        error.to_string(),
        "p:2:7: cannot use the rules in p:2:7: it is the package data.other\nhint: begin the module with `package casemate.policy`"
    );
}
