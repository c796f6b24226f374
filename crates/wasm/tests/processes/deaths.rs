//! Each process dies, and what becomes of the others.

use crate::guest::{CRASH, EAT, ECHO, EXIT, IGNORE, PANIC, ask, processes};
use crate::harness::program;
use crate::hostile::sealed;
use crate::shape::{children, parent};
use casemate_wasm::process::{CompileLimits, Death, Failure, Processes, Spec, Uncompiled};
use casemate_wasm::wire::Broken;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn open(pid: i32) -> OwnedFd {
    pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap()
}

fn is_gone_soon(pidfd: &OwnedFd) {
    let limit = rustix::event::Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    assert_eq!(
        poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit)),
        Ok(1)
    );
}

/// kill -9, and waits until it is dead.
pub(crate) fn kill(pid: i32) {
    let pidfd = open(pid);
    pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
    is_gone_soon(&pidfd);
}

pub(crate) fn worker() {
    let processes = processes("");
    let mut other = processes.worker().unwrap();
    for (kind, payload, expected) in [
        (EXIT, 7i32, &[Death::Exited(7)][..]),
        (CRASH, 0, &[Death::Killed(libc::SIGSEGV)]),
        (PANIC, 0, &[Death::Exited(101)]),
        // Memory runs out: the allocator aborts. Process 1 of a namespace isn't ended by its own
        // SIGABRT, and the C library then makes sure.
        (
            EAT,
            0,
            &[Death::Killed(libc::SIGABRT), Death::Killed(libc::SIGSEGV)],
        ),
    ] {
        let mut worker = processes.worker().unwrap();
        for number in 0..30 {
            worker.note(&format!("earlier {number}"));
        }
        let broken = ask(&mut worker, kind, &payload.to_le_bytes()).unwrap_err();
        assert_eq!(broken, Broken::Gone);
        let death = worker.wait(PATIENCE).unwrap();
        assert!(expected.contains(&death), "{death:?}");
        let obituary = worker.obituary();
        assert_eq!(obituary.death, Some(death));
        assert_eq!(obituary.requests.len(), 20);
        assert_eq!(obituary.requests.last(), Some(&format!("request {kind}")));
        if kind == PANIC {
            assert!(
                obituary.stderr.contains("the worker said so\\u{1b}[2J"),
                "{obituary}"
            );
        }
    }
    let mut worker = processes.worker().unwrap();
    ask(&mut worker, IGNORE, b"").unwrap();
    worker.kill();
    assert_eq!(worker.wait(PATIENCE), Some(Death::Killed(9)));
    assert_eq!(worker.connection.receive(None).unwrap_err(), Broken::Gone);
    assert_eq!(ask(&mut other, ECHO, b"still here").unwrap(), "still here");
}

pub(crate) fn launcher() {
    let processes = processes("");
    let mut old = processes.worker().unwrap();
    let (launcher, keeper) = (parent(old.pid()), processes.keeper().unwrap());
    kill(launcher);
    assert_eq!(ask(&mut old, ECHO, b"still here").unwrap(), "still here");
    let new = processes.worker().unwrap();
    assert_ne!(processes.keeper(), Some(keeper));
    assert_ne!(parent(new.pid()), launcher);
    // The keeper is its parent now, tells how it ends, and ends with it.
    assert_eq!(parent(old.pid()), keeper);
    let gone = open(keeper);
    for pooled in children(keeper).into_iter().filter(|pid| *pid != old.pid()) {
        kill(pooled);
    }
    old.kill();
    assert_eq!(old.wait(PATIENCE), Some(Death::Killed(9)));
    is_gone_soon(&gone);
}

pub(crate) fn keeper() {
    let processes = processes("");
    let mut worker = processes.worker().unwrap();
    ask(&mut worker, IGNORE, b"").unwrap();
    let launcher = open(parent(worker.pid()));
    kill(processes.keeper().unwrap());
    is_gone_soon(&launcher);
    assert!(worker.wait(PATIENCE).is_some());
    let mut next = processes.worker().unwrap();
    ask(&mut next, ECHO, b"alive").unwrap();
    drop(next);
    // The old one was reaped.
    while children(std::process::id() as i32).len() > 1 {
        std::thread::yield_now();
    }
}

