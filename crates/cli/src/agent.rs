//! `casemate agent`: what a sandbox of the platform has as its program. A keeper starts it inside;
//! nobody types it.

use casemate_agent::{Identities, Listener, Settings};
use casemate_core::error::Error;
use clap::Args;
use std::process::ExitCode;

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct AgentArgs {
    /// A listening socket that is open as this descriptor
    #[arg(long, value_name = "N")]
    listener_fd: i32,
    /// The user of requests that name none
    #[arg(long, value_name = "NAME", default_value = "user")]
    user: String,
}

/// Serves until the sandbox ends.
pub(crate) fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let raw = args.listener_fd;
    let socket = casemate_sys::descriptor::inherited(raw)
        .map_err(|errno| Error::errno("take over descriptor", errno.raw_os_error()).on(raw))?;
    let settings = Settings {
        listener: Listener::Given(socket),
        identities: Identities::Alone,
        user: args.user,
        workdir: None,
    };
    casemate_agent::run(settings)?;
    Ok(ExitCode::SUCCESS)
}
