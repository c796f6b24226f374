//! The fast path: a connection that is only bytes is the program's own.
//!
//! A program that waits in connect(2) gets a socket that was connected here in the place of its
//! own, and from then on nothing stands between it and the other side. So this is for connections
//! of which nothing has to be seen, and where the program can't tell:
//!
//! - **The policy means bytes.** What decides [in its place](crate::open) does, unless it went by
//!   the name or sets headers there. Otherwise every endpoint that is open to the program there says `protocol:
//!   tcp` or `any`, none has limits or wants to see the plain text, and there are no rules in Rego.
//!   An endpoint that says nothing of its protocol is relayed, since the server name of TLS is
//!   compared there; a connection to port 443 always is, and one to an address that the sandbox
//!   was given several names for. What remains is that `protocol: tcp` at another port is for the
//!   address altogether: whatever else is served there is reached, too.
//! - **The socket is fresh and blocking**, of the sandbox's own network and bound to nothing, its
//!   options can be carried over, and no other descriptor and no epoll instance leads to it. One that
//!   doesn't block expects to be told later, by the very socket. All of that is looked at once more
//!   before the socket is replaced, if anybody could have changed it meanwhile: another thread of the
//!   program, or anyone if the other side took its time.
//! - **The sandbox is small.** To look for duplicates takes longer the more there is; a sandbox
//!   with many processes or descriptors is relayed, and is looked at again after a while.
//!
//! The other checks are those of every connection. Everything else takes the other path, where it
//! is decided anew. What is lost: bytes aren't counted, the end isn't seen, and the program learns the
//! address that this host dials from. Another policy ends what was [handed over](super::handed), too.

use super::afterwards::{Afterwards, Installed};
use super::decide::{self, HTTPS, Permit};
use super::handed::{Connection, Handed};
use super::journal;
use super::phases::Phase;
use super::shared::Shared;
use super::spans::{self, Done};
use crate::open::Basis;
use casemate_identity::Identity;
use casemate_policy::compiled::Grant;
use casemate_policy::network::{EntryLimits, Protocol};
use casemate_sys::Errno;
use casemate_sys::household::{Household, Sole};
use casemate_sys::owners::Processes;
use casemate_sys::socket::{self, Changes, Defaults, Facts, State};
use casemate_sys::sole::{Held, Patience};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::ioctl_fionbio;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A look that took longer than this, and in vain, is not repeated at once.
const COSTLY: Duration = Duration::from_micros(100);
/// How long a sandbox counts as crowded.
const CROWDED: Duration = Duration::from_millis(250);
/// Programs that wait for the other side at one time; each takes a thread.
const MOST_DIALLING: usize = 16;
/// How long one waits, as on the other path.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this time it is asked whether the program still waits.
const GLANCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// Always read by the proxy.
const DNS: u16 = 53;

/// See the module.
pub(super) struct Fast {
    /// By address family.
    defaults: Vec<(i32, Defaults)>,
    /// The sandbox's: where a socket comes from on which nobody set anything unnoticed.
    network: Option<u64>,
    household: Mutex<Household>,
    dialling: Arc<AtomicUsize>,
    crowded: Mutex<Option<Instant>>,
    pub(super) handed: Handed,
    pub(super) afterwards: Arc<Afterwards>,
}

/// What a thread wants, by its own socket.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// The number that it has in the program.
    pub number: i32,
    /// A copy of it.
    pub socket: BorrowedFd<'a>,
    /// The network namespace that it belongs to.
    pub network: Option<u64>,
    /// Where to.
    pub to: SocketAddr,
}

/// A connection that is being made, to be put in the place of a program's socket.
pub struct Direct {
    shared: Arc<Shared>,
    permit: Permit,
    to: SocketAddr,
    dialled: SocketAddr,
    socket: OwnedFd,
    connected: bool,
    /// What it was made like.
    like: Like,
    waited: bool,
    /// When it began, if anybody asks.
    begun: Option<Instant>,
    /// What was done for it already.
    pub(super) done: Vec<Done>,
    _turn: Turn,
}

/// What is known of a program's socket that can be replaced.
#[derive(PartialEq, Eq)]
struct Like {
    facts: Facts,
    changes: Changes,
    sole: Sole,
}

struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fast {
    /// `fresh` are sockets of the sandbox's network on which nothing was set.
    pub(super) fn new(fresh: &[OwnedFd], init: i32) -> Result<Self, Errno> {
        let defaults = fresh
            .iter()
            .map(|socket| Ok((Facts::of(socket)?.domain, Defaults::of(socket))));
        Ok(Self {
            defaults: defaults.collect::<Result<_, Errno>>()?,
            network: fresh.first().and_then(|own| socket::network(own).ok()),
            household: Mutex::new(Household::new(Processes::own()?, init)),
            dialling: Arc::default(),
            crowded: Mutex::default(),
            handed: Handed::new(init)?,
            afterwards: Arc::default(),
        })
    }

    /// A program sets an option that few set.
    pub(super) fn note_option(&self, level: i32, name: i32) {
        self.defaults.iter().for_each(|own| own.1.note(level, name));
    }

    /// A program makes an epoll instance.
    pub(super) fn note_epoll(&self) {
        self.household().note_epoll();
    }

    fn household(&self) -> MutexGuard<'_, Household> {
        self.household
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What a socket is to which nothing else leads; `None` if another can't stand for it.
    fn replaceable(&self, identity: &Identity, wish: Wish<'_>) -> Option<Like> {
        let (facts, changes) = self.set(wish)?;
        let held = Held {
            pid: identity.pid,
            fd: wish.number,
        };
        let sole = self.sole(held, wish.socket)?;
        Some(Like {
            facts,
            changes,
            sole,
        })
    }

    /// What was set on a socket that can be replaced if nothing else leads to it.
    fn set(&self, wish: Wish<'_>) -> Option<(Facts, Changes)> {
        let facts = Facts::of(wish.socket).ok()?;
        let plain = facts.protocol == i32::try_from(ipproto::TCP.as_raw().get()).unwrap_or(-1)
            && facts.state == State::Fresh
            && facts.bound.is_none()
            && !facts.nonblocking
            && !facts.signals;
        // One that was brought along may have options that were set before anybody looked.
        let own = wish.network.is_some() && wish.network == self.network;
        let defaults = self.defaults.iter().find(|own| own.0 == facts.domain);
        let defaults = defaults.filter(|_| plain && own)?;
        Some((facts, defaults.1.changes(wish.socket)?))
    }

    fn sole(&self, held: Held, socket: BorrowedFd<'_>) -> Option<Sole> {
        let since = Instant::now();
        let sole = self.household().sole(held, socket, Patience::default());
        if sole.is_none() && since.elapsed() > COSTLY {
            *self.crowded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        sole
    }

    fn is_crowded(&self) -> bool {
        let crowded = self.crowded.lock().unwrap_or_else(PoisonError::into_inner);
        crowded.is_some_and(|since| since.elapsed() < CROWDED)
    }

    fn turn(&self) -> Option<Turn> {
        let turn = Turn(Arc::clone(&self.dialling));
        let before = self.dialling.fetch_add(1, Ordering::Relaxed);
        (before < MOST_DIALLING).then_some(turn)
    }
}

impl Direct {
    /// Begins to connect; `None` if the connection has to take the other path. Doesn't wait.
    pub(super) fn start(
        shared: &Arc<Shared>,
        identity: &Arc<Identity>,
        wish: Wish<'_>,
    ) -> Option<Self> {
        let fast = shared.fast.as_ref()?;
        let to = wish.to;
        if to.port() == DNS || fast.is_crowded() || !fast.handed.has_room() || !shared.has_room() {
            return None;
        }
        let permit = permit(shared, identity, to)?;
        let like = fast.replaceable(identity, wish)?;
        let turn = fast.turn()?;
        let dialled = dialled(like.facts.domain, to)?;
        let begun = shared.phases.begin();
        let (socket, connected) = dial(like.facts.domain, &like.changes, dialled)?;
        Some(Self {
            shared: Arc::clone(shared),
            permit,
            to,
            dialled,
            socket,
            connected,
            like,
            waited: false,
            begun,
            done: Vec::new(),
            _turn: turn,
        })
    }

    /// True if there is nothing to wait for.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Waits for the other side, as long as the program does.
    ///
    /// # Errors
    /// What the program's connect(2) comes to.
    pub fn wait(&mut self, waits: impl Fn() -> bool) -> Result<(), Errno> {
        if !self.connected
            && let Err(errno) = self.other_side(waits)
        {
            self.shared.journal.failed(&self.permit, &errno.to_string());
            return Err(errno);
        }
        let phases = &self.shared.phases;
        let ((), done) = spans::collected(|| phases.end(Phase::Connect, self.begun));
        self.done.extend(done);
        ioctl_fionbio(&self.socket, false)
    }

    fn other_side(&mut self, waits: impl Fn() -> bool) -> Result<(), Errno> {
        let since = Instant::now();
        self.waited = true;
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
            if poll(&mut fds, Some(&GLANCE)) == Ok(1) {
                // Its result. It has to be asked for: until then the kernel takes the socket for
                // one that is connecting, and those can be made to listen.
                connect(&self.socket, &self.dialled)?;
                self.connected = true;
                return Ok(());
            }
            if since.elapsed() > PATIENCE {
                return Err(Errno::TIMEDOUT);
            }
            if !waits() {
                return Err(Errno::INTR);
            }
        }
    }

    /// False if the program's socket is no longer what this one was made like: then the program
    /// keeps it, and this one was for nothing.
    pub fn is_like(&self, wish: Wish<'_>) -> bool {
        let (like, fast) = (&self.like, &self.shared.fast);
        let Some(fast) = fast else { return false };
        if self.waited {
            let now = fast.replaceable(&self.permit.identity, wish);
            return now.is_some_and(|now| now == *like);
        }
        // A thread that is alone can't have done anything but wait.
        let same = |(facts, changes)| facts == like.facts && changes == like.changes;
        like.sole.waits || fast.set(wish).is_some_and(same)
    }

    /// Sees to it that it's written down that the program has it, instead of this socket.
    pub fn installed(self, replaced: OwnedFd) {
        let Some(fast) = &self.shared.fast else {
            return;
        };
        let connection = Connection::of(&self.permit, &self.socket, self.dialled).ok();
        // The other side is told of the end when the last copy is closed.
        drop(self.socket);
        let installed = Installed {
            permit: self.permit,
            to: self.to,
            connection,
            since: journal::now(),
            done: self.done,
            replaced,
        };
        fast.afterwards.add(installed, &self.shared);
    }
}

