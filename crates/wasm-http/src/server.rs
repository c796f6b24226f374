//! All of it together.

use crate::callers::Callers;
use crate::fault::Fault;
use crate::numbers::{Numbers, Phase, Work};
use crate::owner::Owner;
use crate::phases::Phases;
use crate::quota::Ledger;
use crate::rest::{self, Memory};
use crate::room::Room;
use crate::settings::Settings;
use crate::spool::Spool;
use axum::Router;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Instant as Clock;
use tokio::time::Instant;

/// Serves canisters. Copies are the same server.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) owner: Arc<dyn Owner>,
    pub(crate) settings: Settings,
    pub(crate) ledger: Ledger,
    /// For arguments of calls.
    pub(crate) arguments: Memory,
    /// For what is sent to sites: their visitors take nothing away from callers.
    pub(crate) uploads: Memory,
    /// For modules.
    pub(crate) modules: Memory,
    /// For archives.
    pub(crate) spool: Spool,
    room: Room,
    numbers: Numbers,
}

/// What a handler has.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    pub(crate) callers: Arc<dyn Callers>,
}

impl Server {
    /// Of the canisters of `owner`.
    #[must_use]
    pub fn new(owner: Arc<dyn Owner>, mut settings: Settings) -> Self {
        // As the names of hosts are compared.
        let plain = |domain: String| domain.trim_end_matches('.').to_ascii_lowercase();
        settings.domain = settings.domain.map(plain);
        Self(Arc::new(Shared {
            owner,
            ledger: Ledger::default(),
            arguments: Memory::new(settings.arguments, settings.argument, &settings),
            uploads: Memory::new(settings.arguments, settings.argument, &settings),
            modules: Memory::new(settings.modules, settings.module, &settings),
            spool: Spool::new(&settings),
            room: Room::new(&settings),
            numbers: Numbers::default(),
            settings,
        }))
    }

    /// All routes, for those whom `callers` knows.
    pub fn router(&self, callers: Arc<dyn Callers>) -> Router {
        let shared = Arc::clone(&self.0);
        rest::router(App { shared, callers })
    }

    /// `router`, and before it the hosts of sites: a request for one of those is for nothing else.
    pub fn with_sites(&self, router: Router, callers: Arc<dyn Callers>) -> Router {
        let shared = Arc::clone(&self.0);
        crate::site::before(router, App { shared, callers })
    }

    /// Puts what is counted and measured among the numbers that Prometheus reads.
    pub fn register(&self, registry: &mut Registry) {
        self.0.numbers.register(registry);
        registry.register_collector(Box::new(Phases(Arc::clone(&self.0.owner))));
    }

    /// What is counted.
    #[must_use]
    pub fn numbers(&self) -> &Numbers {
        &self.0.numbers
    }
}

impl Shared {
    /// Does what takes long, counted by what it is.
    pub(crate) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: Work,
        name: &str,
        deadline: Instant,
        job: impl FnOnce(&dyn Owner) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (shared, came) = (Arc::clone(self), Clock::now());
        let job = move || {
            let began = Clock::now();
            shared.numbers.took(work, Phase::wait, began - came);
            let done = job(&*shared.owner);
            shared.numbers.took(work, Phase::run, began.elapsed());
            done
        };
        self.room.work(name, deadline, job).await
    }

    pub(crate) fn called(&self, work: Work, fault: Option<&Fault>, instructions: u64) {
        self.numbers.called(work, fault, instructions);
    }

    /// When a call is given up of which nothing else is said.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.patience
    }
}
