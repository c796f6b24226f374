//! Policies that are wrong, and exactly what is said about each.

use casemate_policy::{Document, MAX_FILE_BYTES, MAX_PATH_BYTES, MAX_PATHS};

fn refusal(text: &str) -> String {
    match Document::parse("p", text) {
        Ok(policy) => panic!("accepted as {policy:?}:\n{text}"),
        Err(error) => error.to_string(),
    }
}

/// Each text stands after a line `version: 1`, so it begins on line 2.
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(
            refusal(&format!("version: 1\n{text}\n")),
            *expected,
            "{text:.300}"
        );
    }
}

/// Each text is the whole file.
fn check_whole(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(refusal(text), *expected, "{:.300?}", text);
    }
}

const ALL_FIELDS: &str = "`version`, `extends`, `filesystem_policy`, `landlock`, `process`, `carriers`, \
                          `network_policies`, `network_middlewares`, `dns`, `rego`";

#[test]
fn documents_that_are_not_one() {
    let empty = "p:1:1: the policy is empty\nhint: begin with `version: 1`";
    let second =
        "a second YAML document begins here\nhint: a policy is one document; remove the `---` line";
    check_whole(&[
        ("", empty),
        (" \n\n", empty),
        ("# nothing\n", empty),
        ("---\n", empty),
        ("~\n", empty),
        (
            "- version: 1\n",
            "p:1:1: a policy must be a mapping, found a list",
        ),
        (
            "version 1\n",
            "p:1:1: a policy must be a mapping, found the string `version 1`",
        ),
        (
            "42\n",
            "p:1:1: a policy must be a mapping, found the number `42`",
        ),
        ("version: 1\n---\nversion: 1\n", &format!("p:2:1: {second}")),
        ("version: 1\n...\nx\n", &format!("p:3:1: {second}")),
    ]);
}

#[test]
fn versions() {
    let found = |place: &str, found: &str| {
        format!("p:{place}: `version` must be the number 1, found {found}")
    };
    check_whole(&[
        (
            "{}\n",
            "p:1:1: missing field `version`\nhint: begin the file with `version: 1`",
        ),
        (
            "\nprocess: {}\n",
            "p:2:1: missing field `version`\nhint: begin the file with `version: 1`",
        ),
        (
            "version: 2\n",
            &found(
                "1:10",
                "the number `2`\nhint: OpenShell doesn't look at the number",
            ),
        ),
        ("version: \"1\"\n", &found("1:10", "the string `1`")),
        ("version: 1.0\n", &found("1:10", "the number `1.0`")),
        ("version: v1\n", &found("1:10", "the string `v1`")),
        ("version:\n", &found("1:8", "nothing")),
        ("version: [1]\n", &found("1:10", "a list")),
        ("version: {}\n", &found("1:10", "a mapping")),
        ("version: true\n", &found("1:10", "`true`")),
    ]);
}

#[test]
fn unknown_fields() {
    check(&[
        (
            "filesystem: {}",
            "p:2:1: unknown field `filesystem`\nhint: did you mean `filesystem_policy`?",
        ),
        (
            "network-policies: {}",
            "p:2:1: unknown field `network-policies`\nhint: did you mean `network_policies`?",
        ),
        (
            "Process: {}",
            "p:2:1: unknown field `Process`\nhint: did you mean `process`?",
        ),
        (
            "read_only: []",
            "p:2:1: unknown field `read_only`\nhint: `read_only` belongs in `filesystem_policy`",
        ),
        (
            "\"x\\ny\": 1",
            &format!("p:2:1: unknown field `x\\ny`\nhint: the fields here are {ALL_FIELDS}"),
        ),
        (
            "filesystem_policy:\n  readonly: [/usr]\n  include_workdirs: true",
            "p:3:3: unknown field `readonly` in `filesystem_policy`\nhint: did you mean `read_only`?\n\
             p:4:3: unknown field `include_workdirs` in `filesystem_policy`\nhint: did you mean `include_workdir`?",
        ),
        (
            "landlock: { landlock: {}, mode: 1, level: 2 }",
            "p:2:13: unknown field `landlock` in `landlock`\nhint: `landlock` belongs at the top level\n\
             p:2:27: unknown field `mode` in `landlock`\nhint: the fields here are `compatibility`\n\
             p:2:36: unknown field `level` in `landlock`",
        ),
        (
            "process: { user: 1 }",
            "p:2:12: unknown field `user` in `process`\nhint: the fields here are `run_as_user`, `run_as_group`",
        ),
        (
            "carriers: { protected: [] }",
            "p:2:13: unknown field `protected` in `carriers`\nhint: did you mean `protect`?",
        ),
    ]);
}

