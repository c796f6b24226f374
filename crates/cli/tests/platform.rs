//! The commands for people, against a server with real sandboxes.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/pty.rs"]
mod pty;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use pty::{CTRL_C, CTRL_D, Seat};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::LocalModes;
use sandbox::{Ended, Stage, both, report, wait_until};
use serving::Serving;
use std::fs;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use support::PATIENCE;

both!(
    a_life,
    names_and_beginnings,
    commands,
    input_and_output_of_any_bytes,
    a_signal_is_passed_on,
    a_reader_that_leaves_ends_the_command,
    a_terminal,
    a_shell,
    files_there_and_back,
    folders_there_and_back,
    a_unit,
    an_end_that_takes_all_along,
    processors,
    ports,
    private_ports,
    keys,
    the_file_for_clients,
    no_file_for_clients,
    a_server_that_dies,
    a_server_that_dies_under_twenty_commands,
    a_sandbox_that_dies,
    lines,
);

/// Every byte, many times over.
fn all_bytes() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    bytes.extend(b"no newline");
    bytes
}

fn a_life(stage: &Stage) {
    let serving = Serving::new(stage);
    let header = "ID                     STATE    AGE      ENDS IN  NAME\n";
    assert_eq!(serving.says(&["ps", "-a"]), header);
    let flags = [
        "--timeout",
        "never",
        "--metadata",
        "a=b",
        "--env",
        "X=1",
        "--pids",
        "99",
    ];
    let id = serving.create(&flags);
    assert_eq!(
        serving.says(&["exec", &id, "--", "sh", "-c", "echo $X"]),
        "1\n"
    );
    let list = serving.says(&["ps"]);
    assert!(
        list.contains(&id) && list.contains("running") && list.contains("never"),
        "{list}"
    );
    let listed = report(&serving.says(&["ps", "--json"]));
    assert_eq!(listed[0]["metadata"]["a"], "b");
    let known = report(&serving.says(&["inspect", &id]));
    assert_eq!(
        (&known["state"], &known["pids"]),
        (&"running".into(), &99.into())
    );

    assert_eq!(serving.says(&["pause", &id]), format!("{id}\n"));
    assert_eq!(serving.says(&["ps"]), header);
    assert!(serving.says(&["ps", "-a"]).contains("paused"));
    let refused = serving.run(&["exec", &id, "--", "true"]);
    let why = format!(
        "casemate: error: run a command in a sandbox {id}: the sandbox is paused\n\
         hint: `casemate resume {id}` lets it go on\n"
    );
    refused.assert(125, "", &why);
    assert_eq!(serving.says(&["resume", &id]), format!("{id}\n"));
    serving.says(&["exec", &id, "--", "true"]);

    let other = serving.create(&[]);
    let killed = serving.run(&["kill", &id, "nobody"]);
    assert_eq!((killed.code, killed.out), (125, format!("{id}\n")));
    assert!(
        killed
            .err
            .contains("error: kill a sandbox nobody: no sandbox"),
        "{}",
        killed.err
    );
    assert_eq!(serving.says(&["kill", "--all"]), format!("{other}\n"));
    assert_eq!(serving.says(&["ps", "-a"]), header);
    assert_eq!(report(&serving.says(&["inspect", &id]))["state"], "stopped");
}

