//! Ordinary programs, unmodified, inside the wall: each does what it does outside.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
mod support;

use sandbox::{Ended, Stage, both, report, texts};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{PATIENCE, end_of, filtered, has, start};

both!(
    python_virtual_environment,
    python_of_a_virtual_environment_elsewhere,
    python_asyncio,
    python_multiprocessing,
    python_shared_memory,
    unix_stream_sockets,
    tcp_and_udp_on_loopback,
    names_without_a_network,
    memory_files,
    system_v_ipc,
    posix_message_queues,
    node_workers_and_children,
    git_init_commit_clone_config,
    gcc_and_threads,
    cargo_build_offline,
    gdb_on_a_child,
    strace_on_a_child,
    tar_round_trip,
    sqlite_with_a_log,
    perl_one_liner,
    bash_here_documents_and_substitutions,
    processes_see_each_other,
    all_bytes_pass,
    many_bytes_pass,
    a_closed_pipe_ends_the_writer,
    exit_statuses_pass,
    deaths_by_signal_pass,
    what_cannot_be_run,
    ignored_signals_stay_ignored,
    a_caller_that_ignores_its_children,
    closed_standard_streams,
    the_environment_is_an_allow_list,
    variables_that_were_asked_for,
    an_installation_below_home,
    an_installation_elsewhere,
    a_link_to_an_installation,
    a_script_of_an_installed_interpreter,
    a_personal_prefix,
);

const PYTHON: &str = "/usr/bin/python3";
const BASH: &str = "/usr/bin/bash";

/// Runs a script of the stage's caller by bash, stopping at the first error.
fn bash(stage: &Stage, script: &str) -> Ended {
    stage.run(["--", BASH, "-euc", script])
}

/// Runs a Python program from a file, as spawned children import it again.
fn python(stage: &Stage, program: &str) -> Ended {
    stage.write("ws/program.py", program);
    stage.run(["--", PYTHON, "program.py"])
}

fn python_virtual_environment(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let made = bash(
        stage,
        "/usr/bin/python3 -m venv env; env/bin/python -c 'import sys; print(sys.prefix)'; env/bin/pip --version",
    );
    let prefix = stage.text("ws/env");
    assert_eq!((made.code, &*made.err), (0, ""), "{made:?}");
    let lines: Vec<_> = made.out.lines().collect();
    assert_eq!(lines[0], prefix);
    assert!(
        lines[1].starts_with("pip ") && lines[1].contains(&prefix),
        "{made:?}"
    );
    stage
        .run(["--", "env/bin/python", "-c", "print(6 * 7)"])
        .assert_out("42\n");
}

fn python_of_a_virtual_environment_elsewhere(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let prefix = stage.text("outside/env");
    stage.outside(&format!("/usr/bin/python3 -m venv --without-pip {prefix}"));
    let script = "import sys; print(sys.prefix); open(sys.prefix + '/mark', 'w')";
    let run = Ended::of(
        stage
            .casemate()
            .env("PATH", format!("{prefix}/bin:/usr/bin"))
            .args(["run", "--", "python", "-c", script]),
    );
    assert_eq!(
        (run.code, run.out),
        (1, format!("{prefix}\n")),
        "{}",
        run.err
    );
    assert!(
        run.err.ends_with(&format!(
            "OSError: [Errno 30] Read-only file system: '{prefix}/mark'\n"
        )),
        "{}",
        run.err
    );
}

fn python_asyncio(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import asyncio

async def shout(reader, writer):
    writer.write((await reader.readline()).upper())
    writer.close()

async def ask(reader, writer, words):
    writer.write(words)
    print(await reader.readline())

async def main():
    echo = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
    print((await echo.communicate())[0], echo.returncode)
    tcp = await asyncio.start_server(shout, "127.0.0.1", 0)
    await ask(*await asyncio.open_connection(*tcp.sockets[0].getsockname()), b"tcp\n")
    await asyncio.start_unix_server(shout, "/tmp/sock")
    await ask(*await asyncio.open_unix_connection("/tmp/sock"), b"unix\n")
    print(await asyncio.gather(*(asyncio.to_thread(pow, 2, n) for n in range(4))))

asyncio.run(main())
"#;
    python(stage, program).assert_out("b'child\\n' 0\nb'TCP\\n'\nb'UNIX\\n'\n[1, 2, 4, 8]\n");
}