#[test]
fn keys_given_twice() {
    check(&[
        (
            "version: 1",
            "p:2:1: duplicate key `version`\nhint: the first one is at 1:1",
        ),
        (
            "process:\n  run_as_user: 1\n  \"run_as_user\": 2",
            "p:4:3: duplicate key `run_as_user`\nhint: the first one is at 3:3",
        ),
        (
            "network_policies: {a: {name: b, name: c}}",
            "p:2:33: duplicate key `name`\nhint: the first one is at 2:24",
        ),
    ]);
}

#[test]
fn sections_that_are_not_mappings() {
    check(&[
        (
            "filesystem_policy: [/usr]",
            "p:2:20: `filesystem_policy` must be a mapping, found a list",
        ),
        (
            "landlock: best_effort",
            "p:2:11: `landlock` must be a mapping, found the string `best_effort`",
        ),
        (
            "process: 1500",
            "p:2:10: `process` must be a mapping, found the number `1500`",
        ),
        (
            "carriers: true",
            "p:2:11: `carriers` must be a mapping, found `true`",
        ),
        (
            "network_policies: [a]",
            "p:2:19: `network_policies` must be a mapping, found a list",
        ),
        (
            "network_policies:",
            "p:2:17: `network_policies` must be a mapping, found nothing\n\
             hint: write `network_policies: {}`, or leave the line out",
        ),
        (
            "network_middlewares: x",
            "p:2:22: `network_middlewares` must be a mapping, found the string `x`",
        ),
    ]);
}

#[test]
fn lists_of_paths() {
    let entry = "every entry of `filesystem_policy.read_only` must be a string, found";
    check(&[
        (
            "filesystem_policy:\n  read_only: /usr",
            "p:3:14: `filesystem_policy.read_only` must be a list, found the string `/usr`\n\
             hint: a single entry is written as a list too: `read_only: [ENTRY]`",
        ),
        (
            "filesystem_policy:\n  read_write:",
            "p:3:13: `filesystem_policy.read_write` must be a list, found nothing\n\
             hint: write `read_write: []`, or leave the line out",
        ),
        (
            "carriers: {allow: {}}",
            "p:2:19: `carriers.allow` must be a list, found a mapping",
        ),
        (
            "filesystem_policy:\n  read_only: [1, true, ~, [/a], {a: b}]",
            &format!(
                "p:3:15: {entry} the number `1`\np:3:18: {entry} `true`\np:3:24: {entry} nothing\n\
                 p:3:27: {entry} a list\np:3:33: {entry} a mapping"
            ),
        ),
        (
            "filesystem_policy: { include_workdir: yes }",
            "p:2:39: `filesystem_policy.include_workdir` must be `true` or `false`, found the string `yes`",
        ),
        (
            "filesystem_policy: { include_workdir: 1 }",
            "p:2:39: `filesystem_policy.include_workdir` must be `true` or `false`, found the number `1`",
        ),
    ]);
}

