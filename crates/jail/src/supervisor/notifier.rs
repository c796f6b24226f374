//! System calls that the filter hands over.
//!
//! connect(2) is made here, on the program's own socket, with an address that was copied once:
//! what the program changes afterwards changes nothing. A Unix path is resolved below the
//! sandbox's root and connected to only if the socket there was bound inside. Of a setsockopt(2) or
//! an epoll_create(2) the gate is told, by its registers, and it goes on; so does a ptrace(2) of the
//! only process that [may hold up others](super::tracer). Every other call that arrives is one that
//! the profile refuses; it is counted and gets its errno.

use super::tracer::ExitTracer;
use crate::callers::Callers;
use crate::gate::{self, Attempt, Gate, Rare};
use casemate_core::report::Refusal;
use casemate_core::spec::{Network, SandboxSpec};
use casemate_sys::Errno;
use casemate_sys::fence;
use casemate_sys::net::{Address, connect, domain, is_stream};
use casemate_sys::process::read_memory;
use casemate_sys::seccomp::{Action, Listener, Notification, Request, evaluate, name};
use casemate_sys::socket;
use casemate_sys::unixdiag::UnixDiag;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::net::AddressFamily;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
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
    callers: Arc<Callers>,
    root: OwnedFd,
    diag: UnixDiag,
    private: Vec<u64>,
    host_network: bool,
    /// The network of this process, if the program may hold sockets of it that the gate put there.
    lender: Option<u64>,
    ports: Option<Vec<u16>>,
    blocking: Arc<AtomicUsize>,
    tracer: ExitTracer,
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
            callers: Arc::new(Callers::new(listener)),
            root,
            diag,
            private,
            host_network: spec.network == Network::Host,
            lender: (spec.network == Network::Policy)
                .then(socket::own_network)
                .and_then(Result::ok),
            ports: spec.tcp_connect.clone(),
            blocking: Arc::default(),
            tracer: ExitTracer::default(),
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
    pub(super) fn serve(&mut self, ready: PollFlags, gate: &mut Option<&mut dyn Gate>) {
        if !ready.contains(PollFlags::IN) {
            return self.over = true;
        }
        let Ok(Some(call)) = self.callers.listener().receive() else {
            return;
        };
        match evaluate(&call.call) {
            Action::Ask(_) if name(call.call.nr) == Some("ptrace") => self.trace(&call),
            Action::Ask(_) => self.connect(&call, gate),
            Action::Note => {
                if let Some(gate) = gate {
                    gate.note(rare(&call.call));
                }
                // What was read of the call are registers: it isn't another one when it goes on.
                self.callers.listener().let_go_on(call.id);
            }
            Action::Refuse(errno)
            | Action::Shield(errno)
            | Action::Nest(errno)
            | Action::Fail(errno) => {
                let what = name(call.call.nr)
                    .map_or_else(|| format!("syscall {}", call.call.nr), str::to_owned);
                self.refuse("syscall", what, format!("not allowed here ({errno})"));
                self.callers.listener().answer(call.id, Err(errno));
            }
            // The filter doesn't hand these over.
            Action::Allow => self.callers.listener().answer(call.id, Err(Errno::PERM)),
        }
    }

    /// Who traces with PTRACE_O_TRACEEXIT: of the call, which goes on, only registers were read.
    fn trace(&mut self, call: &Notification) {
        let listener = self.callers.listener();
        match self.tracer.admit(call.pid, || listener.is_valid(call.id)) {
            Ok(()) => listener.let_go_on(call.id),
            Err(errno) => {
                listener.answer(call.id, Err(errno));
                let why = "another process of the sandbox does that".into();
                self.refuse("syscall", "ptrace with PTRACE_O_TRACEEXIT".into(), why);
            }
        }
    }

    fn connect(&mut self, call: &Notification, gate: &mut Option<&mut dyn Gate>) {
        let (socket, target) = match self.prepare(call) {
            Ok(ready) => ready,
            Err(errno) => return self.callers.listener().answer(call.id, Err(errno)),
        };
        if let (Some(gate), Some(to)) = (gate, target.leads_out) {
            let number = call.call.args[0] as i32;
            let to = (to, target.address);
            return gate.attempt(Attempt::new(
                Arc::clone(&self.callers),
                (call.id, call.pid),
                (socket, number, target.network),
                to,
            ));
        }
        let nonblocking =
            rustix::fs::fcntl_getfl(&socket).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
        if nonblocking {
            return self
                .callers
                .listener()
                .answer(call.id, connect(&socket, &target.address).map(|()| 0));
        }
        let (callers, blocking, id) = (
            Arc::clone(&self.callers),
            Arc::clone(&self.blocking),
            call.id,
        );
        if blocking.fetch_add(1, Ordering::Relaxed) >= MOST_BLOCKING {
            blocking.fetch_sub(1, Ordering::Relaxed);
            return self.callers.listener().answer(id, Err(Errno::AGAIN));
        }
        let work = move || {
            let result = connect(&socket, &target.address).map(|()| 0);
            drop(target);
            callers.listener().answer(id, result);
            blocking.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(work)
            .is_err()
        {
            self.blocking.fetch_sub(1, Ordering::Relaxed);
            self.callers.listener().answer(id, Err(Errno::AGAIN));
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
        let socket = self.callers.take_socket(call.pid, fd as i32)?;
        // The pid was this thread's for as long as the call still waits.
        if !self.callers.listener().is_valid(call.id) {
            return Err(Errno::NOENT);
        }
        let bytes = &bytes[..length];
        let target = match domain(&socket)? {
            unix if unix == i32::from(AddressFamily::UNIX.as_raw()) => {
                self.unix(call.pid, bytes)?
            }
            _ => self.inet(&socket, bytes)?,
        };
        Ok((socket, target))
    }

    fn inet(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Result<Target, Errno> {
        let lends = self.lender.is_some();
        let network = lends.then(|| socket::network(socket).ok()).flatten();
        if lends && network == self.lender {
            // It is connected as the policy allows, and must never be connected to anything else:
            // AF_UNSPEC would free it for that.
            return Err(Errno::ISCONN);
        }
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
            leads_out: inet_address(bytes)
                .filter(|address| is_stream(socket) == Ok(true) && leads_out(*address)),
            network,
            _pinned: None,
        })
    }

    fn unix(&mut self, pid: u32, bytes: &[u8]) -> Result<Target, Errno> {
        let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
        if family == 0 {
            return Ok(Target {
                address: Address::from_bytes(bytes)?,
                leads_out: None,
                network: None,
                _pinned: None,
            });
        }
        if family != AddressFamily::UNIX.as_raw() {
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
                    leads_out: None,
                    network: None,
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
            leads_out: None,
            network: None,
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
        self.callers.listener().as_fd()
    }
}

/// What a call does of which the gate is told.
fn rare(call: &Request) -> Rare {
    let [_, level, option, ..] = call.args;
    match name(call.nr) {
        Some("setsockopt") => Rare::Option(level as i32, option as i32),
        _ => Rare::Epoll,
    }
}

/// An address, and what keeps it pointing to the same socket.
struct Target {
    address: Address,
    /// Where to, if that isn't the sandbox itself.
    leads_out: Option<SocketAddr>,
    /// The network namespace of the socket, if that matters.
    network: Option<u64>,
    _pinned: Option<OwnedFd>,
}

/// The address in a sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)), IPv4 as such also if it is mapped.
fn inet_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.first_chunk().copied()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip: IpAddr = if family == AddressFamily::INET.as_raw() {
        <[u8; 4]>::try_from(bytes.get(4..8)?).ok()?.into()
    } else if family == AddressFamily::INET6.as_raw() {
        <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?.into()
    } else {
        return None;
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// False for the sandbox's own addresses, except at the ports of the gate's sockets.
fn leads_out(address: SocketAddr) -> bool {
    let ip = address.ip();
    let own =
        ip.is_loopback() || ip.is_unspecified() || ip == fence::ADDRESS || ip == fence::ADDRESS6;
    !own || matches!(address.port(), gate::PORT | 53)
}
