//! The report: its shape, its counts, and the file that it goes to.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Ended, Stage, both, report, texts};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::Duration;

both!(
    every_field,
    outcomes,
    files,
    files_are_told_by_what_happened_to_them,
    more_files_than_are_listed,
    refused_system_calls_are_counted,
    refused_host_sockets,
    layers,
    tasks,
    processor_time,
    processor_time_of_children,
    peak_memory,
    what_was_brought_in,
    standard_output,
    a_file,
    an_unwritable_path_is_refused_before_the_start,
    a_link_made_by_the_program_leads_nowhere,
    a_pipe_made_by_the_program_blocks_nothing,
);

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

/// The report of `casemate run --report FILE FLAGS -- sh -c SCRIPT`.
fn told(stage: &Stage, flags: &[&str], script: &str) -> Value {
    stage.folder("outside");
    let path = stage.text("outside/report.json");
    let flags: Vec<&str> = ["--report", &path]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    let ended = stage.shell(&flags, script);
    let told = report(&stage.read("outside/report.json"));
    assert_eq!(told["exit_code"], ended.code, "{ended:?}");
    told
}

fn every_field(stage: &Stage) {
    let told = told(stage, &["--name", "a run"], "exit 3");
    assert_eq!(
        keys(&told),
        [
            "carriers",
            "command",
            "exit_code",
            "files",
            "layers",
            "limits",
            "name",
            "notes",
            "outcome",
            "peak_memory",
            "refused",
            "system_seconds",
            "tasks_started",
            "user_seconds",
            "version",
            "view",
            "wall_seconds",
        ]
    );
    assert_eq!(told["version"], 1);
    assert_eq!(told["name"], "a run");
    assert_eq!(told["command"], json!(["sh", "-c", "exit 3"]));
    assert_eq!(told["outcome"], json!({"how": "exited", "status": 3}));
    assert_eq!(keys(&told["peak_memory"]), ["bytes", "source"]);
    assert_eq!(
        told["files"],
        json!({"created": [], "changed": [], "deleted": [], "not_listed": 0})
    );
    assert_eq!(
        told["carriers"],
        json!({"protected": [], "removed": [], "new": []})
    );
    assert_eq!(told["refused"], json!([]));
    assert_eq!((&told["view"], &told["notes"]), (&json!([]), &json!([])));
    for layer in told["layers"].as_array().unwrap() {
        assert_eq!(keys(layer), ["active", "detail", "name"]);
    }
    for limit in told["limits"].as_array().unwrap() {
        assert_eq!(keys(limit), ["by", "name", "strong", "value"]);
    }
    let wall = told["wall_seconds"].as_f64().unwrap();
    assert!(wall > 0.0 && wall < 5.0, "{wall}");
    assert!(
        report(&stage.shell(&["--report", "-"], "").out)
            .get("name")
            .is_none()
    );
}

fn outcomes(stage: &Stage) {
    let outcome = |flags: &[&str], script: &str| told(stage, flags, script)["outcome"].clone();
    assert_eq!(
        outcome(&[], "exit 0"),
        json!({"how": "exited", "status": 0})
    );
    assert_eq!(
        outcome(&[], "kill -9 $$"),
        json!({"how": "signaled", "signal": 9})
    );
    assert_eq!(
        outcome(&["--time", "300ms"], "sleep 30"),
        json!({"how": "stopped", "limit": {"limit": "time", "max": 0.3}})
    );
    assert_eq!(
        outcome(
            &["--disk", "4M", "--ro", "."],
            "cat /dev/zero > /tmp/f 2>/dev/null"
        ),
        json!({"how": "stopped", "limit": {"limit": "disk", "max": 4 << 20}})
    );
    assert_eq!(
        outcome(
            &["--disk", "4M", "--ro", "."],
            "cd /tmp; i=0; while mkdir d$i 2>/dev/null; do i=$((i+1)); done; sleep 1"
        ),
        json!({"how": "stopped", "limit": {"limit": "inodes", "max": 1024}})
    );
}

/// The lists of created, changed and deleted files, relative to the workspace.
fn changes(stage: &Stage, script: &str) -> [Vec<String>; 3] {
    let told = told(stage, &[], script);
    let ws = format!("{}/", stage.text("ws"));
    ["created", "changed", "deleted"].map(|list| {
        texts(&told["files"][list])
            .iter()
            .map(|path| path.strip_prefix(&ws).unwrap().to_owned())
            .collect()
    })
}