#[test]
fn paths() {
    let field = "in `filesystem_policy.read_only`";
    for (path, expected) in [
        (
            "usr/lib",
            format!("path `usr/lib` {field} is not absolute\nhint: a path starts with `/`"),
        ),
        (
            "~/x",
            format!(
                "path `~/x` {field} is not absolute\nhint: `~` is not expanded; write out the home directory"
            ),
        ),
        (
            "$HOME/x",
            format!(
                "path `$HOME/x` {field} is not absolute\nhint: variables are not expanded; write out the path"
            ),
        ),
        (
            ".",
            format!(
                "path `.` {field} is not absolute\nhint: `include_workdir: true` includes the working directory"
            ),
        ),
        (
            "..",
            format!("path `..` {field} is not absolute\nhint: a path starts with `/`"),
        ),
        (
            "/a/../b",
            format!(
                "path `/a/../b` {field} has a `..` component\nhint: write out where the path leads"
            ),
        ),
        (
            "/..",
            format!(
                "path `/..` {field} has a `..` component\nhint: write out where the path leads"
            ),
        ),
        ("''", format!("empty path {field}")),
        (
            "\"/a\\0b\"",
            format!("path `/a\\0b` {field} has a NUL character"),
        ),
        (
            "\"\\e[2J\"",
            format!("path `\\u{{1b}}[2J` {field} is not absolute\nhint: a path starts with `/`"),
        ),
        (
            &format!("/{}", "x".repeat(MAX_PATH_BYTES)),
            format!("path of 4097 bytes {field}; at most 4096 are allowed"),
        ),
        // 4097 bytes, though only 2049 characters.
        (
            &format!("/{}", "\u{e4}".repeat(MAX_PATH_BYTES / 2)),
            format!("path of 4097 bytes {field}; at most 4096 are allowed"),
        ),
    ] {
        check(&[(
            &format!("filesystem_policy:\n  read_only:\n  - {path}"),
            &format!("p:4:5: {expected}"),
        )]);
    }
}

#[test]
fn the_root_is_never_writable() {
    for root in ["/", "//", "/.", "/./"] {
        check(&[(
            &format!("filesystem_policy:\n  read_only: [/]\n  read_write: [{root}]"),
            "p:4:16: `/` in `filesystem_policy.read_write` would make everything writable\n\
             hint: name the directories that the program has to change",
        )]);
    }
}

#[test]
fn paths_given_twice() {
    check(&[
        (
            "filesystem_policy:\n  read_only: [/usr, /lib]\n  read_write: [/tmp, /usr/, /tmp]",
            "p:4:22: path `/usr` is both in `read_only` and in `read_write`\n\
             hint: the other one is at 3:15; keep the one that is meant\n\
             p:4:29: path `/tmp` is in `read_write` twice\nhint: it's first given at 4:16",
        ),
        (
            "filesystem_policy:\n  read_write: [/a]\n  read_only: [//a/.]",
            "p:3:16: path `/a` is both in `read_only` and in `read_write`\n\
             hint: the other one is at 4:15; keep the one that is meant",
        ),
        (
            "filesystem_policy: {read_only: &p [/a], read_write: *p}",
            "p:2:53: path `/a` is both in `read_only` and in `read_write`\n\
             hint: the other one is at 2:36; keep the one that is meant",
        ),
    ]);
}

#[test]
fn too_many_paths() {
    let lines: String = (0..MAX_PATHS).map(|n| format!("  - /p{n}\n")).collect();
    check(&[(
        &format!("filesystem_policy:\n  read_only:\n{lines}  read_write: [/x, /y]"),
        "p:260:16: 258 paths in `filesystem_policy.read_only` and `filesystem_policy.read_write`; \
         at most 256 are allowed\nhint: name directories instead of the files in them",
    )]);
}

#[test]
fn compatibility() {
    let unknown = |value: &str, hint: &str| {
        format!(
            "p:2:27: unknown value `{value}` for `landlock.compatibility`\nhint: {hint} takes it for `best_effort`"
        )
    };
    let wrong = |place: &str, found: &str| {
        format!(
            "p:{place}: `landlock.compatibility` must be `best_effort` or `hard_requirement`, found {found}"
        )
    };
    for (value, expected) in [
        (
            "hard-requirement",
            unknown(
                "hard-requirement",
                "did you mean `hard_requirement`? OpenShell",
            ),
        ),
        (
            "Best_Effort",
            unknown("Best_Effort", "did you mean `best_effort`? OpenShell"),
        ),
        (
            "best_efort",
            unknown("best_efort", "did you mean `best_effort`? OpenShell"),
        ),
        (
            "strict",
            unknown(
                "strict",
                "it's either `best_effort` or `hard_requirement`; OpenShell",
            ),
        ),
        (
            "''",
            unknown(
                "",
                "it's either `best_effort` or `hard_requirement`; OpenShell",
            ),
        ),
        ("true", wrong("2:27", "`true`")),
        ("", wrong("2:25", "nothing")),
        ("[best_effort]", wrong("2:27", "a list")),
    ] {
        check(&[(&format!("landlock: {{compatibility: {value}}}"), &expected)]);
    }
}

