//! `casemate run --policy`: programs that are not, or no longer, what the policy names.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;

use sandbox::{Ended, Stage, both};
use server::{GREETING, Server};
use std::fs;

both!(
    another_content_waits_for_approval,
    another_content_during_a_run,
    renamed_while_it_runs,
    linked_to_the_allowed_path,
    mounted_over_the_allowed_path,
    becoming_another_program_with_the_socket,
    a_socket_is_its_connector_s,
    an_allowed_interpreter_does_as_it_is_told,
);

macro_rules! server {
    () => {
        match Server::start() {
            Some(server) => server,
            None => return println!("skipped: this machine has loopback addresses only"),
        }
    };
}

/// A policy that lets one path reach the server.
fn policy(stage: &Stage, server: &Server, binary: &str) {
    let (outside, ip, port) = (stage.text("outside"), server.ip(), server.port());
    stage.write(
        "outside/p.yaml",
        format!(
            "version: 1\nfilesystem_policy: {{ include_workdir: true, read_only: [{outside}] }}\n\
             network_policies:\n  here:\n    endpoints: [{{ host: \"{ip}\", port: {port}, protocol: any }}]\n    binaries: [{{ path: {binary} }}]\n"
        ),
    );
}

fn run(stage: &Stage, command: &[&str]) -> Ended {
    let policy = stage.text("outside/p.yaml");
    let flags = ["--policy", &policy, "--"];
    stage.run(flags.iter().chain(command))
}

fn hear(server: &Server) -> String {
    format!(
        "exec 3<>/dev/tcp/{}/{} && read -r line <&3 && echo \"$line\"",
        server.ip(),
        server.port()
    )
}

/// A shell with a tail, so that its digest is its own.
fn shell(stage: &Stage, path: &str, tail: &[u8]) {
    let bytes = [&fs::read("/usr/bin/bash").unwrap()[..], tail].concat();
    let new = format!("{path}.new");
    stage.script(&new, bytes);
    fs::rename(stage.path(&new), stage.path(path)).unwrap();
}

fn another_content_waits_for_approval(stage: &Stage) {
    let server = server!();
    let (tool, script) = (stage.text("outside/tool"), hear(&server));
    shell(stage, "outside/tool", b"first");
    policy(stage, &server, &tool);
    run(stage, &[&tool, "-c", &script]).assert_out(&format!("{GREETING}\n"));
    shell(stage, "outside/tool", b"second");
    let refused = run(stage, &[&tool, "-c", &script]);
    let line = format!("casemate identity approve {tool}");
    assert_eq!((refused.out.as_str(), server.accepted()), ("", 1));
    assert!(refused.err.contains(&line), "{}", refused.err);
    let log = stage.read("home/.local/state/casemate/audit.jsonl");
    assert!(log.contains("identity approve"), "{log}");
    let approved = Ended::of(stage.casemate().args(["identity", "approve", &tool]));
    assert_eq!(approved.code, 0, "{approved:?}");
    run(stage, &[&tool, "-c", &script]).assert_out(&format!("{GREETING}\n"));
}

fn another_content_during_a_run(stage: &Stage) {
    let server = server!();
    let (tool, script) = (stage.text("ws/tool"), hear(&server));
    shell(stage, "ws/tool", b"first");
    shell(stage, "ws/other", b"second");
    policy(stage, &server, &tool);
    // What may be changed inside is trusted as it was seen first.
    let swap = format!("./tool -c '{script}'; mv other tool; ./tool -c '{script}'");
    let ended = run(stage, &["sh", "-c", &swap]);
    assert_eq!(ended.out, format!("{GREETING}\n"), "{}", ended.err);
    assert_eq!(server.accepted(), 1);
}

fn renamed_while_it_runs(stage: &Stage) {
    let server = server!();
    let (tool, script) = (stage.text("ws/tool"), hear(&server));
    shell(stage, "ws/tool", b"first");
    shell(stage, "ws/other", b"second");
    policy(stage, &server, &tool);
    // Started elsewhere, it lies at the allowed path when it connects; and the other way about.
    let swap = format!(
        "./tool -c '{script}'; ./other -c 'mv other tool; {script}'; ./tool -c 'mv tool gone; {script}'"
    );
    let ended = run(stage, &["sh", "-c", &swap]);
    assert_eq!(ended.out, format!("{GREETING}\n"), "{}", ended.err);
    assert_eq!(server.accepted(), 1);
}

fn linked_to_the_allowed_path(stage: &Stage) {
    let server = server!();
    let (tool, script) = (stage.text("ws/tool"), hear(&server));
    shell(stage, "ws/tool", b"first");
    shell(stage, "ws/other", b"second");
    policy(stage, &server, &tool);
    // A link to it has another path, and a link at its path another content.
    let link = format!(
        "./tool -c '{script}'; ln tool linked; ./linked -c '{script}'; ln -s tool named; ./named -c '{script}'; \
         ln -f other tool; ./tool -c '{script}'"
    );
    let ended = run(stage, &["sh", "-c", &link]);
    // A symbolic link leads to the very program.
    assert_eq!(
        ended.out,
        format!("{GREETING}\n").repeat(2),
        "{}",
        ended.err
    );
    assert_eq!(server.accepted(), 2);
}