fn names_and_beginnings(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--name", "web"]);
    let other = serving.create(&["--name", "worker"]);
    assert!(serving.says(&["ps"]).contains("  web\n"));
    let say = |which: &str| serving.run(&["exec", which, "--", "printenv", "E2B_SANDBOX_ID"]);
    let common = id
        .bytes()
        .zip(other.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    say("web").assert_out(&format!("{id}\n"));
    say(&other[..=common]).assert_out(&format!("{other}\n"));
    let ambiguous = say("i");
    assert_eq!(ambiguous.code, 125);
    assert!(
        ambiguous.err.contains("2 sandboxes are meant"),
        "{}",
        ambiguous.err
    );
    assert!(
        ambiguous.err.contains("hint: give more of the id"),
        "{}",
        ambiguous.err
    );
    let unknown = say("x\u{1b}[2J");
    assert!(
        unknown.err.contains(r"x\u{1b}[2J") && unknown.code == 125,
        "{}",
        unknown.err
    );
}

fn commands(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    let exec = |args: &[&str]| serving.run(&[&["exec"], args].concat());
    exec(&[&id, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]).assert(7, "out\n", "err\n");
    exec(&[&id, "--", "sh", "-c", "kill -9 $$"]).assert(137, "", "");
    let missing = exec(&[&id, "--", "nothing-of-this-name"]);
    assert_eq!(missing.code, 127, "{missing:?}");
    assert!(
        missing.err.contains("nothing-of-this-name"),
        "{}",
        missing.err
    );
    assert_eq!(exec(&[&id, "--", "/etc"]).code, 126);
    let place = ["--cwd", "/tmp", "--env", "A=b c", "--env", "HOME"];
    let script = [id.as_str(), "--", "sh", "-c", "pwd; echo $A; echo $HOME"];
    let home = stage.text("home");
    exec(&[&place[..], &script].concat()).assert_out(&format!("/tmp\nb c\n{home}\n"));
    exec(&["--user", "user", &id, "--", "sh", "-c", "echo $USER"]).assert_out("user\n");
    let nobody = exec(&["--user", "no-such-user", &id, "--", "true"]);
    assert_eq!(nobody.code, 125);
    assert!(nobody.err.contains("invalid username"), "{}", nobody.err);
    // Without -i there is no input to wait for.
    exec(&[&id, "--", "cat"]).assert_out("");
    let pid = exec(&["-d", &id, "--", "sleep", "1000"]);
    assert!(pid.out.trim().parse::<u32>().is_ok(), "{pid:?}");
    let pid = pid.out.trim();
    exec(&[
        &id,
        "--",
        "sh",
        "-c",
        &format!("kill -0 {pid} && echo there"),
    ])
    .assert_out("there\n");
}

fn input_and_output_of_any_bytes(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    let bytes = all_bytes();
    let back = serving.filter(&["exec", "-i", &id, "--", "cat"], bytes.clone());
    assert!(
        back == bytes,
        "{} bytes of {} came back",
        back.len(),
        bytes.len()
    );
    // A program that stops reading is no error.
    let first = serving.filter(
        &["exec", "-i", &id, "--", "head", "-c", "3"],
        b"abcdef".to_vec(),
    );
    assert_eq!(first, b"abc");
}

fn a_signal_is_passed_on(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    let script = "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.1; done";
    let mut running = serving.begin(&["exec", &id, "--", "sh", "-c", script]);
    assert_eq!(running.first, "up\n");
    kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
    let mut rest = String::new();
    running.out().read_to_string(&mut rest).unwrap();
    assert_eq!((running.end(), &*rest), (9, "caught\n"));
    // One that doesn't listen is killed by the second.
    let deaf = "trap 'echo no' TERM; echo up; while :; do sleep 0.1; done";
    let mut running = serving.begin(&["exec", &id, "--", "sh", "-c", deaf]);
    let pid = Pid::from_child(&running.child);
    kill_process(pid, Signal::TERM).unwrap();
    let mut line = String::new();
    running.out().read_line(&mut line).unwrap();
    assert_eq!(line, "no\n");
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(running.end(), 137);
}

fn a_reader_that_leaves_ends_the_command(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    let mut running = serving.begin(&["exec", &id, "--", "yes"]);
    running.out = None;
    assert_eq!(running.end(), 141);
    let count = "ps ax -o args= | grep -c '^yes$'";
    wait_until(PATIENCE, "the command to end", || {
        serving.run(&["exec", &id, "--", "sh", "-c", count]).out == "0\n"
    });
}

fn a_terminal(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    let casemate = stage.path("casemate");
    let shell = [
        "exec",
        "-it",
        "--env",
        "PS1",
        &id,
        "--",
        "bash",
        "--norc",
        "--noprofile",
    ];
    let mut seat = Seat::start(stage, &casemate, shell);
    seat.expect("ready> ");
    assert!(!seat.settings().local_modes.contains(LocalModes::ICANON));
    assert_eq!(seat.line("tty; echo $TERM"), "/dev/pts/0\ndumb\n");
    assert_eq!(seat.line("stty size"), "24 80\n");
    seat.resize(33, 99);
    // The size comes by another way than the keys.
    seat.type_in("until [ \"$(stty size)\" = '33 99' ]; do :; done; echo $((6 * 7))\n");
    seat.expect("42");
    seat.expect("ready> ");
    // By then the shell has left the terminal to it.
    seat.type_in("sh -c 'echo u\"\"p; exec sleep 1000'\n");
    seat.expect("up\r\n");
    seat.type_in(CTRL_C);
    seat.expect("ready> ");
    seat.type_in("exit 3\n");
    assert_eq!(seat.end().code(), Some(3));
    assert!(seat.settings().local_modes.contains(LocalModes::ICANON));

    // Without -i it only shows.
    let mut seat = Seat::start(stage, &casemate, ["exec", "-t", &id, "--", "tty"]);
    seat.expect("/dev/pts/");
    assert_eq!(seat.end().code(), Some(0));
}

fn a_shell(stage: &Stage) {
    let serving = Serving::new(stage);
    serving.create(&["--name", "box"]);
    let mut seat = Seat::start(stage, stage.path("casemate"), ["shell", "box"]);
    let prompt = "user@sandbox:~$ ";
    seat.expect(prompt);
    seat.type_in("echo $0-$(hostname)-$PWD\n");
    seat.expect("bash-sandbox-/home/user");
    seat.expect(prompt);
    seat.type_in(CTRL_D);
    assert_eq!(seat.end().code(), Some(0));
}

fn files_there_and_back(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    let bytes = all_bytes();
    stage.write("ws/a", &bytes);
    stage.mode("ws/a", 0o750);
    serving.says(&["cp", "a", &format!("{id}:/tmp/x")]);
    let mode = serving.says(&["exec", &id, "--", "stat", "-c", "%a %s", "/tmp/x"]);
    assert_eq!(mode, format!("750 {}\n", bytes.len()));
    serving.says(&["cp", &format!("{id}:/tmp/x"), "b"]);
    assert!(fs::read(stage.path("ws/b")).unwrap() == bytes);
    assert_eq!(
        fs::metadata(stage.path("ws/b")).unwrap().mode() & 0o777,
        0o750
    );
    // In a folder it keeps its name; a relative path is in the home.
    serving.says(&["cp", "a", &format!("{id}:")]);
    serving.says(&["cp", &format!("{id}:a"), &stage.text("outside")]);
    assert!(fs::read(stage.path("outside/a")).unwrap() == bytes);
    // Streams.
    serving.filter(
        &["cp", "-", &format!("{id}:/tmp/odd name?&#")],
        bytes.clone(),
    );
    let back = serving.filter(&["cp", &format!("{id}:/tmp/odd name?&#"), "-"], Vec::new());
    assert!(back == bytes);
    let empty = serving.filter(&["cp", "-", &format!("{id}:empty")], Vec::new());
    assert_eq!(empty, b"");
    assert_eq!(serving.says(&["cp", &format!("{id}:empty"), "-"]), "");

    let missing = serving.run(&["cp", &format!("{id}:/nothing"), "c"]);
    assert_eq!(missing.code, 125);
    assert!(
        missing.err.contains("'/nothing' does not exist"),
        "{}",
        missing.err
    );
    assert!(!stage.path("ws/c").exists());
    assert_eq!(
        serving.run(&["cp", "nothing", &format!("{id}:x")]).code,
        125
    );
    let local = serving.run(&["cp", "a", "b"]);
    assert!(
        local.err.contains("hint: a path in a sandbox is ID:PATH"),
        "{}",
        local.err
    );
}

fn folders_there_and_back(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    stage.write("ws/d/one/two/file", all_bytes());
    stage.write("ws/d/script", "#!/bin/sh\necho ran\n");
    stage.mode("ws/d/script", 0o755);
    stage.folder("ws/d/empty");
    stage.symlink("one/two/file", "ws/d/link");
    stage.write(format!("ws/d/{}", "long".repeat(50)), "x");
    serving.says(&["cp", "d", &format!("{id}:/tmp")]);
    let ran = serving.says(&["exec", &id, "--", "/tmp/d/script"]);
    assert_eq!(ran, "ran\n");
    serving.says(&["cp", "d", &format!("{id}:/tmp/named")]);
    serving.says(&["cp", &format!("{id}:/tmp/named"), "back"]);
    // Twice is no mistake, neither there nor here.
    serving.says(&["cp", "d", &format!("{id}:/tmp")]);
    serving.says(&["cp", &format!("{id}:/tmp/d"), &stage.text("outside")]);
    serving.says(&["cp", &format!("{id}:/tmp/d"), &stage.text("outside")]);
    let same = |folder: &str| {
        let (from, to) = (stage.path("ws/d"), stage.path(folder));
        let args = ["-r", "--no-dereference"];
        let differ = Command::new("diff")
            .args(args)
            .arg(from)
            .arg(to)
            .output()
            .unwrap();
        assert!(
            differ.status.success(),
            "{}",
            String::from_utf8_lossy(&differ.stdout)
        );
    };
    same("ws/back");
    same("outside/d");
    let mode = fs::metadata(stage.path("ws/back/script"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);

    // What would lead out of the folder stays in the sandbox.
    let evil = "mkdir /tmp/evil; ln -s /etc/passwd /tmp/evil/way; mkfifo /tmp/evil/pipe; \
                echo x >/tmp/evil/fine";
    serving.says(&["exec", &id, "--", "sh", "-c", evil]);
    let taken = serving.run(&["cp", &format!("{id}:/tmp/evil"), "evil"]);
    assert_eq!(taken.code, 0, "{taken:?}");
    assert!(
        taken.err.contains("note: 2 files were left out"),
        "{}",
        taken.err
    );
    assert_eq!(fs::read_dir(stage.path("ws/evil")).unwrap().count(), 1);
    // Nor does a link that is there already lead anything out.
    stage.folder("ws/trap");
    symlink(stage.path("outside"), stage.path("ws/trap/one")).unwrap();
    let trapped = serving.run(&["cp", &format!("{id}:/tmp/d/"), "trap"]);
    assert_eq!(trapped.code, 0, "into trap/d: {trapped:?}");
    symlink(stage.path("outside"), stage.path("ws/trap/evil")).unwrap();
    stage.folder("ws/trap2/d");
    symlink(stage.path("outside"), stage.path("ws/trap2/d/one")).unwrap();
    let trapped = serving.run(&["cp", &format!("{id}:/tmp/d"), "trap2"]);
    assert_eq!(trapped.code, 125, "{trapped:?}");
    assert!(!stage.path("outside/two").exists());
}

/// A web server in the sandbox, which serves its home.
fn web_server(serving: &Serving<'_>, id: &str) -> serving::Running {
    let server = [
        "exec",
        id,
        "--",
        "python3",
        "-u",
        "-m",
        "http.server",
        "8000",
    ];
    let bind = ["--bind", "127.0.0.1"];
    let running = serving.begin(&[&server[..], &bind].concat());
    assert!(
        running.first.starts_with("Serving HTTP"),
        "{}",
        running.first
    );
    running
}

fn fetch(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn a_unit(stage: &Stage) {
    let data = stage.text("home/a b");
    let mut print = stage.casemate();
    let printed = Ended::of(print.args(["serve", "--print-unit", "--data", &data]));
    assert_eq!((printed.code, &*printed.err), (0, ""));
    assert!(printed.out.contains("\nKillMode=process\n"), "{printed:?}");
    assert!(
        printed.out.contains(&format!(" serve --data \"{data}\"\n")),
        "{printed:?}"
    );
    assert!(!stage.path("home/a b").exists());
    stage.write("casemate.service", &printed.out);
    let mut verify = Command::new("systemd-analyze");
    verify
        .args(["verify", "--man=no"])
        .arg(stage.path("casemate.service"));
    match verify.output() {
        Err(_) => println!("skipped: systemd-analyze isn't there"),
        Ok(verified) => {
            let said = String::from_utf8_lossy(&verified.stderr);
            // It looks at other units of the machine, too.
            assert!(!said.contains("casemate"), "{said}");
        }
    }
}

fn an_end_that_takes_all_along(stage: &Stage) {
    for (what, survives) in [("keep", true), ("kill", false)] {
        let mut serving = Serving::with(stage, &["--drain", what]);
        let id = serving.create(&[]);
        let folder = serving.data().join("sandboxes").join(&id);
        assert!(folder.exists());
        serving.terminate();
        assert_eq!(folder.exists(), survives, "{what}");
        if survives {
            serving.restart();
            serving.says(&["exec", &id, "--", "true"]);
            serving.says(&["kill", &id]);
        }
    }
}

fn processors(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--cpus", "1"]);
    let says = |script: &str| serving.run(&["exec", &id, "--", "sh", "-c", script]);
    if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap() {
        println!("skipped: a cgroup of version 2 holds this limit");
        return;
    }
    says("nproc").assert_out("1\n");
    let widened = says("taskset -pc 0-1 $$");
    let least = std::thread::available_parallelism().unwrap().get();
    assert_eq!(widened.code == 0, least == 1, "{widened:?}");
}

fn ports(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    serving.filter(
        &["cp", "-", &format!("{id}:page")],
        b"hello from inside".to_vec(),
    );
    let _web = web_server(&serving, &id);
    let mut forward = serving.begin(&["port", &id, "0:8000"]);
    let (here, there) = forward.first.trim().split_once(" -> ").unwrap();
    assert_eq!(there, format!("{id}:8000"));
    for _ in 0..3 {
        let answer = fetch(here, "/page");
        assert!(answer.ends_with("hello from inside"), "{answer}");
    }
    // The same by the server's own URL.
    let url = serving.says(&["port", "--print-url", &id, "8000"]);
    let path = format!("/proxy/{id}/8000/");
    assert_eq!(url, format!("http://{}{path}\n", serving.address));
    let answer = fetch(&serving.address, &format!("{path}page"));
    assert!(answer.ends_with("hello from inside"), "{answer}");
    // A program that speaks first, and no HTTP.
    let script = "import socket; s = socket.create_server(('127.0.0.1', 7000)); \
                  print('up', flush=True); c, _ = s.accept(); c.sendall(b'first'); \
                  print(c.recv(100), flush=True); c.shutdown(1); c.recv(1)";
    let mut greeter = serving.begin(&["exec", &id, "--", "python3", "-c", script]);
    let raw = serving.begin(&["port", &id, "0:7000"]);
    let mut stream = TcpStream::connect(raw.first.split(' ').next().unwrap()).unwrap();
    let mut five = [0; 5];
    stream.read_exact(&mut five).unwrap();
    stream.write_all(b"\x00\xffanswer").unwrap();
    let mut heard = String::new();
    greeter.out().read_line(&mut heard).unwrap();
    assert_eq!((&five, &*heard), (b"first", "b'\\x00\\xffanswer'\n"));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    drop(stream);
    assert_eq!((greeter.end(), rest.len()), (0, 0));
    // Once the sandbox is gone, there is nothing to forward to.
    let here = here.to_owned();
    serving.says(&["kill", &id]);
    drop(TcpStream::connect(&here).unwrap());
    assert_eq!(forward.end(), 125);
}

fn private_ports(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&["--private-ports"]);
    let _web = web_server(&serving, &id);
    let answer = fetch(&serving.address, &format!("/proxy/{id}/8000/"));
    assert!(
        answer.starts_with("HTTP/1.0 403") || answer.starts_with("HTTP/1.1 403"),
        "{answer}"
    );
    let mut stream = TcpStream::connect(&serving.address).unwrap();
    let head = format!("Host: x\r\nE2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: 8000\r\n");
    let upgrade = "Connection: upgrade\r\nUpgrade: casemate-tcp\r\n\r\n";
    write!(stream, "GET / HTTP/1.1\r\n{head}{upgrade}").unwrap();
    let mut status = String::new();
    let mut stream = std::io::BufReader::new(stream);
    stream.read_line(&mut status).unwrap();
    assert!(status.contains(" 403 "), "{status}");
    let forward = serving.begin(&["port", &id, "0:8000"]);
    let answer = fetch(forward.first.split(' ').next().unwrap(), "/");
    assert!(answer.contains("200 OK"), "{answer}");
}

fn keys(stage: &Stage) {
    let serving = Serving::new(stage);
    let key = serving.says(&["key", "create", "--name", "ci", "--scope", "read"]);
    let key = key.trim();
    assert!(key.starts_with("e2b_") && key.len() == 44, "{key}");
    let list = serving.says(&["key", "list"]);
    let line = list.lines().find(|line| line.ends_with("  ci")).unwrap();
    assert!(line.contains("read") && !list.contains(key), "{list}");
    assert!(list.contains("first") && list.contains("admin"), "{list}");
    serving.says(&["ps", "--key", key]);
    let refused = serving.run(&["create", "--key", key]);
    assert_eq!(refused.code, 125);
    assert!(refused.err.contains("scope is 'read'"), "{}", refused.err);
    let id = line.split(' ').next().unwrap();
    serving.says(&["key", "revoke", id]);
    let revoked = serving.run(&["ps", "--key", key]);
    assert_eq!(revoked.code, 125);
    assert!(
        revoked.err.contains("not valid, or was revoked\nhint: "),
        "{}",
        revoked.err
    );
    let first = list.lines().find(|line| line.ends_with("  first")).unwrap();
    let last = serving.run(&["key", "revoke", first.split(' ').next().unwrap()]);
    assert!(
        last.err.contains("last key") && last.code == 125,
        "{}",
        last.err
    );
}

fn the_file_for_clients(stage: &Stage) {
    let mut serving = Serving::new(stage);
    let path = serving.data().join("client.json");
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.uid()), (0o600, stage.uid()));
    let kept = report(&fs::read_to_string(&path).unwrap());
    assert_eq!(kept["key"], serving.key.as_deref().unwrap());
    assert_eq!(kept["url"], format!("http://{}", serving.address));
    // Its key is for its server alone.
    let elsewhere = serving.run(&["ps", "--url", "http://127.0.0.1:1"]);
    assert!(
        elsewhere.err.contains("there is no API key"),
        "{}",
        elsewhere.err
    );
    // Others may read it: it isn't used any more.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let open = serving.run(&["ps"]);
    assert!(
        open.err.contains("somebody else may have written it"),
        "{}",
        open.err
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    serving.says(&["ps"]);
    serving.kill();
    let away = serving.run(&["ps"]);
    assert!(
        away.err.contains("hint: start it with `casemate serve`"),
        "{}",
        away.err
    );
    // Somebody else has the port now.
    if rustix::process::geteuid().is_root() {
        let other = if stage.is_root() { 64322 } else { 0 };
        let script = format!(
            "import os, socket; os.setuid({other}); host, port = '{}'.split(':'); \
             s = socket.create_server((host, int(port))); print('up', flush=True); \
             c, _ = s.accept(); print(c.recv(9999), flush=True)",
            serving.address
        );
        let mut thief = Command::new("/usr/bin/python3");
        thief
            .args(["-c", &script])
            .stdout(std::process::Stdio::piped());
        let mut thief = support::start(&mut thief);
        let mut heard = std::io::BufReader::new(thief.stdout.take().unwrap());
        let mut line = String::new();
        heard.read_line(&mut line).unwrap();
        let refused = serving.run(&["ps"]);
        assert_eq!(refused.code, 125);
        assert!(
            refused.err.contains("another user's program listens there"),
            "{}",
            refused.err
        );
        line.clear();
        heard.read_line(&mut line).unwrap();
        assert_eq!(line, "b''\n");
        thief.wait().unwrap();
    }
    // At another place, the file follows.
    let moved = Serving::new(stage);
    moved.says(&["ps"]);
    assert!(fs::read_to_string(&path).unwrap().contains(&moved.address));
}

fn no_file_for_clients(stage: &Stage) {
    let serving = Serving::with(stage, &["--no-client-file"]);
    assert!(!serving.data().join("client.json").exists());
    let url = format!("http://{}", serving.address);
    let none = serving.run(&["ps", "--url", &url]);
    assert_eq!(none.code, 125);
    assert!(none.err.contains("hint: set E2B_API_KEY"), "{}", none.err);
    let mut command = serving.command(&["ps"]);
    let key = serving.key.as_deref().unwrap();
    command.env("E2B_API_URL", &url).env("E2B_API_KEY", key);
    assert_eq!(sandbox::Ended::of(&mut command).code, 0);
}

fn a_server_that_dies(stage: &Stage) {
    let mut serving = Serving::new(stage);
    let id = serving.create(&["--timeout", "never"]);
    let script = "for i in $(seq 2000); do echo $i; done; read line; \
                  for i in $(seq 2000); do echo $i $line; done; exit 5";
    let (mut child, mut out) = {
        let mut command = serving.command(&["exec", "-i", &id, "--", "bash", "-c", script]);
        command.stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped());
        let mut child = support::start(command.stderr(std::process::Stdio::piped()));
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        (child, out)
    };
    let mut line = String::new();
    for number in 1..=1000 {
        line.clear();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{number}\n"));
    }
    let background = serving.says(&["exec", "-d", &id, "--", "sleep", "1000"]);
    serving.kill();
    serving.restart();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"typed\n").unwrap();
    drop(stdin);
    for number in 1001..=2000 {
        line.clear();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{number}\n"));
    }
    for number in 1..=2000 {
        line.clear();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{number} typed\n"));
    }
    assert_eq!(support::end_of(&mut child, PATIENCE).code(), Some(5));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "");
    let there = format!("kill -0 {} && echo there", background.trim());
    assert_eq!(
        serving.says(&["exec", &id, "--", "sh", "-c", &there]),
        "there\n"
    );
}

