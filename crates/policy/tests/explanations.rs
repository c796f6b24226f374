//! What people are told: how a decision came about, and what a change changes.

mod model;

use casemate_policy::compiled::{Compiled, Request, Subject, Target, diff};
use casemate_policy::network::{Endpoint, Enforcement, Network, Protocol, Rule};
use model::{endpoint, entry, located, matchers, network, rule};

fn policy() -> Network {
    let rest = Endpoint {
        rules: vec![rule("GET", "/repos/**")],
        deny_rules: vec![rule("*", "/repos/*/secrets")],
        ..endpoint("api.example.com", Protocol::Rest)
    };
    network([
        entry("github", &["/usr/bin/gh"], vec![rest]),
        entry(
            "wide",
            &["/opt/**"],
            vec![endpoint("*.example.com", Protocol::Any)],
        ),
    ])
}

fn explain(executable: &str, host: &str, port: u16, path: Option<&str>) -> String {
    let compiled = Compiled::new(&policy()).expect("a policy");
    let subject = Subject::of(executable.as_ref());
    let request = path.map(|path| Request {
        method: "GET",
        path,
        ..Request::default()
    });
    let explanation = compiled.explain(&subject, &Target { host, port }, request.as_ref());
    let json = serde_json::to_value(&explanation).expect("JSON");
    assert_eq!(json["allowed"], explanation.allowed);
    explanation.to_string()
}

#[test]
fn an_explanation_goes_step_by_step() {
    assert_eq!(
        explain("/usr/bin/gh", "api.example.com", 443, Some("/repos/a")),
        "\
host        yes     api.example.com is in github (api.example.com), wide (*.example.com)
port        yes     443 is open
binary      yes     the executable /usr/bin/gh is listed by github
address     -       may be private, since the host is written out
inspection  -       each request is judged
request     -       the endpoint of github for every path at 1:1 judges; denials are enforced
request     yes     GET /repos/a is permitted
allowed"
    );
}

#[test]
fn an_explanation_ends_where_it_fails() {
    let ends = |explanation: String| {
        let lines: Vec<_> = explanation
            .lines()
            .rev()
            .take(2)
            .map(str::to_owned)
            .collect();
        assert_eq!(lines[0], "denied");
        lines[1].clone()
    };
    assert_eq!(
        ends(explain("/usr/bin/gh", "api.exmaple.com", 443, None)),
        "host        no      no entry has api.exmaple.com; did you mean api.example.com?"
    );
    assert_eq!(
        ends(explain("/usr/bin/gh", "api.example.com", 80, None)),
        "port        no      80 is not open for api.example.com; these are: 443"
    );
    assert_eq!(
        ends(explain("/usr/bin/curl", "www.example.com", 443, None)),
        "binary      no      wide lists /opt/**"
    );
    assert_eq!(
        ends(explain(
            "/usr/bin/gh",
            "api.example.com",
            443,
            Some("/repos/a/secrets")
        )),
        "request     no      GET /repos/a/secrets blocked by deny rule (the rule at 1:1)"
    );
}

#[track_caller]
fn check(old: &Network, new: &Network, expected: &[&str]) {
    let changes = diff(old, new).expect("policies");
    let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(changes, expected);
}

#[test]
fn a_policy_does_not_differ_from_itself() {
    check(&policy(), &policy(), &[]);
}

#[test]
fn what_is_written_out_is_certain() {
    let plain = |host| endpoint(host, Protocol::Any);
    let old = network([entry("e", &["/bin/a", "/bin/b"], vec![plain("x.org")])]);
    let new = network([entry(
        "e",
        &["/bin/a"],
        vec![plain("x.org"), plain("y.org")],
    )]);
    check(
        &old,
        &new,
        &["+ /bin/a → y.org:443", "- /bin/b → x.org:443"],
    );
    // The same in other words.
    let covering = network([entry("e", &["/bin/*"], vec![plain("*.org")])]);
    check(
        &old,
        &covering,
        &["+ /bin/* → *.org:443 (unless another pattern or rule covers it)"],
    );
}

#[test]
fn a_rule_that_denies_counts_the_other_way() {
    let with = |deny: &[&str], enforcement| {
        let rest = Endpoint {
            rules: vec![rule("GET", "/**")],
            deny_rules: deny.iter().map(|path| rule("*", path)).collect(),
            enforcement,
            ..endpoint("x.org", Protocol::Rest)
        };
        network([entry("e", &["/bin/a"], vec![rest])])
    };
    let enforced = with(&["/admin/**"], Enforcement::Enforce);
    check(
        &with(&[], Enforcement::Enforce),
        &enforced,
        &["- /bin/a → x.org:443 * /admin/** (unless another pattern or rule covers it)"],
    );
    let changes = diff(&enforced, &with(&["/admin/**"], Enforcement::Audit)).expect("policies");
    let lines: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert!(lines.contains(
        &"+ /bin/a → x.org:443 * /admin/** (unless another pattern or rule covers it)".to_owned()
    ));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("+ /bin/a → x.org:443 (unless"))
    );
}

#[test]
fn a_rule_is_written_with_all_that_it_asks() {
    let asking = Rule {
        query: matchers(&[("ref", "main"), ("v", "v*")]),
        ..rule("GET", "/**")
    };
    let rest = Endpoint {
        path: Some(located("/repos/**")),
        rules: vec![asking],
        ..endpoint("x.org", Protocol::Rest)
    };
    let new = network([entry("e", &["/bin/a"], vec![rest])]);
    check(
        &Network::default(),
        &new,
        &["+ /bin/a → x.org:443 GET /** ?ref=main ?v=v* at /repos/**"],
    );
}

#[test]
fn names_to_resolve_are_compared_too() {
    let (mut old, mut new) = (Network::default(), Network::default());
    old.dns_allow = vec![located("a.org")];
    new.dns_allow = vec![located("*.org")];
    new.dns_deny = vec![located("b.org")];
    check(
        &old,
        &new,
        &["+ resolve *.org (unless another pattern or rule covers it)"],
    );
}
