//! Files that the host would later execute or trust, git, hard links, and set-id bits.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use casemate_core::carriers::{NAMES, Place};
use sandbox::{Ended, Stage, both, report, texts, wait_until};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

both!(
    a_repository_can_not_be_taken_apart_for_later,
    every_listed_name_is_read_only,
    no_folder_above_one_can_be_moved,
    listed_folders_are_read_only_as_a_whole,
    names_of_the_root_are_free_elsewhere,
    packages_keep_their_own,
    a_link_is_no_way_to_change_a_carrier,
    every_listed_name_is_undone_at_the_root,
    it_is_undone_soon,
    it_is_undone_at_the_end,
    it_is_undone_however_it_got_there,
    a_full_private_disk,
    a_full_workspace,
    names_aside_that_are_taken,
    a_folder_that_is_made_read_only,
    a_folder_that_the_caller_can_not_read,
    a_folder_whose_time_is_set_back,
    a_program_that_keeps_on,
    what_was_there_before_is_not_moved,
    other_writable_folders_are_workspaces_too,
    allowed_names,
    nothing_is_left_on_the_host,
    git_works_in_a_repository,
    git_hooks_and_settings_are_protected,
    git_names_that_were_missing,
    allowed_git_names,
    nested_repositories,
    submodules,
    linked_worktrees,
    a_git_folder_elsewhere,
    bare_repositories,
    new_repositories_work_and_are_listed,
    links_to_files_outside,
    links_within_the_workspace,
    links_in_git_objects,
    many_links_in_git_objects,
    set_id_bits,
    set_id_bits_of_new_files,
    set_id_folders_that_the_host_has,
);

/// Runs a script whose complaints don't matter, in the workspace.
fn attack(stage: &Stage, script: &str) -> Ended {
    stage.shell(
        &[],
        &format!("exec 2>/dev/null; {RENAME}; {script}\nexit 0"),
    )
}

/// rename(2) alone: mv(1) copies where that is refused, which harms nobody.
const RENAME: &str = r#"rename() { perl -e 'rename $ARGV[0], $ARGV[1]' "$1" "$2"; }"#;

/// The remark on a name that was moved aside.
fn moved(stage: &Stage, name: &str) -> String {
    let (folder, plain) = match name.rsplit_once('/') {
        Some((folder, plain)) => (format!("{}/{folder}", stage.text("ws")), plain),
        None => (stage.text("ws"), name),
    };
    format!(
        "casemate: {folder}/{plain} was created while the program ran; it is now {folder}/{plain}.casemate-refused, since \
         the host would act on it (--allow-carrier {plain} lets it be)\n"
    )
}

fn every_listed_name_is_read_only(stage: &Stage) {
    for carrier in NAMES {
        stage.write(format!("ws/{}", carrier.path), "old\n");
        if carrier.place == Place::Anywhere {
            stage.write(format!("ws/deep/er/{}", carrier.path), "old\n");
        }
    }
    let before = stage.listing("ws");
    let script = "for c in .??* deep/er/.??*; do echo x > $c; echo x >> $c; rm -f $c; rename $c gone; touch fresh; rename fresh $c; rm -f fresh; \
                  chmod 777 $c; touch -d @1 $c; ln $c hard; ln -sf x $c; truncate -s 0 $c; done";
    attack(stage, script).assert_out("");
    stage.assert_same("ws", &before);
    let told = report(&stage.shell(&["--report", "-"], "").out);
    let deep = NAMES
        .iter()
        .filter(|carrier| carrier.place == Place::Anywhere)
        .count();
    assert_eq!(
        texts(&told["carriers"]["protected"]).len(),
        NAMES.len() + deep
    );
}

fn no_folder_above_one_can_be_moved(stage: &Stage) {
    stage.write("ws/a/b/c/.envrc", "old\n");
    stage.write("ws/a/b/other", "old\n");
    let script = "rename a x; rename a/b x; rename a/b/c x; rename a/b/c a/b/d; rm -rf a; mkdir evil; mv -T --exchange evil a; \
                  rename evil a; rmdir a/b/c; mkdir -p a/b/c; echo x > a/b/c/.envrc";
    attack(stage, script);
    assert_eq!(stage.read("ws/a/b/c/.envrc"), "old\n");
    // The rest of these folders is the program's to change.
    assert!(!stage.path("ws/a/b/other").exists());
}

