//! `casemate policy diff`: what becomes allowed and what denied by a change.
//!
//! What a program may see or say is told as that, with `+` and `-`. What else differs between the
//! policies is told as it's written, with `<` and `>` as diff(1) has it, so that two policies are
//! called equal only if all of what they mean is.

use super::{Reading, answer, settings};
use crate::printer;
use anyhow::anyhow;
use casemate_policy::compiled::{self, Change};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

// The arguments of `casemate policy diff`.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 they mean the same; 1 they don't; 125 a file can't be used.")]
pub(super) struct DiffArgs {
    /// The policy as it was
    #[arg(value_name = "A")]
    old: PathBuf,
    /// The policy as it is to be
    #[arg(value_name = "B")]
    new: PathBuf,
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: Reading,
}

/// All that differs.
#[derive(Serialize)]
struct Difference {
    /// Connections, requests and names.
    network: Vec<Change>,
    files: Sides,
    /// What else is said differently.
    settings: Sides,
}

/// What only one of the two has, as text.
#[derive(Serialize)]
struct Sides {
    added: Vec<String>,
    removed: Vec<String>,
}

/// Compares the two.
pub(super) fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (old, new) = (args.reading.load(&args.old)?, args.reading.load(&args.new)?);
    let network = compiled::diff(&old.network, &new.network);
    let difference = Difference {
        network: network.map_err(|error| anyhow!("compare the policies: {error}"))?,
        files: Sides::of(settings::files(&old), settings::files(&new)),
        settings: Sides::of(settings::others(&old)?, settings::others(&new)?),
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&difference)? + "\n",
        false => difference.text(),
    };
    printer::say(&text)?;
    Ok(answer(difference.is_empty()))
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.network.is_empty() && self.files.is_empty() && self.settings.is_empty()
    }

    fn text(&self) -> String {
        let network = self.network.iter().map(ToString::to_string);
        let lines = network
            .chain(self.files.lines(['+', '-']))
            .chain(self.settings.lines(['>', '<']));
        lines.map(|line| line + "\n").collect()
    }
}

impl Sides {
    fn of(old: BTreeSet<String>, new: BTreeSet<String>) -> Self {
        Self {
            added: new.difference(&old).cloned().collect(),
            removed: old.difference(&new).cloned().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn lines(&self, [added, removed]: [char; 2]) -> impl Iterator<Item = String> {
        let signed = |sign: char, lines: &[String]| -> Vec<String> {
            lines.iter().map(|line| format!("{sign} {line}")).collect()
        };
        signed(removed, &self.removed)
            .into_iter()
            .chain(signed(added, &self.added))
    }
}