fn python_multiprocessing(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import multiprocessing

def square(n):
    return n * n

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(3) as pool:
            print(method, pool.map(square, range(5)))
    with multiprocessing.Manager() as manager:
        print(dict(manager.dict(a=1)))
"#;
    let squares = "[0, 1, 4, 9, 16]";
    python(stage, program).assert_out(&format!(
        "fork {squares}\nspawn {squares}\nforkserver {squares}\n{{'a': 1}}\n"
    ));
}

fn python_shared_memory(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import multiprocessing
from multiprocessing import shared_memory

def fill(name):
    memory = shared_memory.SharedMemory(name)
    memory.buf[:3] = b"abc"
    memory.close()

if __name__ == "__main__":
    memory = shared_memory.SharedMemory(create=True, size=8192)
    child = multiprocessing.Process(target=fill, args=(memory.name,))
    child.start()
    child.join()
    print(bytes(memory.buf[:4]))
    memory.close()
    memory.unlink()
    lock = multiprocessing.Semaphore(1)
    print(lock.acquire(), lock.acquire(block=False))
"#;
    python(stage, program).assert_out("b'abc\\x00'\nTrue False\n");
}

fn unix_stream_sockets(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import os, socket, threading

def talk(path, kind=socket.SOCK_STREAM):
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(path)
    server.listen()
    thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"))
    thread.start()
    client = socket.socket(socket.AF_UNIX, kind)
    client.connect(path)
    print(client.recv(9).decode())
    thread.join()

talk("/tmp/sock")
talk("/dev/shm/sock")
talk(os.path.expanduser("~/sock"))
talk(os.path.abspath("sock"))
talk("relative")
talk("../ws/up-and-down")
talk("packets", socket.SOCK_SEQPACKET)
talk("\0abstract")
os.chdir("/tmp")
talk("relative")
os.symlink("/tmp/sock2", "link")
server = socket.socket(socket.AF_UNIX)
server.bind("/tmp/sock2")
server.listen()
socket.socket(socket.AF_UNIX).connect("link")
one, other = socket.socketpair()
one.send(b"pair")
print(other.recv(9).decode())
"#;
    python(stage, program).assert_out(&format!("{}pair\n", "hello\n".repeat(9)));
}

fn tcp_and_udp_on_loopback(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import socket

for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    server = socket.create_server((address, 0), family=family)
    client = socket.create_connection(server.getsockname()[:2])
    server.accept()[0].sendall(b"tcp")
    print(client.recv(9))
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, 0))
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.sendto(b"udp", server.getsockname())
    client.connect(server.getsockname())
    client.send(b"connected")
    print(server.recv(9), server.recv(9))
try:
    socket.create_connection(("127.0.0.1", 1))
except ConnectionRefusedError:
    print("refused")
"#;
    let family = "b'tcp'\nb'udp' b'connected'\n";
    python(stage, program).assert_out(&format!("{family}{family}refused\n"));
}

fn names_without_a_network(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import getpass, os, pwd, socket

print({a[4][0] for a in socket.getaddrinfo("localhost", 80)} <= {"127.0.0.1", "::1"})
print(socket.gethostname(), socket.gethostbyname(socket.gethostname()))
print(socket.getservbyname("https"), socket.if_nameindex())
try:
    socket.getaddrinfo("example.com", 80)
except socket.gaierror as error:
    print(error.errno in (socket.EAI_AGAIN, socket.EAI_NONAME))
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as error:
    print(error.strerror)
print(pwd.getpwuid(os.getuid()).pw_name == getpass.getuser(), os.path.isdir(os.path.expanduser("~")))
"#;
    python(stage, program).assert_out(
        "True\ncasemate 127.0.0.1\n443 [(1, 'lo')]\nTrue\nNetwork is unreachable\nTrue True\n",
    );
}

fn memory_files(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import mmap, os

fd = os.memfd_create("name")
os.write(fd, b"memory")
print(open(f"/proc/self/fd/{fd}").read())
with mmap.mmap(-1, 4096) as memory:
    memory[:2] = b"ok"
    print(memory[:2])
program = os.memfd_create("program")
os.write(program, open("/usr/bin/true", "rb").read())
print(os.spawnv(os.P_WAIT, f"/proc/self/fd/{program}", ["true"]))
"#;
    python(stage, program).assert_out("memory\nb'ok'\n0\n");
}

