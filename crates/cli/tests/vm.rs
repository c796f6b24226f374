//! Sandboxes that are virtual machines, under QEMU as it is on this machine: where the processor can't
//! be had, translated. Their kernel is Debian's, and their file system a busybox.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/rootfs.rs"]
mod rootfs;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use rustix::process::{Pid, Signal, kill_process};
use sandbox::{Ended, Stage, both, wait_until};
use serving::Serving;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};
use support::{PATIENCE, filtered};

both!(machines);

/// What machines need of this one, besides Debian's packages.
const NEEDED: [&str; 3] = [
    "/usr/bin/qemu-system-x86_64",
    "/sbin/mke2fs",
    "/usr/bin/apt-get",
];
const SERVE: [&str; 5] = ["--wall", "vm", "--allow-emulation", "--warm", "0"];
/// What whoever runs a machine is told where processors are translated; not to be silenced.
const NOTE: &str =
    "casemate: note: processors are emulated: development and tests, no security boundary\n";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The images are made once, since that takes the longest.
fn machines(stage: &Stage) {
    let absent = NEEDED.iter().find(|path| !Path::new(path).exists());
    if let Some(absent) = absent {
        return println!("skipped: needs {absent}");
    }
    if !rootfs::can_be_made() {
        return;
    }
    nothing_is_made_yet(stage);
    images(stage);
    one_command(stage);
    what_a_machine_lacks_is_said(stage);
    a_killed_command_leaves_nothing(stage);
    stage.assert_nothing_left();
    sandboxes(stage);
    on_disk(stage);
}

fn run(stage: &Stage, flags: &[&str], command: &[&str]) -> Ended {
    let all = ["--wall", "vm", "--allow-emulation", "-q", "-T"];
    stage.run([&all, flags, &["--"], command].concat())
}

/// Standard error without the note, if this machine needs it.
fn without_note(text: &str) -> &str {
    text.strip_prefix(NOTE).unwrap_or(text)
}

fn nothing_is_made_yet(stage: &Stage) {
    let ended = run(stage, &[], &["true"]);
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.err.contains("casemate vm setup"), "{ended:?}");
}

fn images(stage: &Stage) {
    rootfs::folder(stage, "root");
    for applet in ["cut", "date", "nc", "nslookup", "sleep", "sync"] {
        stage.symlink("busybox", &format!("root/bin/{applet}"));
    }
    for folder in ["home/user", "root"] {
        stage.folder(format!("root/{folder}"));
    }
    let passwd = "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
    stage.write("root/etc/passwd", passwd);
    stage.write("root/etc/group", "root:x:0:\nuser:x:1000:\n");
    stage.mode("root/tmp", 0o1777);
    stage.mode("root/home/user", 0o777);
    let setup = |flags: &[&str]| {
        let root = stage.text("root");
        let mut command = stage.casemate();
        command.args(["vm", "setup", "--root", &root, "--disk", "64M"]);
        Ended::of(command.args(flags))
    };
    let missing = setup(&["--kernel", "/nowhere/vmlinuz", "--allow-emulation"]);
    assert_eq!(missing.code, 125, "{missing:?}");
    assert!(missing.err.contains("/nowhere/vmlinuz"), "{missing:?}");
    let made = setup(&["--allow-emulation"]);
    assert_eq!(made.code, 0, "{made:?}");
    let images = stage.text("home/.local/state/casemate/vm");
    assert!(made.out.starts_with(&images), "{made:?}");
}

