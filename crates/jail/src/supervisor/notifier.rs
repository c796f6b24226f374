//! System calls that the filter hands over.
//!
//! connect(2) is made here, on the program's own socket, with an address that was copied once:
//! what the program changes afterwards changes nothing. A Unix path is resolved below the
//! sandbox's root and connected to only if the socket there was bound inside. Every other call
//! that arrives is one that the profile refuses; it is counted and gets its errno.

use casemate_core::report::Refusal;
use casemate_core::spec::{Network, SandboxSpec};
use casemate_sys::Errno;
use casemate_sys::net::{Address, connect, domain, is_stream};
use casemate_sys::process::read_memory;
use casemate_sys::seccomp::{Action, Listener, Notification, evaluate, name};
use casemate_sys::unixdiag::UnixDiag;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Different refusals that are kept apart; the rest is one number.
const MOST_KINDS: usize = 512;
/// Connects that may block at one time.
const MOST_BLOCKING: usize = 128;
/// A thread that makes one system call needs little.
const STACK: usize = 64 << 10;

/// The supervisor's end of the filter.
pub(super) struct Notifier {
    listener: Arc<Listener>,
    root: OwnedFd,
    diag: UnixDiag,
    private: Vec<u64>,
    host_network: bool,
    ports: Option<Vec<u16>>,
    blocking: Arc<AtomicUsize>,
    refused: BTreeMap<(&'static str, String), (String, u64)>,
    not_listed: u64,
    over: bool,
}

impl Notifier {
    pub(super) fn new(
        listener: Listener,
        root: OwnedFd,
        diag: UnixDiag,
        private: Vec<u64>,
        spec: &SandboxSpec,
    ) -> Self {
        listener.wake_synchronously();
        Self {
            listener: Arc::new(listener),
            root,
            diag,
            private,
            host_network: spec.network == Network::Host,
            ports: spec.tcp_connect.clone(),
            blocking: Arc::default(),
            refused: BTreeMap::new(),
            not_listed: 0,
            over: false,
        }
    }

    /// True if nothing will come any more.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Reads one call and answers it, or hands it to a thread that will. The kernel's older
    /// versions wait for ever for a call when nobody is left to make one, so it is read only if
    /// there is one.
    pub(super) fn serve(&mut self, ready: PollFlags) {
        if !ready.contains(PollFlags::IN) {
            return self.over = true;
        }
        let Ok(Some(call)) = self.listener.receive() else {
            return;
        };
        match evaluate(&call.call) {
            Action::Ask(_) => self.connect(&call),
            Action::Refuse(errno) | Action::Fail(errno) => {
                let what = name(call.call.nr)
                    .map_or_else(|| format!("syscall {}", call.call.nr), str::to_owned);
                self.refuse("syscall", what, format!("not allowed here ({errno})"));
                self.listener.answer(call.id, Err(errno));
            }
            // The filter doesn't hand these over.
            Action::Allow => self.listener.answer(call.id, Err(Errno::PERM)),
        }
    }