fn system_v_ipc(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import ctypes
libc = ctypes.CDLL(None)
queue = libc.msgget(0, 0o1600)
message = ctypes.create_string_buffer(b"\1\0\0\0\0\0\0\0text", 12)
print(libc.msgsnd(queue, message, 4, 0), libc.msgrcv(queue, message, 4, 0, 0), message.raw[8:])
print(libc.shmget(0, 4096, 0o1600) >= 0, libc.semget(0, 1, 0o1600) >= 0)
"#;
    python(stage, program).assert_out("0 4 b'text'\nTrue True\n");
}

fn posix_message_queues(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let program = r#"
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
queue = libc.mq_open(b"/queue", os.O_CREAT | os.O_RDWR, 0o600, None)
if queue < 0:
    raise OSError(ctypes.get_errno(), "mq_open")
text = ctypes.create_string_buffer(8192)
print(libc.mq_send(queue, b"text", 4, 0), libc.mq_receive(queue, text, 8192, None), text.value)
print(libc.mq_unlink(b"/queue"))
"#;
    python(stage, program).assert_out("0 4 b'text'\n0\n");
}

fn node_workers_and_children(stage: &Stage) {
    if !has(&["/usr/bin/node"]) {
        return;
    }
    let program = r#"
const { Worker } = require("worker_threads"), { execFileSync, spawn } = require("child_process"), net = require("net");
new Worker(`require("worker_threads").parentPort.postMessage(6 * 7)`, { eval: true }).on("message", (answer) => {
  console.log("worker", answer);
  console.log("child", execFileSync("echo", ["hello"]).toString().trim());
  spawn("sh", ["-c", "exit 3"]).on("exit", (code) => {
    console.log("exit", code);
    const server = net.createServer((socket) => socket.end("socket")).listen("/tmp/node.sock", () =>
      net.connect("/tmp/node.sock").on("data", (data) => console.log(data.toString())).on("end", () => server.close()));
  });
});
"#;
    stage
        .run(["--", "/usr/bin/node", "-e", program])
        .assert_out("worker 42\nchild hello\nexit 3\nsocket\n");
}

fn git_init_commit_clone_config(stage: &Stage) {
    if !has(&["/usr/bin/git"]) {
        return;
    }
    stage.outside(
        "git init -q -b main origin && cd origin && git config user.name A && git config user.email a@b \
         && echo one > file && git add file && git commit -qm one",
    );
    let run = bash(
        stage,
        "git clone -q origin copy; cd copy; git config user.name B; git config user.email b@c; \
         echo two >> file; git commit -qam two; git log --format=%s,%an; git status --short; git gc -q; git fsck; \
         git checkout -qb topic; git worktree add -q ../tree main; git -C ../tree log --oneline | wc -l; \
         cd ..; git init -q -b main fresh; cd fresh; git config core.pager cat; git config core.pager; \
         printf '#!/bin/sh\\necho hook\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; \
         git -c user.name=C -c user.email=c@d commit -q --allow-empty -m three",
    );
    run.assert(0, "two,B\none,A\n2\ncat\n", "hook\n");
    let log = stage.outside(
        "git -C copy log --format=%s; git -C origin status --short; git -C origin log --format=%s",
    );
    assert_eq!(log, "two\none\none\n");
}

const THREADS: &str = r#"
#include <pthread.h>
#include <stdio.h>
static void *twice(void *number) { *(int *)number *= 2; return 0; }
int more(int number) { return number + 1; }
int main(void) {
    pthread_t threads[8];
    int numbers[8], sum = 0;
    for (int i = 0; i < 8; i++) { numbers[i] = i; pthread_create(&threads[i], 0, twice, &numbers[i]); }
    for (int i = 0; i < 8; i++) { pthread_join(threads[i], 0); sum += numbers[i]; }
    printf("%d\n", more(sum));
    return 0;
}
"#;

