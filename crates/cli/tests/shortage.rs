//! What runs out in a sandbox of the platform costs the program that used it up, and nobody else:
//! the sandbox goes on.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use sandbox::{Stage, both, wait_until};
use serving::Serving;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Stdio};
use support::{PATIENCE, start};

both!(
    memory_of_one_process,
    memory_of_many_processes,
    memory_again_and_again,
    memory_that_no_single_end_gives_back,
    memory_for_files,
    processes,
    a_fork_bomb,
);

/// A command that was there before, and small.
struct Bystander {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Bystander {
    fn new(serving: &Serving<'_>, id: &str) -> Self {
        let mut command = serving.command(&["exec", "-i", id, "--", "sh", "-c", "echo here; cat"]);
        let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut own = Self { child, out };
        own.says("here\n");
        own
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }

    /// Fails unless it goes on as if nothing had happened.
    #[track_caller]
    fn goes_on(mut self) {
        let mut input = self.child.stdin.take().unwrap();
        input.write_all(b"still\n").unwrap();
        drop(input);
        self.says("still\n");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

#[track_caller]
fn goes_on(serving: &Serving<'_>, id: &str) {
    assert_eq!(serving.says(&["exec", id, "--", "echo", "on"]), "on\n");
}

/// Each round touches a mebibyte more.
const EATER: &str = "\
held = []
for _ in range(512): held.append(bytearray(1 << 20))
print('not killed')
";

fn memory_of_one_process(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--memory", "128M"]);
    let bystander = Bystander::new(&serving, &id);
    let eaten = serving.run(&["exec", &id, "--", "/usr/bin/python3", "-c", EATER]);
    assert_eq!((eaten.code, &*eaten.out), (137, ""), "{eaten:?}");
    goes_on(&serving, &id);
    bystander.goes_on();
    // It is seen by the next sample.
    wait_until(PATIENCE, "the log to tell", || {
        let log = serving.says(&["logs", &id]);
        log.contains("memory limit 128 MiB reached: processes were killed")
    });
}

fn memory_of_many_processes(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--memory", "128M"]);
    let bystander = Bystander::new(&serving, &id);
    // Together too much. Enough of them go, and no more than have to.
    let script = "
import os, time
pids = []
for _ in range(6):
    pid = os.fork()
    if pid == 0:
        held = bytearray(40 << 20)
        time.sleep(2)
        os._exit(0)
    pids.append(pid)
ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
print(-9 in ends, set(ends) <= {0, -9}, 0 in ends)
";
    let out = serving.says(&["exec", &id, "--", "/usr/bin/python3", "-c", script]);
    assert_eq!(out, "True True True\n");
    goes_on(&serving, &id);
    bystander.goes_on();
}

fn memory_again_and_again(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--memory", "128M"]);
    let bystander = Bystander::new(&serving, &id);
    for _ in 0..5 {
        let eaten = serving.run(&["exec", &id, "--", "/usr/bin/python3", "-c", EATER]);
        assert_eq!((eaten.code, &*eaten.out), (137, ""), "{eaten:?}");
    }
    goes_on(&serving, &id);
    bystander.goes_on();
}

/// A file that grows belongs to two: whichever of them is killed, the other has it, and starts the
/// next. Where no cgroup kills both, the sandbox ends.
fn memory_that_no_single_end_gives_back(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--memory", "128M"]);
    let script = "
import os, time
file, child = os.memfd_create('shared'), None
for _ in range(256):
    if child is None:
        child = os.fork()
        if child == 0:
            os.closerange(0, 3)
            held = bytearray(4 << 20)
            time.sleep(1000)
    elif os.waitpid(child, os.WNOHANG)[0]:
        child = None
    os.write(file, bytes(4 << 20))
    time.sleep(0.02)
print('a gibibyte')
";
    let ended = serving.run(&["exec", &id, "--", "/usr/bin/python3", "-c", script]);
    assert!([125, 137].contains(&ended.code), "{ended:?}");
    assert_eq!(ended.out, "");
}

/// The private disk is of memory, and never takes all of it.
fn memory_for_files(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--memory", "128M"]);
    let bystander = Bystander::new(&serving, &id);
    let script = "head -c 256M /dev/zero > /tmp/full; echo $?; sleep 2; stat -c %s /tmp/full";
    let full = serving.run(&["exec", &id, "--", "sh", "-c", script]);
    assert!(full.err.contains("No space left"), "{full:?}");
    let mut lines = full.out.lines();
    assert_eq!((full.code, lines.next()), (0, Some("1")), "{full:?}");
    let size: u64 = lines.next().unwrap().parse().unwrap();
    assert!((100 << 20..=112 << 20).contains(&size), "{size}");
    goes_on(&serving, &id);
    bystander.goes_on();
}

fn processes(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--pids", "64"]);
    let bystander = Bystander::new(&serving, &id);
    let script = "
import errno, os, time
pids = []
try:
    while True:
        pid = os.fork()
        if pid == 0: time.sleep(100); os._exit(0)
        pids.append(pid)
except OSError as error: print(errno.errorcode[error.errno])
print(20 < len(pids) <= 64)
time.sleep(1.5)
for pid in pids: os.kill(pid, 15)
print({os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids})
";
    let out = serving.says(&["exec", &id, "--", "/usr/bin/python3", "-c", script]);
    assert_eq!(out, "EAGAIN\nTrue\n{-15}\n");
    goes_on(&serving, &id);
    bystander.goes_on();
}

/// All that it makes makes more, for a while.
fn a_fork_bomb(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--pids", "64"]);
    stage.write("ws/word", "said");
    serving.says(&["cp", "word", &format!("{id}:/tmp/word")]);
    let bystander = Bystander::new(&serving, &id);
    let script = "
import os, time
end = time.monotonic() + 3
print('begun', flush=True)
while time.monotonic() < end:
    try: os.fork()
    except OSError: pass
";
    let arguments = ["exec", &id, "--", "/usr/bin/python3", "-c", script];
    let mut bomb = start(serving.command(&arguments).stdout(Stdio::piped()));
    let mut line = String::new();
    let mut out = BufReader::new(bomb.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    // Whoever needs no process of its own is answered meanwhile.
    serving.says(&["cp", &format!("{id}:/tmp/word"), "back"]);
    assert_eq!(stage.read("ws/back"), "said");
    out.read_to_string(&mut line).unwrap();
    assert_eq!(bomb.wait().unwrap().code(), Some(0));
    wait_until(PATIENCE, "the bomb to burn out", || {
        serving.run(&["exec", &id, "--", "true"]).code == 0
    });
    goes_on(&serving, &id);
    bystander.goes_on();
}
