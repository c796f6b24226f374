//! `--policy`: what of a policy file a run applies.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Ended, Stage, both, report, texts};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

both!(
    a_complete_policy,
    a_policy_of_its_version_only,
    read_only_paths,
    read_write_paths,
    a_nested_path_may_be_writable,
    the_working_folder_is_writable_if_included,
    the_working_folder_without_being_included,
    flags_win_over_the_policy,
    hard_requirement_with_a_missing_path,
    best_effort_with_a_missing_path,
    paths_that_every_view_has_of_its_own,
    folders_that_are_too_broad,
    typos,
    several_problems_at_once,
    numeric_identity,
    a_user_without_a_group,
    the_user_sandbox,
    root_is_no_user,
    network_policies_are_noted,
    warnings_are_noted,
    leniency_makes_notes_of_errors,
    carriers_that_are_allowed,
    carriers_that_are_added,
);

/// `casemate run --policy p.yaml FLAGS -- sh -c SCRIPT`, with the policy outside the workspace.
fn with_policy(stage: &Stage, policy: &str, flags: &[&str], script: &str) -> Ended {
    stage.write("outside/p.yaml", policy);
    let path = stage.text("outside/p.yaml");
    let flags: Vec<&str> = ["--policy", &path]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    stage.shell(&flags, script)
}

/// A policy whose section `filesystem_policy` is this, in one line.
fn files(section: &str) -> String {
    format!("version: 1\nfilesystem_policy: {{ {section} }}\n")
}

/// As an agent's sandbox has it: files, identity, and a network that is all denied.
const COMPLETE: &str = r#"version: 1
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /lib, /proc, /dev/urandom, /etc, /var/log]
  read_write: [/tmp, /dev/null]
landlock:
  compatibility: hard_requirement
process:
  run_as_user: sandbox
  run_as_group: sandbox
network_policies:
  forge:
    name: forge
    endpoints:
      - { host: api.forge.example, port: 443, protocol: rest, enforcement: enforce, access: read-write,
          deny_rules: [ { method: "*", path: "/repos/*/*/rulesets" } ] }
      - { host: api.forge.example, port: 443, path: /graphql, protocol: graphql, enforcement: enforce,
          rules: [ { allow: { operation_type: query, fields: [viewer, repository] } } ] }
    binaries: [ { path: /usr/bin/forge }, { path: /usr/local/bin/agent } ]
  clone:
    endpoints:
      - host: forge.example
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: { method: GET, path: "/**/info/refs*", query: { service: "git-*" } }
          - allow: { method: POST, path: "/**/git-upload-pack" }
    binaries: [ { path: /usr/bin/git } ]
  tools:
    endpoints:
      - host: tools.example.com
        ports: [443, 8443]
        path: /mcp
        protocol: mcp
        enforcement: enforce
        mcp: { max_body_bytes: 131072, strict_tool_names: true }
        rules:
          - allow: { method: tools/call, tool: { any: [search_web, "list_*"] } }
        deny_rules: [ { method: tools/call, tool: execute_code } ]
    binaries: [ { path: "/usr/local/bin/*" } ]
  cache: { endpoints: [ { host: cache.internal.example, port: 6379, protocol: tcp, allowed_ips: [10.0.0.0/8] } ], binaries: [ { path: "/**" } ] }
network_middlewares:
  redact: { middleware: example/regex, order: 10, config: { mode: redact }, on_error: fail_closed, endpoints: { include: ["*.example.com"], exclude: [trusted.example.com] } }
"#;

fn a_complete_policy(stage: &Stage) {
    let script = "echo on > made; echo x > /tmp/x; echo x > /dev/null; head -c 4 /dev/urandom | wc -c; \
                  ls -d /var/log; cat /proc/sys/kernel/hostname; id -u; echo x > /etc/x";
    let ended = with_policy(stage, COMPLETE, &["--net", "none"], script);
    let path = stage.text("outside/p.yaml");
    let warnings = [
        "15:93: `access: read-write` doesn't allow DELETE\nhint: if it's needed, write `rules`, or `access: full` with `deny_rules`",
        "27:77: the `*` of `git-*` in `network_policies.clone.endpoints[0].rules[0].allow.query.service` doesn't match a dot\nhint: `**` by itself matches everything",
        "39:68: the `*` of `list_*` in `network_policies.tools.endpoints[0].rules[0].allow.tool` doesn't match a dot\nhint: `**` by itself matches everything",
        "42:98: `10.0.0.0/8` in `network_policies.cache.endpoints[0].allowed_ips` is a very large network\nhint: name the smaller ones that are needed",
        "42:135: `/**` matches every program\nhint: name the programs that need this, unless all do",
        "44:25: there is no middleware `example/regex` here\nhint: only `openshell/regex` is built in; for each request, `on_error` decides",
    ];
    let warnings: String = warnings
        .iter()
        .map(|told| format!("casemate: note: {path}:{told}\n"))
        .collect();
    let note = format!(
        "{warnings}casemate: note: {path}:12:3: network_policies has 4 entries; with --net none no connection leaves, so none is needed\n",
    );
    let refused = "sh: 1: cannot create /etc/x: Permission denied\n";
    ended.assert(
        2,
        &format!("4\n/var/log\ncasemate\n{}\n", stage.uid()),
        &format!("{note}{refused}"),
    );
    assert_eq!(stage.read("ws/made"), "on\n");
}

