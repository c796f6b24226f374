//! Unix sockets of the host. Neither mounts nor Landlock stop a connection to a path that can be
//! seen, also on a read-only mount.

use std::fs;
use std::io::Write;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::attempt::Setting::Shared;
use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, inconclusive, open, sleep, sys};
use crate::sockets::{connect, greeting};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(unix_outside, "connect to a socket outside the workspace"),
    attempt!(
        unix_before,
        "connect to a socket that was in the workspace before the start"
    ),
    attempt!(
        unix_after,
        "connect to a socket that the host made in the workspace afterwards"
    ),
    attempt!(
        unix_read_only,
        "connect to a socket in a directory shared read-only"
    )
    .with(Shared),
    attempt!(
        unix_relative,
        "connect to the host's socket by a relative path"
    ),
    attempt!(
        unix_symlink,
        "connect to the host's socket through a symbolic link made inside"
    ),
    attempt!(
        unix_hard_link,
        "connect to the host's socket through a hard link made inside"
    ),
    attempt!(
        unix_renamed,
        "connect to the host's socket under a name given inside"
    ),
    attempt!(
        unix_descriptor,
        "connect to the host's socket through /proc/self/fd"
    ),
    attempt!(
        unix_sequenced,
        "connect to the host's socket of sequenced packets"
    ),
    attempt!(unix_abstract, "connect to an abstract socket of the host"),
    attempt!(
        unix_sendto,
        "send a datagram to the host's socket with sendto"
    ),
    attempt!(
        unix_sendmsg,
        "send a datagram to the host's socket with sendmsg"
    ),
    attempt!(
        unix_sendmmsg,
        "send a datagram to the host's socket with sendmmsg"
    ),
    attempt!(
        unix_connected_datagram,
        "connect a datagram socket to the host's and write"
    ),
    attempt!(
        unix_pair_sendto,
        "send a datagram to the host from one end of a socket pair"
    ),
    attempt!(
        unix_pair_reconnect,
        "connect one end of a datagram pair to the host's socket"
    ),
    attempt!(
        unix_race,
        "change the path under a checked connect with a second thread"
    ),
];

/// The address of a path, or of an abstract name if it begins with NUL; unix(7).
pub(crate) fn address(path: impl AsRef<Path>) -> Result<libc::sockaddr_un, Stop> {
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let bytes = path.as_ref().as_os_str().as_encoded_bytes();
    if bytes.len() >= address.sun_path.len() {
        return inconclusive("the path is too long for a socket");
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(address)
}

fn socket(kind: i32) -> Result<i32, Stop> {
    Ok(sys!(libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0)).attack("socket")? as i32)
}

fn reach(path: impl AsRef<Path>) -> Verdict {
    let fd = socket(libc::SOCK_STREAM)?;
    connect(fd, &address(&path)?).attack(&format!("connect to {}", path.as_ref().display()))?;
    greeting(fd, &path.as_ref().display().to_string())
}

/// The sockets of docker, dbus and ssh-agent are such.
fn unix_outside() -> Verdict {
    reach(stage::text("ATTEMPT_SOCKET")?)
}

/// A language server or editor that listens in the project.
fn unix_before() -> Verdict {
    reach(stage::workspace("before.sock")?)
}

/// The same, started while the sandbox runs: no list made at the start knows it.
fn unix_after() -> Verdict {
    let (request, path) = (
        stage::workspace("receipts/make-socket")?,
        stage::workspace("after.sock")?,
    );
    fs::write(request, "").prepare("request a socket")?;
    let end = Instant::now() + Duration::from_secs(2);
    while !path.exists() {
        if Instant::now() > end {
            return inconclusive("the host made no socket");
        }
        sleep(5);
    }
    sleep(20);
    reach(path)
}

/// connect(2) asks for write permission on the inode, not on the mount.
fn unix_read_only() -> Verdict {
    reach(stage::shared("read-only.sock")?)
}

/// A path that means something only to the caller of connect(2).
fn unix_relative() -> Verdict {
    std::env::set_current_dir(stage::workspace("receipts")?).prepare("chdir")?;
    reach("../before.sock")
}

/// A link that a check by name takes for a socket of the sandbox.
fn unix_symlink() -> Verdict {
    let alias = stage::workspace("alias.sock")?;
    symlink("before.sock", &alias).prepare("symlink")?;
    reach(alias)
}

/// Another name for the same socket.
fn unix_hard_link() -> Verdict {
    let alias = stage::workspace("alias.sock")?;
    fs::hard_link(stage::workspace("before.sock")?, &alias).attack("link")?;
    reach(alias)
}

/// The name under which the socket was found at the start is gone.
fn unix_renamed() -> Verdict {
    let alias = stage::workspace("alias.sock")?;
    fs::rename(stage::workspace("before.sock")?, &alias).attack("rename")?;
    reach(alias)
}

/// A magic link that only the caller can resolve.
fn unix_descriptor() -> Verdict {
    let fd = open(stage::workspace("before.sock")?, libc::O_PATH).attack("open O_PATH")?;
    reach(format!("/proc/self/fd/{fd}"))
}

/// SOCK_SEQPACKET connects like a stream and is often forgotten.
fn unix_sequenced() -> Verdict {
    let fd = socket(libc::SOCK_SEQPACKET)?;
    connect(fd, &address(stage::workspace("sequenced.sock")?)?).attack("connect")?;
    greeting(fd, "sequenced packets")
}

/// unix(7): abstract names belong to the network namespace, not to any file system.
fn unix_abstract() -> Verdict {
    let fd = socket(libc::SOCK_STREAM)?;
    let name = format!("\0{}", stage::text("ATTEMPT_ABSTRACT")?);
    let length = (offset_of!(libc::sockaddr_un, sun_path) + name.len()) as u32;
    let address = address(name)?;
    sys!(libc::connect(
        fd,
        std::ptr::from_ref(&address).cast(),
        length
    ))
    .attack("connect")?;
    greeting(fd, "an abstract socket")
}

