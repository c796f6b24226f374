//! A network namespace in which every address is served, for attempts to get past a policy.
//!
//! As inside the sandbox's fence, every address is local, so that one server answers for them
//! all; no interface has them, so that to the program under test they are other machines. It takes
//! root. See the module of the same name beside the attempts for what is where.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread;

use crate::naive;
use crate::places::{
    CREDENTIAL, ECHO, FRONTED, NAME_SERVER, OTHER_PORT, PERMITTED, PORT, PROXY, TLS_PORT, VAULT,
    VAULT_PORT, WELCOME,
};
use crate::services::note;
use crate::stage::TOKEN;

pub(crate) struct World {
    network: fs::File,
    mounts: fs::File,
}

impl World {
    /// Makes it and starts its servers, whose threads end with the test's process.
    pub(crate) fn start(root: &Path) -> Self {
        let root = root.to_owned();
        thread::spawn(move || {
            separate(&root).expect("a network of our own");
            serve(&root.join("workspace")).expect("servers in it");
            Self {
                network: fs::File::open("/proc/thread-self/ns/net").unwrap(),
                mounts: fs::File::open("/proc/thread-self/ns/mnt").unwrap(),
            }
        })
        .join()
        .unwrap()
    }

    /// Does something there. What is started meanwhile stays there.
    pub(crate) fn within<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter().expect("enter the network of our own");
                work()
            });
            inside.join().unwrap()
        })
    }

    fn enter(&self) -> io::Result<()> {
        unsafe {
            check(libc::unshare(libc::CLONE_FS))?;
            check(libc::setns(self.network.as_raw_fd(), libc::CLONE_NEWNET))?;
            check(libc::setns(self.mounts.as_raw_fd(), libc::CLONE_NEWNS))
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Namespaces of this thread's own, a loopback interface with every address, a name server.
fn separate(root: &Path) -> io::Result<()> {
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    let none = std::ptr::null();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    check(unsafe { libc::mount(none, c"/".as_ptr(), none, private, none.cast()) })?;
    let servers = root.join("resolv.conf");
    fs::write(
        &servers,
        format!("nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n"),
    )?;
    let servers = std::ffi::CString::new(servers.as_os_str().as_encoded_bytes())?;
    let target = c"/etc/resolv.conf".as_ptr();
    check(unsafe { libc::mount(servers.as_ptr(), target, none, libc::MS_BIND, none.cast()) })?;
    loopback_up()?;
    route(libc::AF_INET)?;
    route(libc::AF_INET6)
}

/// netdevice(7).
fn loopback_up() -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })
}

/// rtnetlink(7): `ip route add local default dev lo`.
fn route(family: i32) -> io::Result<()> {
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE;
    let mut message = 36u32.to_ne_bytes().to_vec();
    message.extend(libc::RTM_NEWROUTE.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]);
    let (table, protocol) = (libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT);
    message.extend([family as u8, 0, 0, 0, table, protocol, libc::RT_SCOPE_HOST]);
    message.extend([libc::RTN_LOCAL, 0, 0, 0, 0]);
    // RTA_OIF: lo is the first interface of every namespace.
    message.extend([8, 0, 4, 0]);
    message.extend(1u32.to_ne_bytes());
    let mut answer = [0u8; 64];
    unsafe {
        check(libc::send(socket, message.as_ptr().cast(), message.len(), 0) as i32)?;
        check(libc::recv(socket, answer.as_mut_ptr().cast(), answer.len(), 0) as i32)?;
        libc::close(socket);
    }
    match i32::from_ne_bytes(answer[16..20].try_into().unwrap()) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

fn serve(workspace: &Path) -> io::Result<()> {
    for port in [PORT, TLS_PORT, OTHER_PORT] {
        let listener = TcpListener::bind(("::", port))?;
        thread::spawn(move || greet(&listener));
    }
    let listener = TcpListener::bind(("::", VAULT_PORT))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || echo(stream));
        }
    });
    let datagrams = UdpSocket::bind(("::", PORT))?;
    let noted = workspace.to_owned();
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(length) = datagrams.recv(&mut bytes) {
            note(&noted, &bytes[..length]);
        }
    });
    for port in [53, OTHER_PORT] {
        let queries = UdpSocket::bind(("0.0.0.0", port))?;
        share_port(&queries)?;
        let noted = workspace.to_owned();
        thread::spawn(move || answer_datagrams(&queries, &noted));
    }
    let queries = TcpListener::bind(("0.0.0.0", 53))?;
    share_port(&queries)?;
    let noted = workspace.to_owned();
    thread::spawn(move || {
        for stream in queries.incoming().flatten() {
            let _ = answer_stream(stream, &noted);
        }
    });
    let proxy = TcpListener::bind(PROXY)?;
    share_port(&proxy)?;
    naive::serve(proxy);
    Ok(())
}

/// Where there is no wall, others may take their part of a port.
fn share_port(socket: &impl AsRawFd) -> io::Result<()> {
    let one = (&raw const ONE).cast();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_REUSEPORT);
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, one, 4) })
}

static ONE: i32 = 1;

