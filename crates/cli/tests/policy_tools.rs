//! `casemate policy`: what each command says, byte by byte, and how it exits.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/program.rs"]
mod program;

use casemate_policy::Document;
use casemate_policy::learn::{Around, Observation, learn_around};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

/// A policy with everything in it.
const COMPLETE: &str = include_str!("../../policy/tests/complete.yaml");

const SMALL: &str = "version: 1
network_policies:
  web:
    endpoints:
      - { host: x.example, port: 443, protocol: rest, access: read-only }
    binaries: [{ path: /usr/bin/curl }]
";

const AUDIT_BY_DEFAULT: &str = "p.yaml:5:9: warning[audit-by-default]: \
`network_policies.web.endpoints[0]` has no `enforcement`, so requests against the rules are only logged
hint: write `enforcement: enforce`, or `enforcement: audit` if that's meant
";

/// A folder with files, in which the commands run.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            fs::write(folder.path(name), text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `casemate policy ARGS`, the arguments separated by blanks.
    fn run(&self, args: &str) -> (i32, String, String) {
        let output = Command::new(program::casemate())
            .arg("policy")
            .args(args.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    #[track_caller]
    fn says(&self, args: &str, code: i32, out: &str) {
        assert_eq!(
            self.run(args),
            (code, out.to_owned(), String::new()),
            "{args}"
        );
    }

    #[track_caller]
    fn refuses(&self, args: &str, error: &str) {
        let error = format!("casemate: error: {error}\n");
        assert_eq!(self.run(args), (125, String::new(), error), "{args}");
    }

    #[track_caller]
    fn json(&self, args: &str, code: i32) -> Value {
        let (found, out, err) = self.run(args);
        assert_eq!((found, &*err), (code, ""), "{args}: {out}");
        serde_json::from_str(&out).unwrap()
    }
}

fn small() -> Folder {
    Folder::with(&[("p.yaml", SMALL)])
}

#[test]
fn check_tells_errors_and_warnings() {
    let folder = small();
    let warned = format!("{AUDIT_BY_DEFAULT}1 file: 0 errors, 1 warning\n");
    folder.says("check p.yaml", 0, &warned);
    folder.says("check --deny-warnings p.yaml", 1, &warned);
    fs::write(
        folder.path("bad.yaml"),
        "version: 2\nprocess: { user: x }\n",
    )
    .unwrap();
    let user = "bad.yaml:2:12: error: unknown field `user` in `process`\n\
                hint: the fields here are `run_as_user`, `run_as_group`\n";
    let version = "`version` must be the number 1, found the number `2`\n\
                   hint: OpenShell doesn't look at the number\n";
    folder.says(
        "check bad.yaml missing.yaml p.yaml",
        1,
        &format!(
            "bad.yaml:1:10: error[unknown-version]: {version}{user}\
             missing.yaml: error: cannot read the policy file: No such file or directory (os error 2)\n\
             hint: check the name; a relative path starts at the current directory\n\
             {AUDIT_BY_DEFAULT}3 files: 3 errors, 1 warning\n"
        ),
    );
    fs::write(folder.path("lenient.yaml"), "version: 2\n").unwrap();
    folder.says(
        "check --openshell-lenient lenient.yaml",
        0,
        &format!(
            "lenient.yaml:1:10: warning[unknown-version]: {version}1 file: 0 errors, 1 warning\n"
        ),
    );
}

#[test]
fn check_compiles_the_rules_in_rego() {
    let folder = Folder::with(&[("p.yaml", "version: 1\nrego: { file: r.rego }\n")]);
    folder.says(
        "check p.yaml",
        1,
        "p.yaml:2:15: error: cannot read the module file: No such file or directory (os error 2)\n\
         hint: check the name; a relative path starts at the folder of the policy\n\
         1 file: 1 error, 0 warnings\n",
    );
    fs::write(folder.path("r.rego"), "package other\nallow := true\n").unwrap();
    folder.says(
        "check p.yaml",
        1,
        "p.yaml:2:15: error: cannot use the rules in r.rego: it is the package data.other\n\
         hint: begin the module with `package casemate.policy`\n\
         1 file: 1 error, 0 warnings\n",
    );
}

#[test]
fn check_counts_what_it_does_not_list() {
    let fields: String = (0..60).map(|number| format!("f{number}: 1\n")).collect();
    let folder = Folder::with(&[("p.yaml", &format!("version: 1\n{fields}"))]);
    let (code, out, _) = folder.run("check p.yaml");
    assert_eq!(code, 1);
    assert!(
        out.ends_with("p.yaml: error: and 10 more\n1 file: 60 errors, 0 warnings\n"),
        "{out}"
    );
}

#[test]
fn check_as_json() {
    let found = small().json("check --format json p.yaml", 0);
    assert_eq!(
        found,
        json!({
            "problems": [{
                "severity": "warning",
                "lint": "audit-by-default",
                "file": "p.yaml",
                "line": 5,
                "column": 9,
                "message": "`network_policies.web.endpoints[0]` has no `enforcement`, so requests against the rules are only logged",
                "hint": "write `enforcement: enforce`, or `enforcement: audit` if that's meant",
            }],
            "errors": 0,
            "warnings": 1,
        })
    );
}

/// What the schema of SARIF 2.1.0 requires of what is there, and what code hosts ask for besides.
#[test]
fn check_as_sarif() {
    let folder = small();
    fs::write(folder.path("a b.yaml"), "version: 1\nx: 1\n").unwrap();
    symlink("a b.yaml", folder.path("bad.yaml")).unwrap();
    let log = folder.json("check --format sarif p.yaml bad.yaml missing.yaml", 1);
    assert_eq!(log["version"], "2.1.0");
    assert!(
        log["$schema"]
            .as_str()
            .unwrap()
            .ends_with("sarif-2.1.0.json")
    );
    let run = &log["runs"][0];
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "casemate");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        let summary = rule["shortDescription"]["text"].as_str().unwrap();
        assert!(
            summary.ends_with('.') && !summary.starts_with(' '),
            "{rule}"
        );
        let own = rules.iter().filter(|other| other["id"] == rule["id"]);
        assert_eq!(own.count(), 1, "{rule}");
    }
    let results = run["results"].as_array().unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
    }
    let short = |result: &Value| {
        let place = &result["locations"][0]["physicalLocation"];
        json!([
            result["ruleId"],
            result["level"],
            place["artifactLocation"]["uri"],
            place["region"]
        ])
    };
    assert_eq!(
        results.iter().map(short).collect::<Vec<_>>(),
        [
            json!(["audit-by-default", "warning", "p.yaml", { "startLine": 5, "startColumn": 9 }]),
            json!(["invalid-policy", "error", "bad.yaml", { "startLine": 2, "startColumn": 1 }]),
            json!(["invalid-policy", "error", "missing.yaml", null]),
        ]
    );
}

