//! Connections that a program is given itself: which ones, and what they are good for.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

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
libc = ctypes.CDLL(None, use_errno=True)
unspec = lambda: (libc.connect(plain.fileno(), bytes(16), 16), errno.errorcode[ctypes.get_errno()])
print('again', tried(plain.connect, (HOST, DIRECT)), tried(plain.connect, (HOST, 9)), *unspec())
print('ioctl', tried(fcntl.ioctl, plain, 0x8912, bytes(16)), [name for _, name in socket.if_nameindex()])
print('routes', tried(plain.setsockopt, 0, 4, bytes(4)), tried(plain.setsockopt, 41, 57, bytes(8)), tried(plain.setsockopt, 1, 25, b'lo'))
plain.shutdown(socket.SHUT_RDWR)
print('ended', tried(plain.listen), *unspec())
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
again EISCONN EISCONN -1 EISCONN
ioctl EPERM ['lo']
routes EPERM EPERM EPERM
ended EINVAL -1 EISCONN
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

#[test]
fn only_a_socket_that_nobody_can_tell_apart_is_replaced() {
    let (Some(direct), Some(relayed)) = (server(), server()) else {
        return println!("skip: this host has no address but loopback");
    };
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return println!("skip: needs /usr/bin/python3");
    }
    let folder = tempfile::tempdir().unwrap();
    let entry = |name: &str, to: SocketAddr, protocol: &str| {
        format!(
            "  {name}: {{ name: {name}, binaries: [ {{ path: '/usr/bin/python3*' }} ], endpoints: \
             [ {{ host: '{}', port: {}{protocol} }} ] }}\n",
            to.ip(),
            to.port()
        )
    };
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
    let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
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
    assert_eq!(direct["direct"], 3, "{direct}");
}