fn listed_folders_are_read_only_as_a_whole(stage: &Stage) {
    stage.write("ws/.github/workflows/ci.yml", "old\n");
    stage.write("ws/sub/.vscode/deep/tasks.json", "old\n");
    let before = stage.listing("ws");
    let script = "for f in .github sub/.vscode; do touch $f/new; mkdir $f/d; rm -rf $f; echo x > $f/*/*; rename $f x; chmod -R 777 $f; done";
    attack(stage, script);
    stage.assert_same("ws", &before);
}

fn names_of_the_root_are_free_elsewhere(stage: &Stage) {
    stage.write("ws/sub/.bashrc", "old\n");
    stage
        .shell(&[], "echo new > sub/.bashrc; echo new > sub/.profile")
        .assert_out("");
    assert_eq!(stage.read("ws/sub/.bashrc"), "new\n");
    assert_eq!(stage.read("ws/sub/.profile"), "new\n");
}

fn packages_keep_their_own(stage: &Stage) {
    stage.write("ws/node_modules/p/.npmrc", "old\n");
    stage
        .shell(&[], "rm -rf node_modules; mkdir -p node_modules/q/.vscode")
        .assert_out("");
}

fn a_link_is_no_way_to_change_a_carrier(stage: &Stage) {
    stage.write("ws/env/real", "old\n");
    stage.symlink("env/real", "ws/.envrc");
    stage.write("ws/conf/tasks.json", "old\n");
    stage.symlink("conf", "ws/.vscode");
    let script = "rm .envrc .vscode; echo x > .envrc; echo x > .vscode/tasks.json; echo x > env/real; echo x > conf/tasks.json; \
                  rename env e; rename conf c; rm -rf env conf";
    attack(stage, script);
    assert_eq!(
        (stage.read("ws/.envrc"), stage.read("ws/.vscode/tasks.json")),
        ("old\n".into(), "old\n".into())
    );
}

fn every_listed_name_is_undone_at_the_root(stage: &Stage) {
    for (number, carrier) in NAMES.iter().enumerate() {
        let make = if number % 2 == 0 { "touch" } else { "mkdir" };
        let ended = stage.shell(&[], &format!("{make} {}", carrier.path));
        ended.assert(0, "", &moved(stage, carrier.path));
        assert!(
            !stage.path("ws").join(carrier.path).exists(),
            "{}",
            carrier.path
        );
        assert!(
            stage
                .path(&format!("ws/{}.casemate-refused", carrier.path))
                .exists()
        );
    }
}

fn it_is_undone_soon(stage: &Stage) {
    let script = "echo x > .envrc; while [ -e .envrc ]; do :; done; echo gone; sleep 5";
    let mut child = stage.casemate();
    child
        .args(["run", "--time", "10s", "--", "sh", "-c", script])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    let (path, aside) = (
        stage.path("ws/.envrc"),
        stage.path("ws/.envrc.casemate-refused"),
    );
    wait_until(Duration::from_secs(5), "the name to appear", || {
        path.exists() || aside.exists()
    });
    let appeared = Instant::now();
    wait_until(Duration::from_secs(5), "the name to be moved", || {
        !path.exists()
    });
    let took = appeared.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(took < Duration::from_millis(300), "{took:?}");
}

fn it_is_undone_at_the_end(stage: &Stage) {
    for _ in 0..20 {
        stage
            .run(["--", "touch", ".envrc"])
            .assert(0, "", &moved(stage, ".envrc"));
        fs::remove_file(stage.path("ws/.envrc.casemate-refused")).unwrap();
    }
}

fn it_is_undone_however_it_got_there(stage: &Stage) {
    stage.write("ws/source", "x\n");
    for make in [
        "mv source .envrc",
        "ln source .envrc",
        "ln -s source .envrc",
        "mkfifo .envrc",
        "cp source .envrc",
        "mkdir -p d/.envrc; mv d/.envrc .",
        "mkdir .vscode .idea; mv .vscode .envrc",
    ] {
        stage.write("ws/source", "x\n");
        attack(stage, &format!("{make}; sleep 0.1"));
        assert!(
            stage.path("ws/.envrc").symlink_metadata().is_err(),
            "{make}"
        );
    }
}

