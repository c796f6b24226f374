//! Being taken for another program: `shared/program`, which alone may reach [`HELPED`].

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{at, connect, reach, sockaddr, socket};
use crate::attempt::Setting::Network;
use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, c, fork, inconclusive, sys, wait};
use crate::sockets::greeting;
use crate::stage;
use crate::world::{FORBIDDEN, HELPED, QUIET_PORT};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt!(
        egress_program_beyond,
        "have the other program reach what it may not"
    )
    .with(Network),
    attempt!(
        egress_program_right,
        "use the right of a program that was started before"
    )
    .with(Network),
    attempt!(
        egress_program_argument,
        "take the allowed program's path as one's first argument"
    )
    .with(Network),
    attempt!(
        egress_program_name,
        "take the allowed program's name as that of the process"
    )
    .with(Network),
    attempt!(
        egress_program_path,
        "lie at the allowed program's path below a private folder"
    )
    .with(Network),
    attempt!(
        egress_program_symlink,
        "start oneself by a link with the allowed program's name"
    )
    .with(Network),
    attempt!(egress_program_deleted, "connect from a deleted executable").with(Network),
    attempt!(
        egress_program_memory,
        "connect from an executable in memory"
    )
    .with(Network),
    attempt!(
        egress_program_self,
        "start oneself by /proc/self/exe, and by the allowed program's number"
    )
    .with(Network),
    attempt!(
        egress_program_swapped,
        "put another program in one's own place and start it"
    )
    .with(Network),
    attempt!(
        egress_program_exec,
        "connect as one program, and become another while that goes on"
    )
    .with(Network),
    attempt!(
        egress_program_lent,
        "connect a socket that the allowed program made"
    )
    .with(Network),
    attempt!(
        egress_program_tuple,
        "take over the source port of the allowed program's connections"
    )
    .with(Network),
    attempt!(
        egress_program_orphan,
        "connect as an orphan, whose parent is gone"
    )
    .with(Network),
    attempt!(
        egress_listen,
        "listen at the address that the allowed program connects to"
    )
    .with(Network),
];

/// `--reach ADDRESS:PORT`: connects, and says what the server said.
pub(crate) fn reach_and_tell(to: &str) -> i32 {
    let Ok(to) = to.parse() else { return 2 };
    match reach(to) {
        Ok(how) => {
            println!("{how}");
            0
        }
        Err(Stop::Blocked(why) | Stop::Inconclusive(why)) => {
            println!("{why}");
            77
        }
    }
}

fn program() -> Result<PathBuf, Stop> {
    stage::shared("program")
}

/// What a `--reach` came to.
fn ended(command: &mut Command, to: SocketAddr) -> Verdict {
    let output = command.arg("--reach").arg(to.to_string()).output();
    let output = output.prepare("start a program")?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(said),
        Some(77) => blocked(said),
        code => inconclusive(format!("it ended with {code:?}: {said}")),
    }
}

/// The right is one to a host.
fn egress_program_beyond() -> Verdict {
    ended(&mut Command::new(program()?), at(FORBIDDEN))
}

/// It worked for the one just before.
fn egress_program_right() -> Verdict {
    if ended(&mut Command::new(program()?), at(HELPED)).is_err() {
        return inconclusive("the allowed program reaches nothing");
    }
    reach(at(HELPED))
}

fn own() -> Result<PathBuf, Stop> {
    stage::workspace("attempt")
}

/// execve(2): it is whatever the caller says.
fn egress_program_argument() -> Verdict {
    ended(
        Command::new(own()?).arg0(program()?.as_os_str()),
        at(HELPED),
    )
}

/// PR_SET_NAME, and what ps shows.
fn egress_program_name() -> Verdict {
    sys!(libc::prctl(libc::PR_SET_NAME, c"program".as_ptr())).prepare("PR_SET_NAME")?;
    reach(at(HELPED))
}