#[test]
fn explain_says_why() {
    let folder = small();
    let begins = "host        yes     x.example is in web (x.example)\n\
                  port        yes     443 is open\n";
    let granted = format!(
        "{begins}binary      yes     the executable /usr/bin/curl is listed by web\n\
         address     -       may be private, since the host is written out\n\
         inspection  -       each request is judged\n"
    );
    let curl = "explain p.yaml --binary /usr/bin/curl --host x.example --port 443";
    folder.says(curl, 0, &format!("{granted}allowed\n"));
    folder.says(
        &format!("{curl} --method PUT --path /a"),
        0,
        &format!(
            "{granted}request     -       the endpoint of web for every path at 5:9 judges; denials are only logged\n\
             request     logged  PUT /a not permitted by policy\nallowed, and logged as against the rules\n"
        ),
    );
    folder.says(
        "explain p.yaml --binary /usr/bin/wget --host x.example --port 443",
        0,
        &format!("{begins}binary      no      web lists /usr/bin/curl\ndenied\n"),
    );
    folder.says(
        "explain p.yaml --binary /usr/bin/wget --ancestor /usr/bin/curl --host x.example --port 443",
        0,
        &format!("{}allowed\n", granted.replace("the executable", "its ancestor")),
    );
    let answer = folder.json(&format!("{curl} --method PUT --path /a --json"), 0);
    assert_eq!(answer["outcome"], "audit");
    assert_eq!(answer["allowed"], true);
    assert_eq!(answer["reason"], "PUT /a not permitted by policy");
    assert_eq!(answer["entries"], json!(["web"]));
    assert_eq!(answer["steps"].as_array().unwrap().len(), 7);
}