fn names_aside_that_are_taken(stage: &Stage) {
    let script = "touch .envrc.casemate-refused; for i in $(seq 300); do touch .envrc.casemate-refused.$i; done; \
                  mkdir d; mv .envrc.casemate-refused.2* d; echo evil > .envrc";
    attack(stage, script);
    assert!(!stage.path("ws/.envrc").exists());
    fs::remove_dir_all(stage.path("ws/d")).unwrap();
    attack(
        stage,
        "for i in $(seq 3000); do : > .envrc.casemate-refused.$i; done; echo evil > .envrc",
    );
    assert!(!stage.path("ws/.envrc").exists());
}

fn a_full_private_disk(stage: &Stage) {
    let flags = ["--disk", "4M", "--allow-missing", "disk-quota"];
    let script = r#"open F, ">/tmp/full"; while (syswrite F, "x" x 65536) {} mkdir ".vscode"; symlink "x", ".vscode/tasks.json"; symlink "x", ".envrc""#;
    let command = ["--", "perl", "-e", script];
    // The supervisor may see first that the disk is full.
    for _ in 0..20 {
        let ended = stage.run(flags.into_iter().chain(command));
        assert!([0, 122].contains(&ended.code), "{ended:?}");
        for name in [".vscode", ".envrc"] {
            let path = stage.workspace().join(name);
            assert!(path.symlink_metadata().is_err(), "{name}: {ended:?}");
        }
        let aside = stage.path("ws/.envrc.casemate-refused");
        if aside.symlink_metadata().is_ok() {
            return;
        }
    }
    panic!("the names were never made");
}

/// On a file system that moves a name without any space, and on one where that may need some.
fn a_full_workspace(stage: &Stage) {
    let tmpfs = "mount -t tmpfs -o size=256k none .";
    let ext4 =
        "truncate -s 1M ../image && mkfs.ext4 -q -m 0 -b 1024 ../image && mount -o loop ../image .";
    // Names until there is no room for another; then a short one makes way for a protected one.
    let pack = r#"for $l (200, 60, 6) { while (symlink "x", sprintf "%0${l}d", $i++) {} } unlink sprintf "%06d", $i - 2;"#;
    for (mount, pack) in [(tmpfs, ""), (ext4, ""), (ext4, pack)] {
        let Some(ended) = fill_and_make(stage, mount, pack) else {
            println!("skipped: needs root, unshare, setpriv, mkfs.ext4 and a loop device");
            continue;
        };
        let has = |name: &str| ended.out.lines().any(|line| line == name);
        let stays = has(".envrc");
        assert!(stays || has(".envrc.casemate-refused"), "{ended:?}");
        if pack.is_empty() {
            assert!(has("code 0") && !stays, "{ended:?}");
            continue;
        }
        // It is moved, or else the program is stopped and the caller told.
        let told = format!(
            "{}/.envrc was created while the program ran and could not be moved aside (No space",
            stage.text("ws")
        );
        let stopped = has("code 123") && ended.err.contains(&told);
        assert!(stopped || !stays, "{ended:?}");
    }
}

/// Fills a workspace of this kind and creates protected names, in mounts that only this sees;
/// then says how the run ended and lists what is there. `None` if there can be no such workspace.
fn fill_and_make(stage: &Stage, mount: &str, pack: &str) -> Option<Ended> {
    let fill =
        r#"open F, ">full"; for $size (65536, 512, 1) { while (syswrite F, "x" x $size) {} }"#;
    let make = r#"mkdir ".vscode"; symlink "x", ".envrc"; for (1..500) { last unless -l ".envrc"; select undef, undef, undef, 0.02 }"#;
    stage.write("program.pl", format!("{fill} {pack} {make}"));
    let user = stage.uid();
    let script = format!(
        "({mount}) >&2 || {{ echo none; exit; }}; cd \"$PWD\"; chown {user}:{user} .; cp ../program.pl .; code=0; \
         setpriv --reuid {user} --regid {user} --clear-groups ../casemate run --time 60s -- perl program.pl || code=$?; \
         echo code $code; ls -A"
    );
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script]);
    let ended = Ended::of(command.current_dir(stage.workspace()));
    (ended.out != "none\n").then_some(ended)
}