/// A path means something below one root only; with a root of one's own it is the very path.
fn egress_program_path() -> Verdict {
    let (private, path) = (tempfolder()?, program()?);
    let copy = private.join(path.strip_prefix("/").unwrap_or(&path));
    if let Some(parent) = copy.parent() {
        fs::create_dir_all(parent).prepare("mkdir")?;
    }
    fs::copy(own()?, &copy).prepare("copy")?;
    let child = fork(|| {
        let path = match std::os::unix::fs::chroot(&private) {
            Ok(()) => c(&path),
            Err(_) => c(&copy),
        };
        let (option, to) = (c"--reach", c(at(HELPED).to_string()));
        let arguments = [
            path.as_ptr(),
            option.as_ptr(),
            to.as_ptr(),
            std::ptr::null(),
        ];
        unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) };
        99
    })
    .prepare("fork")?;
    match libc::WEXITSTATUS(wait(child).prepare("wait")?) {
        0 => Ok("a program at that path reached it".to_owned()),
        77 => blocked("it was not taken for the program at that path"),
        code => inconclusive(format!("it ended with {code}")),
    }
}

fn tempfolder() -> Result<PathBuf, Stop> {
    let path = stage::workspace("folder")?;
    fs::create_dir_all(&path).prepare("mkdir")?;
    Ok(path)
}

fn egress_program_symlink() -> Verdict {
    let folder = tempfolder()?;
    let link = folder.join("program");
    symlink(own()?, &link).prepare("symlink")?;
    ended(&mut Command::new(&link), at(HELPED))
}