fn datagram_address() -> Result<libc::sockaddr_un, Stop> {
    address(stage::workspace("datagram.sock")?)
}

fn send_to(fd: i32, message: &str) -> Verdict {
    let address = datagram_address()?;
    let (to, length) = (
        std::ptr::from_ref(&address).cast(),
        size_of::<libc::sockaddr_un>() as u32,
    );
    sys!(libc::sendto(
        fd,
        message.as_ptr().cast(),
        message.len(),
        0,
        to,
        length
    ))
    .attack("sendto")?;
    stage::received(message)
}

/// The address is an argument of the sending: no connect(2) to filter.
fn unix_sendto() -> Verdict {
    send_to(socket(libc::SOCK_DGRAM)?, "unix-sendto")
}

/// Calls `send` with a message header that names the host's datagram socket.
fn with_header(message: &str, send: impl FnOnce(libc::msghdr) -> Result<i64, Stop>) -> Verdict {
    let mut address = datagram_address()?;
    let mut data = libc::iovec {
        iov_base: message.as_ptr() as *mut _,
        iov_len: message.len(),
    };
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = std::ptr::from_mut(&mut address).cast();
    header.msg_namelen = size_of::<libc::sockaddr_un>() as u32;
    header.msg_iov = &mut data;
    header.msg_iovlen = 1;
    send(header)?;
    stage::received(message)
}

/// The address lies behind two pointers.
fn unix_sendmsg() -> Verdict {
    let fd = socket(libc::SOCK_DGRAM)?;
    with_header("unix-sendmsg", |header| {
        sys!(libc::sendmsg(fd, &header, 0)).attack("sendmsg")
    })
}

/// The same call in the plural, with a number of its own.
fn unix_sendmmsg() -> Verdict {
    let fd = socket(libc::SOCK_DGRAM)?;
    with_header("unix-sendmmsg", |header| {
        let mut headers = libc::mmsghdr {
            msg_hdr: header,
            msg_len: 0,
        };
        sys!(libc::sendmmsg(fd, &mut headers, 1, 0)).attack("sendmmsg")
    })
}

/// A datagram socket may be connected first.
fn unix_connected_datagram() -> Verdict {
    let fd = socket(libc::SOCK_DGRAM)?;
    connect(fd, &datagram_address()?).attack("connect")?;
    sys!(libc::write(fd, b"unix-write".as_ptr().cast(), 10)).attack("write")?;
    stage::received("unix-write")
}

fn datagram_pair() -> Result<i32, Stop> {
    let mut ends = [0; 2];
    sys!(libc::socketpair(
        libc::AF_UNIX,
        libc::SOCK_DGRAM,
        0,
        ends.as_mut_ptr()
    ))
    .attack("socketpair")?;
    Ok(ends[0])
}

/// A socket that socket(2) never made: a filter of its families does not see it.
fn unix_pair_sendto() -> Verdict {
    send_to(datagram_pair()?, "unix-pair-sendto")
}

/// unix(7): one end of a datagram pair can be connected to somebody else.
fn unix_pair_reconnect() -> Verdict {
    let fd = datagram_pair()?;
    connect(fd, &datagram_address()?).attack("connect")?;
    sys!(libc::write(fd, b"unix-pair-write".as_ptr().cast(), 15)).attack("write")?;
    stage::received("unix-pair-write")
}

/// Accepts everyone, and says what the host never says.
fn serve_inside(path: &Path) -> Result<(), Stop> {
    let listener = UnixListener::bind(path).prepare("bind")?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"inside");
        }
    });
    Ok(())
}

/// seccomp_unotify(2): a decision on memory that another thread can change is no decision.
fn unix_race() -> Verdict {
    serve_inside(&stage::workspace("race-a.sock")?)?;
    let mut target = address(stage::workspace("race-b.sock")?)?;
    let at = stage::workspace("race-")?.as_os_str().len();
    // The flipping thread and connect(2) share this byte on purpose.
    let letter = unsafe { AtomicU8::from_ptr(target.sun_path.as_mut_ptr().add(at).cast()) };
    let done = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                letter.store(b'a', Ordering::Relaxed);
                letter.store(b'b', Ordering::Relaxed);
            }
        });
        let verdict = race(std::ptr::from_ref(letter), at);
        done.store(true, Ordering::Relaxed);
        verdict
    })
}

/// Connects over and over to the address around `letter`, for two seconds.
fn race(letter: *const AtomicU8, at: usize) -> Verdict {
    let start = letter
        .cast::<u8>()
        .wrapping_sub(offset_of!(libc::sockaddr_un, sun_path) + at);
    let length = size_of::<libc::sockaddr_un>() as u32;
    let (mut inside, mut refused) = (0, 0);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let stream = UnixStream::from(unsafe { owned(socket(libc::SOCK_STREAM)?) });
        match sys!(libc::connect(stream.as_raw_fd(), start.cast(), length)) {
            Err(_) => refused += 1,
            Ok(_) if greeting(stream.as_raw_fd(), "the race").is_ok() => {
                return Ok(format!(
                    "won after {inside} connections inside, {refused} refusals"
                ));
            }
            Ok(_) => inside += 1,
        }
    }
    match inside {
        0 => blocked(format!(
            "connect: not one of {refused} succeeded, not even inside"
        )),
        _ => blocked(format!(
            "connect: {inside} reached the inside, {refused} were refused"
        )),
    }
}

/// # Safety
/// `fd` is open and owned by nobody else.
unsafe fn owned(fd: i32) -> std::os::fd::OwnedFd {
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
}
