//! Input that is refused: the exit code, the whole message, and nothing of the host touched.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Ended, Stage, both, not_utf8};
use std::os::unix::fs::symlink;

both!(
    unknown_flags,
    missing_command,
    missing_separator,
    sizes,
    cpus,
    pids,
    durations,
    ports,
    host_names,
    layers,
    networks,
    environment,
    keep_without_root,
    flags_given_twice,
    missing_paths,
    relative_paths_start_at_the_current_folder,
    parent_folders,
    symlink_loops,
    paths_that_are_not_utf8,
    empty_paths,
    folders_that_are_too_broad,
    fresh_folders_are_not_the_hosts,
    the_whole_view_can_not_be_hidden,
    working_folders,
    programs_that_can_not_be_run,
    programs_that_are_not_there,
    an_interpreter_that_is_not_there,
    policies,
);

const HELP: &str = "\n\nFor more information, try '--help'.\n";
const MUST_EXIST: &str =
    "\nhint: a path must exist on the host; inside it appears at the same place\n";

/// Runs `casemate run FLAGS -- touch ran`, which must be refused with this message.
#[track_caller]
fn refused(stage: &Stage, flags: &[&str], message: &str) {
    let command: Vec<&str> = flags
        .iter()
        .copied()
        .chain(["--", "touch", "ran"])
        .collect();
    refused_whole(stage, &command, 125, message);
}

#[track_caller]
fn refused_whole(stage: &Stage, args: &[&str], code: i32, message: &str) {
    refused_run(stage, || stage.run(args), code, message);
}

#[track_caller]
fn refused_run(stage: &Stage, run: impl FnOnce() -> Ended, code: i32, message: &str) {
    let before = stage.listing("");
    run().assert(code, "", message);
    stage.assert_same("", &before);
    stage.assert_nothing_left();
}

/// A value that clap's parser refuses.
#[track_caller]
fn bad_value(stage: &Stage, flag: &str, shown: &str, value: &str, why: &str) {
    let message = format!("error: invalid value '{value}' for '{flag} <{shown}>': {why}{HELP}");
    refused(stage, &[&format!("{flag}={value}")], &message);
}

fn unknown_flags(stage: &Stage) {
    refused(
        stage,
        &["--bogus"],
        &format!(
            "error: unexpected argument '--bogus' found\n\n  tip: to pass '--bogus' as a value, use '-- --bogus'\n\n\
             Usage: casemate run [OPTIONS] -- <CMD>...{HELP}"
        ),
    );
    refused(
        stage,
        &["--memroy", "1G"],
        &format!(
            "error: unexpected argument '--memroy' found\n\n  tip: a similar argument exists: '--memory'\n  \
             tip: to pass '--memroy' as a value, use '-- --memroy'\n\nUsage: casemate run --memory <SIZE> -- <CMD>...{HELP}"
        ),
    );
}

fn missing_command(stage: &Stage) {
    let message = format!(
        "error: the following required arguments were not provided:\n  <CMD>...\n\n\
         Usage: casemate run -- <CMD>...{HELP}"
    );
    refused_whole(stage, &[], 125, &message);
    refused_whole(stage, &["--"], 125, &message);
}

fn missing_separator(stage: &Stage) {
    let message = format!(
        "error: unexpected argument 'touch' found\n\nUsage: casemate run [OPTIONS] -- <CMD>...{HELP}"
    );
    refused_whole(stage, &["touch", "ran"], 125, &message);
}

fn sizes(stage: &Stage) {
    const FORM: &str = "expected a number with K, M, G or T, such as 512M";
    for flag in ["--memory", "--disk"] {
        for (value, why) in [
            ("0", "the size must be larger than zero"),
            ("0G", "the size must be larger than zero"),
            ("99999999999999999999", "the number is too large"),
            ("16777216T", "the size is too large"),
            ("9223372036854775808", "the size is too large"),
            ("x", FORM),
            ("-1", FORM),
            ("1.5G", FORM),
            ("1 G", FORM),
            ("1Q", FORM),
            ("0x10", FORM),
        ] {
            bad_value(stage, flag, "SIZE", value, why);
        }
    }
}

fn cpus(stage: &Stage) {
    const FORM: &str = "expected a number of CPUs such as 2 or 0.5";
    const RANGE: &str = "expected between 0.01 and 4096 CPUs";
    for (value, why) in [
        ("nan", FORM),
        ("inf", FORM),
        ("1e3", FORM),
        ("-1", FORM),
        (".", FORM),
        ("0", RANGE),
        ("0.001", RANGE),
        ("4097", RANGE),
    ] {
        bad_value(stage, "--cpus", "N", value, why);
    }
}