fn files(stage: &Stage) {
    for name in ["same", "grows", "goes", "folder/a", "folder/b"] {
        stage.write(format!("ws/{name}"), "old\n");
    }
    let script = "cat same > /dev/null; echo more >> grows; rm goes; rm -r folder; mkdir -p new/er; echo x > new/er/file; \
                  ln -s file new/link; mkfifo pipe; echo x > /tmp/private";
    assert_eq!(
        changes(stage, script),
        [
            vec!["new", "new/er", "new/er/file", "new/link", "pipe"],
            vec!["grows"],
            vec!["folder", "folder/a", "folder/b", "goes"],
        ]
    );
}

fn files_are_told_by_what_happened_to_them(stage: &Stage) {
    for name in [
        "moved",
        "replaced",
        "mode",
        "time",
        "back",
        "name with spaces\n and lines",
    ] {
        stage.write(format!("ws/{name}"), "old\n");
    }
    let script = "mv moved to; echo old > r; mv r replaced; chmod 600 mode; touch -d @1 time; mv back x; mv x back; \
                  for name in *lines; do echo x > \"$name\"; done; echo x > gone; rm gone";
    assert_eq!(
        changes(stage, script),
        [
            vec!["to"],
            // Renaming there and back changes the status time, which nobody can set back.
            vec![
                "back",
                "mode",
                "name with spaces\n and lines",
                "replaced",
                "time"
            ],
            vec!["moved"],
        ]
    );
}

fn more_files_than_are_listed(stage: &Stage) {
    let told = told(stage, &[], "mkdir d; seq -f 'd/%g' 10049 | xargs touch");
    assert_eq!(texts(&told["files"]["created"]).len(), 10_000);
    assert_eq!(told["files"]["not_listed"], 50);
}

/// What was refused of a kind, with its count.
fn refused(told: &Value, kind: &str) -> Vec<(String, u64)> {
    let refusals = told["refused"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|refusal| refusal["kind"] == kind);
    let what = |refusal: &Value| {
        (
            refusal["what"].as_str().unwrap().to_owned(),
            refusal["count"].as_u64().unwrap(),
        )
    };
    refusals.map(what).collect()
}

fn refused_system_calls_are_counted(stage: &Stage) {
    // mount(2) and keyctl(2) by their numbers on x86_64.
    let script = "perl -e 'syscall(165, 0, 0, 0, 0, 0) for 1..3; syscall(250, 0, 0, 0, 0, 0)'";
    let told = told(stage, &[], script);
    assert_eq!(
        refused(&told, "syscall"),
        [("keyctl".into(), 1), ("mount".into(), 3)]
    );
    assert_eq!(keys(&told["refused"][0]), ["count", "kind", "what", "why"]);
}

fn refused_host_sockets(stage: &Stage) {
    let path = stage.path("ws/host.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    stage.write(
        "ws/connect.py",
        "import socket, sys\nfor path in sys.argv[1:]:\n    try: socket.socket(socket.AF_UNIX).connect(path); print('connected')\n    except OSError as e: print(e.strerror)\n",
    );
    let whole = path.to_str().unwrap();
    let report_path = stage.text("outside/report.json");
    let args = [
        "--report",
        &report_path,
        "--",
        "/usr/bin/python3",
        "connect.py",
        whole,
        whole,
        "host.sock",
        "/none",
    ];
    stage.run(args).assert_out(
        "Connection refused\nConnection refused\nConnection refused\nNo such file or directory\n",
    );
    let told = report(&stage.read("outside/report.json"));
    let all: u64 = refused(&told, "connect")
        .iter()
        .map(|(_, count)| count)
        .sum();
    assert_eq!(all, 3, "{}", told["refused"]);
    assert!(
        refused(&told, "connect").contains(&(whole.to_owned(), 2)),
        "{}",
        told["refused"]
    );
}

