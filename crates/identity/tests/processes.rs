//! Real processes: what is found of them, and when they are not what they were.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use casemate_identity::process::{Process, Procfs};
use casemate_identity::{Digests, Identifier, Identity, Refusal, Scope, Subject, Trust};
use rustix::fd::AsFd as _;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, set_child_subreaper};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::sync::Arc;
use support::{Running, Stage, bytes, digest, own_id, wait_until};

fn arguments(identity: &Identity) -> Vec<&[u8]> {
    identity.argv.iter().collect()
}

fn pid(id: i32) -> Pid {
    Pid::from_raw(id).unwrap()
}

#[test]
fn a_program_by_id_and_by_pidfd() {
    let stage = Stage::new();
    let sleeper = stage.sleeper("sleeper", b"");
    let running = Running::sleeping(&sleeper);
    let identifier = stage.identifier();
    assert!(
        identifier
            .identify_warm(Subject::Task(running.id()))
            .is_none()
    );
    let identity = running.identify(&identifier).unwrap();
    assert_eq!(identity.pid, running.id());
    assert_eq!(*identity.executable.path, *bytes(&sleeper));
    assert_eq!(identity.executable.digest, digest(&sleeper));
    assert!(!identity.executable.deleted);
    assert_eq!((identity.ancestors.len(), &identity.script), (0, &None));
    assert_eq!(arguments(&identity), [bytes(&sleeper), b"1000"]);

    let pidfd = pidfd_open(pid(running.id()), PidfdFlags::empty()).unwrap();
    let subject = Subject::Pidfd(pidfd.as_fd());
    assert!(Arc::ptr_eq(
        &identifier.identify(subject).unwrap(),
        &identity
    ));
    assert!(Arc::ptr_eq(
        &identifier.identify_warm(subject).unwrap(),
        &identity
    ));
    running.end();
    assert_eq!(identifier.identify(subject), Err(Refusal::Gone));
    assert_eq!(identifier.identify_warm(subject), None);
}

#[test]
fn what_is_kept_open_of_a_process_ends_with_it() {
    let stage = Stage::new();
    let sleeper = stage.sleeper("sleeper", b"");
    let identifier = stage.identifier();
    // More than are kept.
    let all: Vec<_> = (0..20).map(|_| Running::sleeping(&sleeper)).collect();
    for _ in 0..2 {
        for running in &all {
            assert_eq!(running.identify(&identifier).unwrap().pid, running.id());
        }
    }
    for running in all {
        let id = running.id();
        running.end();
        assert_eq!(identifier.identify(Subject::Task(id)), Err(Refusal::Gone));
    }
}

#[test]
fn another_process_of_a_known_program_is_warm() {
    let stage = Stage::new();
    let sleeper = stage.sleeper("sleeper", b"");
    let identifier = stage.identifier();
    Running::sleeping(&sleeper).identify(&identifier).unwrap();
    let other = Running::sleeping(&sleeper);
    let identity = identifier.identify_warm(Subject::Task(other.id())).unwrap();
    assert_eq!(identity.pid, other.id());
}

#[test]
fn a_thread_is_its_process() {
    let stage = Stage::new();
    let script = "import threading
threading.Thread(target=lambda: (print(threading.get_native_id(), flush=True), input())).start()";
    let mut running = Running::python(script);
    let thread = running.hear().parse().unwrap();
    assert_ne!(thread, running.id());
    let identifier = stage.identifier();
    let identity = identifier.identify(Subject::Task(thread)).unwrap();
    assert_eq!(identity.pid, running.id());
    let exe = fs::read_link(format!("/proc/{}/exe", running.id())).unwrap();
    assert_eq!(*identity.executable.path, *bytes(&exe));
    let again = identifier.identify_warm(Subject::Task(thread)).unwrap();
    assert!(Arc::ptr_eq(&again, &identity));
}

