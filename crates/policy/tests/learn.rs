//! Whatever was seen, the policy learnt from it is right, allows all of it, and hardly more.

use std::collections::BTreeSet;

use casemate_policy::learn::{Around, Learnt, Observation, Spoken, learn, learn_around};
use casemate_policy::{Document, Judge, Outcome, fmt};
use proptest::prelude::*;

fn seen(binary: &str, host: &str, port: u16, request: Option<(&str, &str)>) -> Observation {
    Observation {
        binary: binary.into(),
        sha256: None,
        host: host.into(),
        port,
        request: request.map(|(method, path)| (method.into(), path.into())),
        times: 1,
        bytes: 100,
        ..Observation::default()
    }
}

/// A policy without errors that allows what isn't left out.
#[track_caller]
fn check(observations: &[Observation]) -> (Learnt, Judge) {
    let learnt = learn(observations);
    let document = Document::parse("learnt", &learnt.text)
        .unwrap_or_else(|error| panic!("{error}\nin:\n{}", learnt.text));
    let judge = Judge::new(&document).expect("a policy that compiles");
    let left_out: BTreeSet<_> = learnt.left_out.iter().map(|(own, _)| own).collect();
    for observation in observations.iter().filter(|own| !left_out.contains(own)) {
        let ruling = judge.rule(&observation.question());
        assert_eq!(
            ruling.outcome,
            Outcome::Allow,
            "{observation:?}: {ruling:?}\nin:\n{}",
            learnt.text
        );
    }
    assert_eq!(fmt("learnt", &learnt.text).as_ref(), Ok(&learnt.text));
    (learnt, judge)
}

#[test]
fn an_example() {
    let observations = [
        seen(
            "/usr/bin/gh",
            "api.example.com",
            443,
            Some(("GET", "/repos/a")),
        ),
        seen(
            "/usr/bin/gh",
            "API.example.com",
            443,
            Some(("GET", "/repos/a")),
        ),
        seen(
            "/usr/bin/gh",
            "api.example.com",
            443,
            Some(("POST", "/a*[b]{c}")),
        ),
        Observation {
            sha256: Some([0xab; 32]),
            ..seen("/opt/gh", "10.0.0.1", 6379, None)
        },
        seen("/opt/curl", "api.example.com", 80, Some(("GET", "/"))),
        seen("/opt/curl", "api.example.com", 80, None),
    ];
    let (learnt, _) = check(&observations);
    assert_eq!(
        learnt.text,
        r#"version: 1
network_policies:
  # /opt/curl: 2 times, 200 bytes
  curl:
    endpoints:
      # 2 times, 200 bytes
      - host: api.example.com
        port: 80
        # requests (1 different), and bytes that are none
        protocol: any
    binaries:
      - path: /opt/curl
  # /opt/gh: once, 100 bytes
  gh:
    endpoints:
      # once, 100 bytes
      - host: "10.0.0.1"
        port: 6379
        protocol: any
    binaries:
      - path: /opt/gh
        sha256: "abababababababababababababababababababababababababababababababab"
  # /usr/bin/gh: 3 times, 300 bytes
  gh-2:
    endpoints:
      # 3 times, 300 bytes
      - host: api.example.com
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          # 2 times
          - allow: { method: GET, path: /repos/a }
          # once
          - allow: { method: POST, path: "/a[*][[]b[]][{]c[}]" }
    binaries:
      - path: /usr/bin/gh
"#
    );
    assert!(learnt.left_out.is_empty());
}

#[test]
fn nothing_was_seen() {
    let (learnt, _) = check(&[]);
    assert_eq!(learnt.text, "version: 1\nnetwork_policies: {}\n");
}

#[test]
fn what_would_be_a_pattern_is_left_out() {
    let observations = [
        seen("/usr/bin/*", "x.example", 443, None),
        seen("/usr/bin/a", "*.example", 443, None),
        seen("/usr/bin/a", "x.example", 443, Some(("*", "/"))),
        seen("/usr/bin/a", "x.example", 443, Some(("GET", "a"))),
        seen("relative", "x.example", 443, None),
        seen("/usr/bin/a", "no host\n", 443, None),
        seen("/usr/bin/a", "x.example", 0, None),
    ];
    let (learnt, _) = check(&observations);
    assert!(
        learnt.text.starts_with(
            "version: 1\n\
             # left out: /usr/bin/* to x.example:443: a `*` in a program's path would be a pattern\n"
        ),
        "{}",
        learnt.text
    );
    assert!(
        learnt
            .text
            .contains("\n# left out: /usr/bin/a to no host\\n:443: ")
            && learnt.text.ends_with("\nnetwork_policies: {}\n"),
        "{}",
        learnt.text
    );
    let why: Vec<_> = learnt.left_out.iter().map(|(_, why)| *why).collect();
    assert_eq!(
        why,
        [
            "a `*` in a program's path would be a pattern",
            "a `*` in a host would be a pattern",
            "the method is none",
            "the path doesn't begin with `/`",
            "the format can't say it",
            "the format can't say it",
            "the format can't say it",
        ]
    );
}