fn gcc_and_threads(stage: &Stage) {
    if !has(&["/usr/bin/gcc", "/usr/include/pthread.h"]) {
        return;
    }
    stage.write("ws/threads.c", THREADS);
    bash(stage, "gcc -Wall -O2 -pthread threads.c -o threads; ./threads; gcc -static -pthread threads.c -o static; ./static")
        .assert_out("57\n57\n");
}

/// The caller's own rust, which rustup keeps below the home folder.
fn cargo_build_offline(stage: &Stage) {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let cargo = home.join(".cargo/bin/cargo");
    if !stage.can_read(&cargo) {
        return println!(
            "skip: {} can't be read by uid {}",
            cargo.display(),
            stage.uid()
        );
    }
    stage.write(
        "ws/Cargo.toml",
        "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    stage.write(
        "ws/src/main.rs",
        "fn main() { println!(\"built inside\"); }\n",
    );
    let path = format!("{}/.cargo/bin:/usr/bin:/bin", home.display());
    let file = stage.text("home/report.json");
    let run = Ended::of(stage.casemate().env("HOME", &home).env("PATH", path).args([
        "run",
        "--report",
        &file,
        "--",
        "cargo",
        "run",
        "--offline",
        "--quiet",
    ]));
    run.assert_out("built inside\n");
    let report = report(&stage.read("home/report.json"));
    let view = texts(&report["view"]).join("\n");
    assert!(
        view.contains(&format!(
            "{}/.cargo: read-only, since {} is",
            home.display(),
            cargo.display()
        )),
        "{view}"
    );
    assert!(
        view.contains(&format!("{}/.rustup: read-only", home.display())),
        "{view}"
    );
}

/// It asks to be told of ends, which one process at a time may.
fn strace_on_a_child(stage: &Stage) {
    if !has(&["/usr/bin/strace"]) {
        return;
    }
    let script = "for i in 1 2; do strace -f -qq -e trace=execve -o calls bash -c '/bin/echo traced; true' && \
                  grep -c 'execve.\"/bin/echo\"' calls; done";
    bash(stage, script).assert_out("traced\n1\ntraced\n1\n");
}

fn gdb_on_a_child(stage: &Stage) {
    if !has(&["/usr/bin/gdb", "/usr/bin/gcc"]) {
        return;
    }
    stage.write("ws/threads.c", THREADS);
    let run = bash(
        stage,
        "gcc -g -O0 -pthread threads.c -o threads; \
         gdb -q -batch -nx -ex 'break more' -ex run -ex bt -ex 'print number' -ex continue ./threads",
    );
    assert_eq!(run.code, 0, "{run:?}");
    let said = [
        "Breakpoint 1, more (number=56) at threads.c:5",
        "#0  more (number=56)",
        "#1  0x",
        " in main ()",
        "$1 = 56",
        "\n57\n",
    ];
    for line in said {
        assert!(run.out.contains(line), "no {line:?} in {run:?}");
    }
}

fn tar_round_trip(stage: &Stage) {
    if !has(&["/usr/bin/tar"]) {
        return;
    }
    let script = "mkdir -p d/e x; for i in 1 2 3; do echo $i > d/e/$i; done; ln -s e/1 d/link; ln d/e/2 d/hard; chmod 640 d/e/3; \
                  mkfifo d/fifo; tar -czf d.tgz d; tar -xzf d.tgz -C x; \
                  (cd d; find . -printf '%P %y %m %n %l\\n' | sort) > a; (cd x/d; find . -printf '%P %y %m %n %l\\n' | sort) > b; \
                  cmp a b; cat x/d/hard; stat -c %h x/d/hard";
    bash(stage, script).assert_out("2\n2\n");
}

fn sqlite_with_a_log(stage: &Stage) {
    if !has(&["/usr/bin/sqlite3"]) {
        return;
    }
    let script = "sqlite3 a.db 'pragma journal_mode=wal; create table t(x); insert into t values (1), (2);'; \
                  for i in 1 2 3 4; do sqlite3 -cmd '.timeout 20000' a.db \"insert into t values ($i)\" & done; wait; \
                  sqlite3 a.db 'select sum(x) from t; pragma integrity_check'";
    bash(stage, script).assert_out("wal\n13\nok\n");
    assert_eq!(
        stage.outside("/usr/bin/sqlite3 a.db 'select count(*) from t'"),
        "6\n"
    );
}