#[test]
fn ancestors_nearest_first() {
    let stage = Stage::new();
    let sleeper = stage.sleeper("sleeper", b"");
    let shell = stage.copy("/bin/sh", "shell", b"");
    let script = stage.write(
        "run.py",
        "import subprocess, sys
child = subprocess.Popen([sys.argv[1], '1000'])
print(child.pid, flush=True)
input()",
    );
    let line = format!(
        "/usr/bin/python3 {} {} ; true",
        script.display(),
        sleeper.display()
    );
    let mut running = Running::start(Command::new(&shell).arg("-c").arg(line));
    let child: i32 = running.hear().parse().unwrap();
    let identifier = stage.identifier();
    let identity = identifier.identify(Subject::Task(child)).unwrap();
    let python = fs::canonicalize("/usr/bin/python3").unwrap();
    let found: Vec<_> = identity
        .ancestors
        .iter()
        .map(|one| (&*one.path, one.digest))
        .collect();
    assert_eq!(
        found,
        [
            (bytes(&python), digest(&python)),
            (bytes(&shell), digest(&shell))
        ]
    );

    // The script is that of the process itself.
    assert_eq!(identity.script, None);
    let parent = Process::open(&Procfs::open().unwrap(), child).unwrap();
    let parent = parent.status().unwrap().parent;
    let parent = identifier.identify(Subject::Task(parent)).unwrap();
    assert_eq!(parent.script.as_deref(), Some(bytes(&script)));
    running.say("");
    kill_process(pid(child), Signal::KILL).unwrap();
}

#[test]
fn an_orphan_has_lost_its_ancestors() {
    // As a sandbox's init does, this process takes orphans over.
    set_child_subreaper(Some(pid(own_id()))).unwrap();
    let stage = Stage::new();
    let mut running = Running::start(
        Command::new("/bin/sh")
            .arg("-c")
            .arg("sleep 1000 > /dev/null & echo $!; read x"),
    );
    let orphan: i32 = running.hear().parse().unwrap();
    let identifier = stage.identifier();
    let process = Process::open(&Procfs::open().unwrap(), orphan).unwrap();
    let sleeps =
        || fs::read_link(format!("/proc/{orphan}/exe")).is_ok_and(|exe| exe.ends_with("sleep"));
    wait_until("the shell's child to sleep", sleeps);
    let identify = || identifier.identify(Subject::Task(orphan)).unwrap();
    assert_eq!(identify().ancestors.len(), 1);
    running.end();
    wait_until("the orphan to be taken over", || {
        process.status().unwrap().parent == own_id()
    });
    assert_eq!(identify().ancestors.len(), 0);
    kill_process(pid(orphan), Signal::KILL).unwrap();
}

#[test]
fn too_many_ancestors() {
    let stage = Stage::new();
    let script = stage.write(
        "deep.sh",
        "if [ $1 -gt 0 ]; then sh $0 $(($1-1)); true; else echo $$; read x; fi",
    );
    let deepest = |generations: &str| {
        let mut running = Running::start(Command::new("/bin/sh").arg(&script).arg(generations));
        let id = running.hear().parse().unwrap();
        stage.identifier().identify(Subject::Task(id))
    };
    assert_eq!(deepest("64").unwrap().ancestors.len(), 64);
    assert_eq!(deepest("65"), Err(Refusal::Deep));
}

#[test]
fn a_process_of_another_sandbox() {
    let stage = Stage::new();
    let sleeper = stage.sleeper("sleeper", b"");
    let (init, other) = (Running::sleeping(&sleeper), Running::sleeping(&sleeper));
    let (trust, digests) = (Arc::new(Trust::in_memory()), Arc::new(Digests::new()));
    let host = |_: &[u8], _| Scope::Host;
    let identifier = Identifier::new(init.id(), trust, digests.clone(), host).unwrap();
    assert_eq!(other.identify(&identifier), Err(Refusal::Outside));
    assert_eq!(init.identify(&identifier), Err(Refusal::Outside));
    assert_eq!(identifier.identify(Subject::Task(0)), Err(Refusal::Outside));
    assert_eq!(
        identifier.identify(Subject::Task(-1)),
        Err(Refusal::Outside)
    );
    assert_eq!(
        identifier.identify(Subject::Task(i32::MAX)),
        Err(Refusal::Gone)
    );
    // Nor was anything of the host read for it.
    assert_eq!(digests.hashed(), 0);
}