fn a_folder_that_is_made_read_only(stage: &Stage) {
    // The supervisor of an ordinary user can't rename in a folder without write permission.
    let script = r#"for (1..40) {
        chmod 0755, "."; sysopen(F, ".envrc", 65); chmod 0555, "."; syswrite(F, "evil"); close F;
        select(undef, undef, undef, 0.02); exit 0 if -e ".envrc";
    }"#;
    stage.run(["--", "perl", "-e", script]);
    let there = stage.path("ws/.envrc").exists();
    stage.mode("ws", 0o755);
    assert!(!there, "the protected name was left in place");
}

fn a_folder_that_the_caller_can_not_read(stage: &Stage) {
    // Whoever owns it can make it readable again, inside as well.
    stage.write("ws/locked/.envrc", "old\n");
    stage.mode("ws/locked", 0o311);
    attack(stage, "chmod 755 locked; echo evil > locked/.envrc");
    assert_eq!(stage.read("ws/locked/.envrc"), "old\n");
}

fn a_folder_whose_time_is_set_back(stage: &Stage) {
    stage.outside("touch -d 2020-01-01 .");
    let script = r#"use Time::HiRes; my @s = Time::HiRes::stat("."); for (1..40) {
        sysopen(F, ".envrc", 65); Time::HiRes::utime($s[8], $s[9], "."); syswrite(F, "evil"); close F;
        select(undef, undef, undef, 0.15); exit 0 if -e ".envrc";
    }"#;
    stage.run(["--", "perl", "-e", script]);
    assert!(
        !stage.path("ws/.envrc").exists(),
        "the protected name was left in place"
    );
}

fn a_program_that_keeps_on(stage: &Stage) {
    let script = "while :; do touch .envrc; sleep 0.002; done";
    let ended = stage.shell(&["--time", "20s"], script);
    assert_eq!(
        ended.code,
        123,
        "{}",
        ended.err.lines().last().unwrap_or_default()
    );
    assert_eq!(
        ended.err.lines().last(),
        Some("casemate: stopped: the program created the protected name .envrc 65 times")
    );
    assert!(!stage.path("ws/.envrc").exists());
}

fn what_was_there_before_is_not_moved(stage: &Stage) {
    stage.write("ws/.envrc", "old\n");
    stage.folder("ws/.vscode");
    let before = stage.listing("ws");
    stage.shell(&[], "touch x; rm x").assert_out("");
    stage.assert_same("ws", &before);
}