fn perl_one_liner(stage: &Stage) {
    if !has(&["/usr/bin/perl"]) {
        return;
    }
    stage
        .run([
            "--",
            "/usr/bin/perl",
            "-MPOSIX",
            "-MList::Util=sum",
            "-e",
            "print sum(1..9), ' ', strftime('%Y', gmtime 0), qq(\\n); print `echo child`",
        ])
        .assert_out("45 1970\nchild\n");
}

fn bash_here_documents_and_substitutions(stage: &Stage) {
    let script = r#"
cat <<END
document $((6 * 7))
END
cat <<< string
diff <(seq 3) <(seq 3) && echo same
echo out > >(cat); wait $!
coproc cat; echo coprocess >&"${COPROC[1]}"; read -ru "${COPROC[0]}" line; echo "$line"
exec 5<> file; echo descriptor >&5; cat file
printf '%s\n' /dev/fd/0 < /dev/null
(exit 4) || echo "status $?"
set -o pipefail; { false | true; } || echo pipefail
trap 'echo trapped' USR1; kill -USR1 $$
"#;
    let out = "document 42\nstring\nsame\nout\ncoprocess\ndescriptor\n/dev/fd/0\nstatus 4\npipefail\ntrapped\n";
    stage.run(["--", BASH, "-uc", script]).assert_out(out);
}

fn processes_see_each_other(stage: &Stage) {
    if !has(&["/usr/bin/ps"]) {
        return;
    }
    // A process has its shell's name until it executes its own program.
    let script = "sleep 100 & until ps -p $! -o comm= | grep -q sleep; do :; done\n\
                  ps -e -o comm= > seen; kill %1; wait %1 || echo $?; sort seen";
    bash(stage, script).assert_out("143\nbash\nps\nsleep\n");
}

fn all_bytes_pass(stage: &Stage) {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(
        filtered(stage.casemate().args(["run", "--", "cat"]), bytes.clone()),
        bytes
    );
}

fn many_bytes_pass(stage: &Stage) {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> = (0..8 << 20).map(|_| next()).collect();
    let back = filtered(stage.casemate().args(["run", "--", "cat"]), bytes.clone());
    assert!(back == bytes, "{} bytes came back", back.len());
}

fn a_closed_pipe_ends_the_writer(stage: &Stage) {
    bash(stage, "set +o pipefail; yes | head -n 2").assert_out("y\ny\n");
    let mut yes = start(
        stage
            .casemate()
            .args(["run", "--", "yes"])
            .stdout(Stdio::piped()),
    );
    drop(yes.stdout.take());
    const PIPE: i32 = 13;
    assert_eq!(end_of(&mut yes, PATIENCE).code(), Some(128 + PIPE));
}

fn exit_statuses_pass(stage: &Stage) {
    let script = r#"for i in $(seq 0 255); do "$0" run -- sh -c "exit $i"; echo $?; done"#;
    let run = Ended::of(
        stage
            .command(BASH)
            .arg("-c")
            .arg(script)
            .arg(stage.path("casemate")),
    );
    let all: String = (0..=255).map(|status| format!("{status}\n")).collect();
    run.assert_out(&all);
}

fn deaths_by_signal_pass(stage: &Stage) {
    for (name, number) in [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("SEGV", 11),
        ("PIPE", 13),
        ("TERM", 15),
    ] {
        stage
            .run(["--", "sh", "-c", &format!("kill -{name} $$")])
            .assert(128 + number, "", "");
    }
}

fn what_cannot_be_run(stage: &Stage) {
    stage.write("ws/plain", "echo hi\n");
    assert_eq!(stage.run(["--", "no-such-program"]).code, 127);
    assert_eq!(stage.run(["--", "./no-such-program"]).code, 127);
    assert_eq!(stage.run(["--", "./plain"]).code, 126);
    assert_eq!(stage.run(["--", "/usr"]).code, 126);
    stage.script("ws/script", "#!/no/such/interpreter\n");
    assert_eq!(stage.run(["--", "./script"]).code, 127);
}

