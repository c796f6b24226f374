//! Paths and ports that a flag gives or takes: what is there, what may be done, and nothing else.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Stage, both};

both!(
    hidden_paths_look_empty,
    read_only_paths_are_read_only,
    writable_paths_are_written_through,
    tcp_ports_that_may_be_bound,
    tcp_ports_that_may_be_connected_to,
    a_script_can_not_name_what_comes_in,
    a_link_out_of_the_working_folder_is_no_grant,
    a_socket_of_the_caller_is_not_passed,
    sockets_of_a_shared_folder_are_not_reachable,
);

fn hidden_paths_look_empty(stage: &Stage) {
    stage.write("ws/open/file", "seen\n");
    stage.write("ws/secrets/key", "token\n");
    stage.write("ws/token", "token\n");
    let script = "cat open/file; ls -A secrets; cat token; \
                  (echo x > secrets/new; echo x > token; rm -r secrets; mv token t) 2>/dev/null; \
                  find . | sort";
    stage
        .shell(&["--hide", "secrets", "--hide", "token"], script)
        .assert_out("seen\n.\n./open\n./open/file\n./secrets\n./token\n");
    assert_eq!(stage.read("ws/secrets/key"), "token\n");
    assert_eq!(stage.read("ws/token"), "token\n");
}

fn read_only_paths_are_read_only(stage: &Stage) {
    stage.write("outside/given/file", "old\n");
    stage.write("outside/not-given", "x\n");
    let given = stage.text("outside/given");
    let outside = stage.text("outside");
    let script = format!(
        "cat {given}/file; ls {outside}; \
         (echo new > {given}/file; touch {given}/new; chmod 777 {given}/file; rm {given}/file) 2>/dev/null \
         || echo refused"
    );
    stage
        .shell(&["--ro", &given], &script)
        .assert_out("old\ngiven\nrefused\n");
    assert_eq!(stage.read("outside/given/file"), "old\n");
}

fn writable_paths_are_written_through(stage: &Stage) {
    stage.folder("outside/given");
    let given = stage.text("outside/given");
    let script = format!("echo new > {given}/file && cat {given}/file");
    stage.shell(&["--rw", &given], &script).assert_out("new\n");
    assert_eq!(stage.read("outside/given/file"), "new\n");
}

/// Landlock knows TCP ports since its version 4.
fn ports_can_be_restricted() -> bool {
    let known = casemate_sys::landlock::Abi::current().is_ok_and(|abi| abi.0 >= 4);
    if !known {
        println!("skipped: this kernel's Landlock has no rules for ports");
    }
    known
}

fn tcp_ports_that_may_be_bound(stage: &Stage) {
    if !ports_can_be_restricted() {
        return;
    }
    let script = "
import socket
for port in (18080, 18081):
    try:
        socket.socket().bind(('127.0.0.1', port)); print(port, 'bound')
    except PermissionError:
        print(port, 'refused')
";
    stage
        .python(&["--tcp-bind", "18080"], script)
        .assert_out("18080 bound\n18081 refused\n");
}

fn tcp_ports_that_may_be_connected_to(stage: &Stage) {
    if !ports_can_be_restricted() {
        return;
    }
    let script = "
import socket
for port in (18080, 18081):
    server = socket.socket()
    server.bind(('127.0.0.1', port)); server.listen()
    try:
        socket.create_connection(('127.0.0.1', port)); print(port, 'connected')
    except PermissionError:
        print(port, 'refused')
    # A datagram socket has ports of its own.
    socket.socket(type=socket.SOCK_DGRAM).connect(('127.0.0.1', port))
    # A connection inside a send is refused for every port.
    try:
        socket.socket().sendto(b'x', socket.MSG_FASTOPEN, ('127.0.0.1', port)); print('sent')
    except OSError as error:
        print(error.errno)
";
    stage
        .python(&["--tcp-connect", "18080"], script)
        .assert_out("18080 connected\n95\n18081 refused\n95\n");
}

/// What an earlier program left in the workspace must not choose what the next one sees.
fn a_script_can_not_name_what_comes_in(stage: &Stage) {
    let secret = stage.text("outside/keys/id");
    stage.write("outside/keys/id", "token\n");
    stage.mode("outside/keys/id", 0o600);
    let ws = stage.text("ws");
    std::fs::copy("/bin/sh", stage.path("ws/env")).unwrap();
    stage.mode("ws/env", 0o755);
    stage.script("ws/tool", format!("#!{ws}/env {ws}/decoy\n"));
    stage.script("ws/decoy", format!("#!{secret}\ncat {secret}\n"));
    for program in ["./tool", "./decoy"] {
        let ended = stage.run(["--", program]);
        assert!(!ended.out.contains("token"), "{program}: {ended:?}");
    }
}

fn a_link_out_of_the_working_folder_is_no_grant(stage: &Stage) {
    stage.write("outside/file", "old\n");
    std::os::unix::fs::symlink(stage.path("outside"), stage.path("ws/link")).unwrap();
    let (link, real) = (stage.text("ws/link"), stage.text("outside"));
    stage.shell(&["--rw", "link"], "echo ran").assert(
        125,
        "",
        &format!(
            "casemate: error: --rw: bring in {link}: it is a link out of the working folder, to {real}\n\
             hint: an earlier program may have made it; give the path that it leads to\n"
        ),
    );
}

fn a_socket_of_the_caller_is_not_passed(stage: &Stage) {
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    ours.send(b"said").unwrap();
    let script = "import os, stat; print(stat.S_ISFIFO(os.fstat(0).st_mode), os.read(0, 9))";
    let mut command = stage.casemate();
    command.args(["run", "--", "/usr/bin/python3", "-c", script]);
    command.stdin(std::os::fd::OwnedFd::from(theirs));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "True b'said'\n", "{output:?}");
}

fn sockets_of_a_shared_folder_are_not_reachable(stage: &Stage) {
    let socket = stage.text("outside/host.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let folder = std::env::temp_dir();
    let script = format!(
        "import socket\ntry: socket.socket(socket.AF_UNIX).connect({socket:?}); print('connected')\n\
         except OSError as error: print(error.errno)"
    );
    let flags = ["--ro", folder.to_str().unwrap()];
    stage.python(&flags, &script).assert_out("111\n");
}
