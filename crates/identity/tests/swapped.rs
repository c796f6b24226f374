//! Executables that are replaced, renamed, removed, or were never there.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use casemate_identity::{Digest, Identity, Refusal, Scope};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::{Running, Stage, assert_changed, bytes, digest, settle, wait_until};

/// Trusts a program by running it, swaps it, and runs it again.
fn after(swap: impl FnOnce(&Stage, &Path)) -> (Digest, Digest, Result<Arc<Identity>, Refusal>) {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let known = digest(&program);
    let identifier = stage.identifier();
    Running::sleeping(&program).identify(&identifier).unwrap();
    swap(&stage, &program);
    let result = Running::sleeping(&program).identify(&identifier);
    (known, digest(&program), result)
}

#[track_caller]
fn refused(swap: impl FnOnce(&Stage, &Path)) {
    let (known, found, result) = after(swap);
    assert_ne!(known, found);
    assert_changed(result, known, found);
}

#[test]
fn renamed_over() {
    refused(|stage, program| fs::rename(stage.sleeper("other", b"other"), program).unwrap());
}

#[test]
fn overwritten() {
    refused(|_, program| {
        let contents = fs::read("/bin/sleep").unwrap();
        fs::write(program, contents).unwrap();
    });
}

#[test]
fn overwritten_with_its_size_and_time() {
    refused(|_, program| {
        let before = fs::metadata(program).unwrap();
        let contents = [&fs::read("/bin/sleep").unwrap()[..], b"FIRST"].concat();
        fs::write(program, contents).unwrap();
        let times = FileTimes::new().set_modified(before.modified().unwrap());
        File::options()
            .write(true)
            .open(program)
            .unwrap()
            .set_times(times)
            .unwrap();
        let now = fs::metadata(program).unwrap();
        assert_eq!(
            (now.len(), now.modified().unwrap()),
            (before.len(), before.modified().unwrap())
        );
    });
}

#[test]
fn nothing_is_refused_where_nothing_is_compared() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let identifier = stage.identifier();
    identifier.compare(false);
    let first = Running::sleeping(&program).identify(&identifier).unwrap();
    let known = digest(&program);
    assert_eq!(first.executable.digest, known);
    fs::rename(stage.sleeper("other", b"other"), &program).unwrap();
    let other = Running::sleeping(&program);
    let second = other.identify(&identifier).unwrap();
    assert_eq!(second.executable.digest, digest(&program));
    // From then on that it is, the first that was seen is the one that counts.
    identifier.compare(true);
    assert_changed(other.identify(&identifier), known, digest(&program));
}

#[test]
fn hard_linked() {
    refused(|stage, program| {
        fs::remove_file(program).unwrap();
        fs::hard_link(stage.sleeper("other", b"other"), program).unwrap();
    });
}

#[test]
fn the_same_again_is_no_change() {
    let (known, found, result) = after(|stage, program| {
        fs::rename(stage.sleeper("other", b"first"), program).unwrap();
    });
    assert_eq!((known, result.unwrap().executable.digest), (found, found));
}

#[test]
fn mounted_over() {
    let stage = Stage::new();
    let (program, other) = (
        stage.sleeper("program", b"first"),
        stage.sleeper("other", b"other"),
    );
    let identifier = stage.identifier();
    Running::sleeping(&program).identify(&identifier).unwrap();
    let line = format!(
        "mount --bind {} {} && echo ready && exec {} 1000",
        other.display(),
        program.display(),
        program.display()
    );
    let mut unshare = Command::new("unshare");
    let probe = Command::new("unshare").args(["-Urm", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return println!("skip: no user namespaces here");
    }
    let mut running = Running::start(unshare.args(["-Urm", "sh", "-c", &line]));
    assert_eq!(running.hear(), "ready");
    let exe = format!("/proc/{}/exe", running.id());
    wait_until("the shell to become the program", || {
        fs::read_link(&exe).unwrap() == program
    });
    assert_changed(
        running.identify(&identifier),
        digest(&program),
        digest(&other),
    );
}

#[test]
fn refused_until_approved() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let known = digest(&program);
    let identifier = stage.identifier();
    Running::sleeping(&program).identify(&identifier).unwrap();
    fs::rename(stage.sleeper("other", b"other"), &program).unwrap();
    let found = digest(&program);
    let running = Running::sleeping(&program);
    let refused = running.identify(&identifier);
    let text = refused.as_ref().unwrap_err().to_string();
    assert!(
        text.contains(&format!(
            "hint: if the change is yours, `casemate identity approve {}`",
            program.display()
        )),
        "{text}"
    );
    assert_changed(refused, known, found);
    // Not for a new process either, nor one that was warm before.
    assert_changed(
        Running::sleeping(&program).identify(&stage.identifier()),
        known,
        found,
    );

    // As another process would.
    let store = stage.store();
    let records = store.show(bytes(&program)).unwrap();
    let states: Vec<_> = records
        .iter()
        .map(|record| (record.digest, record.approved))
        .collect();
    assert!(
        states.contains(&(known, true)) && states.contains(&(found, false)),
        "{states:?}"
    );
    store.approve(bytes(&program), found).unwrap();
    assert_eq!(
        running.identify(&identifier).unwrap().executable.digest,
        found
    );
}