impl AsFd for Direct {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A permit for a connection that is only bytes, to an address that is fine.
fn permit(shared: &Shared, identity: &Arc<Identity>, to: SocketAddr) -> Option<Permit> {
    let policy = shared.policy.load();
    // To ask rules in Rego takes too long here. TLS may be to a server in front of many sites.
    let many = || to.port() == HTTPS || shared.names.of(to.ip()).len() > 1;
    if policy.rules.is_some() || policy.open.is_none() && many() {
        return None;
    }
    let (_, decided) = decide::destination(shared, identity, to);
    let permit = decided.ok()?;
    if let Some(open) = permit.open() {
        // Who went by the name is still to be asked for it.
        let sets = to.port() == HTTPS && open.sets_any_headers();
        let plain = !sets && permit.basis() != Some(Basis::Name);
        let fine = plain && shared.dialer.judge(&permit, &[to.ip()]).is_ok();
        return fine.then_some(permit);
    }
    let grant = permit.grant().filter(is_plain)?;
    let judged = shared.dialer.judge_granted(&permit, &grant, &[to.ip()]);
    judged.ok()?;
    drop(grant);
    Some(permit)
}

fn is_plain(grant: &Grant<'_>) -> bool {
    let bytes = |protocol| matches!(protocol, Protocol::Tcp | Protocol::Any);
    let mut endpoints = grant.endpoints().peekable();
    endpoints.peek().is_some()
        && endpoints.all(|own| bytes(own.protocol()) && !own.needs_inspection())
        && grant
            .limits()
            .all(|(_, limits)| limits == EntryLimits::default())
}

/// The address as a socket of this family takes it.
fn dialled(domain: i32, to: SocketAddr) -> Option<SocketAddr> {
    let v6 = domain == i32::from(AddressFamily::INET6.as_raw());
    match to.ip() {
        IpAddr::V4(v4) if v6 => Some(SocketAddr::new(v4.to_ipv6_mapped().into(), to.port())),
        IpAddr::V6(_) if !v6 => None,
        _ => Some(to),
    }
}

/// Begins to connect a socket like the program's; true if it is connected.
fn dial(domain: i32, changes: &Changes, to: SocketAddr) -> Option<(OwnedFd, bool)> {
    let family = AddressFamily::from_raw(u16::try_from(domain).ok()?);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)).ok()?;
    changes.apply(&socket).ok()?;
    match connect(&socket, &to) {
        Ok(()) => Some((socket, true)),
        // Where the other side is this very machine, it answers before the call is over, and that
        // is only seen by the next one.
        Err(Errno::INPROGRESS) => match connect(&socket, &to) {
            Ok(()) => Some((socket, true)),
            Err(Errno::ALREADY | Errno::INPROGRESS) => Some((socket, false)),
            Err(_) => None,
        },
        // Its error is found out once more, and written down, on the other path.
        Err(_) => None,
    }
}