fn a_policy_of_its_version_only(stage: &Stage) {
    // Everything else may be left out; then the working folder is, too.
    let ended = with_policy(
        stage,
        "version: 1\n",
        &[],
        "echo ran; ls -A; touch x && rm x",
    );
    assert_eq!((ended.code, &*ended.out), (0, "ran\n"), "{}", ended.err);
    assert_eq!(fs::read_dir(stage.workspace()).unwrap().count(), 0);
}

fn read_only_paths(stage: &Stage) {
    stage.write("outside/data/file", "data\n");
    let data = stage.text("outside/data");
    let policy = files(&format!("include_workdir: true, read_only: [{data}]"));
    let script = format!(
        "cat {data}/file; echo x >> {data}/file; rm -f {data}/file; chmod 777 {data}; mkdir {data}/d; exit 0"
    );
    let ended = with_policy(stage, &policy, &[], &script);
    assert_eq!((ended.code, &*ended.out), (0, "data\n"), "{}", ended.err);
    assert_eq!(
        ended.err.matches("Read-only file system").count(),
        4,
        "{}",
        ended.err
    );
    assert_eq!(stage.read("outside/data/file"), "data\n");
    // What isn't listed isn't there.
    let ended = with_policy(
        stage,
        &files("include_workdir: true"),
        &[],
        &format!("ls {data} 2>/dev/null || echo absent"),
    );
    ended.assert_out("absent\n");
}

fn read_write_paths(stage: &Stage) {
    stage.write("outside/data/file", "old\n");
    stage.write("outside/single", "old\n");
    let (data, single) = (stage.text("outside/data"), stage.text("outside/single"));
    let policy = files(&format!(
        "include_workdir: true, read_write: [{data}, {single}]"
    ));
    let script = format!(
        "echo new > {data}/file; mkdir {data}/made; echo new > {single}; ls {}",
        stage.text("outside")
    );
    with_policy(stage, &policy, &[], &script).assert_out("data\nsingle\n");
    assert_eq!(stage.read("outside/data/file"), "new\n");
    assert_eq!(stage.read("outside/single"), "new\n");
    assert!(stage.path("outside/data/made").is_dir());
}

fn a_nested_path_may_be_writable(stage: &Stage) {
    stage.folder("outside/data/in");
    let data = stage.text("outside/data");
    let policy = files(&format!(
        "include_workdir: true, read_only: [{data}], read_write: [{data}/in]"
    ));
    let script = format!("touch {data}/in/a; touch {data}/b 2>/dev/null || echo refused");
    with_policy(stage, &policy, &[], &script).assert_out("refused\n");
    assert!(stage.path("outside/data/in/a").exists() && !stage.path("outside/data/b").exists());
}

fn the_working_folder_is_writable_if_included(stage: &Stage) {
    with_policy(
        stage,
        &files("include_workdir: true"),
        &[],
        "pwd; touch made",
    )
    .assert_out(&format!("{}\n", stage.text("ws")));
    assert!(stage.path("ws/made").exists());
}

fn the_working_folder_without_being_included(stage: &Stage) {
    stage.write("ws/secret", "");
    let ended = with_policy(stage, &files("read_only: [/usr]"), &[], "ls -A; pwd");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.out.contains("secret"), "{ended:?}");
    // Listed itself, it is what the list says.
    let ws = stage.text("ws");
    let ended = with_policy(
        stage,
        &files(&format!("read_only: [{ws}]")),
        &[],
        "pwd; ls; touch made",
    );
    ended.assert(
        1,
        &format!("{ws}\nsecret\n"),
        "touch: cannot touch 'made': Read-only file system\n",
    );
}

