//! What is hashed, and how often.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use casemate_identity::{Digests, Refusal, Scope, Subject};
use rustix::fd::AsFd as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use support::{Running, Stage, age, assert_changed, digest, settle};

fn private(_: &[u8], _: u64) -> Scope {
    Scope::Private
}

#[test]
fn many_who_wait_hash_once() {
    let stage = Stage::new();
    let program = stage.sleeper("program", &vec![7; 32 << 20]);
    let running = Running::sleeping(&program);
    let digests = Arc::new(Digests::new());
    // Each with an identifier of its own: what they share is the digests.
    let identifiers: Vec<_> = (0..8)
        .map(|_| stage.identifier_of(digests.clone(), private))
        .collect();
    let barrier = Barrier::new(identifiers.len());
    std::thread::scope(|scope| {
        for identifier in &identifiers {
            scope.spawn(|| {
                barrier.wait();
                running.identify(identifier).unwrap();
            });
        }
    });
    assert_eq!(digests.hashed(), 1);
}

#[test]
fn a_later_process_recalls_instead_of_hashing() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"");
    let running = Running::sleeping(&program);
    running.identify(&stage.identifier()).unwrap();
    let digests = Arc::new(Digests::new());
    let host = || stage.identifier_of(digests.clone(), |_, _| Scope::Host);
    let identity = running.identify(&host()).unwrap();
    assert_eq!(
        (identity.executable.digest, digests.hashed()),
        (digest(&program), 0)
    );
    // Not after its times changed, though its contents are the same.
    fs::set_permissions(&program, fs::metadata(&program).unwrap().permissions()).unwrap();
    settle(&program);
    running.identify(&host()).unwrap();
    assert_eq!(digests.hashed(), 1);
}

#[test]
fn a_file_that_just_changed_is_hashed_each_time() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"");
    let running = Running::sleeping(&program);
    for _ in 0..50 {
        let digests = Arc::new(Digests::new());
        let identifier = stage.identifier_of(digests.clone(), private);
        fs::set_permissions(&program, fs::metadata(&program).unwrap().permissions()).unwrap();
        running.identify(&identifier).unwrap();
        let in_time = age(&program) < Duration::from_millis(20);
        if in_time {
            assert_eq!(identifier.identify_warm(Subject::Task(running.id())), None);
            running.identify(&identifier).unwrap();
            assert_eq!(digests.hashed(), 2);
            settle(&program);
            running.identify(&identifier).unwrap();
            assert_eq!(digests.hashed(), 3);
            running.identify(&identifier).unwrap();
            assert_eq!(digests.hashed(), 3);
            return;
        }
    }
    println!("skip: this machine is too slow to hash a small file within 20 ms");
}

#[test]
fn what_is_named_ahead_is_warm() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"");
    let digests = Arc::new(Digests::new());
    let identifier = stage.identifier_of(digests.clone(), private);
    let paths = vec![
        program.clone(),
        stage.path("absent"),
        stage.path(""),
        "/dev/zero".into(),
    ];
    assert_eq!(identifier.prehash(paths).unwrap().join().unwrap(), 1);
    assert_eq!(digests.hashed(), 1);
    Running::sleeping(&program).identify(&identifier).unwrap();
    assert_eq!(digests.hashed(), 1);
}

#[test]
fn a_file_that_can_still_be_written_is_not_kept() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let digests = Arc::new(Digests::new());
    let identifier = stage.identifier_of(digests.clone(), private);
    let prehash = || {
        identifier
            .prehash(vec![program.clone()])
            .unwrap()
            .join()
            .unwrap()
    };
    let writer = File::options().write(true).open(&program).unwrap();
    assert_eq!((prehash(), digests.hashed()), (1, 1));
    let at = writer.metadata().unwrap().len() - 5;
    writer.write_all_at(b"other", at).unwrap();
    drop(writer);
    settle(&program);
    assert_eq!((prehash(), digests.hashed()), (1, 2));
    assert_eq!((prehash(), digests.hashed()), (1, 2));
    let identity = Running::sleeping(&program).identify(&identifier).unwrap();
    assert_eq!(identity.executable.digest, digest(&program));
}

#[test]
fn a_sparse_giant_is_not_hashed() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"");
    let size = (2 << 30) + 1;
    File::options()
        .write(true)
        .open(&program)
        .unwrap()
        .set_len(size)
        .unwrap();
    let digests = Arc::new(Digests::new());
    let identifier = stage.identifier_of(digests.clone(), private);
    let result = Running::sleeping(&program).identify(&identifier);
    assert!(
        matches!(result, Err(Refusal::TooLarge { size: found, .. }) if found == size),
        "{result:?}"
    );
    assert_eq!(digests.hashed(), 0);
}

#[test]
fn a_sandbox_that_ends_hashes_no_more() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"");
    let identifier = stage.identifier_of(Arc::default(), private);
    identifier.stop();
    assert_eq!(
        Running::sleeping(&program).identify(&identifier),
        Err(Refusal::Stopped)
    );
}

#[test]
fn forgotten_and_seen_again() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let known = digest(&program);
    let identifier = stage.identifier();
    Running::sleeping(&program).identify(&identifier).unwrap();
    stage.sleeper("program", b"other");
    let running = Running::sleeping(&program);
    assert_changed(running.identify(&identifier), known, digest(&program));
    stage.store().forget(support::bytes(&program)).unwrap();
    assert_eq!(
        running.identify(&identifier).unwrap().executable.digest,
        digest(&program)
    );
}

/// A file that the kernel holds to a digest needs no hashing, once its SHA-256 was recorded.
#[test]
fn fs_verity_confirms() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"");
    let enabled = std::process::Command::new("fsverity")
        .arg("enable")
        .arg(&program)
        .output();
    if !enabled.is_ok_and(|output| output.status.success()) {
        return println!("skip: fs-verity can't be enabled on {}", program.display());
    }
    let file = File::open(&program).unwrap();
    assert!(
        casemate_sys::verity::measure(file.as_fd())
            .unwrap()
            .is_some()
    );
    settle(&program);
    let running = Running::sleeping(&program);
    running.identify(&stage.identifier()).unwrap();
    // Another ctime, and so another fingerprint; the contents can't have changed.
    fs::set_permissions(&program, fs::metadata(&program).unwrap().permissions()).unwrap();
    settle(&program);
    let digests = Arc::new(Digests::new());
    let identifier = stage.identifier_of(digests.clone(), |_, _| Scope::Host);
    let identity = running.identify(&identifier).unwrap();
    assert_eq!(
        (identity.executable.digest, digests.hashed()),
        (digest(&program), 0)
    );
}

#[test]
fn no_digest_of_an_ordinary_file() {
    let file = tempfile::tempfile().unwrap();
    assert_eq!(casemate_sys::verity::measure(file.as_fd()), Ok(None));
}
