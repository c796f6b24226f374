//! Changing what was looked at before it is used.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{at, connect, permitted, sockaddr, socket};
use crate::attempt::Setting::Network;
use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, inconclusive, sys};
use crate::sockets::greeting;
use crate::world::{FORBIDDEN, PERMITTED};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt!(
        egress_flip_address,
        "change the address under a checked connect with a second thread"
    )
    .with(Network),
    attempt!(
        egress_flip_descriptor,
        "put another socket in the place of a connecting one with dup2"
    )
    .with(Network),
    attempt!(
        egress_own_descriptors,
        "connect in a thread with a table of descriptors of its own"
    )
    .with(Network),
    attempt!(
        egress_interrupted,
        "interrupt a connect with signals and go on with the socket"
    )
    .with(Network),
    attempt!(
        egress_vanishing_thread,
        "end the thread that connects and use the socket in another"
    )
    .with(Network),
];

const LIMIT: Duration = Duration::from_millis(1500);

/// Whether a connection that may have been made leads to the token. Does not wait for long: what
/// was refused is reset at once.
fn crossed(stream: &TcpStream) -> Option<Verdict> {
    match greeting(stream.as_raw_fd(), "the race") {
        Ok(how) => Some(Ok(how)),
        Err(Stop::Blocked(_)) => None,
        Err(stop) => Some(Err(stop)),
    }
}

fn stream() -> Result<TcpStream, Stop> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}

/// The address is in memory that all threads share.
fn egress_flip_address() -> Verdict {
    drop(permitted()?);
    let (mut storage, length) = sockaddr(at(PERMITTED));
    let place = std::ptr::from_mut(&mut storage);
    let ip = unsafe { &raw mut (*place.cast::<libc::sockaddr_in>()).sin_addr.s_addr };
    let ip = unsafe { AtomicU32::from_ptr(ip) };
    let [good, bad] = [PERMITTED, FORBIDDEN].map(|ip| u32::from_ne_bytes(ip.octets()));
    let over = AtomicBool::new(false);
    let place = place as usize;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                ip.store(bad, Ordering::Relaxed);
                ip.store(good, Ordering::Relaxed);
            }
        });
        let verdict = (|| {
            let (end, mut count) = (Instant::now() + LIMIT, 0);
            while Instant::now() < end {
                let stream = stream()?;
                let made = sys!(libc::connect(
                    stream.as_raw_fd(),
                    place as *const libc::sockaddr,
                    length
                ));
                count += 1;
                if made.is_ok()
                    && let Some(verdict) = crossed(&stream)
                {
                    return verdict;
                }
            }
            blocked(format!("none of {count} connections led astray"))
        })();
        over.store(true, Ordering::Relaxed);
        verdict
    })
}

/// The number names one socket when it is looked at, and another one when it is connected.
fn egress_flip_descriptor() -> Verdict {
    let allowed = permitted()?;
    let (end, mut count) = (Instant::now() + LIMIT, 0);
    let number =
        sys!(libc::fcntl(allowed.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100)).prepare("fcntl")? as i32;
    let mut last = String::new();
    while Instant::now() < end {
        let fresh = stream()?;
        let over = AtomicBool::new(false);
        let verdict = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for from in [&fresh, &allowed] {
                        unsafe { libc::dup2(from.as_raw_fd(), number) };
                    }
                }
            });
            let made = connect(number, at(FORBIDDEN));
            over.store(true, Ordering::Relaxed);
            made
        });
        count += 1;
        match verdict {
            // Connected, or so it was said: whichever socket it is.
            Ok(_) => {
                if let Some(verdict) = crossed(&fresh) {
                    return verdict;
                }
            }
            Err(error) => last = crate::call::errno_name(&error),
        }
    }
    blocked(format!("none of {count} connections led there: {last}"))
}

/// unshare(2), CLONE_FILES: the same number is another socket in the other threads.
fn egress_own_descriptors() -> Verdict {
    let allowed = permitted()?;
    let number = allowed.as_raw_fd();
    let made = std::thread::spawn(move || {
        sys!(libc::unshare(libc::CLONE_FILES)).attack("unshare")?;
        let fresh = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        sys!(libc::dup2(fresh, number)).prepare("dup2")?;
        connect(number, at(FORBIDDEN)).attack("connect")?;
        greeting(number, "a thread of its own")
    });
    match made.join() {
        Ok(verdict) => verdict,
        Err(_) => inconclusive("the thread panicked"),
    }
}

extern "C" fn nothing(_: i32) {}

/// signal(7): connect(2) is not restarted, and the connection goes on being made.
fn egress_interrupted() -> Verdict {
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    sys!(libc::sigaction(
        libc::SIGUSR1,
        &action,
        std::ptr::null_mut()
    ))
    .prepare("sigaction")?;
    let thread = unsafe { libc::pthread_self() } as usize;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGUSR1) };
            }
        });
        let verdict = (|| {
            let (end, mut count) = (Instant::now() + LIMIT, 0);
            while Instant::now() < end && count < 200 {
                let stream = stream()?;
                let _ = connect(stream.as_raw_fd(), at(FORBIDDEN));
                let _ = connect(stream.as_raw_fd(), at(FORBIDDEN));
                count += 1;
                if stream.peer_addr().is_ok()
                    && let Some(verdict) = settled(&stream)
                {
                    return verdict;
                }
            }
            blocked(format!("none of {count} interrupted connects led there"))
        })();
        over.store(true, Ordering::Relaxed);
        verdict
    })
}

/// [`crossed`] among signals.
fn settled(stream: &TcpStream) -> Option<Verdict> {
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut bytes = [0; 64];
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        match std::io::Read::read(&mut &*stream, &mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(count) if count > 0 => {
                return crate::stage::reveals(&bytes[..count], "an interrupted connect")
                    .ok()
                    .map(Ok);
            }
            _ => return None,
        }
    }
    None
}

/// Who asked is gone when it is asked who it was.
fn egress_vanishing_thread() -> Verdict {
    let (end, mut count) = (Instant::now() + LIMIT, 0);
    while Instant::now() < end {
        let stream = stream()?;
        let fd = stream.as_raw_fd();
        sys!(libc::ioctl(fd, libc::FIONBIO, &1)).prepare("FIONBIO")?;
        let made = std::thread::spawn(move || connect(fd, SocketAddr::new(FORBIDDEN.into(), 7000)));
        let _ = made.join();
        count += 1;
        if let Some(verdict) = crossed(&stream) {
            return verdict;
        }
    }
    blocked(format!("none of {count} connections led there"))
}