fn pids(stage: &Stage) {
    for (value, why) in [
        ("0", "0 is not in 1..4000000"),
        ("-1", "-1 is not in 1..4000000"),
        ("4000000", "4000000 is not in 1..4000000"),
        (
            "99999999999999999999",
            "number too large to fit in target type",
        ),
        ("x", "invalid digit found in string"),
    ] {
        bad_value(stage, "--pids", "N", value, why);
    }
}

fn durations(stage: &Stage) {
    const FORM: &str = "expected a duration such as 500ms, 30s, 5m or 2h";
    for (value, why) in [
        ("garbage", FORM),
        ("1w", FORM),
        ("-1", FORM),
        ("1.5s", FORM),
        ("0", "the duration must be longer than zero"),
        ("0ms", "the duration must be longer than zero"),
        ("18446744073709551615h", "the duration is too long"),
        ("99999999999999999999", "the number is too large"),
    ] {
        bad_value(stage, "--time", "DURATION", value, why);
    }
}

fn ports(stage: &Stage) {
    for flag in ["--tcp-connect", "--tcp-bind"] {
        bad_value(stage, flag, "PORT", "65536", "65536 is not in 0..=65535");
        bad_value(stage, flag, "PORT", "http", "invalid digit found in string");
    }
}

fn host_names(stage: &Stage) {
    let long = "x".repeat(65);
    for value in ["a b", "-a", ".a", "a/b", "a_b", "ä", &long] {
        bad_value(
            stage,
            "--hostname",
            "H",
            value,
            "expected up to 64 letters, digits, hyphens and dots",
        );
    }
}

fn layers(stage: &Stage) {
    for value in ["seccomp", "Landlock", "all"] {
        let why = "no such layer; the layers are landlock, seccomp-notify, time-namespace, cgroup-namespace, \
                   cpu-limit, pids-limit, disk-quota";
        bad_value(stage, "--allow-missing", "LAYER", value, why);
    }
}

fn networks(stage: &Stage) {
    let message = format!(
        "error: invalid value 'bridge' for '--net <NET>'\n  [possible values: none, host, policy]{HELP}"
    );
    refused(stage, &["--net", "bridge"], &message);
    refused(
        stage,
        &["--net", "policy"],
        "casemate: error: use --net policy: there is no policy\nhint: give one with --policy FILE\n",
    );
}

fn environment(stage: &Stage) {
    const HINT: &str = "the name is empty\nhint: --env NAME=VALUE sets, --env NAME passes\n";
    refused(
        stage,
        &["--env", "=x"],
        &format!("casemate: error: use --env =x: {HINT}"),
    );
    refused(
        stage,
        &["--env", "="],
        &format!("casemate: error: use --env =: {HINT}"),
    );
}

fn keep_without_root(stage: &Stage) {
    let message = format!(
        "error: the following required arguments were not provided:\n  --root <DIR|TAR>\n\n\
         Usage: casemate run --root <DIR|TAR> --keep <DIR> -- <CMD>...{HELP}"
    );
    refused(stage, &["--keep", "kept"], &message);
}

fn flags_given_twice(stage: &Stage) {
    let message = format!(
        "error: the argument '--name <N>' cannot be used multiple times\n\n\
         Usage: casemate run [OPTIONS] -- <CMD>...{HELP}"
    );
    refused(stage, &["--name", "a", "--name", "b"], &message);
}

fn missing_paths(stage: &Stage) {
    let nope = stage.text("nope");
    for flag in ["--ro", "--rw", "--hide"] {
        let message = format!(
            "casemate: error: {flag}: bring in {nope}: No such file or directory (os error 2){MUST_EXIST}"
        );
        refused(stage, &[flag, &nope], &message);
    }
    let message = format!(
        "casemate: error: use as the working folder {nope}: No such file or directory (os error 2)\n"
    );
    refused(stage, &["--workdir", &nope], &message);
    let message = format!(
        "casemate: error: read the archive {nope}: No such file or directory (os error 2)\n"
    );
    refused(stage, &["--root", &nope], &message);
    let message = format!(
        "casemate: error: apply the policy: \n{nope}: cannot read the policy file: No such file or directory (os error 2)\n\
         hint: check the name; a relative path starts at the current directory\n"
    );
    refused(stage, &["--policy", &nope], &message);
}

