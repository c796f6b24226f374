//! Process 1 of a virtual machine.
//!
//! ```text
//!   host ══ virtio-serial port ══▶ port ──▶ mux ──┬─ agent    a Unix socket that only root reaches
//!                                                 ├─ port N   the machine's own loopback
//!                                                 └─ control  clock, randomness, power off
//!   mounts   what a system has mounted
//!   children the agent, started again whenever it ends; orphans are reaped
//!   power    how it ends
//! ```
//!
//! It is the same program as the agent, which it starts as its child: what a client outside can
//! make the agent do, or fail at, isn't done by the process that the machine can't lose. The host
//! speaks first on the port, and says which connection is for whom.
//!
//! What can't go on is said in one line on the console, where the host reads it; then the machine
//! ends. Everything here is the guest's own: the wall is the machine around it, and the host
//! believes none of what comes out.

mod children;
mod control;
mod doors;
mod mounts;
mod names;
mod port;
mod power;

use crate::{Error, Result};
use children::Children;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

/// How a machine is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The agent: a program, and arguments that come before those of its listener and its user.
    pub program: PathBuf,
    /// See `program`.
    pub arguments: Vec<String>,
    /// The agent's own arguments that come after.
    pub agent: Vec<String>,
}

/// Is process 1, until the machine ends: it comes back only in a process that isn't.
pub fn run(settings: Settings) -> Result<()> {
    if !rustix::process::getpid().is_init() {
        let why = "this is another process";
        let hint = "a virtual machine's kernel starts it; there is nothing to be called by hand";
        return Err(Error::rule("be process 1", why).hint(hint));
    }
    // A panic of any thread ends in silence otherwise, with the rest of the machine going on.
    std::panic::set_hook(Box::new(|fault| {
        power::say(&format!("a fault of its own: {fault}"));
        power::off()
    }));
    let Err(error) = attend(settings);
    power::say(&error.to_string());
    power::off()
}

fn attend(settings: Settings) -> Result<Infallible> {
    mounts::make()?;
    names::settle()?;
    let socket = doors::agent_socket()?;
    let children = Arc::new(Children::new(settings, socket));
    children::keep(&children)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // The one thread that waits for disks stays: when there are as many processes in the
        // machine as there can be, there is no new one.
        .max_blocking_threads(1)
        .thread_keep_alive(crate::FOREVER)
        .build()
        .map_err(|e| Error::io("start the runtime", &e))?
        .block_on(async {
            let first = tokio::task::spawn_blocking(|| ()).await;
            first.map_err(|e| Error::rule("start a thread", e.to_string()))?;
            doors::serve(children).await
        })
}