fn other_writable_folders_are_workspaces_too(stage: &Stage) {
    stage.write("outside/more/.envrc", "old\n");
    let more = stage.text("outside/more");
    let ended = stage.shell(
        &["--rw", &more],
        &format!("(echo x > {more}/.envrc) 2>/dev/null; mkdir {more}/.idea; touch {more}/fine"),
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(stage.read("outside/more/.envrc"), "old\n");
    assert!(stage.path("outside/more/fine").exists() && !stage.path("outside/more/.idea").exists());
}

fn allowed_names(stage: &Stage) {
    stage.write("ws/.envrc", "old\n");
    let flags = ["--allow-carrier", ".envrc", "--allow-carrier", ".vscode"];
    stage
        .shell(&flags, "echo new > .envrc; mkdir .vscode; sleep 0.3")
        .assert_out("");
    assert_eq!(stage.read("ws/.envrc"), "new\n");
    assert!(stage.path("ws/.vscode").is_dir());
    // The others stay protected.
    let ended = stage.shell(&flags, "mkdir .idea");
    ended.assert(0, "", &moved(stage, ".idea"));
}

fn nothing_is_left_on_the_host(stage: &Stage) {
    repository(stage, "ws");
    stage.write("ws/a/.envrc", "old\n");
    let before = stage.listing("");
    stage
        .shell(&[], "git status --short; ls -A > /dev/null")
        .assert_out("?? a/\n");
    // The index is written anew by git itself.
    let after = stage.listing("");
    let same = |path: &&std::path::PathBuf| !path.ends_with(".git/index");
    assert!(before.keys().eq(after.keys()));
    assert!(
        before
            .iter()
            .filter(|(path, _)| same(path))
            .all(|(path, was)| after[path] == *was)
    );
    stage.assert_nothing_left();
}

/// Makes a repository with a commit, as the caller has it before.
fn repository(stage: &Stage, folder: &str) {
    let path = stage.text(folder);
    stage.outside(&format!(
        "git init -q -b main {path}; cd {path}; git config user.name n; git config user.email e; echo 1 > file; \
         git add file; git commit -q -m one"
    ));
}

fn git_works_in_a_repository(stage: &Stage) {
    repository(stage, "ws");
    let script = "set -e; git status --short; echo 2 > two; git add two; git commit -q -m two; git checkout -q -b topic; \
                  echo 3 >> file; git commit -q -a -m three; git checkout -q main; git merge -q topic; git tag t; \
                  git branch -D -q topic; git stash -q; git gc -q; git log --format=%s";
    let script = script.replace(
        "git stash -q; ",
        "echo 4 >> file; git stash -q; git stash pop -q; git checkout -q file; ",
    );
    let ended = stage.shell(&[], &script);
    assert_eq!(
        (ended.code, &*ended.out),
        (0, "three\ntwo\none\n"),
        "{}",
        ended.err
    );
    assert_eq!(
        stage.outside(
            "git status --short; git fsck --strict --no-dangling 2>&1; git log --oneline | wc -l"
        ),
        "3\n"
    );
}

const GIT_ATTACK: &str = "for g in .git sub/.git; do echo x > $g/hooks/post-commit; mkdir $g/hooks/d; rm -rf $g/hooks; rename $g/hooks $g/h; \
                          echo '[core] fsmonitor = evil' >> $g/config; git -C $g/.. config core.fsmonitor evil; rm -f $g/config; \
                          rename $g/config x; rename $g x; rm -rf $g; mkdir e; rename e $g; ln -sf e $g; done";

fn git_hooks_and_settings_are_protected(stage: &Stage) {
    repository(stage, "ws");
    let (config, hooks) = (stage.read("ws/.git/config"), stage.listing("ws/.git/hooks"));
    attack(stage, GIT_ATTACK);
    assert_eq!(stage.read("ws/.git/config"), config);
    stage.assert_same("ws/.git/hooks", &hooks);
}

fn git_names_that_were_missing(stage: &Stage) {
    repository(stage, "ws");
    fs::remove_dir_all(stage.path("ws/.git/hooks")).unwrap();
    for name in ["hooks", "config.worktree", "commondir"] {
        let ended = stage.shell(&[], &format!("touch .git/{name}; sleep 0.3"));
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended.err.starts_with(&format!(
                "casemate: {}/.git/{name} was created while",
                stage.text("ws")
            )),
            "{}",
            ended.err
        );
        assert!(!stage.path(&format!("ws/.git/{name}")).exists(), "{name}");
    }
}

fn allowed_git_names(stage: &Stage) {
    repository(stage, "ws");
    let script = "git config a.b c; echo x > .git/hooks/post-commit; touch .git/commondir; sleep 0.3; rm .git/commondir";
    stage
        .shell(&["--allow-carrier", ".git"], script)
        .assert_out("");
    assert_eq!(stage.outside("git config a.b"), "c\n");
}

fn nested_repositories(stage: &Stage) {
    repository(stage, "ws");
    repository(stage, "ws/sub");
    stage.write("ws/sub/.github/ci.yml", "old\n");
    let (config, hooks) = (
        stage.read("ws/sub/.git/config"),
        stage.listing("ws/sub/.git/hooks"),
    );
    let ended = stage.shell(
        &[],
        "set -e; cd sub; echo 2 > two; git add two; git commit -q -m two; git checkout -q -b topic",
    );
    ended.assert_out("");
    attack(stage, GIT_ATTACK);
    attack(
        stage,
        "echo x > sub/.github/ci.yml; rename sub x; rm -rf sub/.github",
    );
    assert_eq!(stage.read("ws/sub/.git/config"), config);
    stage.assert_same("ws/sub/.git/hooks", &hooks);
    assert_eq!(stage.read("ws/sub/.github/ci.yml"), "old\n");
}