#[test]
fn accounts() {
    for (value, found, hint) in [
        (
            "root",
            "the string `root`",
            Some("a sandbox never runs as root"),
        ),
        ("0", "the number `0`", Some("a sandbox never runs as root")),
        (
            "'0'",
            "the string `0`",
            Some("a sandbox never runs as root"),
        ),
        (
            "alice",
            "the string `alice`",
            Some("names other than `sandbox` are not looked up; give the number"),
        ),
        ("-1", "the number `-1`", None),
        ("4294967295", "the number `4294967295`", None),
        (
            "99999999999999999999",
            "the number `99999999999999999999`",
            None,
        ),
        ("1500.0", "the number `1500.0`", None),
        ("0x5dc", "the number `0x5dc`", None),
        ("0755", "the number `0755`", None),
        ("' '", "the string ` `", None),
        ("[1500]", "a list", None),
        ("{}", "a mapping", None),
    ] {
        let hint = hint.map_or(String::new(), |hint| format!("\nhint: {hint}"));
        for field in ["run_as_user", "run_as_group"] {
            let column = field.len() + 5;
            let expected = format!(
                "p:3:{column}: `process.{field}` must be `sandbox` or a number from 1 to 4294967294, found {found}{hint}"
            );
            check(&[(&format!("process:\n  {field}: {value}"), &expected)]);
        }
    }
}

#[test]
fn carriers() {
    check(&[
        (
            "carriers:\n  allow: [/abs, a/../b, ., '']",
            "p:3:11: path `/abs` in `carriers.allow` is absolute\n\
             hint: give it relative to the workspace, for example `.vscode`\n\
             p:3:17: path `a/../b` in `carriers.allow` has a `..` component\n\
             hint: write out where the path leads\n\
             p:3:25: path `.` in `carriers.allow` means the workspace itself\n\
             hint: name files or directories in it\n\
             p:3:28: empty path in `carriers.allow`",
        ),
        (
            "carriers:\n  allow: [.vscode]\n  protect: [.vscode/, .idea, ./.idea, \"a\\0\"]",
            "p:4:13: path `.vscode` is both in `allow` and in `protect`\n\
             hint: the other one is at 3:11; keep the one that is meant\n\
             p:4:30: path `.idea` is in `protect` twice\nhint: it's first given at 4:23\n\
             p:4:39: path `a\\0` in `carriers.protect` has a NUL character",
        ),
    ]);
}

#[test]
fn text_that_is_not_yaml() {
    let tab = "a tab stands where YAML allows only spaces\nhint: indent with spaces";
    let no_field = "not valid YAML: no field can begin here";
    check_whole(&[("\tversion: 1\n", &format!("p:1:1: {tab}"))]);
    check(&[
        ("\tlandlock: {}", &format!("p:2:1: {tab}")),
        (
            "landlock:\n\tcompatibility: best_effort",
            &format!("p:3:1: {tab}"),
        ),
        (
            "landlock:\n  \tcompatibility: best_effort",
            &format!("p:3:3: {tab}"),
        ),
        (
            "process:\n  run_as_user: 1\n\trun_as_group: 2",
            &format!("p:4:1: {tab}"),
        ),
        (
            "filesystem_policy:\n  read_only:\n\t- /usr",
            &format!("p:4:1: {tab}"),
        ),
        (
            "landlock: {compatibility: best_effort",
            "p:2:11: this `{` is never closed",
        ),
        ("process: 'abc", "p:2:10: this quotation is never closed"),
        (
            "process: a: b",
            &format!(
                "p:2:11: {no_field}\nhint: check the indentation; put quotes around a value that has `: ` in it"
            ),
        ),
        (
            "carriers: {allow: [a\nprocess: {}",
            &format!("p:3:8: {no_field}\nhint: check that the brackets before it are closed"),
        ),
        (
            "landlock:\n    compatibility: best_effort\n  x: {}",
            "p:4:3: not valid YAML: this doesn't line up with the mapping that it's in\n\
             hint: the fields of a section all begin in the same column",
        ),
        (
            "@a: 1",
            "p:2:1: not valid YAML: unexpected character `@`\nhint: put quotes around a value with special characters",
        ),
        (
            "process: {run_as_user: \0}",
            "p:2:24: not valid YAML: unexpected character `\\0`\nhint: remove it; in double quotes it can be written as an escape",
        ),
        ("process: }", "p:2:10: not valid YAML: misplaced bracket"),
    ]);
}