/// A controller of its own is killed; the name of this scenario with a variable is that controller.
pub(crate) fn controller() {
    if std::env::args().nth(3).is_some() {
        return be_killed();
    }
    let mut controller = Command::new(program())
        .args(["scenario", "dead_controller", "victim"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(controller.stdout.take().unwrap()).lines();
    let pids = lines.next().unwrap().unwrap();
    let pidfds: Vec<OwnedFd> = pids
        .split(' ')
        .map(|pid| open(pid.parse().unwrap()))
        .collect();
    assert!(pidfds.len() >= 4);
    controller.kill().unwrap();
    controller.wait().unwrap();
    pidfds.iter().for_each(is_gone_soon);
}

fn be_killed() {
    let processes = processes("");
    let mut stubborn = processes.worker().unwrap();
    ask(&mut stubborn, IGNORE, b"").unwrap();
    let launcher = parent(stubborn.pid());
    let mut all = vec![parent(launcher), launcher, stubborn.pid()];
    while children(launcher).len() < 3 {
        std::thread::yield_now();
    }
    all.extend(children(launcher));
    let all: Vec<String> = all.iter().map(i32::to_string).collect();
    println!("{}", all.join(" "));
    loop {
        std::thread::park();
    }
}

/// The thread that asked first may end; the tree doesn't.
pub(crate) fn thread() {
    let processes = processes("");
    let mut worker =
        std::thread::scope(|scope| scope.spawn(|| processes.worker().unwrap()).join().unwrap());
    assert_eq!(ask(&mut worker, ECHO, b"x").unwrap(), "x");
    processes.worker().unwrap();
}

pub(crate) fn compiler() {
    let processes = processes("");
    let limits = CompileLimits::default();
    let made = processes
        .compile(sealed(b"hello").as_fd(), &limits)
        .unwrap();
    let mut bytes = [0; 16];
    assert_eq!(rustix::io::pread(&made, &mut bytes, 0), Ok(5));
    assert_eq!(&bytes[..5], b"hello");
    rustix::io::write(&made, b"x").unwrap_err();
    let made = processes
        .compile(sealed(b"threads").as_fd(), &limits)
        .unwrap();
    assert_eq!(rustix::io::pread(&made, &mut bytes, 0), Ok(1));
    assert_eq!(bytes[0], b'6');
    let refused = processes
        .compile(sealed(b"refuse").as_fd(), &limits)
        .unwrap_err();
    assert_eq!(
        refused,
        Uncompiled::Refused("it makes no sense\nat offset 3".to_owned())
    );
    let died = processes
        .compile(sealed(b"crash").as_fd(), &limits)
        .unwrap_err();
    assert_eq!(death_of(&died), Some(Death::Killed(libc::SIGSEGV)));
    let open = rustix::fs::memfd_create("open", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let refused = processes.compile(open.as_fd(), &limits).unwrap_err();
    assert!(refused.to_string().contains("isn't sealed"), "{refused}");
    // kill -9 while it works.
    let keeper = processes.keeper().unwrap();
    let launcher = children(keeper)[0];
    let limits = CompileLimits {
        time: PATIENCE,
        ..limits
    };
    let died = std::thread::scope(|scope| {
        let job = scope.spawn(|| processes.compile(sealed(b"spin").as_fd(), &limits));
        // It has used more time than it takes to get ready: it works.
        let works = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let time = stat.split(' ').nth(13).and_then(|ticks| ticks.parse().ok());
            stat.contains("(wasm-compiler)") && time.unwrap_or(0u32) >= 5
        };
        let compiler = loop {
            match children(launcher).into_iter().find(works) {
                Some(pid) => break pid,
                None => std::thread::yield_now(),
            }
        };
        kill(compiler);
        job.join().unwrap().unwrap_err()
    });
    assert_eq!(death_of(&died), Some(Death::Killed(9)));
}

/// How a compiler died.
fn death_of(uncompiled: &Uncompiled) -> Option<Death> {
    match uncompiled {
        Uncompiled::Died(obituary) => obituary.death,
        other => panic!("{other}"),
    }
}

/// On a busy machine a compiler may be done, dead and reaped before its controller gets to look: what it
/// said counts all the same.
pub(crate) fn compiler_done_at_once() {
    let processes = processes("");
    let limits = CompileLimits::default();
    let compile = |job: &[u8]| {
        processes.warm().unwrap();
        let (own, launcher) = (std::process::id(), children(processes.keeper().unwrap())[0]);
        // The order waits for the launcher, and then this process stands still until all is over; and
        // once more, since what ended too early is tried again.
        let held = Pid::from_raw(launcher).unwrap();
        kill_process(held, Signal::STOP).unwrap();
        let script = format!(
            "for turn in 1 2; do
                kill -STOP {launcher}; kill -CONT {own}; sleep 0.3
                kill -STOP {own}; kill -CONT {launcher}; sleep 0.7
            done; kill -CONT {own}"
        );
        let mut meanwhile = Command::new("/bin/sh")
            .args(["-c", &script])
            .spawn()
            .unwrap();
        let compiled = processes.compile(sealed(job).as_fd(), &limits);
        assert!(meanwhile.wait().unwrap().success());
        compiled
    };
    let made = compile(b"exact").unwrap();
    assert_eq!(rustix::fs::fstat(&made).unwrap().st_size, 4096);
    let refused = compile(b"refuse").unwrap_err();
    assert!(matches!(refused, Uncompiled::Refused(_)), "{refused}");
    let died = compile(b"crash").unwrap_err();
    assert_eq!(death_of(&died), Some(Death::Killed(libc::SIGSEGV)));
}

pub(crate) fn compiler_limits() {
    let processes = processes("");
    let limits = CompileLimits {
        output: 4096,
        memory: 256 << 20,
        ..CompileLimits::default()
    };
    let made = processes
        .compile(sealed(b"exact").as_fd(), &limits)
        .unwrap();
    assert_eq!(rustix::fs::fstat(&made).unwrap().st_size, 4096);
    let long = processes
        .compile(sealed(b"long").as_fd(), &limits)
        .unwrap_err();
    assert_eq!(long, Uncompiled::TooLong(4096));
    let eaten = processes
        .compile(sealed(b"eat").as_fd(), &limits)
        .unwrap_err();
    assert!(
        matches!(death_of(&eaten), Some(Death::Killed(_))),
        "{eaten}"
    );
    assert!(eaten.to_string().contains("memory allocation"), "{eaten}");
    let limits = CompileLimits {
        time: Duration::from_millis(300),
        ..limits
    };
    let late = processes
        .compile(sealed(b"spin").as_fd(), &limits)
        .unwrap_err();
    assert_eq!(late, Uncompiled::Late(limits.time));
    let launcher = children(processes.keeper().unwrap())[0];
    while children(launcher).len() > 2 {
        std::thread::yield_now();
    }
}

/// A build that differs in nothing but its note.
pub(crate) fn stale() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    let mut bytes = fs::read(program()).unwrap();
    let note = casemate_sys::wasm::image::build_id().unwrap();
    let mut found = bytes.windows(note.len()).enumerate();
    let at = found.find(|(_, window)| *window == note).unwrap().0;
    bytes[at] ^= 1;
    fs::write(&other, bytes).unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(&other, mode).unwrap();
    let spec = Spec {
        program: Some(other),
        ..Spec::default()
    };
    let failure = Processes::new(spec, None).worker().err().unwrap();
    assert_eq!(failure, Failure::Stale("the keeper"));
}

pub(crate) fn forgotten() {
    for program in ["/bin/true", "/bin/false"] {
        let spec = Spec {
            program: Some(program.into()),
            ..Spec::default()
        };
        let failure = Processes::new(spec, None).worker().err().unwrap();
        assert!(matches!(failure, Failure::Forgotten(_)), "{failure}");
        assert!(
            failure
                .to_string()
                .contains("casemate_wasm::process::role()"),
            "{failure}"
        );
    }
    let spec = Spec {
        program: Some("/nonexistent".into()),
        ..Spec::default()
    };
    let failure = Processes::new(spec, None).worker().err().unwrap();
    assert!(
        failure.to_string().starts_with("execute /nonexistent: "),
        "{failure}"
    );
}

pub(crate) fn mute() {
    let spec = Spec {
        config: b"mute".to_vec(),
        pool: 1,
        patience: Duration::from_secs(2),
        ..Spec::default()
    };
    let processes = Processes::new(spec, None);
    let failure = processes.worker().err().unwrap();
    assert_eq!(failure, Failure::Silent("a worker"));
    let keeper = processes.keeper().unwrap();
    let (launcher, gone) = (children(keeper)[0], open(keeper));
    drop(processes);
    kill_process(Pid::from_raw(launcher).unwrap(), Signal::CONT).ok();
    is_gone_soon(&gone);
}

pub(crate) fn unready() {
    let failure = processes("fails").worker().err().unwrap();
    let text = "open the worker's own nothing: No such file or directory (os error 2)";
    assert_eq!(failure.to_string(), text);
    let failure = processes("refuses").worker().err().unwrap();
    assert_eq!(
        failure.to_string(),
        "prepare: it was told not to\nhint: ask again"
    );
    let failure = processes("threads").worker().err().unwrap();
    let text = "prepare the runtime: it left 2 threads, and workers are forked from one";
    assert_eq!(failure.to_string(), text);
}

/// Launchers and keepers die while several threads ask for workers.
pub(crate) fn storm() {
    let processes = processes("");
    let held = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for _ in 0..25 {
                        // Two deaths in a row are told to whoever asks.
                        if let Ok(mut worker) = processes.worker() {
                            let _ = ask(&mut worker, ECHO, b"x");
                            held.push(worker);
                        }
                    }
                    held
                })
            })
            .collect();
        for round in 0..12 {
            let Some(keeper) = processes.keeper() else {
                std::thread::yield_now();
                continue;
            };
            let victim = match round % 4 {
                0 => Some(keeper),
                _ => children(keeper).first().copied(),
            };
            if let Some(victim) = victim.and_then(Pid::from_raw) {
                let _ = kill_process(victim, Signal::KILL);
            }
        }
        let held = askers.into_iter().map(|asker| asker.join().unwrap());
        held.flatten().collect::<Vec<_>>()
    });
    assert!(!held.is_empty());
    let mut last = processes.worker().unwrap();
    assert_eq!(ask(&mut last, ECHO, b"alive").unwrap(), "alive");
    drop((held, last));
    drop(processes);
    while !children(std::process::id() as i32).is_empty() {
        std::thread::yield_now();
    }
}