fn flags_win_over_the_policy(stage: &Stage) {
    stage.folder("outside/data");
    let data = stage.text("outside/data");
    let policy = files(&format!("include_workdir: true, read_write: [{data}]"));
    let ended = with_policy(
        stage,
        &policy,
        &["--ro", &data],
        &format!("touch {data}/x 2>/dev/null || echo refused"),
    );
    ended.assert_out("refused\n");
    let ended = with_policy(
        stage,
        &files("read_only: [/usr]"),
        &["--workdir", &stage.text("outside/data")],
        "touch x; pwd",
    );
    ended.assert_out(&format!("{data}\n"));
    assert!(stage.path("outside/data/x").exists());
}

fn missing(compatibility: &str) -> String {
    format!(
        "version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/usr, /no/such/folder]\n\
         landlock:\n  compatibility: {compatibility}\n"
    )
}

fn hard_requirement_with_a_missing_path(stage: &Stage) {
    let ended = with_policy(stage, &missing("hard_requirement"), &[], "touch ran");
    let message = format!(
        "casemate: error: {}:4:21: bring in /no/such/folder: No such file or directory (os error 2)\n\
         hint: a path must exist on the host; inside it appears at the same place\n",
        stage.text("outside/p.yaml")
    );
    ended.assert(125, "", &message);
    assert!(!stage.path("ws/ran").exists());
}

fn best_effort_with_a_missing_path(stage: &Stage) {
    let note = format!(
        "{}:4:21: /no/such/folder does not exist and was skipped",
        stage.text("outside/p.yaml")
    );
    let policy = missing("best_effort");
    with_policy(stage, &policy, &[], "echo ran").assert(
        0,
        "ran\n",
        &format!("casemate: note: {note}\n"),
    );
    with_policy(stage, &policy, &["--quiet"], "echo ran").assert_out("ran\n");
    let told = report(&with_policy(stage, &policy, &["--quiet", "--report", "-"], "").out);
    assert_eq!(texts(&told["notes"]), [note]);
}

fn paths_that_every_view_has_of_its_own(stage: &Stage) {
    let policy = files(
        "include_workdir: true, read_only: [/proc, /etc, /sys, /dev], read_write: [/tmp, /dev/null, /run, /var/tmp, /home]",
    );
    let script = "ls -A /tmp /run /var/tmp | grep -v -e : -e '^$' -e casemate-test; ls /proc | grep -c '^[0-9]'; \
                  echo x > /tmp/x; echo x > /dev/null; ls /etc/shadow 2>/dev/null; ls /sys";
    let ended = with_policy(stage, &policy, &[], script);
    let lines: Vec<&str> = ended.out.lines().collect();
    let [processes, sys] = lines[..] else {
        panic!("{ended:?}")
    };
    assert!(
        processes.parse::<u32>().unwrap() < 8,
        "{processes} processes"
    );
    assert_eq!((sys, &*ended.err), ("devices", ""));
    assert!(!std::path::Path::new("/tmp/x").exists());
}

fn folders_that_are_too_broad(stage: &Stage) {
    let path = stage.text("outside/p.yaml");
    for (folder, why) in [
        ("/usr", "it belongs to the system"),
        ("/var", "it is shared with the rest of the system"),
        (
            &*stage.text("home"),
            "it is or holds your home folder, with your keys in it",
        ),
    ] {
        let ended = with_policy(
            stage,
            &files(&format!("read_write: [{folder}]")),
            &[],
            "touch ran",
        );
        let message = format!(
            "casemate: error: {path}:2:35: bring in {folder}: {why}\nhint: name the folders that the program needs\n"
        );
        ended.assert(125, "", &message);
    }
    let ended = with_policy(stage, &files("read_write: [/]"), &[], "touch ran");
    let message = format!(
        "casemate: error: apply the policy: \n{path}:2:35: `/` in `filesystem_policy.read_write` would make everything \
         writable\nhint: name the directories that the program has to change\n"
    );
    ended.assert(125, "", &message);
}

fn typos(stage: &Stage) {
    let path = stage.text("outside/p.yaml");
    for (policy, problem) in [
        (
            "version: 1\nprocesses: {}\n",
            "2:1: unknown field `processes`\nhint: did you mean `process`?",
        ),
        (
            "version: 1\nlandlock:\n  compatibility: hard-requirement\n",
            "3:18: unknown value `hard-requirement` for `landlock.compatibility`\nhint: did you mean `hard_requirement`? OpenShell takes it for `best_effort`",
        ),
        (
            "version: 1\nfilesystem_policy:\n  read_onyl: [/usr]\n",
            "3:3: unknown field `read_onyl` in `filesystem_policy`\nhint: did you mean `read_only`?",
        ),
    ] {
        let ended = with_policy(stage, policy, &[], "touch ran");
        ended.assert(
            125,
            "",
            &format!("casemate: error: apply the policy: \n{path}:{problem}\n"),
        );
    }
    assert!(!stage.path("ws/ran").exists());
}