#[test]
fn another_program_in_the_same_process() {
    let stage = Stage::new();
    let (shell, sleeper) = (
        stage.copy("/bin/sh", "shell", b""),
        stage.sleeper("sleeper", b""),
    );
    let line = format!("read x; exec {} 1000", sleeper.display());
    let mut running = Running::start(Command::new(&shell).arg("-c").arg(line));
    let identifier = stage.identifier();
    assert_eq!(
        *running.identify(&identifier).unwrap().executable.path,
        *bytes(&shell)
    );
    running.say("");
    let exe = format!("/proc/{}/exe", running.id());
    wait_until("the shell to become the sleeper", || {
        fs::read_link(&exe).unwrap() == sleeper
    });
    assert_eq!(identifier.identify_warm(Subject::Task(running.id())), None);
    let identity = running.identify(&identifier).unwrap();
    assert_eq!(
        (&*identity.executable.path, identity.executable.digest),
        (bytes(&sleeper), digest(&sleeper))
    );
    assert_eq!(arguments(&identity), [bytes(&sleeper), b"1000"]);
}

#[test]
fn another_script_in_the_same_interpreter() {
    let stage = Stage::new();
    stage.write(
        "a.py",
        "import os, sys
print('a', flush=True)
input()
os.execv(sys.executable, [sys.executable, 'b.py'])",
    );
    stage.write("b.py", "print('b', flush=True)\ninput()");
    let mut command = Command::new("/usr/bin/python3");
    let mut running = Running::start(command.arg("a.py").current_dir(stage.path("")));
    let identifier = stage.identifier();
    for name in ["a", "b"] {
        assert_eq!(running.hear(), name);
        let identity = running.identify(&identifier).unwrap();
        let script = stage.path(&format!("{name}.py"));
        assert_eq!(identity.script.as_deref(), Some(bytes(&script)));
        let warm = identifier
            .identify_warm(Subject::Task(running.id()))
            .unwrap();
        assert!(Arc::ptr_eq(&warm, &identity));
        running.say("");
    }
}

