//! The agent inside a sandbox: it runs commands and keeps files for clients outside.
//!
//! ```text
//!  gateway ══ a listening socket, handed in ══▶ connection ──▶ http: token, routes
//!                                                               ├── /health /init /envs /metrics
//!                                                               ├── process.Process    (Connect)
//!                                                               └── files, filesystem
//! ```
//!
//! The agent shares its sandbox with code that nobody trusts. It therefore believes nothing
//! that it reads there (accounts, paths, what programs print), bounds all of it, and keeps its
//! own memory and descriptors to itself. It is no wall: the sandbox around it is. What it
//! guards is the sandbox's owner against mix-ups, and its token against other users inside.

mod blocking;
mod connection;
mod error;
mod fault;
mod files;
mod filesystem;
pub mod guest;
mod http;
mod init;
mod metrics;
mod paths;
mod process;
mod signature;
mod users;
mod watch;

pub use casemate_core::error::{Error, Result};
pub use connection::Listener;
pub use users::Identities;

use init::Given;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How an agent is run.
#[derive(Debug)]
pub struct Settings {
    /// Where clients come in.
    pub listener: Listener,
    /// Whether commands run as the users they are started for.
    pub identities: Identities,
    /// The user of requests that name none, until `/init` says otherwise.
    pub user: String,
    /// The folder that an empty path means; the user's home if absent.
    pub workdir: Option<std::path::PathBuf>,
    /// Whether [`FORGET`] makes it forget its token. Nobody inside may be able to send that.
    pub forgetful: bool,
}

/// What has an agent forget who may use it: process 1 of a machine that begins as another one was.
pub(crate) const FORGET: rustix::process::Signal = rustix::process::Signal::HUP;

/// What all requests share.
pub(crate) struct Agent {
    pub(crate) identities: Identities,
    given: Mutex<Given>,
    births: process::Births,
    metrics: metrics::Sampler,
}

impl Agent {
    fn new(settings: &Settings, births: process::Births) -> Self {
        Self {
            identities: settings.identities,
            given: Mutex::new(Given::new(&settings.user, settings.workdir.clone())),
            births,
            metrics: metrics::Sampler::new(),
        }
    }

    /// What `/init` has told. Never held across an await.
    pub(crate) fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes this process to others inside: no core dumps, no reading of its memory or
/// descriptors, no privileges gained by what it executes.
///
/// For the program, first thing; a test that serves in its own process leaves it out.
pub fn withdraw() -> Result<()> {
    casemate_sys::privilege::undumpable()
        .map_err(|e| Error::errno("hide the agent's memory", e.raw_os_error()))?;
    casemate_sys::privilege::no_new_privileges()
        .map_err(|e| Error::errno("give up new privileges", e.raw_os_error()))
}

/// Threads that wait for disks.
const DISKS: usize = 64;
/// A thread that there is stays: when the sandbox has as many as it may, there is no new one.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Is an agent, in a process that is nothing else, until the listener fails.
pub fn run(settings: Settings) -> Result<()> {
    withdraw()?;
    // What the agent and its commands make is readable, whatever started the agent wanted for
    // itself.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let births = process::Births::apart(settings.identities)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(DISKS)
        .thread_keep_alive(FOREVER)
        .build()
        .map_err(|e| Error::io("start the runtime", &e))?
        .block_on(attend(settings, births))
}

/// Serves until the listener fails. Belongs in a runtime of one thread, with I/O and time. Commands
/// are this process's own, and not kept apart from it.
pub async fn serve(settings: Settings) -> Result<()> {
    attend(settings, process::Births::own()).await
}

async fn attend(settings: Settings, births: process::Births) -> Result<()> {
    blocking::begin().await;
    let agent = Arc::new(Agent::new(&settings, births));
    if settings.forgetful {
        init::forget_when_told(&agent)?;
    }
    let router = http::router(&agent);
    connection::serve(settings.listener, router).await
}