/// As under nohup(1): what the caller ignores, the program ignores.
fn ignored_signals_stay_ignored(stage: &Stage) {
    let script =
        r#"trap '' HUP USR1; exec "$0" run -- sh -c 'kill -HUP $$; kill -USR1 $$; echo alive'"#;
    Ended::of(
        stage
            .command(BASH)
            .arg("-c")
            .arg(script)
            .arg(stage.path("casemate")),
    )
    .assert_out("alive\n");
}

/// A caller that never waits has SIGCHLD ignored, and execve(2) passes that on.
fn a_caller_that_ignores_its_children(stage: &Stage) {
    if !has(&[PYTHON]) {
        return;
    }
    let script = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); \
                  os.execv(sys.argv[1], [sys.argv[1], 'run', '--', 'sh', '-c', 'exit 5'])";
    let mut child = start(
        stage
            .command(PYTHON)
            .arg("-c")
            .arg(script)
            .arg(stage.path("casemate")),
    );
    assert_eq!(end_of(&mut child, PATIENCE / 4).code(), Some(5));
}

fn closed_standard_streams(stage: &Stage) {
    let script = r#""$0" run -- true <&- >&- 2>&-; echo $?"#;
    Ended::of(
        stage
            .command(BASH)
            .arg("-c")
            .arg(script)
            .arg(stage.path("casemate")),
    )
    .assert_out("0\n");
}

/// The names in the program's environment, in order.
fn names(run: &Ended) -> Vec<&str> {
    let mut names: Vec<_> = run
        .out
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    names
}

fn with_secrets(stage: &Stage) -> Command {
    let mut command = stage.casemate();
    command
        .env("API_TOKEN", "secret")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("SSH_AUTH_SOCK", "/secret");
    command
        .env("LD_PRELOAD", "/secret")
        .env("LC_TIME", "C")
        .env("TERM", "dumb")
        .env("TZ", "UTC");
    command
}

fn the_environment_is_an_allow_list(stage: &Stage) {
    let run = Ended::of(with_secrets(stage).args(["run", "--", "env"]));
    let passed = [
        "HOME", "LANG", "LC_TIME", "LOGNAME", "PATH", "SHELL", "TERM", "TZ", "USER",
    ];
    assert_eq!(names(&run), passed);
    assert!(!run.out.contains("secret"), "{run:?}");
    let walls = Ended::of(with_secrets(stage).args([
        "run",
        "--",
        "sh",
        "-c",
        "cat /proc/*/environ | tr '\\0' '\\n' | grep -c secret",
    ]));
    assert_eq!(walls.out, "0\n");
}

