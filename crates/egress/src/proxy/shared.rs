//! What all connections of one sandbox share, and the threads that they run on.

use super::alone::{self, Entrance};
use super::dial::Dialer;
use super::fast::{Direct, Fast, Wish};
use super::inspect::{Inspection, Inspector};
use super::journal::Journal;
use super::ledger::Ledger;
use super::lookup::{Found, Lookup, Lost};
use super::names::Names;
use super::openers::Openers;
use super::phases::{Phase, Phases};
use super::places::{Place, Places};
use super::policy::Policy;
use super::quota::Quotas;
use super::reload::Reloading;
use super::scrape::{self, Numbers, Scrape};
use super::spans::{self, Done};
use super::{accept, heartbeat, queries};
use crate::address::Guard;
use crate::host::Host;
use arc_swap::ArcSwap;
use casemate_core::error::{Error, Result};
use casemate_core::flow::Flows;
use casemate_core::report::Connection;
use casemate_identity::{Identifier, Identity, Refusal, Subject};
use casemate_sys::Errno;
use casemate_sys::fence::listen::Family;
use casemate_sys::inetdiag::InetDiag;
use rustix::fd::{AsFd, OwnedFd};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// For connections to end.
const ENDING: Duration = Duration::from_millis(200);

/// What a proxy is made of.
pub struct Config {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Who the sandbox's processes are.
    pub identifier: Arc<Identifier>,
    /// Where events are written.
    pub journal: Journal,
    /// How connections are looked into.
    pub inspection: Inspection,
    /// The address at which the sandbox reaches this host by name, if it may.
    pub gateway: Option<IpAddr>,
    /// Whether programs may be given connections themselves. Not where bytes have to be seen.
    pub lends: bool,
    /// Connections at one time; none is as many as a proxy can have.
    pub connections: Option<usize>,
    /// Bytes a second that go out, and as many that come in.
    pub bandwidth: Option<u64>,
    /// Who wants to know how long things take.
    pub phases: Phases,
    /// Where numbers are fetched, if there are [metrics](super::Metrics) among the phases.
    pub scrape: Option<Scrape>,
}

/// The sockets of the sandbox's network namespace.
pub struct Sockets {
    /// Each with its IP version: TCP, DNS over TCP, DNS over UDP.
    pub families: Vec<(Family, OwnedFd, OwnedFd, OwnedFd)>,
    /// A sock_diag socket of the namespace.
    pub diag: OwnedFd,
    /// TCP sockets on which nothing was set, one for each IP version.
    pub fresh: Vec<OwnedFd>,
    /// The sandbox's init.
    pub init: i32,
}

/// The proxy of one sandbox. Dropped, it ends every connection.
pub struct Proxy {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    /// What was done for the connection that is about to be opened.
    done: Mutex<Vec<Done>>,
}

/// See the module.
pub(super) struct Shared {
    pub(super) policy: ArcSwap<Policy>,
    /// Counts the policies that were in force.
    pub(super) revision: watch::Sender<u64>,
    pub(super) identifier: Arc<Identifier>,
    pub(super) openers: Openers,
    /// Connections at one time.
    pub(super) places: Places,
    /// Of these, those to the proxy itself that have not said yet what they want.
    pub(super) asking: Places,
    pub(super) names: Names,
    pub(super) lookup: Lookup,
    pub(super) dialer: Dialer,
    pub(super) inspection: Inspector,
    pub(super) journal: Journal,
    pub(super) ledger: Ledger,
    pub(super) quotas: Quotas,
    /// How fast bytes may go, if they may not go as fast as they can.
    pub(super) flows: Option<Arc<Flows>>,
    pub(super) phases: Phases,
    /// Connections that are open now.
    pub(super) open: AtomicI64,
    pub(super) diag: Mutex<InetDiag>,
    pub(super) init: i32,
    pub(super) fast: Option<Fast>,
}

/// A connection that is counted as long as it is open.
pub(super) struct Open<'s>(&'s AtomicI64);

impl Shared {
    /// All addresses of a name, by the name servers that are to be asked.
    pub(super) async fn find(&self, host: &Host) -> std::result::Result<Found, Lost> {
        let policy = self.policy.load_full();
        let open = policy.open.as_ref();
        let servers = open.and_then(|open| open.servers(self.dialer.guard()));
        self.lookup.find(host, servers).await
    }

    /// A place for a connection of this program, or why there is none.
    pub(super) fn enter(&self, identity: &Identity) -> std::result::Result<Place, String> {
        let (most, relayed) = (self.places.most(), self.places.count());
        let besides = |fast: &Fast| fast.handed.count(most.saturating_sub(relayed));
        let besides = self.fast.as_ref().map_or(0, besides);
        self.places.enter(identity, besides)
    }

