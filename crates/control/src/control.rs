//! The control plane, open.

use crate::audit::{Entry, ITSELF};
use crate::census::{Census, Sandbox, lock};
use crate::clock::Clock;
use crate::idempotency::Repeats;
use crate::keys::{Key, Keyring, Scope};
use crate::ledger::Ledger;
use crate::meters::{Level, Line, Numbers, Team};
use crate::problem::Problem;
use crate::quota::{Quotas, Rates};
use crate::settings::Settings;
use crate::snapshots::Snapshots;
use crate::store::{Change, Sqlite, Store};
use crate::timers::Timers;
use casemate_core::error::{Error, Result};
use casemate_core::node::Node;
use casemate_core::sandbox::SandboxId;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use tokio::sync::Mutex as Gate;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// The control plane.
pub struct Control {
    pub(crate) settings: Settings,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Ledger,
    pub(crate) keys: Keyring,
    /// Held by who changes keys.
    pub(crate) desk: Gate<()>,
    pub(crate) census: Census,
    pub(crate) snapshots: Snapshots,
    pub(crate) rates: Rates,
    pub(crate) repeats: Repeats,
    pub(crate) timers: Timers,
    pub(crate) numbers: Numbers,
    pub(crate) team: Mutex<Team>,
    pub(crate) started: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// When this process began to serve.
    pub(crate) since: Timestamp,
    /// The id of the one team.
    pub(crate) team_id: String,
    /// Owns every operation: what a client began goes on when the client is gone.
    pub(crate) tasks: TaskTracker,
    first_key: Mutex<Option<String>>,
}

/// Bytes of what one line of the audit journal says.
const LONGEST: usize = 4096;

/// Who changes something.
#[derive(Clone)]
pub(crate) enum By {
    /// Somebody with a key.
    Key(Arc<Key>),
    /// The control plane.
    Itself,
}

impl By {
    fn name(&self) -> &str {
        match self {
            Self::Key(key) => &key.id,
            Self::Itself => ITSELF,
        }
    }
}

impl Control {
    /// Opens the store, makes the first key if there is none, and compares what is written with what
    /// the node keeps.
    ///
    /// # Errors
    /// The store can't be opened, or the node doesn't say what it keeps.
    pub async fn open(
        settings: Settings,
        node: Arc<dyn Node>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let store = Arc::new(Sqlite::open(&settings.store).await?);
        Self::with_store(settings, store, node, clock).await
    }

    /// As [`Control::open`], with a store that is open.
    ///
    /// # Errors
    /// The store can't be read, or the node doesn't say what it keeps.
    pub async fn with_store(
        settings: Settings,
        store: Arc<dyn Store>,
        node: Arc<dyn Node>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let control = Arc::new(Self {
            team_id: store.team().await?,
            since: clock.now(),
            settings,
            node,
            clock,
            store,
            ledger: Ledger::default(),
            keys: Keyring::default(),
            desk: Gate::default(),
            census: Census::default(),
            snapshots: Snapshots::default(),
            rates: Rates::default(),
            repeats: Repeats::default(),
            timers: Timers::default(),
            numbers: Numbers::default(),
            team: Mutex::default(),
            started: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            first_key: Mutex::default(),
        });
        control.take_keys().await?;
        control.reconcile().await?;
        control.take_snapshots().await?;
        Ok(control)
    }

    async fn take_keys(&self) -> Result<()> {
        for key in self.store.keys().await? {
            self.keys.put(key);
        }
        if self.keys.all().is_empty() {
            let made = self
                .make_key(&By::Itself, "first".into(), Scope::Admin, Quotas::default())
                .await;
            let (_, secret) =
                made.map_err(|problem| Error::rule("make the first key", problem.to_string()))?;
            *lock(&self.first_key) = Some(secret);
        }
        Ok(())
    }

    /// The key that the first start made, to be shown to the owner: once.
    pub fn first_key(&self) -> Option<String> {
        lock(&self.first_key).take()
    }

    /// Puts the numbers of the control plane among those that Prometheus reads.
    pub fn register(&self, registry: &mut Registry) {
        self.numbers.register(registry);
    }

    /// Adds a line to a sandbox's log. Lines of unknown sandboxes are dropped; what is too long is
    /// shortened.
    pub fn log(
        &self,
        id: &SandboxId,
        level: Level,
        message: impl Into<String>,
        fields: BTreeMap<String, String>,
    ) {
        if let Some(sandbox) = self.census.known(id) {
            self.note(&sandbox, level, message, fields);
        }
    }

    pub(crate) fn note(
        &self,
        sandbox: &Sandbox,
        level: Level,
        message: impl Into<String>,
        fields: BTreeMap<String, String>,
    ) {
        lock(&sandbox.lines).add(Line {
            timestamp: self.clock.now(),
            message: message.into(),
            level,
            fields,
        });
    }

    /// A line for the audit journal.
    pub(crate) fn entry(
        &self,
        by: &By,
        action: &str,
        target: impl ToString,
        outcome: Option<&Problem>,
        detail: Value,
    ) -> Change {
        let target = target.to_string();
        match outcome {
            None => tracing::info!(actor = by.name(), target_id = target, "{action}"),
            Some(why) => {
                tracing::warn!(actor = by.name(), target_id = target, %why, "{action} failed")
            }
        }
        Change::Audit(Entry {
            id: 0,
            at: self.clock.now(),
            actor: by.name().to_owned(),
            action: action.to_owned(),
            target,
            outcome: outcome.map(|problem| bounded(problem.to_string())),
            detail: match detail.to_string().len() {
                0..=LONGEST => detail,
                bytes => json!({ "omitted": format!("{bytes} bytes") }),
            },
        })
    }

    /// Does something to its end, whatever becomes of who waits for it.
    pub(crate) async fn carry_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let done = self.tasks.spawn(work.in_current_span()).await;
        done.unwrap_or_else(|error| Err(Problem::broken("the request failed", error.to_string())))
    }
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}