fn layers(stage: &Stage) {
    let told = told(stage, &[], "");
    let layers = told["layers"].as_array().unwrap();
    let names: Vec<&str> = layers
        .iter()
        .map(|layer| layer["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "namespaces",
            "cgroup-namespace",
            "time-namespace",
            "network",
            "no-new-privs",
            "capabilities",
            "landlock",
            "seccomp",
            "seccomp-notify",
        ]
    );
    assert!(
        layers.iter().all(|layer| layer["active"] == true),
        "{}",
        told["layers"]
    );
    let landlock = layers[6]["detail"].as_str().unwrap();
    let doctor = report(&Ended::of(stage.casemate().args(["doctor", "--json"])).out);
    let checks = doctor["checks"].as_array().unwrap();
    let found = checks
        .iter()
        .find(|check| check["name"] == "landlock")
        .unwrap()["value"]
        .as_str()
        .unwrap();
    let abi = |text: &str| text.split([' ', ';']).nth(1).map(str::to_owned);
    assert_eq!(
        abi(landlock),
        abi(found),
        "{landlock} in the report, {found} in doctor"
    );
    let open = self::told(stage, &["--net", "host"], "");
    assert_eq!(
        open["layers"][3],
        json!({"name": "network", "active": false, "detail": "the host's"})
    );
    assert_eq!(
        texts(&open["notes"]),
        ["the network is the host's: nothing is isolated there"]
    );
}

fn tasks(stage: &Stage) {
    let started = |script: &str| told(stage, &[], script)["tasks_started"].as_u64().unwrap();
    assert_eq!(started("exit 0"), 1);
    assert_eq!(started("/bin/true; /bin/true; /bin/true; exit 0"), 4);
    assert_eq!(
        started("for i in $(seq 20); do (:) & done; wait; exit 0"),
        22
    );
}

/// Busy for about half a second; says how long it took by its own account.
const BUSY: &str = "import resource
x = 0
for i in range(6000000): x += i
u = resource.getrusage(resource.RUSAGE_SELF)
print(u.ru_utime + u.ru_stime)";

#[track_caller]
fn assert_near(is: f64, should: f64, what: &str) {
    assert!(
        (is / should - 1.0).abs() <= 0.2,
        "{what}: {is} s, and not {should} s"
    );
}

fn processor_time(stage: &Stage) {
    stage.write("ws/busy.py", BUSY);
    let (mut inside, mut bare) = (f64::INFINITY, f64::INFINITY);
    // The least of each: what other programs on the machine add is no cost of the wall. It takes
    // more rounds to find on a busy machine.
    for round in 0..15 {
        inside = inside.min(busy_inside(stage));
        bare = bare.min(seconds(&stage.outside("/usr/bin/python3 busy.py")));
        if round >= 2 && (inside / bare - 1.0).abs() <= 0.1 {
            break;
        }
    }
    assert_near(inside, bare, "inside against bare");
}

/// What a busy program used by its report, which is near what it says itself.
fn busy_inside(stage: &Stage) -> f64 {
    let path = stage.text("outside/report.json");
    let ended = stage.run(["--report", &path, "--", "/usr/bin/python3", "busy.py"]);
    let told = report(&stage.read("outside/report.json"));
    let (user, system) = (&told["user_seconds"], &told["system_seconds"]);
    assert!(user.as_f64().unwrap() > 0.0, "{told}");
    let used = user.as_f64().unwrap() + system.as_f64().unwrap();
    let what = "the report against the program's own account";
    assert_near(used, seconds(&ended.out), what);
    used
}

fn seconds(text: &str) -> f64 {
    text.trim().parse().unwrap()
}

fn processor_time_of_children(stage: &Stage) {
    stage.write("ws/busy.py", BUSY);
    // A child that is waited for, and one that the program leaves to init.
    let script = "/usr/bin/python3 busy.py > a; (/usr/bin/python3 busy.py > b.part; mv b.part b) & \
                  sh -c 'while ! [ -e b ]; do sleep 0.05; done'";
    let told = told(stage, &[], script);
    let used = told["user_seconds"].as_f64().unwrap() + told["system_seconds"].as_f64().unwrap();
    let own = |name: &str| stage.read(name).trim().parse::<f64>().unwrap();
    assert_near(used, own("ws/a") + own("ws/b"), "two children");
}

