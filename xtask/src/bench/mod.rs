//! `bench run`: what the wall costs, beside its peers and beside no wall at all.
//!
//! ```text
//!   tools    the programs to compare        ground   a tmpfs that holds them and the work
//!      └──────────┬─────────────────────────────┘
//!                plan      cases × walls, as data
//!                  │       (one copy of this program for each user, as that user)
//!               rounds     A B C D, B C D A, …: every wall meets the same minute
//!                  │
//!               report     medians, ratios, memory → a table and a JSON file
//! ```
//!
//! Walls are compared within one round, never across runs: the machine may be busy, but it
//! is equally busy for all of them. A time never makes the chore fail; a program that
//! does not run does.

pub(crate) mod egress;
mod ground;
mod machine;
mod memory;
mod plan;
pub(crate) mod platform;
mod report;
mod rounds;
mod stats;
mod tools;
mod tree;
pub(crate) mod vm;
mod wall;
pub(crate) mod wasm;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::artifacts;
pub(crate) use rounds::{RoundsOptions, rounds};
pub(crate) use workload::{WorkloadOptions, workload};

/// The user for the rootless path when nobody names one; it has no entry in /etc/passwd.
const NOBODY_IN_PARTICULAR: u32 = 64321;

/// What the caller chose.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A few rounds only, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Where the JSON goes [default: bench/run.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds of each start-up case; cases inside a wall take a ninth of it, at least 7
    #[arg(long, value_name = "N", default_value_t = 101, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measure as this user only [default: as the caller, and as 64321 too if the caller is root]
    #[arg(long, value_name = "UID")]
    as_user: Option<u32>,
}

/// Measures everything and prints one table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = artifacts::folder("bench")?;
    let users = users(options)?;
    let ground = ground::Ground::open()?;
    let tools = tools::Tools::collect(&folder, &ground)?;
    let machine = machine::Machine::describe(&tools);
    let mut report = report::Report::new(machine, &ground, options.quick, tools.notes.clone());
    for uid in users {
        report.users.push(measure(options, &ground, &tools, uid)?);
    }
    report.finish();
    let file = options
        .json
        .clone()
        .unwrap_or_else(|| folder.join("run.json"));
    report.save(&file)?;
    println!("{report}\nwritten to {}", file.display());
    match report.failures() {
        0 => Ok(()),
        count => bail!("{count} measurements did not run; the notes above say which"),
    }
}

/// Everything that is measured as one user.
fn measure(
    options: &Options,
    ground: &ground::Ground,
    tools: &tools::Tools,
    uid: u32,
) -> Result<report::UserReport> {
    let home = ground.home(uid)?;
    let walls = wall::standing(tools, &home).with_context(|| format!("as uid {uid}"))?;
    let effort = plan::Effort::new(options.quick, options.runs);
    let plan = plan::Plan::new(tools, &walls.up, &home, effort);
    let cases = rounds::as_user(&plan, tools, &home)?;
    let memory = memory::of_all(&walls.up, &home, effort.memory);
    Ok(report::UserReport::new(uid, &cases, memory, walls.notes))
}

/// Who measures: every uid is a run of its own.
fn users(options: &Options) -> Result<Vec<u32>> {
    let caller = rustix::process::geteuid();
    match options.as_user {
        Some(uid) if uid != caller.as_raw() && !caller.is_root() => {
            bail!(
                "--as-user {uid}: only root can measure as somebody else\nhint: sudo cargo xtask bench run"
            )
        }
        Some(uid) => Ok(vec![uid]),
        None if caller.is_root() => Ok(vec![0, NOBODY_IN_PARTICULAR]),
        None => Ok(vec![caller.as_raw()]),
    }
}