fn a_server_that_dies_under_twenty_commands(stage: &Stage) {
    let mut serving = Serving::new(stage);
    let ids = [(); 2].map(|()| serving.create(&["--timeout", "never"]));
    // They are at it before, while and after there is no server.
    let script =
        "for i in $(seq 3000); do echo $i; [ $((i % 100)) != 0 ] || sleep 0.1; done; exit 7";
    let begin =
        |number: usize| serving.begin(&["exec", &ids[number % 2], "--", "bash", "-c", script]);
    let mut commands: Vec<_> = (0..20).map(begin).collect();
    serving.kill();
    serving.restart();
    let expected: String = (2..=3000).map(|number| format!("{number}\n")).collect();
    for command in &mut commands {
        let mut rest = String::new();
        command.out().read_to_string(&mut rest).unwrap();
        assert!(command.first == "1\n" && rest == expected, "{rest}");
        assert_eq!(command.end(), 7);
    }
}

fn a_sandbox_that_dies(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    let mut running = serving.begin(&["exec", &id, "--", "sh", "-c", "echo up; sleep 1000"]);
    serving.says(&["kill", &id]);
    assert_eq!(running.end(), 125);
    let gone = serving.run(&["exec", &id, "--", "true"]);
    assert_eq!(gone.code, 125);
    assert!(
        gone.err
            .contains("hint: `casemate ps -a` lists the sandboxes"),
        "{}",
        gone.err
    );
}

fn lines(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    serving.says(&["pause", &id]);
    serving.says(&["resume", &id]);
    let text = serving.says(&["logs", &id]);
    let count = text.lines().count();
    assert!(count > 0, "{text}");
    let json = serving.says(&["logs", "--json", &id]);
    assert_eq!(json.lines().count(), count);
    assert!(json.lines().all(|line| report(line)["message"].is_string()));
    let mut following = serving.begin(&["logs", "-f", &id]);
    assert_eq!(following.first.trim_end(), text.lines().next().unwrap());
    serving.says(&["kill", &id]);
    let mut rest = String::new();
    following.out().read_to_string(&mut rest).unwrap();
    assert_eq!(following.end(), 0);
    assert!(rest.lines().count() + 1 >= count, "{rest}");
    let mixed = serving.run(&["logs", "--denied", &id]);
    assert_eq!(mixed.code, 125);
}