/// proc_pid_exe(5): the path has " (deleted)" at its end.
fn egress_program_deleted() -> Verdict {
    let folder = tempfolder()?;
    let path = folder.join("program");
    fs::copy(own()?, &path).prepare("copy")?;
    let ready = folder.join("go");
    sys!(libc::mkfifo(c(&ready).as_ptr(), 0o600)).prepare("mkfifo")?;
    // It opens the pipe first, and so waits until its file is gone.
    let mut command = Command::new(&path);
    command.arg("--reach-after").arg(&ready);
    command.arg(at(HELPED).to_string()).stdout(Stdio::piped());
    let child = command.spawn().prepare("spawn")?;
    fs::remove_file(&path).prepare("unlink")?;
    fs::write(&ready, "x").prepare("write")?;
    let output = child.wait_with_output().prepare("wait")?;
    match output.status.code() {
        Some(0) => Ok("a deleted executable reached it".to_owned()),
        Some(77) => blocked(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        code => inconclusive(format!("it ended with {code:?}")),
    }
}

/// memfd_create(2), with the allowed path as its name.
fn egress_program_memory() -> Verdict {
    let name = c(program()?);
    let fd = sys!(libc::memfd_create(name.as_ptr(), 0)).prepare("memfd_create")? as i32;
    let mut file = unsafe { fs::File::from_raw_fd(fd) };
    let bytes = fs::read(own()?).prepare("read")?;
    std::io::Write::write_all(&mut file, &bytes).prepare("write")?;
    ended(
        &mut Command::new(format!("/proc/{}/fd/{fd}", std::process::id())),
        at(HELPED),
    )
}

/// A magic link is no program.
fn egress_program_self() -> Verdict {
    ended(
        Command::new("/proc/self/exe").arg0(program()?.as_os_str()),
        at(HELPED),
    )
}

/// rename(2) over one's own path, which was seen before with other contents.
fn egress_program_swapped() -> Verdict {
    let folder = tempfolder()?;
    let path = folder.join("tool");
    fs::copy(own()?, &path).prepare("copy")?;
    let _ = ended(&mut Command::new(&path), at(HELPED));
    let other = folder.join("other");
    let mut bytes = fs::read(own()?).prepare("read")?;
    bytes.extend(b"another program");
    fs::copy(own()?, &other).prepare("copy")?;
    fs::write(&other, bytes).prepare("write")?;
    fs::rename(&other, &path).prepare("rename")?;
    ended(&mut Command::new(&path), at(HELPED))
}

/// The connection is asked for by one thread while the process becomes the allowed program.
fn egress_program_exec() -> Verdict {
    let path = program()?;
    let (name, wanted) = (c(&path), [c(&path), c("--hold")]);
    let arguments = [wanted[0].as_ptr(), wanted[1].as_ptr(), std::ptr::null()];
    let end = Instant::now() + Duration::from_millis(2500);
    let mut count = 0;
    while Instant::now() < end {
        let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        let child = fork(|| {
            let thread = std::thread::spawn(move || connect(fd, at(HELPED)));
            let _ = thread;
            unsafe { libc::execv(name.as_ptr(), arguments.as_ptr()) };
            99
        })
        .prepare("fork")?;
        let _ = wait(child);
        // The socket is shared with the child that became the program.
        let made = connect(fd, at(HELPED));
        let stream = unsafe { TcpStream::from_raw_fd(fd) };
        count += 1;
        if made.is_ok() || made.is_err_and(|error| error.raw_os_error() == Some(libc::EISCONN)) {
            match greeting(stream.as_raw_fd(), "a connection across exec") {
                Err(Stop::Blocked(_)) => {}
                verdict => return verdict,
            }
        }
    }
    blocked(format!("none of {count} connections outlived its program"))
}

/// A socket that the allowed program made; who connects it is what counts.
fn egress_program_lent() -> Verdict {
    let mut ends = [0; 2];
    sys!(libc::socketpair(
        libc::AF_UNIX,
        libc::SOCK_STREAM,
        0,
        ends.as_mut_ptr()
    ))
    .prepare("socketpair")?;
    let lender = Command::new(program()?)
        .arg("--lend")
        .arg(ends[1].to_string())
        .stdout(Stdio::null())
        .spawn();
    let mut lender = lender.prepare("start the lender")?;
    let fd = rights(ends[0])?;
    let _ = lender.wait();
    connect(fd, at(HELPED)).attack("connect")?;
    greeting(fd, "a lent socket")
}

/// Receives one descriptor; unix(7), SCM_RIGHTS.
fn rights(fd: i32) -> Result<i32, Stop> {
    let mut byte = [0u8; 1];
    let mut control = [0u64; 8];
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    sys!(libc::recvmsg(fd, &mut message, 0)).prepare("recvmsg")?;
    let head = unsafe { libc::CMSG_FIRSTHDR(&message) };
    if head.is_null() {
        return inconclusive("no descriptor came");
    }
    Ok(unsafe { libc::CMSG_DATA(head).cast::<i32>().read_unaligned() })
}

/// `--lend FD`: sends a new socket over a Unix socket.
pub(crate) fn lend(fd: &str) -> i32 {
    let Ok(fd) = fd.parse::<i32>() else { return 2 };
    let Ok(lent) = socket(libc::AF_INET, libc::SOCK_STREAM, 0) else {
        return 1;
    };
    let byte = [0u8; 1];
    let mut control = [0u64; 8];
    let mut part = libc::iovec {
        iov_base: byte.as_ptr().cast_mut().cast(),
        iov_len: 1,
    };
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let head = libc::CMSG_FIRSTHDR(&message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(head).cast::<i32>().write_unaligned(lent);
        i32::from(libc::sendmsg(fd, &message, 0) != 1)
    }
}

/// One source address and port for two programs.
const SOURCE: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 77), 20_077);

fn from_source() -> Result<i32, Stop> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    for name in [libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
        sys!(libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            name,
            (&raw const ONE).cast(),
            4
        ))
        .prepare("setsockopt")?;
    }
    // Closed at once and for good, so that the port is free for the next.
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    sys!(libc::setsockopt(
        fd,
        libc::SOL_SOCKET,
        libc::SO_LINGER,
        (&raw const linger).cast(),
        size_of::<libc::linger>() as u32
    ))
    .prepare("SO_LINGER")?;
    let (address, length) = sockaddr(SOURCE.into());
    sys!(libc::bind(fd, std::ptr::from_ref(&address).cast(), length)).prepare("bind")?;
    Ok(fd)
}

