//! `casemate agent`: what a sandbox of the platform has as its program. A keeper starts it inside;
//! nobody types it.

use casemate_agent::{Identities, Listener, Settings};
use casemate_core::error::Error;
use clap::{Args, ValueEnum};
use std::process::ExitCode;

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct AgentArgs {
    /// A listening socket that is open as this descriptor
    #[arg(long, value_name = "N")]
    listener_fd: i32,
    /// Whether commands run as the users they are started for
    #[arg(long, value_enum, default_value_t = Users::One)]
    users: Users,
    /// SIGHUP makes it forget its token
    #[arg(long)]
    forgetful: bool,
    /// The user of requests that name none
    #[arg(long, value_name = "NAME", default_value = "user")]
    user: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Users {
    /// They do
    Real,
    /// There is one user, who may be called root
    One,
}

/// How a virtual machine's first program calls this one.
pub(crate) const GUEST: &str = "--guest";

/// Is process 1 of a machine: it returns only where it isn't.
pub(crate) fn guest() -> ExitCode {
    let settings = casemate_agent::guest::Settings {
        program: "/proc/self/exe".into(),
        arguments: vec!["agent".into()],
        agent: vec!["--users".into(), "real".into()],
    };
    if let Err(error) = casemate_agent::guest::run(settings) {
        crate::printer::error(&error.to_string());
    }
    ExitCode::from(casemate_core::exit::FAILED)
}

/// Serves until the sandbox ends.
pub(crate) fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let raw = args.listener_fd;
    let socket = casemate_sys::descriptor::inherited(raw)
        .map_err(|errno| Error::errno("take over descriptor", errno.raw_os_error()).on(raw))?;
    let settings = Settings {
        listener: Listener::Given(socket),
        identities: match args.users {
            Users::Real => Identities::Real,
            Users::One => Identities::Alone,
        },
        user: args.user,
        workdir: None,
        forgetful: args.forgetful,
    };
    casemate_agent::run(settings)?;
    Ok(ExitCode::SUCCESS)
}
