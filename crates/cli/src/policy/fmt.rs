//! `casemate policy fmt`: the text of policies as it's best read.
//!
//! A file is replaced at once or not at all: whoever reads it meanwhile sees the old text or the new
//! one. The new text is written to a file beside it, which then takes its name.

use super::{answer, counted};
use crate::printer;
use casemate_core::error::Error;
use casemate_core::exit;
use clap::Args;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

// The arguments of `casemate policy fmt`.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 done; 1 with --check, a file would change; 125 a file can't be used."
)]
pub(super) struct FmtArgs {
    /// The policies
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Change nothing; say which files would change
    #[arg(long)]
    check: bool,
}

/// Formats each file; one that can't be used doesn't keep the others from it.
pub(super) fn run(args: &FmtArgs) -> anyhow::Result<ExitCode> {
    let (mut text, mut changed, mut failed) = (String::new(), 0, false);
    for file in &args.files {
        match format(file, args.check) {
            Ok(false) => {}
            Ok(true) => {
                changed += 1;
                let what = if args.check {
                    "would change"
                } else {
                    "formatted"
                };
                text += &format!("{what} {}\n", file.display());
            }
            Err(error) => {
                failed = true;
                printer::error(&format!("{error:#}"));
            }
        }
    }
    let would = if args.check {
        "would change"
    } else {
        "changed"
    };
    text += &format!("{}, {changed} {would}\n", counted(args.files.len(), "file"));
    printer::say(&text)?;
    Ok(match failed {
        true => ExitCode::from(exit::FAILED),
        false => answer(!args.check || changed == 0),
    })
}

/// Whether there was anything to change.
fn format(path: &Path, check: bool) -> anyhow::Result<bool> {
    let told = |error| anyhow::anyhow!("format the policy:\n{error}");
    let text = casemate_policy::text(path).map_err(told)?;
    let name = path.to_string_lossy();
    let formatted = casemate_policy::fmt(&name, &text).map_err(told)?;
    let changes = formatted != text;
    if changes && !check {
        replace(path, &formatted).map_err(|error| {
            Error::io("write the policy", &error)
                .on(path.display())
                .hint("the file is as it was; its folder must be writable")
        })?;
    }
    Ok(changes)
}

/// Puts the text in the place of the file, with the file's mode.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = fs::canonicalize(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let (beside, file) = create_beside(&path, folder)?;
    let written = fill(&path, file, text).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
        return written;
    }
    // The new name lasts only once the folder is on the disk.
    File::open(folder)?.sync_all()
}

fn fill(path: &Path, mut file: File, text: &str) -> io::Result<()> {
    file.set_permissions(fs::metadata(path)?.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A new file with a name that nobody has. What an earlier end left behind isn't touched.
fn create_beside(path: &Path, folder: &Path) -> io::Result<(PathBuf, File)> {
    const TRIES: u32 = 100;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut last = ErrorKind::AlreadyExists.into();
    for number in 0..TRIES {
        let beside = folder.join(format!(".{name}.{}-{number}", std::process::id()));
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&beside)
        {
            Ok(file) => return Ok((beside, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