fn submodules(stage: &Stage) {
    repository(stage, "outside/lib");
    repository(stage, "ws");
    let lib = stage.text("outside/lib");
    stage.outside(&format!(
        "git -c protocol.file.allow=always submodule --quiet add {lib} lib; git commit -q -m lib"
    ));
    let protected = [
        "ws/.gitmodules",
        "ws/lib/.git",
        "ws/.git/modules/lib/config",
    ];
    let before = protected.map(|path| stage.read(path));
    let commit = "cd lib; git -c user.name=n -c user.email=e commit -q --allow-empty -m two";
    stage.shell(&[], commit).assert_out("");
    let script = "for f in .gitmodules lib/.git .git/modules/lib/config; do echo x > $f; rm -f $f; rename $f y; done; \
                  echo x > .git/modules/lib/hooks/post-commit; rename .git/modules m; rename .git/modules/lib .git/modules/m; \
                  rename lib l; rm -rf lib; git -C lib config core.fsmonitor evil";
    attack(stage, script);
    assert_eq!(protected.map(|path| stage.read(path)), before);
    assert!(!stage.path("ws/.git/modules/lib/hooks/post-commit").exists());
    assert_eq!(stage.outside("git -C lib log --format=%s"), "two\none\n");
}

fn linked_worktrees(stage: &Stage) {
    repository(stage, "ws");
    stage.outside("git worktree add -q tree");
    let protected = ["ws/tree/.git", "ws/.git/worktrees/tree/commondir"];
    let before = protected.map(|path| stage.read(path));
    attack(
        stage,
        "for f in tree/.git .git/worktrees/tree/commondir; do echo /evil > $f; rm -f $f; rename $f x; done; rename .git/worktrees/tree .git/worktrees/t; rename .git/worktrees .git/w",
    );
    assert_eq!(protected.map(|path| stage.read(path)), before);
    let ended = stage.shell(
        &[],
        "cd tree; echo 2 > two; git add two; git commit -q -m two; git log --format=%s",
    );
    ended.assert_out("two\none\n");
    let ended = stage.shell(&[], "touch .git/worktrees/tree/config.worktree; sleep 0.3");
    assert!(
        !stage
            .path("ws/.git/worktrees/tree/config.worktree")
            .exists(),
        "{ended:?}"
    );
}

fn a_git_folder_elsewhere(stage: &Stage) {
    // `git init --separate-git-dir`, with the folder in the workspace too.
    stage.outside("mkdir store; git init -q -b main --separate-git-dir store/repo main; git -C main config user.name n");
    let (link, config) = (
        stage.read("ws/main/.git"),
        stage.read("ws/store/repo/config"),
    );
    attack(
        stage,
        "echo x > main/.git; rm main/.git; echo x >> store/repo/config; touch store/repo/hooks/pre-commit; rename store s; rename store/repo store/r; rename main m",
    );
    assert_eq!(
        (
            stage.read("ws/main/.git"),
            stage.read("ws/store/repo/config")
        ),
        (link, config)
    );
    assert!(!stage.path("ws/store/repo/hooks/pre-commit").exists());
}

fn bare_repositories(stage: &Stage) {
    stage.outside("git init -q -b main --bare b.git");
    let config = stage.read("ws/b.git/config");
    attack(
        stage,
        "echo x >> b.git/config; touch b.git/hooks/post-receive; rename b.git x",
    );
    assert_eq!(stage.read("ws/b.git/config"), config);
    assert!(!stage.path("ws/b.git/hooks/post-receive").exists());
    // New ones are repositories as well: `git status` in them runs what their settings name.
    let path = stage.text("outside/r.json");
    let ended = stage.shell(&["--report", &path], "git init -q -b main --bare new.git; git -C new.git config a.b c; git clone -q --bare new.git other");
    assert_eq!(ended.code, 0, "{ended:?}");
    let told = report(&stage.read("outside/r.json"));
    let ws = stage.text("ws");
    let new = texts(&told["carriers"]["new"]);
    for name in ["new.git", "other"] {
        assert!(
            new.iter()
                .any(|path| path.starts_with(&format!("{ws}/{name}"))),
            "{name} isn't in {new:?}"
        );
    }
}

