//! The canisters that are served beside the sandboxes: over HTTP, and to this user's commands.
//!
//! ```text
//!  gateway ─▶ router (keys: those of the control plane) ─┐
//!  command ─▶ socket (this user)                         ├─▶ Owned ─▶ workers
//!  threads: timers, heartbeats, calls between canisters ─┤
//!  every 10 s: which workers are to go ──────────────────┘
//! ```

use crate::wasm::{Kept, Owned, PATIENCE, history, own};
use casemate_control::{Control, Key, Problem};
use casemate_core::error::{Error, Result};
use casemate_wasm::canisters::Options;
use casemate_wasm::executor::{Executor, Sandboxed};
use casemate_wasm::lifecycle::{self, Limits, Reason};
use casemate_wasm::process::Spec;
use casemate_wasm_http::{
    Caller, Callers, Fault, Kind, Listener, Quotas, Scope, Server, Settings, Sites,
};
use clap::{Args, ValueEnum};
use http::HeaderMap;
use prometheus_client::registry::Registry;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a command that has the folder is waited for.
const PATIENT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Workers that wait ready.
const POOL: u32 = 4;
/// Threads for what happens by itself.
const THREADS: usize = 2;
/// How soon these see that the server stops.
const TURN: Duration = Duration::from_millis(500);

// The flags about canisters.
#[derive(Args)]
pub(crate) struct CanisterArgs {
    /// When a call of a canister counts as done
    #[arg(
        long = "wasm-durability",
        value_enum,
        value_name = "WHEN",
        default_value = "process"
    )]
    durability: Kept,
    /// Keep checkpoints of canisters and the calls after them, for `casemate wasm replay`: all of
    /// them, or the last N of each
    #[arg(long = "wasm-keep-history", value_name = "N", num_args = 0..=1, require_equals = true)]
    keep_history: Option<Option<NonZeroU32>>,
    /// Who may look at the web sites of canisters
    #[arg(
        long = "wasm-sites",
        value_enum,
        value_name = "WHO",
        default_value = "public"
    )]
    sites: Public,
}

/// Who may look at the web sites of canisters.
#[derive(Clone, Copy, ValueEnum)]
enum Public {
    /// Everybody
    Public,
    /// Who has an API key
    Keyed,
}

/// See the module.
pub(super) struct Canisters {
    owned: Arc<Owned>,
    server: Server,
    listener: Listener,
}

impl CanisterArgs {
    /// Takes the folder in `data`.
    pub(super) async fn open(&self, data: &Path, domain: Option<&str>) -> Result<Canisters> {
        let folder = data.join("wasm");
        let spec = Spec {
            pool: POOL,
            ..Spec::default()
        };
        let executor: Arc<dyn Executor> = Arc::new(Sandboxed::new(spec, PATIENCE));
        let options = Options {
            durability: self.durability.durability(),
            history: history(self.keep_history),
            ..Options::default()
        };
        let until = Instant::now() + PATIENT;
        let fail = |error: &dyn std::fmt::Display| {
            Error::rule("take the canisters", error.to_string()).on(folder.display())
        };
        let owned = loop {
            match own(&folder, &executor, options, until).map_err(|error| fail(&error))? {
                Some(owned) => break Arc::new(owned),
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        let settings = Settings {
            sites: match self.sites {
                Public::Public => Sites::Public,
                Public::Keyed => Sites::Keyed,
            },
            domain: domain.map(str::to_owned),
            spool: folder.clone(),
            ..Settings::default()
        };
        let server = Server::new(Arc::clone(&owned) as Arc<_>, settings);
        let listener = Listener::open(&folder)?;
        Ok(Canisters {
            owned,
            server,
            listener,
        })
    }
}

impl Canisters {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.server.register(registry);
    }

    /// The control plane's routes, and those of canisters beside them.
    pub(super) fn beside(&self, control: &Arc<Control>) -> axum::Router {
        let callers = Arc::new(Keys(Arc::clone(control)));
        let router = control.router().merge(self.server.router(callers.clone()));
        self.server.with_sites(router, callers)
    }

    /// Serves commands, and does what is due, until it is to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Self {
            owned,
            server,
            listener,
        } = self;
        let threads = (0..THREADS).map(|number| {
            let (owned, stop) = (Arc::clone(&owned), stop.clone());
            tokio::task::spawn_blocking(move || {
                if number == 0
                    && let Err(why) = owned.wake()
                {
                    tracing::error!(%why, "canisters with something to do couldn't be opened");
                }
                while !stop.is_cancelled() {
                    owned.work(Instant::now() + TURN);
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        let commands = listener.serve(&server, stop.clone());
        tokio::join!(commands, watch(&owned, &server, &stop));
        for thread in threads {
            let _ = thread.await;
        }
        let _ = tokio::task::spawn_blocking(move || owned.save()).await;
    }
}

/// Looks every now and then which workers are to go.
async fn watch(owned: &Arc<Owned>, server: &Server, stop: &CancellationToken) {
    let Ok(total) = lifecycle::total() else {
        return tracing::error!("the machine's memory isn't known: no worker is ever let go");
    };
    let limits = Limits::of(total);
    loop {
        tokio::select! {
            () = tokio::time::sleep(lifecycle::INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        let owned = Arc::clone(owned);
        // A machine that doesn't say what it has left is taken to have nothing left.
        let look = move || {
            let available = lifecycle::available().unwrap_or(0);
            lifecycle::sweep(&*owned, &limits, available)
        };
        let Ok(sweep) = tokio::task::spawn_blocking(look).await else {
            continue;
        };
        let numbers = server.numbers();
        numbers.there_are(sweep.workers - sweep.evicted.len(), sweep.resident);
        for (canister, reason) in &sweep.evicted {
            let reason = match reason {
                Reason::Idle => "idle",
                Reason::Count => "count",
                Reason::Memory => "memory",
            };
            numbers.evicted(reason);
            tracing::debug!(canister, reason, "its worker was let go");
        }
    }
}

/// The control plane's keys.
struct Keys(Arc<Control>);

impl Keys {
    fn caller(&self, key: &Arc<Key>) -> Caller {
        let quotas = self.0.quotas(key);
        Caller {
            id: Some(key.id.clone()),
            scope: match key.scope {
                casemate_control::Scope::Read => Scope::Read,
                casemate_control::Scope::Run | casemate_control::Scope::Admin => Scope::Run,
            },
            quotas: Quotas {
                concurrent: quotas.wasm_concurrent,
                calls_per_minute: quotas.wasm_calls_per_minute,
                bytes_per_minute: quotas.wasm_bytes_per_minute,
            },
        }
    }
}

impl Callers for Keys {
    fn recognise(&self, headers: &HeaderMap) -> std::result::Result<Caller, Fault> {
        let key = self.0.whose(headers);
        let key = key.map_err(|problem| Fault::new(Kind::NoKey, problem.message))?;
        Ok(self.caller(&key))
    }

    fn note(&self, caller: &Caller, action: &'static str, target: &str, outcome: Option<&Fault>) {
        let Some(id) = &caller.id else {
            return;
        };
        let problem = outcome.map(|fault| Problem::new(fault.kind.status(), fault.to_string()));
        self.0.journal(id, action, target, problem.as_ref());
    }
}