fn relative_paths_start_at_the_current_folder(stage: &Stage) {
    let message = format!(
        "casemate: error: --ro: bring in {}: No such file or directory (os error 2){MUST_EXIST}",
        stage.text("ws/nope")
    );
    refused(stage, &["--ro", "nope"], &message);
    refused(stage, &["--ro", "./nope/."], &message);
    stage.write("ws/sub/file", "here\n");
    stage
        .shell(&["--ro", "sub/file"], "cat sub/file; echo x >> sub/file")
        .assert(
            2,
            "here\n",
            "sh: 1: cannot create sub/file: Read-only file system\n",
        );
    stage
        .shell(&["--workdir", "./sub"], "pwd")
        .assert_out(&format!("{}\n", stage.text("ws/sub")));
}

fn parent_folders(stage: &Stage) {
    stage.folder("ws/sub");
    for flag in ["--ro", "--rw", "--hide", "--workdir", "--root"] {
        for path in ["../home", "sub/../sub", "/usr/../usr", ".."] {
            let message = format!(
                "casemate: error: use {flag} {path}: the path has a `..` in it\nhint: give the path that it means\n"
            );
            refused(stage, &[flag, path], &message);
        }
    }
    let message = "casemate: error: use --keep ../kept: the path has a `..` in it\nhint: give the path that it means\n";
    refused(stage, &["--root", "sub", "--keep", "../kept"], message);
}

fn symlink_loops(stage: &Stage) {
    symlink("loop", stage.path("ws/loop")).unwrap();
    let path = stage.text("ws/loop");
    for flag in ["--ro", "--rw", "--hide"] {
        let message = format!(
            "casemate: error: {flag}: bring in {path}: Too many levels of symbolic links (os error 40)\n\
             hint: the path goes through symbolic links in a circle\n"
        );
        refused(stage, &[flag, &path], &message);
    }
    let message = format!(
        "casemate: error: use as the working folder {path}: Too many levels of symbolic links (os error 40)\n"
    );
    refused(stage, &["--workdir", &path], &message);
    let message = format!(
        "casemate: error: read the archive {path}: Too many levels of symbolic links (os error 40)\n"
    );
    refused(stage, &["--root", &path], &message);
}

fn paths_that_are_not_utf8(stage: &Stage) {
    for flag in ["--ro", "--rw", "--hide", "--workdir", "--root"] {
        let run = || {
            Ended::of(
                stage
                    .casemate()
                    .args(["run", flag])
                    .arg(not_utf8())
                    .args(["--", "touch", "ran"]),
            )
        };
        let message = format!("casemate: error: use {flag} x\u{fffd}: the path is not UTF-8\n");
        refused_run(stage, run, 125, &message);
    }
    stage.folder(stage.workspace().join(not_utf8()));
    let run = || {
        let mut command = stage.casemate();
        Ended::of(
            command
                .current_dir(stage.workspace().join(not_utf8()))
                .args(["run", "--", "touch", "ran"]),
        )
    };
    let message = format!(
        "casemate: error: use as the working folder {}/x\u{fffd}: its path is not UTF-8\n",
        stage.text("ws")
    );
    refused_run(stage, run, 125, &message);
}

fn empty_paths(stage: &Stage) {
    for (flag, shown) in [
        ("--ro", "PATH"),
        ("--rw", "PATH"),
        ("--hide", "PATH"),
        ("--workdir", "DIR"),
        ("--root", "DIR|TAR"),
        ("--report", "FILE|-"),
        ("--policy", "FILE"),
    ] {
        let message = format!(
            "error: a value is required for '{flag} <{shown}>' but none was supplied{HELP}"
        );
        refused(stage, &[flag, ""], &message);
    }
}

fn folders_that_are_too_broad(stage: &Stage) {
    let home = stage.text("home");
    let above = stage.text("").trim_end_matches('/').to_owned();
    const HOME: &str = "it is or holds your home folder, with your keys in it";
    for (path, why) in [
        ("/", "it is the whole file system"),
        (&*home, HOME),
        (&*above, HOME),
        ("/usr", "it belongs to the system"),
        ("/etc", "it belongs to the system"),
        ("/dev", "it belongs to the system"),
        ("/usr/bin", "it belongs to the system"),
        ("/var", "it is shared with the rest of the system"),
        ("/home", "it is shared with the rest of the system"),
    ] {
        let message = format!(
            "casemate: error: --rw: bring in {path}: {why}\nhint: name the folders that the program needs\n"
        );
        refused(stage, &["--rw", path], &message);
    }
    // A link to it is the same folder.
    symlink("/", stage.path("ws/all")).unwrap();
    let message = "casemate: error: --rw: bring in /: it is the whole file system\nhint: name the folders that the program needs\n";
    refused_run(
        stage,
        || stage.run(["--rw", "all", "--", "touch", "ran"]),
        125,
        &message.replace(" /:", &format!(" {}:", stage.text("ws/all"))),
    );
}

