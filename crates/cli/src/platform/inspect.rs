//! `casemate inspect`: all that the server knows of a sandbox.

use super::server::ServerArgs;
use super::{run, say};
use clap::Args;
use serde_json::Value;
use std::process::ExitCode;

// The arguments of `casemate inspect`.
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// The sandbox: its id, the beginning of it, or its name; an ended one by its whole id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints it as JSON.
pub(crate) fn inspect(args: InspectArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let server = args.server.server()?;
        let step = "inspect a sandbox";
        let id = server.resolve(step, &args.id).await?;
        let found = server.get(&format!("/casemate/sandboxes/{id}")).await;
        let known: Value = found.map_err(|failed| failed.during(step, &id))?;
        let text = serde_json::to_string_pretty(&known).unwrap_or_default();
        say(&format!("{text}\n"))?;
        Ok(ExitCode::SUCCESS)
    })
}