fn several_problems_at_once(stage: &Stage) {
    let path = stage.text("outside/p.yaml");
    let policy = "version: 1\nfilesystem: {}\nlandlock:\n  compatibility: best\n";
    let ended = with_policy(stage, policy, &[], "touch ran");
    assert_eq!((ended.code, &*ended.out), (125, ""));
    assert!(
        ended
            .err
            .contains(&format!("\n{path}:2:1: unknown field `filesystem`\n")),
        "{}",
        ended.err
    );
    assert!(
        ended
            .err
            .contains(&format!("\n{path}:4:18: unknown value `best`")),
        "{}",
        ended.err
    );
}

const NUMBERS: &str = "version: 1\nfilesystem_policy: { include_workdir: true }\nprocess: { run_as_user: \"1500\", run_as_group: 1600 }\n";

fn numeric_identity(stage: &Stage) {
    // The program may write there whoever it is.
    stage.mode("ws", 0o777);
    let ended = with_policy(
        stage,
        NUMBERS,
        &[],
        "id -u; id -g; touch made /tmp/x $HOME/x; stat -c %u /tmp/x",
    );
    ended.assert_out("1500\n1600\n1500\n");
    let made = stage.path("ws/made").metadata().unwrap();
    // Root can give a real identity away; everybody else only shows one.
    let (uid, gid) = if stage.is_root() {
        (1500, 1600)
    } else {
        (stage.uid(), stage.uid())
    };
    assert_eq!((made.uid(), made.gid()), (uid, gid));
    if stage.is_root() {
        stage.write("outside/root-only", "secret\n");
        fs::set_permissions(
            stage.path("outside/root-only"),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        let ended = with_policy(
            stage,
            NUMBERS,
            &["--ro", &stage.text("outside/root-only")],
            &format!("cat {}", stage.text("outside/root-only")),
        );
        assert_eq!((ended.code, &*ended.out), (1, ""), "{ended:?}");
    }
}

fn a_user_without_a_group(stage: &Stage) {
    let policy = "version: 1\nfilesystem_policy: { include_workdir: true }\nprocess: { run_as_user: 1500 }\n";
    with_policy(stage, policy, &[], "id -u; id -g").assert_out(&format!("1500\n{}\n", stage.uid()));
}

fn the_user_sandbox(stage: &Stage) {
    let policy = "version: 1\nfilesystem_policy: { include_workdir: true }\nprocess: { run_as_user: sandbox, run_as_group: \"\" }\n";
    with_policy(stage, policy, &[], "id -u; id -g").assert_out(&format!("{0}\n{0}\n", stage.uid()));
}

fn root_is_no_user(stage: &Stage) {
    for name in ["root", "0"] {
        let ended = with_policy(
            stage,
            &format!("version: 1\nprocess: {{ run_as_user: {name} }}\n"),
            &[],
            "touch ran",
        );
        let message = format!(
            "casemate: error: apply the policy: \n{}:2:25: `process.run_as_user` must be `sandbox` or a number from 1 to \
             4294967294, found ",
            stage.text("outside/p.yaml")
        );
        assert_eq!((ended.code, &*ended.out), (125, ""));
        assert!(ended.err.starts_with(&message), "{}", ended.err);
        assert!(
            ended
                .err
                .ends_with("\nhint: a sandbox never runs as root\n"),
            "{}",
            ended.err
        );
    }
}

fn network_policies_are_noted(stage: &Stage) {
    let entry = "{ endpoints: [{ host: x.example, port: 443, protocol: any }], binaries: [{ path: /usr/bin/x }] }";
    let policy = format!(
        "version: 1\nfilesystem_policy: {{ include_workdir: true }}\nnetwork_policies:\n  a: {entry}\n  b: {entry}\n"
    );
    let note = format!(
        "casemate: note: {}:4:3: network_policies has 2 entries; with --net none no connection leaves, so none is needed\n",
        stage.text("outside/p.yaml")
    );
    with_policy(stage, &policy, &["--net", "none"], "true").assert(0, "", &note);
    let policy = "version: 1\nfilesystem_policy: { include_workdir: true }\nnetwork_policies: {}\nnetwork_middlewares: {}\n";
    with_policy(stage, policy, &[], "true").assert_out("");
}

fn warnings_are_noted(stage: &Stage) {
    let policy = "version: 1\nfilesystem_policy: { include_workdir: true }\nnetwork_policies:\n  a: { endpoints: [] }\n  b: { endpoints: [] }\n";
    let path = stage.text("outside/p.yaml");
    let note = |line: usize, entry: &str, lacks: &str| {
        format!("casemate: note: {path}:{line}:3: `network_policies.{entry}` {lacks}\n")
    };
    let nowhere = "has no endpoints, so nothing can be reached\nhint: list where to under `endpoints`, or remove the entry";
    let nobody = "has no binaries, so nobody matches\nhint: list who may connect under `binaries`; `/**` is every program";
    let notes = [
        note(4, "a", nowhere),
        note(4, "a", nobody),
        note(5, "b", nowhere),
        note(5, "b", nobody),
    ];
    with_policy(stage, policy, &[], "true").assert(0, "", &notes.concat());
    with_policy(stage, policy, &["--quiet"], "true").assert(0, "", "");
    let many: String = (0..8)
        .map(|number| format!("  e{number}: {{ endpoints: [] }}\n"))
        .collect();
    let policy = format!(
        "version: 1\nfilesystem_policy: {{ include_workdir: true }}\nnetwork_policies:\n{many}"
    );
    let ended = with_policy(stage, &policy, &[], "true");
    let more = format!("casemate: note: and 6 more: casemate policy check {path}\n");
    assert_eq!(
        ended.err.matches("so nobody matches").count(),
        5,
        "{}",
        ended.err
    );
    assert_eq!(
        ended.err.matches("so nothing can be reached").count(),
        5,
        "{}",
        ended.err
    );
    assert!(ended.err.contains(&more), "{}", ended.err);
}

fn leniency_makes_notes_of_errors(stage: &Stage) {
    let policy = "version: 2\nfilesystem_policy: { include_workdir: true }\n";
    let path = stage.text("outside/p.yaml");
    let told = format!(
        "{path}:1:10: `version` must be the number 1, found the number `2`\nhint: OpenShell doesn't look at the number\n"
    );
    with_policy(stage, policy, &[], "true").assert(
        125,
        "",
        &format!("casemate: error: apply the policy: \n{told}"),
    );
    with_policy(stage, policy, &["--openshell-lenient"], "true").assert(
        0,
        "",
        &format!("casemate: note: {told}"),
    );
}

fn with_carriers(section: &str) -> String {
    format!(
        "version: 1\nfilesystem_policy: {{ include_workdir: true }}\ncarriers: {{ {section} }}\n"
    )
}

fn carriers_that_are_allowed(stage: &Stage) {
    stage.write("ws/.vscode/tasks.json", "old\n");
    stage.write("ws/.envrc", "old\n");
    let script =
        "echo new > .vscode/tasks.json; (echo new > .envrc) 2>/dev/null; mkdir .idea; sleep 0.4";
    let ended = with_policy(
        stage,
        &with_carriers("allow: [.vscode, .idea]"),
        &[],
        script,
    );
    ended.assert_out("");
    assert_eq!(stage.read("ws/.vscode/tasks.json"), "new\n");
    assert_eq!(stage.read("ws/.envrc"), "old\n");
    assert!(stage.path("ws/.idea").is_dir());
}

fn carriers_that_are_added(stage: &Stage) {
    stage.write("ws/Makefile", "old\n");
    stage.write("ws/deploy/hooks/run", "old\n");
    let script = "(echo new > Makefile; echo new > deploy/hooks/run; rm -r deploy; mv deploy d; touch deploy/fine; echo x > justfile) 2>/dev/null; sleep 0.4";
    let ended = with_policy(
        stage,
        &with_carriers("protect: [Makefile, deploy/hooks, justfile]"),
        &[],
        script,
    );
    let ws = stage.text("ws");
    let remark = format!(
        "casemate: {ws}/justfile was created while the program ran; it is now {ws}/justfile.casemate-refused, since the host \
         would act on it (--allow-carrier justfile lets it be)\n"
    );
    ended.assert(0, "", &remark);
    assert_eq!(
        (
            &*stage.read("ws/Makefile"),
            &*stage.read("ws/deploy/hooks/run")
        ),
        ("old\n", "old\n")
    );
    assert!(stage.path("ws/deploy/fine").exists() && !stage.path("ws/justfile").exists());
}
