//! `casemate wasm-tool`: the process of a guest. The wall executes it; nobody types it.

use casemate_core::error::Error;
use casemate_wasm::tool::{self, Sheet};
use clap::Args;
use std::process::ExitCode;

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct ToolArgs {
    /// The sheet of the run, open as this descriptor
    #[arg(long, value_name = "N")]
    sheet_fd: i32,
}

/// Runs the guest to its end. How that was is on the sheet, and not in the exit code.
pub(crate) fn run(args: ToolArgs) -> anyhow::Result<ExitCode> {
    if !rustix::thread::no_new_privs().unwrap_or(false) {
        let error = Error::rule("run a guest here", "this process is not confined");
        return Err(error
            .hint("`casemate wasm run` starts it behind the wall")
            .into());
    }
    let raw = args.sheet_fd;
    let sheet = casemate_sys::descriptor::inherited(raw)
        .map_err(|errno| Error::errno("take over descriptor", errno.raw_os_error()).on(raw))?;
    tool::run(&Sheet::taken(sheet))?;
    Ok(ExitCode::SUCCESS)
}