#[test]
fn yaml_that_no_policy_needs() {
    check(&[
        (
            "process: *who",
            "p:2:10: this alias has no anchor before it\nhint: put quotes around a value that begins with `*`",
        ),
        (
            "network_policies: &a {b: *a}",
            "p:2:26: this alias is inside the value that it stands for",
        ),
        (
            "process: !thing {run_as_user: !!int 5}",
            "p:2:17: the tag `!thing` has no meaning in a policy\nhint: remove the tag and write the value plainly\n\
             p:2:37: the tag `!!int` has no meaning in a policy\nhint: remove the tag and write the value plainly",
        ),
        (
            "<<: {process: {}}",
            "p:2:1: merge keys (`<<`) are not supported\nhint: write the fields out; an alias for a whole value works",
        ),
        (
            "[a]: b",
            "p:2:1: a key must be a name, found a list\nhint: put quotes around the key if it's meant as text",
        ),
        (
            "{a: b}: c",
            "p:2:1: a key must be a name, found a mapping\nhint: put quotes around the key if it's meant as text",
        ),
    ]);
}

#[test]
fn text_built_to_blow_up() {
    let deep =
        |place: &str| format!("p:{place}: lists and mappings are nested deeper than 32 levels");
    let flow = format!(
        "network_policies: {}{}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let block: String = (0..10_000).map(|_| "- ").collect();
    check(&[
        (&flow, &deep("2:51")),
        (&format!("network_policies:\n {block}"), &deep("3:64")),
    ]);

    let too_large = |place: &str| {
        format!(
            "p:{place}: the policy has more than 100000 values, counting those that aliases repeat"
        )
    };
    let level = |n: usize| {
        format!(
            "  a{n}: &a{n} [{}]\n",
            vec![format!("*a{}", n - 1); 9].join(", ")
        )
    };
    let bomb: String = (1..10).map(level).collect();
    let chain: String = (1..20_000)
        .map(|n| format!("  a{n}: &a{n} [*a{}]\n", n - 1))
        .collect();
    check(&[
        (
            &format!("network_policies:\n  a0: &a0 [x, x, x]\n{bomb}"),
            &too_large("8:17"),
        ),
        (
            &format!("network_policies:\n  a0: &a0 [x]\n{chain}"),
            &too_large("316:15"),
        ),
        (
            &format!("network_policies: [{}]", "a,".repeat(200_000)),
            &too_large("2:200010"),
        ),
    ]);

    // Copied, this text would take 25 GB.
    let long = "1".repeat(MAX_FILE_BYTES - 200_000);
    let aliases = "*a,".repeat(40_000);
    let told = refusal(&format!(
        "version: 1\nnetwork_policies: {{x: &a {long}}}\nfilesystem_policy: {{read_only: [{aliases}]}}\n"
    ));
    assert!(told.contains("\np:3:33: path of 848576 bytes in `filesystem_policy.read_only`"));
    assert!(told.ends_with("\np: and 208 more"));

    let bytes = MAX_FILE_BYTES + 1;
    assert_eq!(
        refusal(&"#".repeat(bytes)),
        format!("p: the policy has {bytes} bytes; at most {MAX_FILE_BYTES} are allowed")
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let error = Document::parse(
        "p",
        "filesystem_policy:\n  read_only: [usr, /a/..]\n  include_workdir: yes\nlandlok: {}\n\
         process: {run_as_user: root, run_as_user: 1}\nnetwork_policies: []\n",
    )
    .expect_err("all wrong");
    let told: Vec<_> = error
        .problems()
        .iter()
        .map(|problem| problem.position.map(|place| (place.line, place.column)))
        .collect();
    let expected = [
        (1, 1),
        (2, 15),
        (2, 20),
        (3, 20),
        (4, 1),
        (5, 24),
        (5, 30),
        (6, 19),
    ];
    assert_eq!(told, expected.map(Some), "{error}");
    assert_eq!(error.name(), "p");
}

#[test]
fn nonsense_is_not_told_whole() {
    let text: String = (0..60).map(|n| format!("f{n}: 1\n")).collect();
    let told = refusal(&format!("version: 1\n{text}"));
    assert!(
        told.ends_with("\np:51:1: unknown field `f49`\np: and 10 more"),
        "{told}"
    );
}
