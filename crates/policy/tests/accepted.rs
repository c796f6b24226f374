//! Policies that are right, and what they mean.

use casemate_policy::{Account, Compatibility, Document, Located, MAX_PATH_BYTES, MAX_PATHS};

fn parse(text: &str) -> Document {
    Document::parse("policy.yaml", text).unwrap_or_else(|error| panic!("{error}\nin:\n{text}"))
}

/// With `version: 1` before it, so that the text begins on line 2.
fn versioned(text: &str) -> Document {
    parse(&format!("version: 1\n{text}"))
}

/// Paths and their places, as text.
fn listed<T: AsRef<std::path::Path>>(paths: &[Located<T>]) -> Vec<String> {
    let show = |path: &Located<T>| format!("{} {}", path.value.as_ref().display(), path.position);
    paths.iter().map(show).collect()
}

#[test]
fn the_shortest_policy_has_the_defaults() {
    for text in [
        "version: 1",
        "---\nversion: 1\n...\n",
        "{version: 1}",
        "\u{feff}version: 1\r\n",
    ] {
        let policy = parse(text);
        assert_eq!(policy.name(), "policy.yaml");
        assert!(!policy.filesystem_policy.include_workdir);
        assert!(policy.filesystem_policy.read_only.is_empty());
        assert!(policy.filesystem_policy.read_write.is_empty());
        assert_eq!(policy.landlock.compatibility, None);
        assert_eq!(policy.landlock.compatibility(), Compatibility::BestEffort);
        assert_eq!(policy.process.run_as_user, None);
        assert_eq!(policy.process.run_as_group, None);
        assert!(policy.carriers.allow.is_empty() && policy.carriers.protect.is_empty());
        assert_eq!(policy.network, Document::default().network);
        assert!(policy.network_middlewares.is_empty() && policy.warnings().is_empty());
    }
}

#[test]
fn empty_sections_say_nothing() {
    let policy = versioned(
        "filesystem_policy: {}\nlandlock: {}\nprocess: {}\ncarriers: {}\n\
         network_policies: {}\nnetwork_middlewares: {}\ndns: {}\n",
    );
    assert_eq!(
        policy.filesystem_policy,
        Document::default().filesystem_policy
    );
    assert_eq!(policy.landlock, Document::default().landlock);
    assert_eq!(policy.network, Document::default().network);
}

#[test]
fn the_complete_example() {
    let policy = parse(include_str!("complete.yaml"));
    let files = &policy.filesystem_policy;
    assert!(files.include_workdir);
    assert_eq!(
        listed(&files.read_only),
        [
            "/usr 2:57",
            "/lib 2:63",
            "/proc 2:69",
            "/dev/urandom 2:76",
            "/etc 2:90",
            "/var/log 2:96"
        ]
    );
    assert_eq!(listed(&files.read_write), ["/tmp 2:120", "/dev/null 2:126"]);
    assert_eq!(
        policy.landlock.compatibility(),
        Compatibility::HardRequirement
    );
    let user = policy.process.run_as_user.clone().expect("given");
    assert_eq!(
        (user.value, policy.at(user.position)),
        (Account::Id(1500), "policy.yaml:4:25".into())
    );
    assert_eq!(
        policy.process.run_as_group.expect("given").value,
        Account::Id(1500)
    );
}

#[test]
fn paths_lose_what_means_nothing() {
    let policy = versioned(
        "filesystem_policy:\n  read_only:\n  - //usr/./lib/\n  - \"/a b\"\n  - /\n  - '/\u{e4}..b'\n  \
         read_write: [/usr/lib/x, /...]\n",
    );
    let files = policy.filesystem_policy;
    assert_eq!(
        listed(&files.read_only),
        ["/usr/lib 4:5", "/a b 5:5", "/ 6:5", "/\u{e4}..b 7:5"]
    );
    assert_eq!(listed(&files.read_write), ["/usr/lib/x 8:16", "/... 8:28"]);
}

#[test]
fn the_limits_are_inclusive() {
    let longest = format!("/{}", "x".repeat(MAX_PATH_BYTES - 1));
    let paths: Vec<_> = (1..MAX_PATHS).map(|n| format!("/p{n}")).collect();
    let policy = versioned(&format!(
        "filesystem_policy: {{ read_only: [{}], read_write: [{longest}] }}\n",
        paths.join(", ")
    ));
    assert_eq!(policy.filesystem_policy.read_only.len(), MAX_PATHS - 1);
    assert_eq!(
        policy.filesystem_policy.read_write[0]
            .value
            .as_os_str()
            .len(),
        MAX_PATH_BYTES
    );
}

#[test]
fn booleans_in_the_spellings_of_yaml_1_2() {
    for (text, value) in [
        ("true", true),
        ("True", true),
        ("TRUE", true),
        ("false", false),
    ] {
        let policy = versioned(&format!("filesystem_policy: {{include_workdir: {text}}}\n"));
        assert_eq!(policy.filesystem_policy.include_workdir, value, "{text}");
    }
}

#[test]
fn accounts_as_strings_and_numbers() {
    for (text, account) in [
        ("sandbox", Some(Account::Sandbox)),
        ("'sandbox'", Some(Account::Sandbox)),
        ("1", Some(Account::Id(1))),
        ("\"1\"", Some(Account::Id(1))),
        ("!!str 1", Some(Account::Id(1))),
        ("4294967294", Some(Account::Id(4_294_967_294))),
        ("''", None),
        ("~", None),
        ("", None),
    ] {
        let policy = versioned(&format!("process:\n  run_as_user: {text}\n"));
        assert_eq!(
            policy.process.run_as_user.map(|user| user.value),
            account,
            "{text}"
        );
    }
}

#[test]
fn carriers_are_relative() {
    let policy = versioned(
        "carriers:\n  allow: [./.vscode/]\n  protect: [.github/workflows, Makefile, ..data]\n",
    );
    assert_eq!(listed(&policy.carriers.allow), [".vscode 3:11"]);
    assert_eq!(
        listed(&policy.carriers.protect),
        [".github/workflows 4:13", "Makefile 4:32", "..data 4:42"]
    );
}

#[test]
fn an_alias_has_the_place_where_it_stands() {
    let policy =
        versioned("dns: { deny: &shared [a.example, b.example] }\ncarriers:\n  protect: *shared\n");
    assert_eq!(
        listed(&policy.carriers.protect),
        ["a.example 4:12", "b.example 4:12"]
    );
}
