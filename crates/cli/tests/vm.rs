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
    assert_eq!(fs::read_dir(runs).unwrap().count(), 0);
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
    assert_eq!(asks(&serving, &one, "cat /home/user/file"), "mine\n");
    serving.says(&["kill", &one]);
    let left = serving.data().join("sandboxes");
    wait_until(Duration::from_secs(20), "their files to go", || {
        fs::read_dir(&left).unwrap().count() == 0
    });
    serving.stop();
    stage.assert_nothing_left();
}

/// The process that runs a machine, which has its folder's name among its arguments.
fn monitor(id: &str) -> Pid {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.split('\0').next().unwrap().contains("qemu-system") && line.contains(id)
    };
    let found: Vec<i32> = pids.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    Pid::from_raw(found[0]).unwrap()
}