    fn connect(&mut self, call: &Notification) {
        let (socket, target) = match self.prepare(call) {
            Ok(ready) => ready,
            Err(errno) => return self.listener.answer(call.id, Err(errno)),
        };
        let nonblocking =
            rustix::fs::fcntl_getfl(&socket).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
        if nonblocking {
            return self
                .listener
                .answer(call.id, connect(&socket, &target.address).map(|()| 0));
        }
        let (listener, blocking, id) = (
            Arc::clone(&self.listener),
            Arc::clone(&self.blocking),
            call.id,
        );
        if blocking.fetch_add(1, Ordering::Relaxed) >= MOST_BLOCKING {
            blocking.fetch_sub(1, Ordering::Relaxed);
            return self.listener.answer(id, Err(Errno::AGAIN));
        }
        let work = move || {
            let result = connect(&socket, &target.address).map(|()| 0);
            drop(target);
            listener.answer(id, result);
            blocking.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(work)
            .is_err()
        {
            self.blocking.fetch_sub(1, Ordering::Relaxed);
            self.listener.answer(id, Err(Errno::AGAIN));
        }
    }

    /// The program's socket, and where it may be connected to.
    fn prepare(&mut self, call: &Notification) -> Result<(OwnedFd, Target), Errno> {
        let [fd, address, length, ..] = call.call.args;
        let mut bytes = [0; 128];
        let length = usize::try_from(length as u32).unwrap_or(usize::MAX);
        if !(2..=bytes.len()).contains(&length) {
            return Err(Errno::INVAL);
        }
        let read = read_memory(call.pid as i32, address, &mut bytes[..length])?;
        if read != length {
            return Err(Errno::FAULT);
        }
        let socket = take_socket(call.pid, fd as i32)?;
        // The pid was this thread's for as long as the call still waits.
        if !self.listener.is_valid(call.id) {
            return Err(Errno::NOENT);
        }
        let bytes = &bytes[..length];
        let target = match domain(&socket)? {
            unix if unix == i32::from(rustix::net::AddressFamily::UNIX.as_raw()) => {
                self.unix(call.pid, bytes)?
            }
            _ => self.inet(&socket, bytes)?,
        };
        Ok((socket, target))
    }

    fn inet(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Result<Target, Errno> {
        // AF_UNSPEC dissolves a connection; the kernel checks the rest.
        let port = bytes
            .get(2..4)
            .map(|port| u16::from_be_bytes([port[0], port[1]]));
        if let (Some(ports), Some(port)) = (&self.ports, port)
            && bytes[..2] != [0, 0]
            && is_stream(socket)?
            && !ports.contains(&port)
        {
            self.refuse(
                "connect",
                format!("TCP port {port}"),
                "not in --tcp-connect".into(),
            );
            return Err(Errno::ACCESS);
        }
        Ok(Target {
            address: Address::from_bytes(bytes)?,
            _pinned: None,
        })
    }

    fn unix(&mut self, pid: u32, bytes: &[u8]) -> Result<Target, Errno> {
        let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
        if family == 0 {
            return Ok(Target {
                address: Address::from_bytes(bytes)?,
                _pinned: None,
            });
        }
        if family != rustix::net::AddressFamily::UNIX.as_raw() {
            return Err(Errno::INVAL);
        }
        let path = match &bytes[2..] {
            [] => return Err(Errno::INVAL),
            [0, abstract_name @ ..] => {
                // Abstract names belong to a network namespace: the sandbox's own, or the host's.
                if self.host_network {
                    let shown = format!("@{}", String::from_utf8_lossy(abstract_name));
                    self.refuse(
                        "connect",
                        shown,
                        "abstract sockets of the host are not reachable".into(),
                    );
                    return Err(Errno::PERM);
                }
                return Ok(Target {
                    address: Address::from_bytes(bytes)?,
                    _pinned: None,
                });
            }
            path => path.split(|byte| *byte == 0).next().unwrap_or_default(),
        };
        let path = Path::new(OsStr::from_bytes(path));
        let pinned = self.resolve(pid, path)?;
        let stat = fstat(&pinned).map_err(|_| Errno::CONNREFUSED)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
            return Err(Errno::CONNREFUSED);
        }
        if !self.is_inside(stat.st_dev, stat.st_ino) {
            self.refuse(
                "connect",
                path.display().to_string(),
                "the socket was not bound inside".into(),
            );
            return Err(Errno::CONNREFUSED);
        }
        let address = Address::unix(&format!("/proc/self/fd/{}", pinned.as_raw_fd()))?;
        Ok(Target {
            address,
            _pinned: Some(pinned),
        })
    }

    /// Opens the path as the program would, below the sandbox's root.
    fn resolve(&self, pid: u32, path: &Path) -> Result<OwnedFd, Errno> {
        let full: PathBuf = if path.is_absolute() {
            path.into()
        } else {
            std::fs::read_link(format!("/proc/{pid}/cwd"))
                .map_err(|_| Errno::NOENT)?
                .join(path)
        };
        let relative = full.strip_prefix("/").unwrap_or(&full);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, relative, flags, Mode::empty(), resolve)
    }

    /// True if a socket of the sandbox's network namespace is bound to this inode, or if it is
    /// on a file system that nobody else can reach.
    fn is_inside(&self, device: u64, inode: u64) -> bool {
        self.private.contains(&device)
            || !self.host_network && self.diag.holds(device, inode).unwrap_or(false)
    }

    fn refuse(&mut self, kind: &'static str, what: String, why: String) {
        if self.refused.len() >= MOST_KINDS && !self.refused.contains_key(&(kind, what.clone())) {
            self.not_listed += 1;
            return;
        }
        self.refused.entry((kind, what)).or_insert((why, 0)).1 += 1;
    }

    /// What was refused.
    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let listed = self
            .refused
            .iter()
            .map(|((kind, what), (why, count))| Refusal {
                kind,
                what: what.clone(),
                why: why.clone(),
                count: *count,
            });
        let rest = (self.not_listed > 0).then(|| Refusal {
            kind: "syscall",
            what: "others".into(),
            why: "too many kinds to list".into(),
            count: self.not_listed,
        });
        listed.chain(rest).collect()
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// An address, and what keeps it pointing to the same socket.
struct Target {
    address: Address,
    _pinned: Option<OwnedFd>,
}

/// A copy of the program's descriptor (pidfd_getfd(2)).
fn take_socket(thread: u32, fd: i32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(thread as i32).ok_or(Errno::SRCH)?;
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        // A thread that doesn't lead its process: take the leader, which shares the table.
        Err(_) => pidfd_open(leader(thread).ok_or(Errno::SRCH)?, PidfdFlags::empty())?,
    };
    pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())
}

fn leader(thread: u32) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let id = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())?;
    Pid::from_raw(id)
}
