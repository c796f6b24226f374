//! What a program leaves running when it returns.

use std::time::Duration;

use crate::process::Run;
use crate::stage::{Stage, User};

/// Runs a program that leaves a daemon behind; the daemon writes a file a second later.
fn daemon_survives(user: User, inside: bool) -> bool {
    let stage = Stage::new(user);
    let file = stage.path("workspace/daemon-was-here");
    let program = stage.path("workspace/attempt");
    let mut command = match inside {
        true => stage.casemate(),
        false => std::process::Command::new(&program),
    };
    if inside {
        command.arg("--").arg(&program);
    }
    let run = Run::of(command.arg("--linger").arg(&file));
    assert_eq!(run.code, 0, "{run}");
    std::thread::sleep(Duration::from_millis(1500));
    file.exists()
}

#[test]
fn a_daemon_survives_outside() {
    assert!(daemon_survives(User::Same, false));
}

#[test]
fn no_daemon_survives_inside() {
    assert!(!daemon_survives(User::Same, true));
}

#[test]
fn no_daemon_survives_inside_unprivileged() {
    match unsafe { libc::geteuid() } {
        0 => assert!(!daemon_survives(User::Unprivileged, true)),
        _ => println!("skip: this user has no rights already"),
    }
}