fn one_command(stage: &Stage) {
    let mut command = stage.casemate();
    command.args([
        "run",
        "--wall",
        "vm",
        "--allow-emulation",
        "-q",
        "-T",
        "--env",
        "X=y",
        "--",
    ]);
    command.args(["sh", "-c", "cat; echo $X; echo bad >&2; exit 7"]);
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut expected = all.clone();
    expected.extend(b"y\n");
    stage.write("input", &all);
    command.stdin(fs::File::open(stage.path("input")).unwrap());
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(7));
    assert!(ended.stdout == expected, "{} bytes", ended.stdout.len());
    assert_eq!(
        without_note(&String::from_utf8_lossy(&ended.stderr)),
        "bad\n"
    );
    // Another kernel, not long ago, and each a machine of its own.
    let script =
        format!("cat /proc/sys/kernel/osrelease {BOOT_ID}; date +%s; id -u; cat /proc/1/comm");
    let seen = [(); 2].map(|()| {
        let ended = run(stage, &[], &["sh", "-c", &script]);
        assert_eq!((ended.code, without_note(&ended.err)), (0, ""), "{ended:?}");
        ended.out.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let own = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for lines in &seen {
        assert_ne!(lines[0], own.trim());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let apart = lines[2]
            .parse::<u64>()
            .unwrap()
            .abs_diff(now.unwrap().as_secs());
        assert!(apart < 300, "{apart} s");
        assert_eq!(lines[3], "1000");
    }
    assert_ne!(seen[0][1], seen[1][1]);
    let absent = run(stage, &[], &["/no/such"]);
    assert_eq!(absent.code, 127, "{absent:?}");
    let late = run(stage, &["--time", "1s"], &["sleep", "1000"]);
    assert_eq!(late.code, 124, "{late:?}");
}

fn what_a_machine_lacks_is_said(stage: &Stage) {
    for flags in [&["--rw", "."][..], &["--net", "host"], &["--pids", "9"]] {
        let refused = run(stage, flags, &["true"]);
        assert_eq!(refused.code, 125, "{refused:?}");
        let why = format!("use {}: a virtual machine doesn't have it", flags[0]);
        assert!(refused.err.contains(&why), "{refused:?}");
    }
}

/// Everything of a command that is killed ends with it, and its files go with the next one.
fn a_killed_command_leaves_nothing(stage: &Stage) {
    let mut command = stage.casemate();
    command.args(["run", "--wall", "vm", "--allow-emulation", "-q", "-T", "--"]);
    command.args(["sh", "-c", "echo up; sleep 1000"]);
    let mut child = support::start(command.stdout(std::process::Stdio::piped()));
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    stage.assert_nothing_left();
    assert_eq!(run(stage, &[], &["true"]).code, 0);
    let runs = stage.path("home/.local/state/casemate/vm-runs");
    let left: Vec<_> = fs::read_dir(&runs).unwrap().flatten().collect();
    if !left.is_empty() {
        support::works(std::process::Command::new("find").arg(&runs).arg("-ls"));
    }
    assert!(left.is_empty(), "{left:?}");
}

fn sandboxes(stage: &Stage) {
    let mut serving = Serving::with(stage, &SERVE);
    let [one, two] = [(); 2].map(|()| serving.create(&["--no-internet", "--timeout", "never"]));
    let asks = |serving: &Serving<'_>, id: &str, script: &str| {
        serving.says(&["exec", id, "--", "sh", "-c", script])
    };
    let boots = [&one, &two].map(|id| asks(&serving, id, &format!("cat {BOOT_ID}")));
    assert_ne!(boots[0], boots[1]);
    // Each has its own disk.
    asks(&serving, &one, "echo mine > /home/user/file; sync");
    let other = serving.run(&["exec", &two, "--", "cat", "/home/user/file"]);
    assert_eq!(other.code, 1, "{other:?}");
    let sent = filtered(
        &mut serving.command(&["exec", "-i", &one, "--", "cat"]),
        b"through".to_vec(),
    );
    assert_eq!(sent, b"through");
    // What leaves a machine is decided outside of it.
    let reached = ["exec", &one, "--", "nc", "-w", "5", "192.0.2.7", "80"];
    assert_eq!(serving.run(&reached).out, "");
    let named = serving.run(&[
        "exec",
        &one,
        "--",
        "nslookup",
        "refused.example",
        "10.0.2.3",
    ]);
    assert!(named.out.contains("REFUSED"), "{named:?}");
    wait_until(PATIENCE, "the refusal to be written down", || {
        let audit = stage.read("home/.local/state/casemate/audit.jsonl");
        audit
            .lines()
            .any(|line| line.contains("192.0.2.7") && line.contains("Denied"))
    });
    // Nothing runs in one that is paused.
    let tick = "cut -d. -f1 /proc/uptime";
    serving.says(&["pause", &one]);
    serving.says(&["resume", &one]);
    assert!(asks(&serving, &one, tick).trim().parse::<u64>().is_ok());
    // They outlive the server.
    serving.says(&["exec", "-d", &one, "--", "sleep", "1000"]);
    serving.kill();
    serving.restart_with(&SERVE);
    assert_eq!(asks(&serving, &one, "cat /home/user/file"), "mine\n");
    assert_eq!(asks(&serving, &one, &format!("cat {BOOT_ID}")), boots[0]);
    // A monitor that is killed costs its own machine.
    kill_process(monitor(&two), Signal::KILL).unwrap();
    wait_until(PATIENCE, "the machine's end to be known", || {
        !serving.says(&["ps"]).contains(&two)
    });
    let why = serving.says(&["inspect", &two]);
    assert!(why.contains("signal 9 ended its monitor"), "{why}");
    // So does a kernel that gives up, which has the last word.
    let three = serving.create(&["--no-internet", "--timeout", "never"]);
    let crash = "echo the last word > /dev/kmsg; echo c > /proc/sysrq-trigger";
    let panic = ["exec", "--user", "root", &three, "--", "sh", "-c", crash];
    let mut crashing = serving.command(&panic).spawn().unwrap();
    wait_until(PATIENCE, "the panic to be known", || {
        !serving.says(&["ps"]).contains(&three)
    });
    crashing.wait().unwrap();
    let why = serving.says(&["inspect", &three]);
    assert!(
        why.contains("kernel panicked") && why.contains("the last word"),
        "{why}"
    );
    assert_eq!(asks(&serving, &one, "cat /home/user/file"), "mine\n");
    serving.says(&["kill", &one]);
    let left = serving.data().join("sandboxes");
    wait_until(Duration::from_secs(20), "their files to go", || {
        fs::read_dir(&left).unwrap().count() == 0
    });
    serving.stop();
    stage.assert_nothing_left();
}

