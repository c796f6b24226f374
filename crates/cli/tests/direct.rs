//! Connections that a program is given itself: which ones, and what they are good for.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/program.rs"]
mod program;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

/// What the program does with sockets; `HOST`, `DIRECT` and `RELAYED` are put before it.
const PROGRAM: &str = r#"
import ctypes, errno, fcntl, os, select, socket, struct
def tried(f, *a):
    try: return f(*a)
    except OSError as e: return errno.errorcode[e.errno]
def made(prepare=lambda s: None, port=DIRECT, family=socket.AF_INET, to=HOST):
    s = socket.socket(family)
    kept = prepare(s)
    s.setblocking(True) if prepare is not quick else None
    tried(s.connect, (to, port))
    select.select([], [s], [], 10)
    return s, kept
def own(s):
    return s.getsockname()[0].removeprefix('::ffff:') == HOST
def quick(s): s.setblocking(False)
def options(s):
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
def watched(s):
    e = select.epoll(); e.register(s); return e
plain, _ = made(options)
print('plain', own(plain), plain.recv(2), plain.getpeername()[1] == DIRECT)
print('options', plain.getsockopt(6, 1), plain.getsockopt(1, 9), os.get_inheritable(plain.fileno()))
print('inheritable', *(lambda s: (own(s), os.get_inheritable(s.fileno())))(made(lambda s: s.set_inheritable(True))[0]))
print('mapped', own(made(family=socket.AF_INET6, to='::ffff:' + HOST)[0]))
print('relayed', own(made(port=RELAYED)[0]))
print('duplicate', own(made(lambda s: s.dup())[0]))
print('bound', own(made(lambda s: s.bind(('0.0.0.0', 0)))[0]))
print('watched', own(made(watched)[0]))
print('nonblocking', own(made(quick)[0]))
def setting(*a): return lambda s: s.setsockopt(*a)
rare, _ = made(setting(0, 2, 33))
print('rare', own(rare), rare.getsockopt(0, 2))
print('timeout', own(made(setting(1, 21, struct.pack('ll', 5, 0)))[0]))
segment, _ = made(setting(6, 2, 1000))
print('segment', own(segment), segment.getsockopt(6, 2) <= 1000)
print('owner', own(made(lambda s: fcntl.fcntl(s, fcntl.F_SETOWN, os.getpid()))[0]))
print('other', own(made()[0]))
libc = ctypes.CDLL(None, use_errno=True)
unspec = lambda: (libc.connect(plain.fileno(), bytes(16), 16), errno.errorcode[ctypes.get_errno()])
print('again', tried(plain.connect, (HOST, DIRECT)), tried(plain.connect, (HOST, 9)), *unspec())
print('ioctl', tried(fcntl.ioctl, plain, 0x8912, bytes(16)), [name for _, name in socket.if_nameindex()])
print('routes', tried(plain.setsockopt, 0, 4, bytes(4)), tried(plain.setsockopt, 41, 57, bytes(8)), tried(plain.setsockopt, 1, 25, b'lo'))
plain.shutdown(socket.SHUT_RDWR)
print('ended', tried(plain.listen), *unspec())
print('unknown', tried(plain.setsockopt, 6, 14, b'x'), own(made()[0]))
"#;

const EXPECTED: &str = "\
plain True b'hi' True
options 1 1 False
inheritable True True
mapped True
relayed False
duplicate False
bound False
watched False
nonblocking False
rare True 33
timeout False
segment False True
owner False
other True
again EISCONN EISCONN -1 EISCONN
ioctl EPERM ['lo']
routes EPERM EPERM EPERM
ended EINVAL -1 EISCONN
unknown EINVAL False
";

/// A server on this host's own address, since loopback is closed to sandboxes.
fn server() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Documentation (RFC 5737); nothing is sent.
    socket.connect("198.51.100.1:9").ok()?;
    let own = socket.local_addr().unwrap().ip();
    let listener = TcpListener::bind((own, 0)).ok()?;
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hi");
            open.push(stream);
        }
    });
    Some(address).filter(|_| !own.is_loopback())
}

/// An entry of a policy.
fn entry(name: &str, to: SocketAddr, protocol: &str) -> String {
    format!(
        "  {name}: {{ name: {name}, binaries: [ {{ path: '/usr/bin/python3*' }} ], endpoints: \
         [ {{ host: '{}', port: {}{protocol} }} ] }}\n",
        to.ip(),
        to.port()
    )
}

#[test]
fn only_a_socket_that_nobody_can_tell_apart_is_replaced() {
    let (Some(direct), Some(relayed)) = (server(), server()) else {
        return println!("skip: this host has no address but loopback");
    };
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return println!("skip: needs /usr/bin/python3");
    }
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let entries = entry("direct", direct, ", protocol: any") + &entry("relayed", relayed, "");
    std::fs::write(&policy, format!("version: 1\nnetwork_policies:\n{entries}")).unwrap();
    let report = folder.path().join("report.json");
    let program = format!(
        "HOST, DIRECT, RELAYED = '{}', {}, {}\n{PROGRAM}",
        direct.ip(),
        direct.port(),
        relayed.port()
    );
    let output = Command::new(program::casemate())
        .env("XDG_STATE_HOME", folder.path())
        .args(["run", "--quiet", "--report"])
        .arg(&report)
        .arg("--policy")
        .arg(&policy)
        .args(["--", "/usr/bin/python3", "-c", &program])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!((&*out, &*err), (EXPECTED, ""));
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let rows = report["connections"].as_array().unwrap();
    let direct = rows.iter().find(|row| row["because"] == "direct").unwrap();
    assert_eq!(direct["direct"], 5, "{direct}");
}

/// One thread connects; when the supervisor is known to wait for the other side, another one sets
/// an option that is looked at always, and one that is told of.
const SETS_MEANWHILE: &str = r#"
import socket, threading
s = socket.socket()
t = threading.Thread(target=lambda: s.connect((HOST, PORT)))
t.start()
input()
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
print('set', flush=True)
t.join()
print(s.getsockopt(1, 9), s.getsockopt(0, 2), s.getsockname()[0] == HOST)
"#;

/// True if a connection to this port is being made, by what the kernel says (proc_net_tcp(5)).
fn is_awaited(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(2);
        words.next().is_some_and(|remote| remote.ends_with(&to)) && words.next() == Some("02")
    })
}

#[test]
fn what_is_set_while_the_other_side_is_awaited_is_kept() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let Some(own) = server() else {
        return println!("skip: this host has no address but loopback");
    };
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return println!("skip: needs /usr/bin/python3");
    }
    // It has room for one connection, which is there already, and so answers nobody.
    let listener = TcpListener::bind((own.ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let entry = entry("direct", address, ", protocol: any");
    std::fs::write(&policy, format!("version: 1\nnetwork_policies:\n{entry}")).unwrap();
    let (host, port) = (address.ip(), address.port());
    let program = format!("HOST, PORT = '{host}', {port}\n{SETS_MEANWHILE}");
    let mut child = Command::new(program::casemate())
        .env("XDG_STATE_HOME", folder.path())
        .args(["run", "--quiet", "--policy"])
        .arg(&policy)
        .args(["--", "/usr/bin/python3", "-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while !is_awaited(port) {
        assert!(child.try_wait().unwrap().is_none(), "it connects to nobody");
        std::thread::yield_now();
    }
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "set");
    // From now on there is room; what was sent in vain is sent again.
    std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    assert_eq!(said.next().unwrap().unwrap(), "1 33 False");
    assert!(child.wait().unwrap().success());
}
