//! `casemate wasm export | import | replay`: a canister as one file, and its past as a proof.

use super::canisters::NameArgs;
use super::place::Common;
use crate::printer;
use anyhow::Context;
use clap::Args;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

// The flags of `export`.
#[derive(Args)]
pub(super) struct ExportArgs {
    /// The canister
    name: String,
    /// The file, which must not be there yet
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

// The flags of `import`.
#[derive(Args)]
pub(super) struct ImportArgs {
    /// What `casemate wasm export` wrote
    file: PathBuf,
    /// What the canister is called; under another name it is another one
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    common: Common,
}

// The flags of `replay`.
#[derive(Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    of: NameArgs,
    /// Begin at the checkpoint of this number; by default, at the oldest that is kept
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
}

/// Writes a canister into a file: all of it, or none.
pub(super) fn export(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let owner = args.common.owner()?;
    let path = &args.file;
    let file = File::create_new(path).with_context(|| format!("make {}", path.display()))?;
    let mut writer = BufWriter::new(file);
    let written = owner
        .export(&args.name, &mut writer)
        .map_err(anyhow::Error::from)
        .and_then(|()| Ok(writer.flush()?))
        .and_then(|()| Ok(writer.get_ref().sync_all()?));
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written.with_context(|| format!("export {} to {}", args.name, path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a canister of a file.
pub(super) fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let mut reader = open(&args.file)?;
    let canister = args
        .common
        .owner()?
        .import(&args.name, &mut reader, None)
        .with_context(|| format!("import {}", args.file.display()))?;
    printer::say(&format!("{} {canister}\n", args.name))?;
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("open the archive {}", path.display()))?;
    Ok(BufReader::new(file))
}

/// Runs a canister's kept calls again, and proves that they come to the same.
pub(super) fn replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let owner = args.of.common.owner()?;
    let proven = owner.replay(&args.of.name, args.from)?;
    let lines = [
        ("from", format!("checkpoint {}", proven.from)),
        ("states", format!("{} the same", proven.states)),
        (
            "calls",
            format!(
                "{} the same, {} instructions",
                proven.calls, proven.instructions
            ),
        ),
        ("state", proven.state),
        ("runtime", proven.runtime),
    ];
    for (what, value) in lines {
        printer::say(&format!("{what:<8} {value}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