fn mounted_over_the_allowed_path(stage: &Stage) {
    let server = server!();
    let (tool, script) = (stage.text("outside/tool"), hear(&server));
    shell(stage, "outside/tool", b"first");
    shell(stage, "outside/other", b"second");
    policy(stage, &server, &tool);
    run(stage, &[&tool, "-c", &script]).assert_out(&format!("{GREETING}\n"));
    // In a mount namespace of the caller, the file is another one.
    let mount = format!(
        "mount --bind {0}/other {0}/tool && exec \"$@\"",
        stage.text("outside")
    );
    let mut command = stage.command("/usr/bin/unshare");
    match stage.is_root() {
        true => command.arg("-m"),
        false => command.arg("-rm"),
    };
    command.args(["sh", "-c", &mount, "sh"]);
    command
        .arg(stage.path("casemate"))
        .arg("run")
        .arg("--policy");
    command.arg(stage.path("outside/p.yaml"));
    let ended = Ended::of(command.args(["--", &tool, "-c", &script]));
    assert_eq!(
        (ended.out.as_str(), server.accepted()),
        ("", 1),
        "{ended:?}"
    );
    let why = ended.err.contains("identity approve") || ended.err.contains("unshare: ");
    assert!(why, "{ended:?}");
}

/// Connects a socket that it was given, and says what is heard there.
fn connect_given(server: &Server) -> String {
    format!(
        "use Socket; open(my $s, \"+<&=\", 5) or die; \
         connect($s, sockaddr_in({}, inet_aton(\"{}\"))) or exit 3; print scalar(<$s>);",
        server.port(),
        server.ip()
    )
}

fn becoming_another_program_with_the_socket(stage: &Stage) {
    let server = server!();
    let script = format!(
        "import os, socket\n\
         s = socket.socket()\n\
         os.dup2(s.fileno(), 5)\n\
         os.execv('/usr/bin/perl', ['perl', '-e', '{}'])\n",
        connect_given(&server)
    );
    // Who opened it doesn't count.
    policy(stage, &server, "/usr/bin/python3");
    let ended = run(stage, &["/usr/bin/python3", "-c", &script]);
    assert_eq!(
        (ended.out.as_str(), server.accepted()),
        ("", 0),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("/usr/bin/perl"), "{}", ended.err);
    policy(stage, &server, "/usr/bin/perl");
    run(stage, &["/usr/bin/python3", "-c", &script]).assert_out(&format!("{GREETING}\n"));
}

fn a_socket_is_its_connector_s(stage: &Stage) {
    let server = server!();
    // Two programs beside each other: one makes the socket, the other connects it.
    let receive = format!(
        "import os, socket\n\
         l = socket.socket(socket.AF_UNIX)\n\
         l.bind('s')\n\
         l.listen()\n\
         print('listening', flush=True)\n\
         c = l.accept()[0]\n\
         fd = socket.recv_fds(c, 1, 1)[1][0]\n\
         s = socket.socket(fileno=fd)\n\
         try:\n\
         \x20   s.connect(('{}', {}))\n\
         \x20   print(s.recv(5).decode())\n\
         except OSError: print('refused')\n",
        server.ip(),
        server.port()
    );
    let send = "import socket, sys\n\
         c = socket.socket(socket.AF_UNIX)\n\
         c.connect('s')\n\
         s = socket.socket()\n\
         socket.send_fds(c, [b'x'], [s.fileno()])\n";
    stage.write("ws/receive.py", receive);
    stage.write("ws/send.py", send);
    let both = "python3 receive.py > said & { while ! grep -q listening said; do :; done; ./sender send.py; }; wait; tail -n 1 said";
    fs::copy(
        fs::canonicalize("/usr/bin/python3").unwrap(),
        stage.path("ws/sender.new"),
    )
    .unwrap();
    let bytes = fs::read(stage.path("ws/sender.new")).unwrap();
    stage.script("ws/sender", bytes);
    policy(stage, &server, &stage.text("ws/sender"));
    let ended = run(stage, &["sh", "-c", both]);
    assert_eq!(
        (ended.out.as_str(), server.accepted()),
        ("refused\n", 0),
        "{ended:?}"
    );
}

/// What identity doesn't promise: an interpreter, a preloaded library and a debugger are the
/// program that they run in.
fn an_allowed_interpreter_does_as_it_is_told(stage: &Stage) {
    let server = server!();
    policy(stage, &server, "/usr/bin/python3");
    let script = format!(
        "import socket; print(socket.create_connection(('{}', {}), 30).recv(5).decode())",
        server.ip(),
        server.port()
    );
    let ended = run(stage, &["bash", "-c", "python3 -c \"$0\"", &script]);
    ended.assert_out(&format!("{GREETING}\n"));
}