fn new_repositories_work_and_are_listed(stage: &Stage) {
    repository(stage, "ws");
    let path = stage.text("outside/r.json");
    let script = "set -e; git init -q -b main new; cd new; git config user.name n; git config user.email e; echo x > .git/hooks/pre-push; \
                  git commit -q --allow-empty -m m; cd ..; git clone -q . copy; git -C copy config a.b c; mkdir -p dir/.vscode; mv new moved";
    let ended = stage.shell(&["--report", &path], script);
    ended.assert_out("");
    let told = report(&stage.read("outside/r.json"));
    let ws = stage.text("ws");
    let expected = ["copy/.git", "dir/.vscode", "moved/.git"].map(|name| format!("{ws}/{name}"));
    assert_eq!(texts(&told["carriers"]["new"]), expected);
    assert_eq!(
        stage.outside("git -C copy config a.b; git -C moved log --format=%s"),
        "c\nm\n"
    );
    // In a folder without a repository, at its root too.
    stage.folder("outside/plain");
    let plain = stage.text("outside/plain");
    let ended = stage.shell(
        &["--workdir", &plain, "--report", &path],
        "git init -q -b main; git config a.b c",
    );
    ended.assert_out("");
    let told = report(&stage.read("outside/r.json"));
    assert_eq!(texts(&told["carriers"]["new"]), [format!("{plain}/.git")]);
}

fn links_to_files_outside(stage: &Stage) {
    stage.write("outside/file", "old\n");
    stage.folder("ws/a");
    fs::hard_link(stage.path("outside/file"), stage.path("ws/a/link")).unwrap();
    let before = stage.listing("outside");
    let script = "echo x > a/link; echo x >> a/link; rm -f a/link; rename a/link l; rename a b; chmod 777 a/link; touch -d @1 a/link; \
                  truncate -s 0 a/link; ln a/link l; python3 -c 'open(\"a/link\", \"r+\")'; cp a/link copy; echo new > copy";
    attack(stage, script);
    stage.assert_same("outside", &before);
    assert_eq!(stage.read("ws/copy"), "new\n");
}

fn links_within_the_workspace(stage: &Stage) {
    stage.write("ws/a/one", "old\n");
    stage.folder("ws/b");
    fs::hard_link(stage.path("ws/a/one"), stage.path("ws/b/two")).unwrap();
    stage
        .shell(
            &[],
            "echo new > a/one; cat b/two; ln b/two b/three; mv a c; rm b/two; stat -c %h c/one",
        )
        .assert_out("new\n2\n");
}

fn links_in_git_objects(stage: &Stage) {
    repository(stage, "outside/origin");
    let origin = stage.text("outside/origin");
    // A clone on the same file system has the objects of the other in common.
    stage.outside(&format!("git clone -q {origin} clone; git -C clone config user.name n; git -C clone config user.email e"));
    let before = stage.listing("outside/origin");
    let linked = before.values().any(|shown| shown.contains("links 2 "));
    assert!(
        linked || before.values().all(|shown| !shown.contains("links 2")),
        "{before:?}"
    );
    attack(
        stage,
        "find clone/.git/objects -type f | while read f; do chmod u+w $f; echo evil > $f; done",
    );
    stage.assert_same("outside/origin", &before);
    let ended = stage.shell(
        &[],
        "cd clone; echo 2 > two; git add two; git commit -q -m two; git log --format=%s",
    );
    ended.assert_out("two\none\n");
}

fn many_links_in_git_objects(stage: &Stage) {
    repository(stage, "outside/origin");
    let origin = stage.text("outside/origin");
    stage.outside(&format!(
        "cd {origin}; git config gc.auto 0; for i in $(seq 1200); do echo $i > f$i; done; git add .; git commit -q -m many; \
         git clone -q {origin} {}/clone",
        stage.text("ws")
    ));
    let before = stage.listing("outside/origin");
    for flags in [&[][..], &["--report", &stage.text("outside/r.json")]] {
        let ended = stage.shell(flags, "cd clone; git status --short; chmod -R u+w .git/objects 2>/dev/null; for f in .git/objects/*/*; do echo x > $f; done 2>/dev/null; echo done");
        assert_eq!((ended.code, &*ended.out), (0, "done\n"), "{}", ended.err);
    }
    stage.assert_same("outside/origin", &before);
}