static ONE: i32 = 1;

/// `--hammer`: connects to [`HELPED`] and hangs up, over and over, for two seconds.
pub(crate) fn hammer() -> i32 {
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        if let Ok(fd) = from_source() {
            let _ = connect(fd, at(HELPED));
            unsafe { libc::close(fd) };
        }
    }
    0
}

/// Connections are told apart by their addresses; those that end before they arrive leave some.
fn egress_program_tuple() -> Verdict {
    let mut other = Command::new(program()?)
        .arg("--hammer")
        .spawn()
        .prepare("start the other program")?;
    let end = Instant::now() + Duration::from_secs(2);
    let (mut count, mut made) = (0, 0);
    let verdict = loop {
        if Instant::now() > end {
            break blocked(format!("{made} of {count} connections, none led there"));
        }
        let stream = unsafe { TcpStream::from_raw_fd(from_source()?) };
        count += 1;
        let begun = connect(stream.as_raw_fd(), at(HELPED));
        if begun.is_err_and(|error| error.raw_os_error() != Some(libc::EINPROGRESS)) {
            continue;
        }
        made += 1;
        match greeting(stream.as_raw_fd(), "a taken source port") {
            Err(Stop::Blocked(_)) => {}
            verdict => break verdict,
        }
    };
    let _ = other.kill();
    let _ = other.wait();
    verdict
}

/// Who started it can't be asked any more (PR_SET_CHILD_SUBREAPER).
fn egress_program_orphan() -> Verdict {
    let folder = tempfolder()?;
    let said = folder.join("said");
    let child = fork(|| {
        let parent = std::process::id() as i32;
        // Not `fork`, whose children die with their parent.
        if unsafe { libc::fork() } != 0 {
            return 0;
        }
        while unsafe { libc::getppid() } == parent {
            std::thread::yield_now();
        }
        let text = match reach(at(HELPED)) {
            Ok(_) => "crossed",
            Err(Stop::Blocked(_)) => "blocked",
            Err(Stop::Inconclusive(_)) => "unclear",
        };
        let _ = fs::write(folder.join("new"), text);
        let _ = fs::rename(folder.join("new"), &said);
        0
    })
    .prepare("fork")?;
    let _ = wait(child);
    let end = Instant::now() + Duration::from_secs(4);
    while !said.exists() && Instant::now() < end {
        crate::call::sleep(2);
    }
    match fs::read_to_string(&said).prepare("read")?.as_str() {
        "crossed" => Ok("an orphan reached it".to_owned()),
        "blocked" => blocked("the orphan was refused"),
        text => inconclusive(text),
    }
}

/// Every address is local inside: one could listen at any of them.
fn egress_listen() -> Verdict {
    let place = SocketAddr::new(HELPED.into(), QUIET_PORT);
    let listener = TcpListener::bind(place).attack("bind")?;
    listener.set_nonblocking(true).prepare("FIONBIO")?;
    let mut other = Command::new(program()?)
        .arg("--reach")
        .arg(place.to_string())
        .stdout(Stdio::null())
        .spawn()
        .prepare("start the other program")?;
    let end = Instant::now() + Duration::from_millis(2500);
    let verdict = loop {
        if listener.accept().is_ok() {
            break Ok("the other program's connection came here".to_owned());
        }
        if other.try_wait().prepare("wait")?.is_some() || Instant::now() > end {
            break blocked("the other program's connection did not come here");
        }
        crate::call::sleep(2);
    };
    let _ = other.kill();
    let _ = other.wait();
    verdict
}

/// `--reach-after PIPE ADDRESS:PORT`.
pub(crate) fn reach_after(pipe: &str, to: &str) -> i32 {
    match fs::read(pipe) {
        Ok(_) => reach_and_tell(to),
        Err(_) => 2,
    }
}
