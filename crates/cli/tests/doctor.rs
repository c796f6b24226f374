//! `casemate doctor`: what it says, line by line and as JSON.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Ended, Stage, both, report};
use std::time::Duration;

both!(
    lines,
    json,
    lines_and_json_say_the_same,
    it_leaves_nothing,
    bad_flags,
    ready_means_that_a_run_works
);

/// Every check, in the order in which it is told.
const CHECKS: [&str; 28] = [
    "kernel",
    "architecture",
    "user-namespaces",
    "namespaces",
    "proc",
    "mount-api",
    "tmpfs",
    "overlayfs",
    "landlock",
    "seccomp",
    "seccomp-notify",
    "clone3",
    "pidfd",
    "pidfd-getfd",
    "close-range",
    "openat2",
    "unix-diag",
    "cgroup",
    "memory-limit",
    "pids-limit",
    "cpu-limit",
    "cgroup-kill",
    "nftables",
    "kvm",
    "machines",
    "userfaultfd",
    "pagemap-scan",
    "yama",
];

const STATES: [&str; 3] = ["ok", "weak", "missing"];

fn doctor(stage: &Stage, flags: &[&str]) -> Ended {
    Ended::of(stage.casemate().arg("doctor").args(flags))
}

fn lines(stage: &Stage) {
    let ended = doctor(stage, &[]);
    assert_eq!(ended.err, "");
    let lines: Vec<&str> = ended.out.lines().collect();
    for (line, name) in lines.iter().zip(CHECKS) {
        let (state, rest) = line.split_at(9);
        assert!(STATES.contains(&state.trim_end()), "{line}");
        assert_eq!(rest.split_at(15).0.trim_end(), name, "{line}");
        assert!(rest.contains(" — "), "{line}");
        // What is not well has a remedy.
        assert!(state.trim_end() == "ok" || rest.contains("; "), "{line}");
    }
    let end = &lines[CHECKS.len()..];
    assert_eq!((end.len(), end[0]), (3, ""), "{end:?}");
    let ready = end[1] == "ready: the process wall can run whole";
    assert!(
        ready || end[1].starts_with("not ready: the process wall needs "),
        "{end:?}"
    );
    assert_eq!(ended.code, i32::from(!ready));
    let millis = end[2]
        .strip_prefix("probed in ")
        .and_then(|rest| rest.strip_suffix(" ms"));
    assert!(
        millis.is_some_and(|millis| millis.parse::<u64>().is_ok()),
        "{end:?}"
    );
}

fn json(stage: &Stage) {
    let ended = doctor(stage, &["--json"]);
    assert_eq!(ended.err, "");
    let found = report(&ended.out);
    assert_eq!(ended.code, i32::from(found["ready"] == false));
    assert_eq!(found.as_object().unwrap().len(), 2, "{found}");
    let checks = found["checks"].as_array().unwrap();
    let names: Vec<&str> = checks
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, CHECKS);
    for check in checks {
        assert_eq!(check.as_object().unwrap().len(), 5, "{check}");
        let state = check["status"].as_str().unwrap();
        assert!(STATES.contains(&state), "{check}");
        assert!(
            !check["value"].as_str().unwrap().is_empty()
                && !check["detail"].as_str().unwrap().is_empty(),
            "{check}"
        );
        assert_eq!(check["remedy"].is_null(), state == "ok", "{check}");
    }
}

fn lines_and_json_say_the_same(stage: &Stage) {
    let (text, found) = (
        doctor(stage, &[]).out,
        report(&doctor(stage, &["--json"]).out),
    );
    let checks = found["checks"].as_array().unwrap();
    for (line, check) in text.lines().zip(checks) {
        // How fast a guest ran differs from one run to the next.
        if check["name"] == "kvm" {
            continue;
        }
        let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
        let mut expected = format!(
            "{:<8} {:<15} {} — {}",
            text("status"),
            text("name"),
            text("value"),
            text("detail")
        );
        if !check["remedy"].is_null() {
            expected += &format!("; {}", text("remedy"));
        }
        assert_eq!(line, expected);
    }
}

fn it_leaves_nothing(stage: &Stage) {
    let before = stage.listing("");
    let ended = doctor(stage, &[]);
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    stage.assert_same("", &before);
    stage.assert_nothing_left();
}

fn bad_flags(stage: &Stage) {
    doctor(stage, &["--bogus"]).assert(
        125,
        "",
        "error: unexpected argument '--bogus' found\n\nUsage: casemate doctor [OPTIONS]\n\nFor more information, try '--help'.\n",
    );
    doctor(stage, &["now"]).assert(
        125,
        "",
        "error: unexpected argument 'now' found\n\nUsage: casemate doctor [OPTIONS]\n\nFor more information, try '--help'.\n",
    );
}

fn ready_means_that_a_run_works(stage: &Stage) {
    let ready = report(&doctor(stage, &["--json"]).out)["ready"] == true;
    let ended = stage.run(["--", "true"]);
    assert_eq!(ended.code == 0, ready, "{ended:?}");
}
