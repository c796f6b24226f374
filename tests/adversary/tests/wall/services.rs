//! Servers of the host. Streams greet everyone with the token; datagrams are noted as receipts.
//! Their threads end with the test's process.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::stage::TOKEN;

pub(crate) struct Services {
    tcp: u16,
    udp: u16,
    name: String,
}

impl Services {
    pub(crate) fn start(root: &Path) -> Self {
        let workspace = root.join("workspace");
        for name in ["outside/host.sock", "shared/read-only.sock"] {
            listen(&root.join(name));
        }
        for name in ["before.sock", "race-b.sock"] {
            listen(&workspace.join(name));
        }
        listen_sequenced(&workspace.join("sequenced.sock"));
        receive(&workspace);
        listen_on_request(workspace.clone());
        // The temporary directory's name is unique, so this one is.
        let name = root.file_name().unwrap().to_str().unwrap().to_owned();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        greet(UnixListener::bind_addr(&address).unwrap());
        Self {
            tcp: serve_tcp(),
            udp: serve_udp(workspace),
            name,
        }
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ATTEMPT_PORT", self.tcp.to_string()),
            ("ATTEMPT_UDP_PORT", self.udp.to_string()),
            ("ATTEMPT_ABSTRACT", self.name.clone()),
        ]
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

fn listen(path: &Path) {
    greet(UnixListener::bind(path).unwrap());
    open_to_all(path);
}

/// Connections are kept: closing one with unread bytes would take the greeting back.
fn greet(listener: UnixListener) {
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(TOKEN.as_bytes());
            kept.push(stream);
        }
    });
}

fn serve_tcp() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(TOKEN.as_bytes());
            kept.push(stream);
        }
    });
    port
}

pub(crate) fn note(workspace: &Path, message: &[u8]) {
    let name = String::from_utf8_lossy(message);
    if name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    {
        let _ = fs::write(workspace.join("receipts").join(&*name), "");
    }
}

fn serve_udp(workspace: PathBuf) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(length) = socket.recv(&mut bytes) {
            note(&workspace, &bytes[..length]);
        }
    });
    port
}

fn receive(workspace: &Path) {
    let path = workspace.join("datagram.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    open_to_all(&path);
    let workspace = workspace.to_owned();
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(length) = socket.recv(&mut bytes) {
            note(&workspace, &bytes[..length]);
        }
    });
}

/// The standard library has no such listener, but one that is made accepts and writes alike.
fn listen_sequenced(path: &Path) {
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    for (to, from) in address
        .sun_path
        .iter_mut()
        .zip(path.as_os_str().as_encoded_bytes())
    {
        *to = *from as libc::c_char;
    }
    let length = size_of::<libc::sockaddr_un>() as u32;
    let fd = unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        assert_eq!(
            libc::bind(fd, std::ptr::from_ref(&address).cast(), length),
            0
        );
        assert_eq!(libc::listen(fd, 16), 0);
        OwnedFd::from_raw_fd(fd)
    };
    greet(UnixListener::from(fd));
    open_to_all(path);
}

/// A socket that appears when the attempt is already running.
fn listen_on_request(workspace: PathBuf) {
    thread::spawn(move || {
        while !workspace.join("receipts/make-socket").exists() {
            thread::sleep(Duration::from_millis(5));
        }
        listen(&workspace.join("after.sock"));
    });
}