/// Files and folders in the workspace with a set-id bit.
fn set_ids(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.mode() & 0o6000 != 0 {
            found.push(format!("{} {:o}", entry.path().display(), meta.mode()));
        }
        if meta.is_dir() {
            found.extend(set_ids(&entry.path()));
        }
    }
    found
}

fn set_id_bits(stage: &Stage) {
    stage.write("outside/setid", "#!/bin/sh\n");
    stage.mode("outside/setid", 0o6755);
    stage.outside(&format!(
        "cd {}; mkdir d; chmod 6755 d; tar -cf setid.tar setid d; mv setid.tar {}",
        stage.text("outside"),
        stage.text("ws")
    ));
    let from = stage.text("outside/setid");
    let script = format!(
        "tar -xpf setid.tar; mv setid s1; cp -p {from} s2; cp {from} s3; install -m 4755 /bin/true s4; install -m 2755 /bin/true s5; \
         cp /bin/true s6; chmod 4755 s6; chmod u+s s6; chmod g+s s6; mkdir -m 2755 m; mkdir n; chmod g+s n; rsync -a {from} s7; \
         python3 -c 'import os; os.chmod(\"s6\", 0o6755); os.fchmod(os.open(\"s6\", 0), 0o6755)'; chmod 755 s6 && echo plain modes work"
    );
    let ended = stage.shell(&["--ro", &from], &format!("exec 2>/dev/null; {script}"));
    ended.assert_out("plain modes work\n");
    assert_eq!(set_ids(&stage.workspace()), Vec::<String>::new());
    assert!(
        stage.path("ws/s6").exists() && stage.path("ws/s3").exists() && stage.path("ws/n").is_dir()
    );
}

fn set_id_bits_of_new_files(stage: &Stage) {
    // open(2), creat(2), mknod(2), mkdir(2), openat2(2) and fchmodat2(2), by number on x86_64.
    let script = r#"
import os, ctypes, struct
def attempt(call):
    try: call()
    except OSError: pass
attempt(lambda: os.close(os.open("o", os.O_CREAT | os.O_WRONLY, 0o6755)))
attempt(lambda: os.mknod("m", 0o106755))
attempt(lambda: os.mkdir("d", 0o6755))
attempt(lambda: os.close(os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o6755)))
libc = ctypes.CDLL(None)
libc.syscall(85, b"c", 0o6755)
how = struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o6755, 0)
libc.syscall(437, -100, b"h", how, 24)
open("f", "w").close()
libc.syscall(452, -100, b"f", 0o6755, 0)
libc.syscall(90, b"f", 0o6755)
libc.syscall(268, -100, b"f", 0o6755)
"#;
    let ended = stage.python(&[], script);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(set_ids(&stage.workspace()), Vec::<String>::new());
}

fn set_id_folders_that_the_host_has(stage: &Stage) {
    // A shared folder whose group goes on to what is made in it (as in many teams).
    stage.folder("ws/shared");
    stage.mode("ws/shared", 0o2775);
    stage
        .shell(
            &[],
            "echo x > shared/file; mkdir shared/sub; cp /bin/true shared/prog",
        )
        .assert_out("");
    let programs = ["file", "prog"].map(|name| {
        stage
            .path(&format!("ws/shared/{name}"))
            .metadata()
            .unwrap()
            .mode()
            & 0o6000
    });
    assert_eq!(programs, [0, 0]);
}

/// One run takes a part of the repository away, so that the next doesn't see that it is one.
fn a_repository_can_not_be_taken_apart_for_later(stage: &Stage) {
    for folder in ["ws/.git", "ws/bare"] {
        for part in ["objects", "refs", "hooks"] {
            stage.folder(format!("{folder}/{part}"));
        }
        stage.write(format!("{folder}/HEAD"), "ref: refs/heads/main\n");
        stage.write(format!("{folder}/config"), "[core]\n");
    }
    for folder in [".git", "bare"] {
        let apart = format!(
            "for part in objects refs HEAD; do mv {folder}/$part {folder}/$part.x; done 2>/dev/null; :"
        );
        stage.shell(&[], &apart).assert_out("");
        let hook = format!("(echo evil > {folder}/hooks/post-commit) 2>/dev/null || echo refused");
        stage.shell(&[], &hook).assert_out("refused\n");
    }
}
