//! `casemate pages`: the server of pages of one machine, which its monitor asks for memory. A driver
//! starts it; nobody types it.

use casemate_core::error::Error;
use casemate_vm::pages::{self, Layer, Options, Source, WORKING_SET};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// The file of a snapshot that is its memory.
const MEMORY: &str = "memory";

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct PagesArgs {
    /// Where the monitor connects
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The snapshot's folder
    #[arg(long, value_name = "DIR")]
    snapshot: PathBuf,
}

/// Serves one machine until it is gone.
pub(crate) fn pages(args: PagesArgs) -> anyhow::Result<ExitCode> {
    let memory = Layer::raw(&args.snapshot.join(MEMORY), None)?;
    let source = Source::new(vec![memory])?;
    let options = Options {
        working_set: Some(args.snapshot.join(WORKING_SET)),
        ..Options::default()
    };
    let listener = pages::listen(&args.socket)?;
    let report = pages::serve(listener, source, &options)?;
    let text = serde_json::to_string(&report)
        .map_err(|error| Error::rule("print what was done", error.to_string()))?;
    crate::printer::say(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}
