//! What a carrier leads to: paths that git's settings, links and a policy name, whether they are
//! there already or not.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Ended, Stage, both};
use std::fs;

both!(
    files_that_git_settings_name,
    files_that_git_settings_name_and_that_are_missing,
    what_an_included_file_names,
    settings_of_work_trees,
    settings_that_are_no_file,
    links_that_lead_to_nothing,
    links_on_the_way,
    names_in_folders_that_exist,
    names_in_folders_that_do_not_exist,
    names_behind_a_link,
    names_in_a_folder_that_can_not_be_entered,
    names_in_a_folder_of_somebody_else,
    names_that_are_allowed,
);

/// Writes what is executed or read as settings, by every way; complaints don't matter.
fn plant(stage: &Stage, flags: &[&str], paths: &[&str]) -> Ended {
    let script = r#"exec 2>/dev/null
        for path in "$@"; do
            echo evil >> $path; rm -f $path; mkdir -p ${path%/*}; echo evil > $path; chmod 755 $path
            perl -e 'rename $ARGV[0], "aside"; mkdir $ARGV[0]' ${path%/*}; echo evil > $path
        done; exit 0"#;
    let command = ["--", "sh", "-c", script, "sh"];
    stage.run(flags.iter().chain(&command).chain(paths))
}

/// Fails if any of these holds what the program wrote.
#[track_caller]
fn assert_not_planted(stage: &Stage, paths: &[&str]) {
    for path in paths {
        let found = fs::read_to_string(stage.path("ws").join(path)).unwrap_or_default();
        assert!(!found.contains("evil"), "{path} was planted");
    }
}

/// A repository with these settings.
fn repository(stage: &Stage, folder: &str, settings: &str) {
    for part in ["objects", "refs", "hooks"] {
        stage.folder(format!("ws/{folder}/{part}"));
    }
    stage.write(format!("ws/{folder}/HEAD"), "ref: refs/heads/main\n");
    let settings = format!("[core]\n\trepositoryformatversion = 0\n{settings}");
    stage.write(format!("ws/{folder}/config"), settings);
}

const SETTINGS: &str = "[core]\n\thooksPath = \"tools/hooks\" # ours\n\tattributesFile = tools/attributes\n\
                        [include]\n\tpath = ../tools/included ; too\n[includeIf \"gitdir:/a]b\"] path = ~/ws/mine\n";

const NAMED: [&str; 4] = [
    "tools/hooks/pre-commit",
    "tools/attributes",
    "tools/included",
    "mine",
];

fn files_that_git_settings_name(stage: &Stage) {
    repository(stage, ".git", SETTINGS);
    for path in NAMED {
        stage.write(format!("ws/{path}"), "old\n");
    }
    let home = stage.text("").trim_end_matches('/').to_owned();
    let before = stage.listing("ws");
    let mut command = stage.casemate();
    command.env("HOME", &home).args(["run", "--", "sh", "-c"]);
    command.arg(format!("exec 2>/dev/null; for f in {}; do echo evil >> $f; rm -f $f; done; echo evil > tools/hooks/pre-push; mv tools t; exit 0", NAMED.join(" ")));
    Ended::of(&mut command).assert_out("");
    stage.assert_same("ws", &before);
}

fn files_that_git_settings_name_and_that_are_missing(stage: &Stage) {
    repository(stage, ".git", SETTINGS);
    let named = &NAMED[..3];
    plant(stage, &[], named);
    assert_not_planted(stage, named);
    // With their folder there; it can't be taken away either.
    stage.folder("ws/tools");
    plant(stage, &[], named);
    assert_not_planted(stage, named);
    // Other names are the program's.
    stage
        .shell(&[], "mkdir -p tools; echo new > tools/file")
        .assert_out("");
    assert_eq!(stage.read("ws/tools/file"), "new\n");
}

fn what_an_included_file_names(stage: &Stage) {
    repository(stage, ".git", "[include]\n\tpath = ../conf/one\n");
    stage.write(
        "ws/conf/one",
        "[include]\npath = two\n[core]\nhooksPath = \\\n  hooks\n",
    );
    stage.write(
        "ws/conf/two",
        b"[user]\nname = \xe9\n[include]\npath = three\n".as_slice(),
    );
    stage.write("ws/hooks/pre-commit", "old\n");
    let named = [
        "conf/one",
        "conf/two",
        "conf/three",
        "hooks/pre-commit",
        "hooks/pre-push",
    ];
    plant(stage, &[], &named);
    assert_not_planted(stage, &named);
}

fn settings_of_work_trees(stage: &Stage) {
    // A git folder elsewhere, and one of a linked work tree; paths count from the work tree.
    repository(stage, "store/repo", "[core]\n\thooksPath = hooks\n");
    stage.write(
        "ws/main/.git",
        format!("gitdir: {}\n", stage.text("ws/store/repo")),
    );
    stage.write(
        "ws/store/repo/worktrees/tree/HEAD",
        "ref: refs/heads/topic\n",
    );
    stage.write("ws/store/repo/worktrees/tree/commondir", "../..\n");
    stage.write(
        "ws/store/repo/worktrees/tree/config.worktree",
        "[include]\npath = ../../../extra\n",
    );
    stage.write("ws/tree/.git", "gitdir: ../store/repo/worktrees/tree\n");
    stage.write("ws/main/hooks/pre-commit", "old\n");
    let named = [
        "main/hooks/pre-commit",
        "tree/hooks/pre-commit",
        "store/extra",
    ];
    plant(stage, &[], &named);
    assert_not_planted(stage, &named);
}

/// An earlier program may have left anything in place of a file that is read at the start.
fn settings_that_are_no_file(stage: &Stage) {
    repository(stage, "a", "");
    repository(
        stage,
        "b",
        "[include]\n\tpath = config\n[include]\n\tpath = ../pipe\n",
    );
    stage.outside("rm a/config; mkfifo a/config pipe; mkdir c; ln -s /dev/zero c/config; mkdir c/objects c/refs");
    stage
        .run(["--time", "20s", "--", "echo", "ran"])
        .assert_out("ran\n");
}

fn links_that_lead_to_nothing(stage: &Stage) {
    repository(stage, ".git", "");
    stage.symlink("env/real", "ws/.envrc");
    stage.symlink("one", "ws/.vscode");
    stage.symlink("two", "ws/one");
    stage.symlink("../../tools/commit", "ws/.git/hooks/pre-commit");
    let named = [
        "env/real",
        "one/tasks.json",
        "two/tasks.json",
        "tools/commit",
    ];
    plant(stage, &[], &named);
    plant(
        stage,
        &[],
        &[".envrc", ".vscode/tasks.json", ".git/hooks/pre-commit"],
    );
    assert_not_planted(stage, &named);
    assert_not_planted(
        stage,
        &[".envrc", ".vscode/tasks.json", ".git/hooks/pre-commit"],
    );
}

fn links_on_the_way(stage: &Stage) {
    repository(stage, ".git", "[core]\n\thooksPath = tools/hooks\n");
    stage.write("ws/real/hooks/pre-commit", "old\n");
    stage.symlink("real", "ws/tools");
    let named = ["tools/hooks/pre-commit", "real/hooks/pre-commit"];
    plant(stage, &[], &named);
    assert_not_planted(stage, &named);
    assert_eq!(stage.read("ws/tools/hooks/pre-commit"), "old\n");
}

/// Flags for a policy that adds these names.
fn protecting(stage: &Stage, names: &str) -> [String; 2] {
    stage.write(
        "policy.yaml",
        format!("version: 1\nfilesystem_policy: {{include_workdir: true}}\ncarriers: {{protect: [{names}]}}\n"),
    );
    ["--policy".into(), stage.text("policy.yaml")]
}

fn names_in_folders_that_exist(stage: &Stage) {
    stage.write("ws/sub/there", "old\n");
    let flags = protecting(stage, "sub/new, sub/there");
    let flags = flags.each_ref().map(String::as_str);
    plant(stage, &flags, &["sub/there", "sub/new"]);
    assert_not_planted(stage, &["sub/there", "sub/new"]);
    assert_eq!(stage.read("ws/sub/there"), "old\n");
    // The folder doesn't make way for another one.
    stage.folder("ws/empty/deep");
    let flags = protecting(stage, "empty/deep/new");
    let flags = flags.each_ref().map(String::as_str);
    plant(stage, &flags, &["empty/deep/new"]);
    let script = "exec 2>/dev/null; perl -e 'rename \"empty\", \"e\"'; mkdir -p empty/deep; echo evil > empty/deep/new; exit 0";
    stage.shell(&flags, script);
    assert_not_planted(stage, &["empty/deep/new"]);
}

fn names_in_folders_that_do_not_exist(stage: &Stage) {
    let flags = protecting(stage, "sub/new, a/b/c/new");
    let flags = flags.each_ref().map(String::as_str);
    let ended = stage.shell(
        &flags,
        "mkdir sub; echo evil > sub/new; echo fine > sub/other",
    );
    let message = format!(
        "casemate: {0}/sub/new was created while the program ran; it is now {0}/sub/new.casemate-refused, since \
         the host would act on it (--allow-carrier new lets it be)\n",
        stage.text("ws")
    );
    ended.assert(0, "", &message);
    assert_eq!(stage.read("ws/sub/other"), "fine\n");
    fs::remove_dir_all(stage.path("ws/sub")).unwrap();
    // While the program goes on, and however the folders came about.
    let script = "mkdir -p x/y/c; echo evil > x/y/c/new; mkdir a; mv x/y a/b; while [ -e a/b/c/new ]; do :; done; echo gone";
    let ended = stage.shell(&[&["--time", "20s"], &flags[..]].concat(), script);
    assert_eq!((ended.code, &*ended.out), (0, "gone\n"), "{}", ended.err);
    plant(stage, &flags, &["sub/new", "a/b/c/new"]);
    assert_not_planted(stage, &["sub/new", "a/b/c/new"]);
}

fn names_behind_a_link(stage: &Stage) {
    let flags = protecting(stage, "sub/deep/new");
    let flags = flags.each_ref().map(String::as_str);
    // Nothing outside is touched through it.
    stage.write("outside/deep/new", "old\n");
    let before = stage.listing("outside");
    stage.shell(&flags, &format!("ln -s {} sub", stage.text("outside")));
    stage.assert_same("outside", &before);
    assert!(!stage.path("ws/sub").exists());
    stage.shell(
        &flags,
        "mkdir -p other/deep; echo evil > other/deep/new; ln -s other sub",
    );
    assert_not_planted(stage, &["sub/deep/new"]);
}

fn names_in_a_folder_that_can_not_be_entered(stage: &Stage) {
    let flags = protecting(stage, "sub/deep/new");
    let flags = flags.each_ref().map(String::as_str);
    let script =
        "mkdir -p sub/deep; echo evil > sub/deep/new; chmod 0 sub/deep; chmod 0 sub; chmod 0 .";
    // At the workspace's root, too.
    stage.shell(&flags, &format!("echo evil > .envrc; {script}"));
    for folder in ["ws", "ws/sub", "ws/sub/deep"] {
        stage.mode(folder, 0o755);
    }
    assert!(stage.path("ws/sub/deep/new.casemate-refused").exists());
    assert_not_planted(stage, &["sub/deep/new", ".envrc"]);
}

fn names_in_a_folder_of_somebody_else(stage: &Stage) {
    let flags = protecting(stage, "closed/deep/new");
    // The test's own folder, where the caller is another user.
    fs::create_dir(stage.path("ws/closed")).unwrap();
    stage.mode("ws/closed", 0o700);
    stage
        .shell(&flags.each_ref().map(String::as_str), "sleep 0.3; echo ran")
        .assert_out("ran\n");
}

fn names_that_are_allowed(stage: &Stage) {
    let flags = protecting(stage, "sub/new");
    for name in ["new", "sub/new"] {
        let flags = [&*flags[0], &*flags[1], "--allow-carrier", name];
        stage
            .shell(
                &flags,
                "mkdir -p sub; echo mine > sub/new; sleep 0.3; rm sub/new",
            )
            .assert_out("");
    }
}