#[test]
fn an_ancestor_that_was_swapped() {
    let stage = Stage::new();
    let shell = stage.copy("/bin/sh", "shell", b"first");
    let known = digest(&shell);
    let identifier = stage.identifier();
    let child = |shell: &PathBuf| {
        let mut running = Running::start(
            Command::new(shell)
                .arg("-c")
                .arg("sh -c 'echo $$; read x'; true"),
        );
        let id = running.hear().parse().unwrap();
        let result = identifier.identify(casemate_identity::Subject::Task(id));
        running.say("");
        result
    };
    assert_eq!(child(&shell).unwrap().ancestors[0].digest, known);
    stage.copy("/bin/sh", "shell", b"other");
    assert_changed(child(&shell), known, digest(&shell));
}

#[test]
fn removed_while_it_runs() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let known = digest(&program);
    let identifier = stage.identifier();
    let running = Running::sleeping(&program);
    assert!(!running.identify(&identifier).unwrap().executable.deleted);
    let is_gone = |identity: Arc<Identity>| {
        let executable = &identity.executable;
        assert!(executable.deleted);
        assert_eq!(
            (&*executable.path, executable.digest),
            (bytes(&program), known)
        );
    };
    fs::remove_file(&program).unwrap();
    is_gone(running.identify(&identifier).unwrap());
    // Replaced, as a package manager does: the old one goes on, trusted as it was.
    stage.sleeper("program", b"other");
    is_gone(running.identify(&identifier).unwrap());
    is_gone(running.identify(&stage.identifier()).unwrap());
}

#[test]
fn removed_under_this_name_only() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let running = Running::sleeping(&program);
    fs::hard_link(&program, stage.path("kept")).unwrap();
    fs::remove_file(&program).unwrap();
    settle(&stage.path("kept"));
    let identity = running.identify(&stage.identifier()).unwrap();
    assert!(identity.executable.deleted);
    assert_eq!(*identity.executable.path, *bytes(&program));
}

#[test]
fn really_called_deleted() {
    let stage = Stage::new();
    let program = stage.sleeper("program (deleted)", b"first");
    let identity = Running::sleeping(&program)
        .identify(&stage.identifier())
        .unwrap();
    assert!(!identity.executable.deleted);
    assert_eq!(*identity.executable.path, *bytes(&program));
}

#[test]
fn removed_before_it_was_ever_seen() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let known = digest(&program);
    let running = Running::sleeping(&program);
    fs::remove_file(&program).unwrap();
    let identifier = stage.identifier();
    assert!(running.identify(&identifier).unwrap().executable.deleted);
    // The store is for files that others will see too, but this sandbox remembers.
    assert_eq!(stage.store().list().unwrap(), []);
    stage.sleeper("program", b"other");
    let result = Running::sleeping(&program).identify(&identifier);
    assert_changed(result, known, digest(&program));
}

#[test]
fn a_memory_file() {
    let stage = Stage::new();
    let identifier = stage.identifier();
    for tail in ["first", "other"] {
        let contents = [&fs::read("/bin/sleep").unwrap()[..], tail.as_bytes()].concat();
        let written = memfd_create("bin/sleep", MemfdFlags::CLOEXEC).unwrap();
        let mut written = File::from(written);
        written.write_all(&contents).unwrap();
        // What is open for writing can't be executed.
        let file = File::open(format!("/proc/self/fd/{}", written.as_raw_fd())).unwrap();
        drop(written);
        let program = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let running = Running::sleeping(Path::new(&program));
        let executable = &running.identify(&identifier).unwrap().executable;
        assert!(executable.deleted);
        assert_eq!(*executable.path, *b"/memfd:bin/sleep");
        assert_eq!(executable.digest, digest(Path::new(&program)));
    }
    assert_eq!(stage.store().list().unwrap(), []);
}

#[test]
fn a_private_file_is_remembered_by_its_sandbox_alone() {
    let stage = Stage::new();
    let program = stage.sleeper("program", b"first");
    let known = digest(&program);
    let private = || stage.identifier_of(Arc::default(), |_, _| Scope::Private);
    let (one, two) = (private(), private());
    Running::sleeping(&program).identify(&one).unwrap();
    fs::rename(stage.sleeper("other", b"other"), &program).unwrap();
    let running = Running::sleeping(&program);
    assert_changed(running.identify(&one), known, digest(&program));
    assert_eq!(
        running.identify(&two).unwrap().executable.digest,
        digest(&program)
    );
    assert_eq!(stage.store().list().unwrap(), []);
}