/// Machines that are written, forked, put to sleep and woken.
fn on_disk(stage: &Stage) {
    let mut serving = Serving::with(stage, &SERVE);
    let one = serving.create(&["--no-internet", "--timeout", "never", "--env", "X=y"]);
    let asks = |serving: &Serving<'_>, id: &str, script: &str| {
        serving.says(&["exec", id, "--", "sh", "-c", script])
    };
    let boot = |serving: &Serving<'_>, id: &str| asks(serving, id, &format!("cat {BOOT_ID}"));
    let count = "n=0; while :; do n=$((n+1)); echo $n > /tmp/n; sleep 0.1; done";
    serving.says(&["exec", "-d", &one, "--", "sh", "-c", count]);
    asks(
        &serving,
        &one,
        "until test -s /tmp/n; do sleep 0.1; done; echo one > /home/user/file",
    );
    let first = boot(&serving, &one);
    let counted = |serving: &Serving<'_>, id: &str| -> u64 {
        let said = asks(serving, id, "until test -s /tmp/n; do :; done; cat /tmp/n");
        said.trim().parse().unwrap()
    };
    let goes_on = |serving: &Serving<'_>, id: &str| {
        let before = counted(serving, id);
        wait_until(PATIENCE, "what ran to go on", || {
            counted(serving, id) > before
        });
    };
    let now = |serving: &Serving<'_>, id: &str| -> u64 {
        asks(serving, id, "date +%s").trim().parse().unwrap()
    };
    // Asleep, nothing of it runs; the server may end meanwhile.
    assert_eq!(serving.says(&["pause", &one]), format!("{one}\n"));
    assert_eq!(monitors(&one), 0);
    let refused = serving.run(&["exec", &one, "--", "true"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    serving.kill();
    serving.restart_with(&SERVE);
    assert!(serving.says(&["ps", "--all"]).contains("paused"));
    serving.says(&["resume", &one]);
    assert_eq!(boot(&serving, &one), first);
    goes_on(&serving, &one);
    assert_eq!(
        asks(&serving, &one, "cat /home/user/file; echo $X"),
        "one\ny\n"
    );
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    assert!(now(&serving, &one).abs_diff(clock.unwrap().as_secs()) < 60);
    // A server that dies on the way there leaves it running, or asleep if that was noted.
    let folder = serving.data().join("sandboxes").join(&one);
    drop(put_to_sleep(&folder));
    goes_on(&serving, &one);
    let asleep = put_to_sleep(&folder);
    fs::write(folder.join("asleep.json"), "\"memory\"").unwrap();
    serving.kill();
    serving.restart_with(&SERVE);
    drop(asleep);
    assert_eq!(monitors(&one), 0);
    serving.says(&["resume", &one]);
    assert_eq!(boot(&serving, &one), first);
    goes_on(&serving, &one);
    // A snapshot is of its moment, and what it is of goes on.
    let written = serving.says(&["snapshot", "create", &one, "--name", "mine"]);
    let written = written.trim();
    asks(&serving, &one, "echo two > /home/user/file");
    goes_on(&serving, &one);
    let other = serving.create(&["--template", "mine", "--env", "X=z"]);
    assert_eq!(boot(&serving, &other), first);
    assert_eq!(
        asks(&serving, &other, "cat /home/user/file; echo $X"),
        "one\nz\n"
    );
    goes_on(&serving, &other);
    // What they draw is not the same.
    let random = "cat /proc/sys/kernel/random/uuid";
    assert_ne!(asks(&serving, &one, random), asks(&serving, &other, random));
    serving.says(&["snapshot", "remove", "mine"]);
    assert!(!serving.says(&["snapshot", "list"]).contains(written));
    let refused = serving.run(&["create", "--template", written]);
    assert!(refused.err.contains("not found"), "{refused:?}");
    // Forks go on from here, each by itself.
    let forks = serving.says(&["fork", &one, "-n", "2"]);
    let forks: Vec<&str> = forks.lines().collect();
    assert_eq!(forks.len(), 2);
    for fork in &forks {
        assert_eq!(
            asks(&serving, fork, "cat /home/user/file; echo $X"),
            "two\ny\n"
        );
        asks(&serving, fork, &format!("echo {fork} > /home/user/file"));
        goes_on(&serving, fork);
    }
    assert_eq!(
        asks(&serving, forks[0], "cat /home/user/file"),
        format!("{}\n", forks[0])
    );
    goes_on(&serving, &one);
    // A fork sleeps as well as what it was made of.
    serving.says(&["pause", forks[0]]);
    serving.says(&["resume", forks[0]]);
    goes_on(&serving, forks[0]);
    // Without its memory it starts anew, with its files.
    for id in [&one, forks[1]] {
        asks(&serving, id, "echo kept > /home/user/file");
        serving.says(&["pause", "--files", id]);
        serving.says(&["resume", id]);
        assert_ne!(boot(&serving, id), first);
        assert_eq!(
            asks(&serving, id, "cat /home/user/file; echo $X"),
            "kept\ny\n"
        );
        assert_eq!(asks(&serving, id, "test -e /tmp/n || echo none"), "none\n");
    }
    // What sleeps is killed, too.
    serving.says(&["pause", &one]);
    serving.says(&["kill", &one, &other, forks[0], forks[1]]);
    for folder in ["sandboxes", "snapshots"] {
        let left = serving.data().join(folder);
        wait_until(Duration::from_secs(20), "their files to go", || {
            fs::read_dir(&left).unwrap().count() == 0
        });
    }
    serving.stop();
    stage.assert_nothing_left();
}

/// Asks for a machine's sleep as a server does, which goes no further.
fn put_to_sleep(folder: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(folder.join("agent.sock")).unwrap();
    stream.write_all(b"sleep memory\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"asleep\n");
    stream
}

/// How many processes run a machine.
fn monitors(id: &str) -> usize {
    monitors_of(id).len()
}

/// The process that runs a machine, which has its folder's name among its arguments.
fn monitor(id: &str) -> Pid {
    let found = monitors_of(id);
    assert_eq!(found.len(), 1, "{found:?}");
    Pid::from_raw(found[0]).unwrap()
}

fn monitors_of(id: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.split('\0').next().unwrap().contains("qemu-system") && line.contains(id)
    };
    pids.filter(is_it).collect()
}