fn variables_that_were_asked_for(stage: &Stage) {
    let flags = [
        "--env",
        "API_TOKEN",
        "--env",
        "K=V=W",
        "--env",
        "EMPTY=",
        "--env",
        "NOT_SET",
        "--env",
        "TERM=other",
    ];
    let run = Ended::of(
        with_secrets(stage)
            .arg("run")
            .args(flags)
            .args(["--", "env"]),
    );
    let set: Vec<_> = run
        .out
        .lines()
        .filter(|line| {
            ["API_", "K=", "EMPTY", "NOT_SET", "TERM"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect();
    assert_eq!(set, ["API_TOKEN=secret", "EMPTY=", "K=V=W", "TERM=other"]);
}

/// Runs `program` with `folder` first in the caller's PATH; its report too.
fn run_from(stage: &Stage, folder: &str, program: &str) -> (Ended, serde_json::Value) {
    let file = stage.path("home/report.json");
    let path = format!("{}:/usr/bin:/bin", stage.text(folder));
    let run = Ended::of(
        stage
            .casemate()
            .env("PATH", path)
            .args(["run", "--report"])
            .arg(&file)
            .args(["--", program]),
    );
    assert!(file.exists(), "{run:?}");
    let report = report(&stage.read("home/report.json"));
    (run, report)
}

/// A program that says what it sees of its own installation, with credentials beside it.
fn install(stage: &Stage, prefix: &str) {
    let full = stage.text(prefix);
    let script = format!(
        "#!/bin/sh\ncat {full}/lib/data\ncat {full}/.npmrc {full}/auth.json\n\
         (echo x > {full}/lib/data) 2> /dev/null || echo read-only\nls -A {full}\n"
    );
    stage.script(&format!("{prefix}/bin/tool"), script);
    stage.write(format!("{prefix}/lib/data"), "data\n");
    stage.write(format!("{prefix}/.npmrc"), "secret\n");
    stage.write(format!("{prefix}/auth.json"), "secret\n");
}

const INSTALLED: &str = "data\nread-only\n.npmrc\nauth.json\nbin\nlib\n";

fn an_installation_below_home(stage: &Stage) {
    let prefix = "home/.nvm/versions/node/v1";
    install(stage, prefix);
    stage.write("home/.nvm/versions/other", "not needed\n");
    stage.write("home/.ssh/id", "secret\n");
    let (run, report) = run_from(stage, &format!("{prefix}/bin"), "tool");
    run.assert_out(INSTALLED);
    let full = stage.text(prefix);
    assert_eq!(
        texts(&report["view"]),
        [format!(
            "{full}: read-only, since {full}/bin/tool is installed there"
        )]
    );
    stage.script(
        &format!("{prefix}/bin/list"),
        format!(
            "#!/bin/sh\ncd {} && find . | sort | head -n 6\n",
            stage.text("home")
        ),
    );
    let (run, _) = run_from(stage, &format!("{prefix}/bin"), "list");
    run.assert_out(".\n./.nvm\n./.nvm/versions\n./.nvm/versions/node\n./.nvm/versions/node/v1\n./.nvm/versions/node/v1/.npmrc\n");
}

fn an_installation_elsewhere(stage: &Stage) {
    install(stage, "outside/opt/tool");
    stage.write("outside/opt/other/data", "not needed\n");
    // As those who keep their settings in one place have it.
    stage.write("home/dotfiles/netrc", "secret\n");
    symlink(
        stage.path("home/dotfiles/netrc"),
        stage.path("outside/opt/tool/.netrc"),
    )
    .unwrap();
    let (run, report) = run_from(stage, "outside/opt/tool/bin", "tool");
    run.assert_out(&INSTALLED.replace(".npmrc", ".netrc\n.npmrc"));
    let full = stage.text("outside/opt/tool");
    assert_eq!(
        texts(&report["view"]),
        [format!(
            "{full}: read-only, since {full}/bin/tool is installed there"
        )]
    );
}

fn a_link_to_an_installation(stage: &Stage) {
    install(stage, "outside/opt/tool");
    stage.folder("outside/links");
    symlink("../opt/tool/bin/tool", stage.path("outside/links/tool")).unwrap();
    let (run, report) = run_from(stage, "outside/links", "tool");
    run.assert_out(INSTALLED);
    let view = texts(&report["view"]).join("\n");
    let full = stage.text("outside/opt/tool");
    assert!(
        view.contains(&format!(
            "{full}: read-only, since {full}/bin/tool is installed there"
        )),
        "{view}"
    );
}

fn a_script_of_an_installed_interpreter(stage: &Stage) {
    stage.script(
        "outside/interpreter/bin/speak",
        "#!/bin/sh\necho interpreted $(basename $1)\n",
    );
    stage.script("outside/scripts/hello", "#!/usr/bin/env speak\n");
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        stage.text("outside/scripts"),
        stage.text("outside/interpreter/bin")
    );
    Ended::of(
        stage
            .casemate()
            .env("PATH", path)
            .args(["run", "--", "hello"]),
    )
    .assert_out("interpreted hello\n");
}

/// `~/.local` holds far more than installations, so only those parts come in.
fn a_personal_prefix(stage: &Stage) {
    stage.write("home/.local/share/keyring", "secret\n");
    stage.write("home/.local/lib/tool/data", "data\n");
    let local = stage.text("home/.local");
    stage.script(
        "home/.local/bin/tool",
        format!("#!/bin/sh\nls -A {local}; cat {local}/lib/tool/data; ls -A {local}/..\n"),
    );
    let (run, _) = run_from(stage, "home/.local/bin", "tool");
    run.assert_out("bin\nlib\ndata\n.local\n");
}

/// What a test asks about files of the machine's own.
trait Reading {
    fn can_read(&self, path: &Path) -> bool;
}

impl Reading for Stage {
    fn can_read(&self, path: &Path) -> bool {
        let status = self.command("test").arg("-x").arg(path).status();
        path.exists() && status.is_ok_and(|status| status.success()) && fs::metadata(path).is_ok()
    }
}