fn greet(listener: &TcpListener) {
    let mut kept = Vec::new();
    for mut stream in listener.incoming().flatten() {
        let local = stream
            .local_addr()
            .map(|local| (local.ip().to_canonical(), local.port()));
        let is_permitted = local.is_ok_and(|(ip, port)| ip == PERMITTED && port != OTHER_PORT);
        if is_permitted {
            thread::spawn(move || welcome(stream));
            continue;
        }
        let _ = stream.write_all(TOKEN.as_bytes());
        // Closing it with unread bytes would take the greeting back.
        kept.push(stream);
    }
}

/// What the permitted server says, and what it says to those who mean another one.
fn welcome(mut stream: TcpStream) {
    let _ = stream.write_all(WELCOME.as_bytes());
    let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        heard.extend_from_slice(&bytes[..count]);
        let names = heard.windows(FRONTED.len());
        if names.into_iter().any(|name| name == FRONTED.as_bytes()) {
            let _ = stream.write_all(TOKEN.as_bytes());
        }
    }
}

/// Says back what it hears of a request. The vault does so to those who aren't at home there, and
/// reads paths as loosely as servers do.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
    while !heard.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes)? {
            0 => break,
            count => heard.extend_from_slice(&bytes[..count]),
        }
    }
    let is_vault = stream.local_addr()?.ip().to_canonical() == VAULT;
    let text = String::from_utf8_lossy(&heard).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    if is_vault && path.contains("/home") && !path.contains("away") {
        heard = b"kept".to_vec();
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        heard.len()
    );
    stream.write_all(&[head.as_bytes(), &heard].concat())
}

fn answer_datagrams(queries: &UdpSocket, workspace: &Path) {
    let mut bytes = [0; 1500];
    while let Ok((length, from)) = queries.recv_from(&mut bytes) {
        if let Some(answer) = answer(&bytes[..length], workspace) {
            let _ = queries.send_to(&answer, from);
        }
    }
}

fn answer_stream(mut stream: TcpStream, workspace: &Path) -> io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    if let Some(answer) = answer(&query, workspace) {
        stream.write_all(&(answer.len() as u16).to_be_bytes())?;
        stream.write_all(&answer)?;
    }
    Ok(())
}

/// RFC 1035: every name has a TXT record with the token; see `places::lookup` for addresses.
fn answer(query: &[u8], workspace: &Path) -> Option<Vec<u8>> {
    const NAME_ERROR: u8 = 3;
    if query
        .windows(4)
        .any(|bytes| bytes.eq_ignore_ascii_case(b"leak"))
    {
        note(workspace, b"dns-leak");
    }
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let address = crate::places::lookup(&labels.join("."));
    let (mut code, mut data) = (0, None);
    match (kind, address) {
        (16, _) => data = Some([&[TOKEN.len() as u8], TOKEN.as_bytes()].concat()),
        (_, None) => code = NAME_ERROR,
        (1, Some(std::net::IpAddr::V4(address))) => data = Some(address.octets().to_vec()),
        _ => {}
    }
    let mut answer = query[..2].to_vec();
    answer.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::from(data.is_some()),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(&query[12..at + 4]);
    if let Some(data) = data {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 30]);
        answer.extend((data.len() as u16).to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

/// The policy that an attempt runs under. Relative to the stage's folder.
pub(crate) fn policy(root: &Path) -> PathBuf {
    let path = root.join("policy.yaml");
    let (helped, shown) = (crate::places::HELPED, root.display());
    let text = format!(
        r#"version: 1
filesystem_policy:
  include_workdir: true
  read_only: [{shown}/shared]
network_policies:
  permitted:
    endpoints:
      - {{ host: {PERMITTED}, ports: [{PORT}, {TLS_PORT}], protocol: any }}
      - {{ host: permitted.test, ports: [{PORT}, {TLS_PORT}], protocol: any }}
      - {{ host: "*.wild.test", port: {PORT}, protocol: any }}
    binaries: [{{ path: {shown}/workspace/attempt }}]
  helped:
    endpoints:
      - {{ host: {helped}, ports: [{PORT}, {}], protocol: any }}
    binaries: [{{ path: {shown}/shared/program }}]
  vault:
    endpoints:
      - {{ host: {VAULT}, port: {VAULT_PORT}, protocol: rest, enforcement: enforce, access: full }}
      - {{ host: {ECHO}, port: {VAULT_PORT}, protocol: rest, enforcement: enforce, access: full }}
    binaries: [{{ path: {shown}/workspace/attempt }}]
"#,
        crate::places::QUIET_PORT
    );
    fs::write(&path, text).unwrap();
    path
}

/// The credential that an attempt may use.
pub(crate) fn credentials(root: &Path) -> PathBuf {
    let path = root.join("credentials.yaml");
    fs::write(root.join("credential"), CREDENTIAL).unwrap();
    let text = format!(
        "version: 1\ncredentials:\n  vault:\n    env: VAULTED\n    \
         secret: {{ file: credential }}\n    \
         endpoints: [{{ host: {VAULT}, port: {VAULT_PORT}, path: /home, scheme: http }}]\n"
    );
    fs::write(&path, text).unwrap();
    path
}