#[test]
fn scripts_are_told_apart() {
    let script = |script: Option<&str>, host: &str| Observation {
        script: script.map(str::to_owned),
        spoken: [Spoken::Tls, Spoken::Http].into(),
        ..seen("/usr/bin/python3", host, 443, None)
    };
    let observations = [
        script(Some("/opt/a[1].py"), "a.example"),
        script(Some("/opt/b.py"), "b.example"),
    ];
    let (learnt, judge) = check(&observations);
    assert!(learnt.text.contains("# once, 100 bytes, TLS, HTTP\n"));
    assert_eq!(learnt.programs, 2);
    for wrong in [
        script(Some("/opt/b.py"), "a.example"),
        script(None, "a.example"),
    ] {
        let ruling = judge.rule(&wrong.question());
        assert_eq!(ruling.outcome, Outcome::Deny, "{wrong:?}");
    }
    let pattern = [script(Some("/opt/*.py"), "a.example")];
    assert_eq!(check(&pattern).0.left_out.len(), 1);
}

#[test]
fn a_base_is_extended_and_not_contradicted() {
    let folder = tempfile::tempdir().unwrap();
    let base = "version: 1
network_policies:
  a: { binaries: [{ path: /b }], endpoints: [{ host: x.y.example, port: 80, protocol: any }] }
  other: { name: a-2, binaries: [{ path: /b }], endpoints: [{ host: \"*.y.example\", port: 81, protocol: tcp }] }
";
    std::fs::write(folder.path().join("base.yaml"), base).unwrap();
    let base = Document::load(&folder.path().join("base.yaml")).unwrap();
    let observations = [
        seen("/bin/a", "x.y.example", 80, None),
        seen("/bin/a", "x.y.example", 81, None),
    ];
    let remarks = ["of a run\nof \u{1b}[2Ja".to_owned()];
    let around = Around {
        base: Some(("base.yaml", &base)),
        include_workdir: true,
        remarks: &remarks,
    };
    let learnt = learn_around(&observations, &around);
    assert_eq!(
        learnt.text,
        "# of a run\\nof \\u{1b}[2Ja
extends: base.yaml
version: 1
filesystem_policy:
  include_workdir: true
# left out: /bin/a to x.y.example:81: the base has an endpoint there that it would contradict
network_policies:
  # /bin/a: once, 100 bytes
  a-3:
    endpoints:
      # once, 100 bytes
      - host: x.y.example
        port: 80
        protocol: any
    binaries:
      - path: /bin/a
"
    );
    let path = folder.path().join("learnt.yaml");
    std::fs::write(&path, &learnt.text).unwrap();
    let document = Document::load(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(document.network.entries.len(), 3);
    assert_eq!(fmt("learnt", &learnt.text).as_ref(), Ok(&learnt.text));
}

#[test]
fn too_much_does_not_become_a_policy_that_is_refused() {
    let host = |number: usize| format!("h{number}.example");
    let many: Vec<_> = (0..2500)
        .map(|number| seen("/bin/a", &host(number), 443, None))
        .collect();
    let (learnt, _) = check(&many);
    assert_eq!(learnt.left_out.len(), 2500 - 2048);
    assert_eq!(learnt.left_out[0].1, "the policy would become too large");
    let long: Vec<_> = (0..900)
        .map(|number| {
            let path = format!("/{number}/{}", "\u{1}".repeat(900));
            seen("/bin/a", "x.example", 443, Some(("GET", &path)))
        })
        .collect();
    let (learnt, _) = check(&long);
    assert!(learnt.text.len() < casemate_policy::MAX_FILE_BYTES);
}

fn observations(text: &'static str) -> impl Strategy<Value = Vec<Observation>> {
    let request = prop::option::of((prop::sample::select(&["GET", "POST"][..]), text));
    let digest = prop::option::of(prop::sample::select(&[[0_u8; 32], [1; 32]][..]));
    let one = ("[ab]", digest, "[a-c]", 1_u16..4, request, any::<u64>());
    let one = one.prop_map(|(binary, sha256, host, port, request, bytes)| Observation {
        binary: format!("/usr/bin/{binary}"),
        sha256,
        host: format!("{host}.example"),
        port,
        request: request.map(|(method, path)| (method.into(), format!("/{path}"))),
        times: 1,
        bytes,
        ..Observation::default()
    });
    prop::collection::vec(one, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_that_was_seen_is_allowed(observations in observations("[a-z0-9*?{}!\\[\\]\\\\ :,\"'é-]{0,6}")) {
        let (learnt, _) = check(&observations);
        prop_assert_eq!(learnt.left_out, []);
    }

    #[test]
    fn nothing_else_is(observations in observations("[a-b]"), other in observations("[a-b]")) {
        let (_, judge) = check(&observations);
        for question in other {
            let covers = |own: &&Observation| {
                let mut same = observations.iter().filter(|other| other.binary == own.binary);
                let any_digest = same.any(|other| other.sha256.is_none());
                let who = own.binary == question.binary
                    && (any_digest || own.sha256 == question.sha256);
                who && own.host == question.host && own.port == question.port
            };
            let own: Vec<_> = observations.iter().filter(covers).collect();
            let expected = match question.request {
                None => !own.is_empty(),
                // Where any bytes may pass, any request may.
                Some(_) => {
                    let mut own = own.iter();
                    own.any(|own| own.request.is_none() || own.request == question.request)
                }
            };
            let allowed = judge.rule(&question.question()).outcome == Outcome::Allow;
            prop_assert_eq!(allowed, expected, "{:?}", question);
        }
    }

    #[test]
    fn anything_at_all_makes_a_policy(
        seen in prop::collection::vec((".{0,40}", ".{0,40}", any::<u16>(), prop::option::of((".{0,9}", ".{0,40}"))), 0..6)
    ) {
        let made = seen.into_iter().map(|(binary, host, port, request)| Observation {
            binary: format!("/{binary}"), host, port, request, times: 1, ..Observation::default()
        });
        check(&made.collect::<Vec<_>>());
    }
}