#[test]
fn name_and_digest_belong_together_however_fast_a_process_changes() {
    let stage = Stage::new();
    let (a, b) = (
        stage.copy("/bin/sh", "a", b""),
        stage.copy("/bin/sh", "b", b"b"),
    );
    let script = stage.write("swap.sh", "exec $2 $0 $2 $1");
    let digests = [(bytes(&a), digest(&a)), (bytes(&b), digest(&b))];
    let running = Running::start(Command::new(&a).arg(&script).arg(&a).arg(&b));
    let identifier = stage.identifier();
    let mut found = [0, 0];
    for _ in 0..2000 {
        match running.identify(&identifier) {
            Ok(identity) => {
                let executable = &identity.executable;
                let index = digests
                    .iter()
                    .position(|one| *one == (&*executable.path, executable.digest));
                found[index.expect("a name with another's digest")] += 1;
            }
            Err(Refusal::Raced(_) | Refusal::Gone) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(found[0] + found[1] > 0, "never identified");
}

#[test]
fn a_pinned_process_stays_that_process() {
    let stage = Stage::new();
    let sleeper = stage.sleeper("sleeper", b"");
    let (identifier, procfs) = (stage.identifier(), Procfs::open().unwrap());
    let first = Running::sleeping(&sleeper);
    let id = first.id();
    first.identify(&identifier).unwrap();
    let pinned = Process::open(&procfs, id).unwrap();
    first.end();
    assert_eq!(pinned.status(), Err(Refusal::Gone));
    assert_eq!(identifier.identify(Subject::Task(id)), Err(Refusal::Gone));

    let other = stage.sleeper("other", b"other");
    let Some(second) = with_id(id, || Running::sleeping(&other)) else {
        return println!("skip: can't choose the id of the next process here");
    };
    assert_eq!(pinned.status(), Err(Refusal::Gone));
    assert_eq!(identifier.identify_warm(Subject::Task(id)), None);
    let identity = second.identify(&identifier).unwrap();
    assert_eq!(*identity.executable.path, *bytes(&other));
}

/// Starts a process that gets this id, if the kernel lets its counter be set.
fn with_id(id: i32, start: impl Fn() -> Running) -> Option<Running> {
    for _ in 0..200 {
        fs::write("/proc/sys/kernel/ns_last_pid", (id - 1).to_string()).ok()?;
        let started = start();
        if started.id() == id {
            return Some(started);
        }
    }
    None
}

#[test]
fn arguments_that_nobody_would_write() {
    let stage = Stage::new();
    let identifier = stage.identifier();
    let huge = "x".repeat(100_000);
    let script = "print(flush=True); input()";
    let mut command = Command::new("python3");
    let mut running = Running::start(command.args(["-c", script, &huge]));
    running.hear();
    let identity = running.identify(&identifier).unwrap();
    assert!(identity.argv.cut);
    let kept = arguments(&identity).join(&0);
    assert_eq!(kept.len(), 16 << 10);
    assert!(kept.ends_with(b"xxx"));

    let odd = std::ffi::OsStr::from_bytes(b"1000\xff\n\x1b");
    let mut command = Command::new("/bin/sh");
    let mut running = Running::start(command.args(["-c", "echo; read x"]).arg(odd));
    running.hear();
    let identity = running.identify(&identifier).unwrap();
    assert_eq!(arguments(&identity).last().copied(), Some(odd.as_bytes()));

    let cat = stage.copy("/bin/cat", "cat", b"");
    let script = "import ctypes, sys
ctypes.CDLL(None).execve(sys.argv[1].encode(), None, None)";
    let running = Running::start(Command::new("python3").arg("-c").arg(script).arg(&cat));
    let exe = format!("/proc/{}/exe", running.id());
    wait_until("python to become cat", || {
        fs::read_link(&exe).unwrap() == cat
    });
    let identity = running.identify(&identifier).unwrap();
    // Since Linux 5.18 there is always a first one, an empty one if need be.
    assert!(
        identity.argv.iter().all(<[u8]>::is_empty),
        "{:?}",
        identity.argv
    );
}

#[test]
fn a_name_that_looks_like_its_status() {
    let stage = Stage::new();
    let script = "import ctypes
ctypes.CDLL(None).prctl(15, b'a) S 1 (1 2\\n3')
print(flush=True)
input()";
    let mut running = Running::python(script);
    running.hear();
    let identity = running.identify(&stage.identifier()).unwrap();
    assert_eq!((identity.pid, identity.ancestors.len()), (running.id(), 0));
}

#[test]
fn owners_of_one_socket() {
    let stage = Stage::new();
    let (a, b) = (stage.sleeper("a", b"a"), stage.sleeper("b", b"b"));
    let identifier = stage.identifier();
    let of = |running: &Running| running.identify(&identifier).unwrap();
    let (first, second, other) = (
        Running::sleeping(&a),
        Running::sleeping(&a),
        Running::sleeping(&b),
    );
    let same = Identity::of_owners([of(&first), of(&second)]).unwrap();
    assert!(Arc::ptr_eq(&same, &of(&first)));
    assert_eq!(
        Identity::of_owners([of(&first), of(&other)]),
        Err(Refusal::Ambiguous)
    );
    assert_eq!(Identity::of_owners([]), Err(Refusal::Gone));

    // A child that goes on with its parent's program is no other program.
    let mut forked = Running::python(
        "import os
child = os.fork()
if child: print(child, flush=True)
input()",
    );
    let child = forked.hear().parse().unwrap();
    let child = identifier.identify(Subject::Task(child)).unwrap();
    assert_eq!(child.ancestors.len(), 1);
    assert!(Identity::of_owners([of(&forked), child]).is_ok());
}

#[test]
fn a_program_that_can_not_be_read() {
    if rustix::process::geteuid().is_root() {
        return println!("skip: root reads every file");
    }
    let stage = Stage::new();
    let sleeper = stage.sleeper("sleeper", b"");
    fs::set_permissions(
        &sleeper,
        std::os::unix::fs::PermissionsExt::from_mode(0o111),
    )
    .unwrap();
    let refusal = Running::start(Command::new(&sleeper).arg("1000")).identify(&stage.identifier());
    let text = refusal.unwrap_err().to_string();
    assert!(
        text.contains("Permission denied") && text.contains("\nhint: "),
        "{text}"
    );
}