    /// Whether one more may be handed over.
    pub(super) fn has_room(&self) -> bool {
        let (most, relayed) = (self.places.most(), self.places.count());
        let handed = |fast: &Fast| fast.handed.count(most.saturating_sub(relayed));
        self.fast.as_ref().map_or(0, handed) + relayed < most
    }

    pub(super) fn count(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(&self.open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Proxy {
    /// Starts to serve a sandbox, on threads of its own.
    ///
    /// # Errors
    /// Threads or sockets can't be made, or the host's resolver isn't configured.
    pub fn start(config: Config, sockets: Sockets) -> Result<Self> {
        Self::begin(config, sockets, Vec::new())
    }

    /// Starts to serve clients that ask for it explicitly, without a sandbox.
    ///
    /// # Errors
    /// Threads or sockets can't be made, or the host's resolver isn't configured.
    pub fn alone(config: Config, entrances: Vec<Entrance>) -> Result<Self> {
        let diag = InetDiag::open()
            .map_err(|errno| Error::errno("open a sock_diag socket", errno.raw_os_error()))?;
        let sockets = Sockets {
            families: Vec::new(),
            fresh: Vec::new(),
            diag: diag.into_fd(),
            init: 1,
        };
        Self::begin(config, sockets, entrances)
    }

    fn begin(mut config: Config, sockets: Sockets, entrances: Vec<Entrance>) -> Result<Self> {
        casemate_sys::memory::share_heaps();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(64)
            .thread_name("egress")
            .thread_stack_size(512 << 10)
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the proxy's threads", &error))?;
        let fast = (config.lends && config.bandwidth.is_none())
            .then(|| Fast::new(&sockets.fresh, sockets.init));
        let fast = fast
            .transpose()
            .map_err(|errno| Error::errno("look at the sandbox's sockets", errno.raw_os_error()))?;
        let scrape = config.scrape.take();
        let entered = runtime.enter();
        let shared = Arc::new(Shared::new(
            config,
            InetDiag::from(sockets.diag),
            sockets.init,
            fast,
        )?);
        for (family, connections, dns_streams, dns) in sockets.families {
            accept::serve(&shared, connections)?;
            queries::serve(&shared, family, dns_streams, dns)?;
        }
        for entrance in entrances {
            alone::serve(&shared, entrance)
                .map_err(|error| Error::io("take a listener", &error))?;
        }
        if shared.phases.are_logged() {
            tokio::spawn(heartbeat::beat(shared.phases.clone()));
        }
        if let Some(place) = scrape {
            let asked = Arc::clone(&shared);
            let numbers: Numbers = Arc::new(move || Some(asked.phases.metrics()?.text(&asked)));
            scrape::scrape(place, &numbers)
                .map_err(|error| Error::io("serve the metrics", &error))?;
        }
        drop(entered);
        Ok(Self {
            shared,
            runtime: Some(runtime),
            done: Mutex::default(),
        })
    }

    /// Who a thread is that waits in connect(2), if nothing has to be hashed for that. Takes
    /// microseconds. The caller has to see to it afterwards that the thread still waits.
    pub fn identify_warm(&self, thread: u32) -> Option<Arc<Identity>> {
        let begun = self.shared.phases.begin();
        let identify = || {
            let subject = Subject::Waiting(thread as i32);
            let identity = self.shared.identifier.identify_warm(subject)?;
            self.shared.phases.end(Phase::PeerIdentity, begun);
            Some(identity)
        };
        if self.shared.phases.spans().is_none() {
            return identify();
        }
        let (identity, done) = spans::collected(identify);
        *self.done() = done;
        identity
    }

    fn done(&self) -> MutexGuard<'_, Vec<Done>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether connections are served as fast as they are opened. If not, the next one has to be
    /// [held back](Opening::hold_back).
    pub fn keeps_up(&self) -> bool {
        self.shared.openers.are_few()
    }

    /// Runs something that may block, such as [`Proxy::identify`], off the executor.
    pub fn spawn_blocking(&self, work: impl FnOnce(&Opening) + Send + 'static) {
        let opening = self.opening();
        if let Some(runtime) = &self.runtime {
            runtime.spawn_blocking(move || work(&opening));
        }
    }

    /// A program is about to set a socket option that few set (setsockopt(2)), on some socket.
    pub fn note_option(&self, level: i32, name: i32) {
        if let Some(fast) = &self.shared.fast {
            fast.note_option(level, name);
        }
    }

    /// A program is about to make an epoll instance.
    pub fn note_epoll(&self) {
        if let Some(fast) = &self.shared.fast {
            fast.note_epoll();
        }
    }

    /// For the call that waits in connect(2), just after it was [identified](Self::identify_warm)
    /// or not.
    pub fn opening(&self) -> Opening {
        let spans = self.shared.phases.spans();
        let done = spans.map(|_| Arc::new(Mutex::new(self.done().clone())));
        Opening(Arc::clone(&self.shared), done)
    }

    /// For whoever watches the policy.
    pub fn reloading(&self) -> Reloading {
        Reloading(Arc::clone(&self.shared))
    }

    /// Ends every connection; what happened, by program and host.
    pub fn finish(&mut self) -> Vec<Connection> {
        self.shared.identifier.stop();
        if let Some(runtime) = self.runtime.take() {
            match self.shared.phases.spans() {
                // With the connections end their spans.
                Some(_) => runtime.shutdown_timeout(ENDING),
                None => runtime.shutdown_background(),
            }
            let lost = self.shared.phases.spans().map_or(0, spans::Spans::flush);
            if lost > 0 {
                eprintln!("casemate: {lost} spans never reached the collector");
            }
        }
        if let Some(fast) = &self.shared.fast {
            fast.afterwards.finish(&self.shared);
        }
        self.shared.journal.flush();
        self.shared.ledger.connections()
    }
}

impl Shared {
    pub(super) fn new(
        config: Config,
        diag: InetDiag,
        init: i32,
        fast: Option<Fast>,
    ) -> Result<Self> {
        let own = casemate_sys::net::own_addresses()
            .map_err(|errno| Error::errno("list this host's addresses", errno.raw_os_error()))?;
        let mut guard = Guard::new(own);
        if let Some(gateway) = config.gateway {
            guard = guard.with_gateway(gateway);
        }
        let most = config
            .connections
            .map_or(accept::MOST, |most| most.clamp(1, accept::MOST));
        config.identifier.compare(config.policy.asks_who());
        Ok(Self {
            policy: ArcSwap::new(config.policy),
            revision: watch::Sender::new(0),
            identifier: config.identifier,
            openers: Openers::default(),
            places: Places::new(most, (most / 4 * 3).max(1)),
            asking: Places::new(accept::MOST / 4, accept::MOST / 16),
            names: Names::default(),
            lookup: Lookup::from_system()?,
            dialer: Dialer::new(guard),
            inspection: config.inspection.into(),
            journal: config.journal,
            ledger: Ledger::default(),
            quotas: Quotas::default(),
            flows: config.bandwidth.map(Flows::new).map(Arc::new),
            phases: config.phases,
            open: AtomicI64::new(0),
            diag: Mutex::new(diag),
            init,
            fast,
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The part of a proxy that waits with a program in connect(2).
#[derive(Clone)]
pub struct Opening(Arc<Shared>, Option<Arc<Mutex<Vec<Done>>>>);

impl Opening {
    /// Who a thread is; may hash its executable.
    pub fn identify(&self, thread: u32) -> Result<Arc<Identity>, Refusal> {
        let begun = self.0.phases.begin();
        let identify = || {
            let identity = self.0.identifier.identify(Subject::Task(thread as i32));
            self.0.phases.end(Phase::PeerIdentity, begun);
            identity
        };
        let Some(kept) = &self.1 else {
            return identify();
        };
        let (identity, done) = spans::collected(identify);
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = done;
        identity
    }

    /// What was done for the connection so far, if anybody asks.
    fn done(&self) -> Vec<Done> {
        let kept = self.1.as_ref();
        let take = |kept: &Arc<Mutex<Vec<Done>>>| {
            std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
        };
        kept.map(take).unwrap_or_default()
    }

    /// Waits for a little if connections are opened faster than they are served.
    pub fn hold_back(&self) {
        self.0.openers.hold_back(&self.0);
    }

    /// Connects a program's socket to the listeners by `connect`, and remembers who it is that
    /// will arrive there. The result is the program's.
    pub fn connect(
        &self,
        identity: Arc<Identity>,
        socket: impl AsFd,
        to: SocketAddr,
        connect: impl FnOnce() -> std::result::Result<(), Errno>,
    ) -> std::result::Result<(), Errno> {
        let identified = (identity, self.done());
        self.0.openers.connect(identified, socket, to, connect)
    }

    /// Begins a connection that is to be put in the place of a program's socket, without waiting;
    /// `None` if it has to be [relayed](Opening::connect).
    pub fn direct(&self, identity: &Arc<Identity>, wish: Wish<'_>) -> Option<Direct> {
        if self.1.is_none() {
            return Direct::start(&self.0, identity, wish);
        }
        let (direct, done) = spans::collected(|| Direct::start(&self.0, identity, wish));
        let mut direct = direct?;
        direct.done = self.done();
        direct.done.extend(done);
        Some(direct)
    }

    /// Writes down that a process was refused before it got anywhere.
    pub fn refused(&self, refusal: &Refusal, to: SocketAddr) {
        let (host, because) = (to.ip().to_string(), refusal.code());
        self.0.ledger.denied("", &host, to.port(), because);
        self.0.journal.unidentified(refusal, to);
    }
}
