//! The platform for people: commands that talk to `casemate serve` as E2B's clients do.
//!
//! ```text
//!  create ps inspect pause resume fork snapshot kill logs key ──▶ api ──┐
//!  exec shell cp ──▶ agent (Connect RPC, files) ───────────────────────┼──▶ http ──▶ server
//!  port ──▶ a byte stream to a port ───────────────────────────────────┘
//! ```
//!
//! Which [server] that is, and the key, come from flags, from E2B's variables, or from the
//! [file](client_file) that a server keeps for its own user on this machine. What a server says is
//! believed about its sandboxes only; what comes out of a sandbox is believed about nothing: its
//! files are written beneath the place that was named and nowhere else, and names are shown with
//! their control characters escaped. Only what a command itself prints goes to the terminal as it
//! is, since that is what `exec` is for.

mod agent;
mod api;
mod client_file;
mod cp;
mod create;
mod exec;
mod http;
mod inspect;
mod keys;
mod lifetime;
mod lines;
mod port;
mod ps;
mod server;
mod snapshot;

pub(crate) use client_file::ClientFile;
pub(crate) use cp::{CpArgs, cp};
pub(crate) use create::{CreateArgs, create};
pub(crate) use exec::{ExecArgs, ShellArgs, directly, exec, shell};
pub(crate) use http::Direct;
pub(crate) use inspect::{InspectArgs, inspect};
pub(crate) use keys::{KeyArgs, key};
pub(crate) use lifetime::{KillArgs, PauseArgs, ResumeArgs, kill, pause, resume};
pub(crate) use lines::{Wanted, lines};
pub(crate) use port::{PortArgs, port};
pub(crate) use ps::{PsArgs, ps};
pub(crate) use server::{ServerArgs, urls};
pub(crate) use snapshot::{ForkArgs, SnapshotArgs, fork, snapshot};

use casemate_core::error::{Error, Result};
use std::process::ExitCode;

/// Runs a command to its end. Threads that read standard input are left behind: what they wait for
/// may never come.
fn run(work: impl Future<Output = Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the runtime", &error))?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done?)
}

/// Prints lines on standard output.
fn say(text: &str) -> Result<()> {
    crate::printer::say(text).map_err(|error| Error::rule("print the result", format!("{error:#}")))
}
