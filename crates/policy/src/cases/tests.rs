use super::{Case, parse};
use crate::judge::{Outcome, Ruling};
use crate::question::Asked;

const FULL: &str = "\
- name: all of it
  binary: /usr/bin/python3
  sha256: 0000000000000000000000000000000000000000000000000000000000000001
  script: /srv/x.py
  ancestors: [/usr/bin/bash, /usr/bin/make]
  host: x.example
  port: 443
  method: GET
  path: /a/
  query: { one: '1', two: [a, b] }
  expect: audit
  reason: not permitted
  entry: e
";

#[track_caller]
fn refused(text: &str, told: &str) {
    let error = parse("c", text).expect_err("cases with a problem");
    assert_eq!(error.to_string(), told);
}

#[test]
fn a_case_has_all_that_can_be_asked() {
    let cases = parse("c", FULL).expect("cases");
    let [case] = &cases[..] else {
        panic!("{cases:?}")
    };
    assert_eq!((&*case.name, case.expect), ("all of it", Outcome::Audit));
    assert_eq!(case.position.to_string(), "1:3");
    assert_eq!(case.question.sha256.map(|digest| digest[31]), Some(1));
    assert_eq!(case.question.ancestors, ["/usr/bin/bash", "/usr/bin/make"]);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let asked = Asked {
        method: "GET".into(),
        path: "/a/".into(),
        query: vec![pair("one", "1"), pair("two", "a"), pair("two", "b")],
    };
    assert_eq!(case.question.request, Some(asked));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let hint = "\nhint: a case is written `- { name: x, binary: /usr/bin/x, host: x.example, port: 443, expect: allow }`";
    let none = format!("c:1:1: there must be a list of cases, with one at least{hint}");
    for text in ["", "{}", "[]", "cases: []"] {
        refused(text, &none);
    }
    refused("- a\n- [", "c:2:3: this `[` is never closed");
    let case = |fields: &str| format!("- {{name: n, host: h, {fields}}}");
    for (fields, told) in [
        (
            "binary: /b, port: 443, exepct: allow",
            "c:1:3: missing field `expect`\nhint: the values are `allow`, `deny`, `audit`\nc:1:45: unknown field `exepct` in `cases[0]`\nhint: did you mean `expect`?",
        ),
        (
            "binary: b, port: 443, expect: allow",
            "c:1:30: `b` can't be a program: it must be absolute: programs are known by their absolute path",
        ),
        (
            "binary: /b, port: 0, expect: allowed",
            "c:1:40: `cases[0].port` must be a number from 1 to 65535, found the number `0`\nc:1:51: unknown value `allowed` for `cases[0].expect`\nhint: did you mean `allow`?",
        ),
        (
            "binary: /b, port: 1, expect: deny, path: '/a?b'",
            "c:1:57: `cases[0].path` needs `method` too\nhint: a request has a `method` and a `path`\nc:1:63: `/a?b` can't be the path of a request: it has a `?` or `#` in it: give the query by itself",
        ),
        (
            "binary: /b, port: 1, expect: deny, sha256: abc",
            "c:1:65: `cases[0].sha256` must be 64 hexadecimal digits, found the string `abc`\nhint: `sha256sum FILE` prints them",
        ),
    ] {
        refused(&case(fields), told);
    }
}

#[test]
fn an_answer_that_is_not_the_expected_one() {
    let case = Case {
        reason: Some("not per".into()),
        entry: Some("e".into()),
        ..parse("c", FULL).expect("cases").remove(0)
    };
    let answer = |outcome, reason: &str, entries: &[&str]| {
        let entries = entries.iter().map(ToString::to_string).collect();
        case.against(&Ruling {
            outcome,
            reason: reason.into(),
            entries,
        })
    };
    assert_eq!(answer(Outcome::Audit, "x not permitted", &["d", "e"]), None);
    for (found, told) in [
        (
            answer(Outcome::Allow, "", &["e"]),
            "expected audit, found allow",
        ),
        (
            answer(Outcome::Deny, "no", &[]),
            "expected audit, found deny: no",
        ),
        (
            answer(Outcome::Audit, "no", &["e"]),
            "expected `not per` in the reason: no",
        ),
        (
            answer(Outcome::Audit, "", &["e"]),
            "expected `not per` in the reason, but there is none",
        ),
        (
            answer(Outcome::Audit, "not permitted", &[]),
            "expected the entry `e`, found none",
        ),
        (
            answer(Outcome::Audit, "not permitted", &["f"]),
            "expected the entry `e`, found f",
        ),
    ] {
        assert_eq!(found.as_deref(), Some(told));
    }
}