#[test]
fn explain_asks_digest_script_and_query() {
    let digest = "ab".repeat(32);
    let policy = format!(
        "version: 1
network_policies:
  e:
    endpoints:
      - host: x.example
        port: 443
        protocol: rest
        enforcement: enforce
        rules: [{{ allow: {{ method: GET, path: /a, query: {{ k: v }} }} }}]
    binaries: [{{ path: /usr/bin/python3, sha256: \"{digest}\", script: /srv/x.py }}]
"
    );
    let folder = Folder::with(&[("p.yaml", &policy)]);
    let outcome = |flags: &str| {
        let args = format!(
            "explain p.yaml --json --binary /usr/bin/python3 --host x.example --port 443 {flags}"
        );
        folder.json(&args, 0)["outcome"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let whole = format!("--sha256 {digest} --script /srv/x.py");
    assert_eq!(outcome(&whole), "allow");
    assert_eq!(outcome(&format!("--sha256 {digest}")), "deny");
    assert_eq!(outcome("--script /srv/x.py"), "deny");
    let request = format!("{whole} --method GET --path /a");
    assert_eq!(outcome(&format!("{request} --query k=v")), "allow");
    assert_eq!(
        outcome(&format!("{request} --query k=v --query k=w")),
        "deny"
    );
    assert_eq!(outcome(&request), "deny");
}

#[test]
fn explain_asks_the_rules_in_rego() {
    let policy = format!(
        "{SMALL}rego: |
  package casemate.policy
  deny contains \"not at all\" if input.exec.path == \"/usr/bin/curl\"
  allow if {{
    input.exec.path == \"/usr/bin/git\"
  }}
"
    );
    let folder = Folder::with(&[("p.yaml", &policy)]);
    let last = |binary: &str| {
        let (code, out, err) = folder.run(&format!(
            "explain p.yaml --binary {binary} --host x.example --port 443"
        ));
        assert_eq!((code, &*err), (0, ""));
        let lines: Vec<_> = out.lines().collect();
        lines[lines.len() - 2..].join("\n")
    };
    assert_eq!(
        last("/usr/bin/curl"),
        "rego        no      not at all\ndenied"
    );
    assert_eq!(
        last("/usr/bin/git"),
        "rego        yes     allowed by the policy's rules in Rego\nallowed"
    );
    assert_eq!(
        last("/usr/bin/wget"),
        "binary      no      web lists /usr/bin/curl\ndenied"
    );
}

#[test]
fn explain_refuses_what_cannot_be_asked() {
    let folder = small();
    folder.refuses(
        "explain p.yaml --binary curl --host x.example --port 443",
        "use --binary curl: it must be absolute: programs are known by their absolute path\n\
         hint: give the path that symbolic links lead to; `readlink -f` prints it",
    );
    folder.refuses(
        "explain p.yaml --binary /c --host x --port 1 --method GET --path /a?b",
        "use --path /a?b: it has a `?` or `#` in it: give the query by itself\n\
         hint: such as `--path /a/b --query k=v`",
    );
    folder.refuses(
        "explain none.yaml --binary /c --host x --port 1",
        "read the policy:\nnone.yaml: cannot read the policy file: No such file or directory (os error 2)\n\
         hint: check the name; a relative path starts at the current directory",
    );
    for args in [
        "check --format xml p.yaml",
        "check",
        "explain p.yaml --binary /c --host x",
        "explain p.yaml --binary /c --host x --port 0",
        "explain p.yaml --binary /c --host x --port 1 --method GET",
        "explain p.yaml --binary /c --host x --port 1 --sha256 abc",
        "explain p.yaml --binary /c --host x --port 1 --method GET --path / --query k",
        "diff p.yaml",
        "nothing",
    ] {
        let (code, out, err) = folder.run(args);
        assert_eq!((code, &*out), (125, ""), "{args}");
        assert!(err.starts_with("error: "), "{args}: {err}");
    }
}

#[test]
fn test_compares_answers() {
    let cases = "\
- { name: reads, binary: /usr/bin/curl, host: x.example, port: 443, method: GET, path: /, expect: allow, entry: web }
- { name: writes, binary: /usr/bin/curl, host: X.example, port: 443, method: PUT, path: /, expect: audit, reason: not permitted }
- { name: other, binary: /usr/bin/wget, host: x.example, port: 443, expect: deny }
";
    let folder = Folder::with(&[("p.yaml", SMALL), ("c.yaml", cases)]);
    folder.says(
        "test p.yaml c.yaml",
        0,
        "ok    reads\nok    writes\nok    other\n3 cases, 0 failed\n",
    );
    let wrong =
        "- { name: other, binary: /usr/bin/wget, host: x.example, port: 80, expect: allow }\n";
    fs::write(folder.path("c.yaml"), wrong).unwrap();
    folder.says(
        "test p.yaml c.yaml",
        1,
        "FAIL  other (c.yaml:1:3): expected allow, found deny: endpoint x.example:80 is not allowed by any policy\n1 case, 1 failed\n",
    );
    fs::write(folder.path("c.yaml"), wrong.replace("expect", "exepct")).unwrap();
    folder.refuses(
        "test p.yaml c.yaml",
        "read the cases:\nc.yaml:1:3: missing field `expect`\nhint: the values are `allow`, `deny`, `audit`\n\
         c.yaml:1:68: unknown field `exepct` in `cases[0]`\nhint: did you mean `expect`?",
    );
    folder.refuses(
        "test p.yaml none.yaml",
        "read the cases:\nnone.yaml: cannot read the cases file: No such file or directory (os error 2)\n\
         hint: check the name; a relative path starts at the current directory",
    );
}

#[test]
fn fmt_replaces_files() {
    let (loose, tidy) = (
        "version: 1\ncarriers:\n    allow: [a]\n\n\n",
        "version: 1\ncarriers:\n  allow: [a]\n",
    );
    let folder = Folder::with(&[("p.yaml", loose), ("tidy.yaml", tidy)]);
    fs::set_permissions(folder.path("p.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("p.yaml", folder.path("link.yaml")).unwrap();
    let would = "would change link.yaml\n2 files, 1 would change\n";
    folder.says("fmt --check link.yaml tidy.yaml", 1, would);
    assert_eq!(folder.read("p.yaml"), loose);
    folder.says(
        "fmt link.yaml tidy.yaml",
        0,
        "formatted link.yaml\n2 files, 1 changed\n",
    );
    assert_eq!(folder.read("p.yaml"), tidy);
    let mode = fs::metadata(folder.path("p.yaml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert!(folder.path("link.yaml").is_symlink());
    folder.says("fmt --check link.yaml", 0, "1 file, 0 would change\n");
    let left = fs::read_dir(folder.0.path()).unwrap().count();
    assert_eq!(left, 3, "nothing is left beside the files");
    fs::write(folder.path("bad.yaml"), "a: [\n").unwrap();
    fs::write(folder.path("p.yaml"), loose).unwrap();
    let (code, out, err) = folder.run("fmt bad.yaml p.yaml");
    assert_eq!(
        (code, &*out),
        (125, "formatted p.yaml\n2 files, 1 changed\n")
    );
    assert_eq!(
        err,
        "casemate: error: format the policy:\nbad.yaml:1:4: this `[` is never closed\n"
    );
    assert_eq!(folder.read("bad.yaml"), "a: [\n");
}

#[test]
fn diff_tells_what_changes() {
    let next = SMALL
        .replace("access: read-only", "access: full")
        .replace("curl", "wget")
        + "landlock: { compatibility: hard_requirement }\nfilesystem_policy: { include_workdir: true, read_only: [/srv] }\n";
    let folder = Folder::with(&[("a.yaml", SMALL), ("b.yaml", &next)]);
    folder.says("diff a.yaml a.yaml", 0, "");
    let same = format!("# The same.\n{}", SMALL.replace("web:", "web: # here\n"));
    fs::write(
        folder.path("c.yaml"),
        same.replace("# here\n\n", "# here\n"),
    )
    .unwrap();
    folder.says("diff a.yaml c.yaml", 0, "");
    folder.says(
        "diff a.yaml b.yaml",
        1,
        "+ /usr/bin/wget → x.example:443\n- /usr/bin/curl → x.example:443\n\
         + read /srv\n+ write the working folder\n\
         < landlock.compatibility: best_effort\n> landlock.compatibility: hard_requirement\n",
    );
    let difference = folder.json("diff --json a.yaml b.yaml", 1);
    assert_eq!(difference["network"][0]["effect"], "allowed");
    assert_eq!(difference["network"][0]["binary"], "/usr/bin/wget");
    assert_eq!(
        difference["files"],
        json!({ "added": ["read /srv", "write the working folder"], "removed": [] })
    );
    let (code, _, err) = folder.run("diff a.yaml none.yaml");
    assert_eq!(code, 125);
    assert!(
        err.starts_with("casemate: error: read the policy:\nnone.yaml: cannot read"),
        "{err}"
    );
}

/// Each changes something that is neither who may say what where nor a file.
#[test]
fn diff_finds_every_setting() {
    let folder = Folder::with(&[("a.yaml", COMPLETE)]);
    for (old, new) in [
        ("run_as_user: \"1500\"", "run_as_user: sandbox"),
        ("hard_requirement", "best_effort"),
        ("allow_encoded_slash: true", "allow_encoded_slash: false"),
        ("max_body_bytes: 131072", "max_body_bytes: 131073"),
        (
            "strict_tool_names: true",
            "allow_all_known_mcp_methods: true",
        ),
        (
            "credential_signing: sigv4,",
            "credential_signing: sigv4:body,",
        ),
        ("order: 10", "order: 11"),
        ("fail_closed", "fail_open"),
        ("trusted.example.com", "other.example.com"),
        ("  redis: {", "  redis: { limits: { rate: 5 },"),
        (
            "version: 1",
            "version: 1\nrego: \"package casemate.policy\\nallow := true\"",
        ),
        (
            "version: 1",
            "version: 1\ncarriers: { protect: [Makefile] }",
        ),
    ] {
        let changed = COMPLETE.replacen(old, new, 1);
        assert_ne!(changed, COMPLETE, "{old}");
        fs::write(folder.path("b.yaml"), changed).unwrap();
        let (code, out, err) = folder.run("diff a.yaml b.yaml");
        assert_eq!((code, &*err), (1, ""), "{new}");
        assert!(
            out.lines().all(|line| line.starts_with(['<', '>'])),
            "{new}: {out}"
        );
    }
}

#[test]
fn the_complete_example() {
    let folder = Folder::with(&[("p.yaml", COMPLETE), ("old.yaml", COMPLETE)]);
    let (code, out, err) = folder.run("check p.yaml");
    assert_eq!((code, &*err), (0, ""));
    assert!(out.ends_with("1 file: 0 errors, 5 warnings\n"), "{out}");
    let (code, ..) = folder.run("fmt p.yaml");
    assert_eq!(code, 0);
    folder.says("fmt --check p.yaml", 0, "1 file, 0 would change\n");
    folder.says("diff old.yaml p.yaml", 0, "");
    let (code, out, _) = folder.run(
        "explain p.yaml --binary /usr/bin/git --host github.com --port 443 --method GET --path /o/r/info/refs --query service=git-upload-pack",
    );
    assert_eq!(code, 0);
    assert!(
        out.ends_with("request     yes     GET /o/r/info/refs is permitted\nallowed\n"),
        "{out}"
    );
    let (_, out, _) = folder.run(
        "explain p.yaml --binary /usr/local/bin/claude --host mcp.example.com --port 8443 --method POST --path /mcp",
    );
    assert!(
        out.contains("body        -       it decides here, and can't be asked about"),
        "{out}"
    );
    assert!(out.ends_with("denied\n"), "{out}");
}

#[test]
fn help_says_what_each_command_does() {
    let folder = Folder::with(&[]);
    for (command, begins) in [
        (
            "",
            "Check, explain, test, format, compare and learn policies\n",
        ),
        ("check", "Say what is wrong with policies"),
        ("explain", "Say what a policy does"),
        ("test", "Try a policy"),
        ("fmt", "Give policies the layout"),
        ("diff", "Say what becomes allowed"),
        ("learn", "Run a program with the network open"),
    ] {
        let (code, out, _) = folder.run(&format!("{command} --help"));
        assert_eq!(code, 0);
        assert!(out.starts_with(begins), "{command}: {out}");
    }
}

/// The files that the documentation shows, and what it says that the commands print.
#[test]
fn the_documentation_is_true() {
    let documentation = include_str!("../../../docs/policy-tools.md");
    let folder = Folder::with(&[]);
    let mut commands = 0;
    for block in documentation.split("\n```").map(str::trim_end) {
        if let Some(file) = block.strip_prefix("yaml\n") {
            let name = file.strip_prefix("# ").unwrap().lines().next().unwrap();
            fs::write(folder.path(name), format!("{file}\n")).unwrap();
        } else if let Some(session) = block.strip_prefix("console\n$ casemate policy ") {
            for step in session.split("\n$ casemate policy ") {
                let (args, printed) = step.split_once('\n').unwrap();
                let (_, out, err) = folder.run(args);
                assert_eq!(format!("{out}{err}").trim_end(), printed, "{args}");
                commands += 1;
            }
        }
    }
    assert_eq!(commands, 10);
}

/// The policy that the documentation shows as learnt is what is written of such a run.
#[test]
fn the_documented_policy_is_what_is_learnt() {
    let documentation = include_str!("../../../docs/policy-tools.md");
    let mut blocks = documentation.split("```yaml\n");
    let mut block = |name: &str| {
        let named = format!("# {name}\n");
        let text = blocks.find_map(|block| block.strip_prefix(&named)).unwrap();
        text.split("```").next().unwrap().to_owned()
    };
    let (base, learnt) = (block("policy.yaml"), block("policy.learned.yaml"));
    let base = Document::parse("policy.yaml", &base).unwrap();
    let digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let byte = |at| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).unwrap();
    let seen = Observation {
        binary: "/usr/bin/pip".to_owned(),
        sha256: Some(std::array::from_fn(byte)),
        host: "files.example.com".to_owned(),
        port: 443,
        request: Some(("GET".to_owned(), "/x-1.0.whl".to_owned())),
        times: 1,
        bytes: 48213,
        ..Observation::default()
    };
    let remarks: Vec<_> = learnt
        .lines()
        .map_while(|line| line.strip_prefix("# "))
        .collect();
    assert_eq!(remarks.len(), 3);
    let around = Around {
        base: Some(("policy.yaml", &base)),
        include_workdir: false,
        remarks: &remarks.into_iter().map(str::to_owned).collect::<Vec<_>>(),
    };
    assert_eq!(learn_around(&[seen], &around).text, learnt);
}
