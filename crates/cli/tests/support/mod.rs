//! What tests of whole programs need beside the stage: programs that a machine may lack, and an
//! end to every wait.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use crate::sandbox::{Stage, wait_until};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Longer than anything takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// True if every program is there; says so if one isn't.
pub(crate) fn has(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| !Path::new(program).exists())
        .collect();
    for program in &missing {
        println!("skip: needs {program}");
    }
    missing.is_empty()
}

/// Starts a program.
#[track_caller]
pub(crate) fn start(command: &mut Command) -> Child {
    command
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"))
}

/// Runs a program that must succeed.
#[track_caller]
pub(crate) fn works(command: &mut Command) {
    let status = start(command).wait().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// The end of a program that must come soon; one that hangs is killed, and the test fails.
#[track_caller]
pub(crate) fn end_of(child: &mut Child, within: Duration) -> ExitStatus {
    let started = std::time::Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if started.elapsed() < within => std::thread::sleep(Duration::from_millis(2)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it did not end within {within:?}");
            }
        }
    }
}

/// Standard output of a program that is fed these bytes; it must succeed.
#[track_caller]
pub(crate) fn filtered(command: &mut Command, input: Vec<u8>) -> Vec<u8> {
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        stdout.read_to_end(&mut output).map(|_| output)
    });
    let status = end_of(&mut child, PATIENCE);
    assert!(status.success(), "{command:?} ended with {status}");
    feeder.join().unwrap().unwrap();
    reader.join().unwrap().unwrap()
}

/// Waits for a file that a program makes.
#[track_caller]
pub(crate) fn wait_for_file(stage: &Stage, path: &str) {
    wait_until(Duration::from_secs(20), path, || stage.path(path).exists());
}