fn fresh_folders_are_not_the_hosts(stage: &Stage) {
    for flag in ["--ro", "--rw"] {
        for path in ["/proc", "/proc/1", "/sys", "/sys/kernel"] {
            let message = format!(
                "casemate: error: {flag}: bring in {path}: a sandbox has a /proc and /sys of its own\n"
            );
            refused(stage, &[flag, path], &message);
        }
    }
}

fn the_whole_view_can_not_be_hidden(stage: &Stage) {
    refused(
        stage,
        &["--hide", "/"],
        "casemate: error: --hide: bring in /: nothing would be left\n",
    );
    let ended = stage.run(["--ro", "/", "--", "touch", "ran"]);
    assert_eq!((ended.code, &*ended.out), (125, ""));
    assert!(
        ended.err.starts_with("casemate: error: --ro: bring in /: "),
        "{}",
        ended.err
    );
}

fn working_folders(stage: &Stage) {
    stage.write("ws/file", "");
    let (file, home) = (stage.text("ws/file"), stage.text("home"));
    refused(
        stage,
        &["--workdir", &file],
        &format!("casemate: error: use as the working folder {file}: not a folder\n"),
    );
    for (path, why) in [
        ("/", "it is the whole file system"),
        (
            &*home,
            "it is or holds your home folder, with your keys in it",
        ),
        ("/etc", "it belongs to the system"),
        ("/var", "it is shared with the rest of the system"),
    ] {
        let message = format!(
            "casemate: error: use as the working folder {path}: {why}\nhint: choose a project folder with --workdir DIR\n"
        );
        refused(stage, &["--workdir", path], &message);
    }
}

fn programs_that_can_not_be_run(stage: &Stage) {
    stage.write("ws/plain", "#!/bin/sh\necho ran\n");
    stage.script("ws/text", "neither a script nor a binary\n");
    stage.script("ws/broken", b"\x7fELF, or so it says");
    let ws = stage.text("ws");
    const FORM: &str = "Exec format error (os error 8)\nhint: it is neither a binary of this machine nor a script with a #! line\n";
    refused_whole(
        stage,
        &["--", "/usr"],
        126,
        "casemate: error: run /usr: it is a folder\n",
    );
    let path = format!("{ws}/plain");
    let message = format!(
        "casemate: error: run {path}: it has no execute permission\nhint: chmod +x it, or run it by its interpreter\n"
    );
    refused_whole(stage, &["--", &path], 126, &message);
    for name in ["text", "broken"] {
        let path = format!("{ws}/{name}");
        refused_whole(
            stage,
            &["--", &path],
            126,
            &format!("casemate: error: run {path}: {FORM}"),
        );
    }
}

fn programs_that_are_not_there(stage: &Stage) {
    let nope = stage.text("ws/nope");
    let message = format!("casemate: error: run {nope}: No such file or directory (os error 2)\n");
    refused_whole(stage, &["--", &nope], 127, &message);
    const HINT: &str = "hint: it is in no folder of PATH; give its path, or install it\n";
    let message = format!(
        "casemate: error: run no-such-program: No such file or directory (os error 2)\n{HINT}"
    );
    refused_whole(stage, &["--", "no-such-program"], 127, &message);
}

fn an_interpreter_that_is_not_there(stage: &Stage) {
    stage.script("ws/script", "#!/nope/interpreter\n");
    let path = stage.text("ws/script");
    let message = format!(
        "casemate: error: run {path}: No such file or directory (os error 2)\n\
         hint: the program or its interpreter is not in the view; bring its folder in with --ro PATH\n"
    );
    refused_whole(stage, &["--", &path], 127, &message);
}

fn policies(stage: &Stage) {
    stage.write(
        "ws/p.yaml",
        "version: 1\nfilesystem_polcy:\n  read_only: [/usr]\n",
    );
    refused(
        stage,
        &["--policy", "p.yaml"],
        "casemate: error: apply the policy: \np.yaml:2:1: unknown field `filesystem_polcy`\n\
         hint: did you mean `filesystem_policy`?\n",
    );
    refused(
        stage,
        &["--policy", "/"],
        "casemate: error: apply the policy: \n/: the policy must be a regular file; this is a directory\n\
         hint: name the file itself; pipes and devices are not read\n",
    );
}