fn peak_memory(stage: &Stage) {
    let told = {
        let path = stage.text("outside/report.json");
        let script = "x = bytearray(100 << 20); import time; time.sleep(0.5)";
        stage.python(&["--report", &path], script).assert_out("");
        report(&stage.read("outside/report.json"))
    };
    let (peak, source) = (
        told["peak_memory"]["bytes"].as_u64().unwrap(),
        &told["peak_memory"]["source"],
    );
    assert!(
        (100 << 20..200 << 20).contains(&peak),
        "{peak} bytes by {source}"
    );
}

fn what_was_brought_in(stage: &Stage) {
    stage.script(
        "outside/tool/bin/prog",
        "#!/bin/sh\ncat \"$(dirname \"$0\")/../share/data\"\n",
    );
    stage.write("outside/tool/share/data", "found\n");
    stage.write("outside/tool/credentials", "secret\n");
    let (prog, path) = (
        stage.text("outside/tool/bin/prog"),
        stage.text("outside/report.json"),
    );
    stage
        .run(["--report", &path, "--", &prog])
        .assert_out("found\n");
    let told = report(&stage.read("outside/report.json"));
    let tool = stage.text("outside/tool");
    assert_eq!(
        texts(&told["view"]),
        [format!(
            "{tool}: read-only, since {prog} is installed there"
        )]
    );
    stage.run(["--", &prog]).assert_out("found\n");
    stage.script(
        "outside/tool/bin/thief",
        "#!/bin/sh\ncat \"$(dirname \"$0\")/../credentials\"; echo x > $0.x\n",
    );
    let ended = stage.run(["--", &stage.text("outside/tool/bin/thief")]);
    assert_eq!(ended.out, "");
    assert!(
        ended.err.ends_with("thief.x: Read-only file system\n"),
        "{}",
        ended.err
    );
}

fn standard_output(stage: &Stage) {
    let ended = stage.shell(&["--report", "-"], "echo first");
    let (first, rest) = ended.out.split_once('\n').unwrap();
    assert_eq!(first, "first");
    assert_eq!(report(rest)["exit_code"], 0);
    assert!(rest.ends_with("}\n"));
}

fn a_file(stage: &Stage) {
    // Relative to the caller's folder, and replaced whole.
    stage.write("ws/r.json", "x".repeat(1 << 16));
    stage
        .shell(&["--report", "r.json"], "echo on")
        .assert_out("on\n");
    assert_eq!(report(&stage.read("ws/r.json"))["exit_code"], 0);
}

fn an_unwritable_path_is_refused_before_the_start(stage: &Stage) {
    let nope = stage.text("nope");
    for (path, why) in [
        (
            format!("{nope}/r.json"),
            "No such file or directory (os error 2)",
        ),
        ("/".into(), "Is a directory (os error 21)"),
        (
            "/proc/nope".into(),
            "No such file or directory (os error 2)",
        ),
    ] {
        let ended = stage.run(["--report", &path, "--", "touch", "ran"]);
        ended.assert(
            125,
            "",
            &format!("casemate: error: write the report {path}: {why}\n"),
        );
        assert!(
            !stage.path("ws/ran").exists(),
            "the program ran, and its report had nowhere to go"
        );
    }
}

fn a_link_made_by_the_program_leads_nowhere(stage: &Stage) {
    stage.write("outside/bashrc", "precious\n");
    let script = format!(
        "rm -f r.json; ln -s {} r.json",
        stage.text("outside/bashrc")
    );
    stage.shell(&["--report", "r.json"], &script);
    assert_eq!(stage.read("outside/bashrc"), "precious\n");
    // Nor does one that an earlier program left.
    fs::remove_file(stage.path("ws/r.json")).unwrap();
    symlink(stage.path("outside/bashrc"), stage.path("ws/r.json")).unwrap();
    stage.shell(&["--report", "r.json"], "");
    assert_eq!(stage.read("outside/bashrc"), "precious\n");
}

fn a_pipe_made_by_the_program_blocks_nothing(stage: &Stage) {
    let binary = stage.path("casemate");
    let mut command = stage.command("timeout");
    command.args(["-s", "KILL", "5"]).arg(binary);
    let script = "rm -f r.json; mkfifo r.json";
    let ended = Ended::of(command.args(["run", "--report", "r.json", "--", "sh", "-c", script]));
    assert!(
        ended.took < Duration::from_secs(4),
        "casemate waits for a reader of the program's pipe"
    );
}
