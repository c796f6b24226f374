//! `bench platform`: what a platform's sandbox costs, through the real interface of a real server.
//!
//! Each figure is taken from outside, as a client has it: one HTTP request after the other on a
//! connection of its own. Sandboxes that are made on demand and those that were ready before are
//! made by two servers, in turn, so that both meet the same minute. What goes through a server is
//! measured beside the direct way to the same program, round by round.

pub(super) mod client;
mod peer;
pub(super) mod server;
mod session;
mod traffic;
mod way;

pub(crate) use peer::{Peer, peer};

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use self::server::Server;
use super::machine::Machine;
use super::memory;
use crate::artifacts::{self, Program};
use crate::table::Table;

/// In which as many as a crowd took are made again.
const REFILL: Duration = Duration::from_secs(3);

/// What the caller chose.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A few rounds only, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Where the JSON goes [default: bench/platform.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Sandboxes that are alive at one time
    #[arg(long, value_name = "N", default_value_t = 500)]
    alive: usize,
}

/// A whole run.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// A quick run shows that everything works; its times mean little.
    pub(super) quick: bool,
    pub(super) rows: Vec<Row>,
}

/// One figure, beside what is asked.
#[derive(Serialize)]
pub(super) struct Row {
    what: &'static str,
    median: f64,
    p99: f64,
    unit: &'static str,
    asked: &'static str,
}

/// Measures everything and prints one table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let [program] = artifacts::built([Program::Casemate])?;
    let rounds = if options.quick { 3 } else { 41 };
    let (cold, warm) = (Server::start(&program, 0)?, Server::start(&program, 8)?);
    let mut machine = Machine::here();
    let mut rows = starts(&cold, &warm, rounds)?;
    rows.push(commands(&cold, rounds * 5)?);
    drop(warm);
    let (many, turns, size) = match options.quick {
        true => (8, 1, 64 << 20),
        false => (50, 9, 1 << 30),
    };
    rows.extend(crowds(&cold, &Server::start(&program, 64)?, many, turns)?);
    rows.extend(traffic::rows(&cold, turns, size)?);
    rows.push(alive(&cold, if options.quick { 4 } else { options.alive })?);
    machine.finish();
    let report = Report {
        machine,
        quick: options.quick,
        rows,
    };
    let file = match &options.json {
        Some(file) => file.clone(),
        None => artifacts::folder("bench")?.join("platform.json"),
    };
    report.save(&file)
}

impl Report {
    /// Prints it, and writes it down.
    pub(super) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("{self}\nwritten to {}", file.display());
        Ok(())
    }
}

/// From the request for a sandbox to the first byte that a program in it says.
fn starts(cold: &Server, warm: &Server, rounds: usize) -> Result<Vec<Row>> {
    let mut times = [Vec::new(), Vec::new()];
    // The pool fills by use.
    for _ in 0..4 {
        let client = warm.client()?;
        let id = client.create()?;
        client.kill(&id)?;
    }
    for _ in 0..rounds {
        for (server, times) in [cold, warm].into_iter().zip(&mut times) {
            let client = server.client()?;
            let since = Instant::now();
            let id = client.create()?;
            client.echo(&id)?;
            times.push(milliseconds(since));
            client.kill(&id)?;
            // The next one is made meanwhile, as it is for people.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let [cold, warm] = times;
    Ok(vec![
        Row::of(
            "create, echo: made on demand",
            cold,
            "ms",
            "≤ 30 ms (median)",
        )?,
        Row::of("create, echo: ready before", warm, "ms", "≤ 10 ms (median)")?,
    ])
}

/// A command that does nothing, from the request to the end of its stream.
fn commands(server: &Server, rounds: usize) -> Result<Row> {
    let client = server.client()?;
    let id = client.create()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let since = Instant::now();
        client.run(&id, "/bin/true")?;
        times.push(milliseconds(since));
    }
    client.kill(&id)?;
    Row::of("/bin/true, without a shell", times, "ms", "≤ 3 ms (median)")
}

/// Many at once, each crowd beside one that comes alone; and where as many came a moment ago.
fn crowds(cold: &Server, warm: &Server, many: usize, rounds: usize) -> Result<Vec<Row>> {
    let (mut on_demand, mut again) = (Vec::new(), Vec::new());
    let (mut of_one, mut of_one_again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let alone = alone(cold)?;
        let made = crowd(cold, many)?;
        of_one.push(last(&made) / alone);
        on_demand.extend(made);
        // The first crowd is what the pool is filled for.
        crowd(warm, many)?;
        std::thread::sleep(REFILL);
        let made = crowd(warm, many)?;
        of_one_again.push(last(&made) / alone);
        again.extend(made);
    }
    Ok(vec![
        Row::of("50 creates at once", on_demand, "ms", "")?,
        Row::of("99th of them", of_one, "× one", "≤ 10 × (median)")?,
        Row::of("50 at once, as a moment ago", again, "ms", "")?,
        Row::of(
            "99th of them",
            of_one_again,
            "× one on demand",
            "≤ 10 × (median)",
        )?,
    ])
}

/// The median of some that come one after the other, each on demand.
fn alone(server: &Server) -> Result<f64> {
    let client = server.client()?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let since = Instant::now();
        let id = client.create()?;
        times.push(milliseconds(since));
        client.kill(&id)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// The 99th percentile.
fn last(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * 0.99).round() as usize]
}

/// Many at once, and how long each took.
fn crowd(server: &Server, many: usize) -> Result<Vec<f64>> {
    let made: Vec<Result<(f64, String)>> = std::thread::scope(|scope| {
        let one = || {
            let client = server.client()?;
            let since = Instant::now();
            let id = client.create()?;
            Ok((milliseconds(since), id))
        };
        let threads: Vec<_> = (0..many).map(|_| scope.spawn(one)).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|ended| ended.unwrap_or_else(|_| Err(anyhow!("a client panicked"))))
            .collect()
    });
    let made: Vec<(f64, String)> = made.into_iter().collect::<Result<_>>()?;
    let client = server.client()?;
    for (_, id) in &made {
        client.kill(id)?;
    }
    Ok(made.into_iter().map(|(time, _)| time).collect())
}

/// Memory of sandboxes that live at one time: each its keeper, its init and its agent.
fn alive(server: &Server, many: usize) -> Result<Row> {
    let client = server.client()?;
    let ids: Vec<String> = (0..many).map(|_| client.create()).collect::<Result<_>>()?;
    let mut sizes = Vec::new();
    for id in &ids {
        let memory = memory::of_tree(server.keeper(id)?)?;
        sizes.push(memory.pss_kib as f64 / 1024.0);
    }
    for id in &ids {
        client.kill(id)?;
    }
    Row::of("memory of each of many", sizes, "MiB (PSS)", "≤ 8 MiB")
}

pub(super) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

impl Row {
    /// Of what should be much: the 99th percentile is that of the least.
    fn least(
        what: &'static str,
        samples: Vec<f64>,
        unit: &'static str,
        asked: &'static str,
    ) -> Result<Self> {
        let turned = samples.into_iter().map(|sample| -sample).collect();
        let row = Self::of(what, turned, unit, asked)?;
        Ok(Self {
            median: -row.median,
            p99: -row.p99,
            ..row
        })
    }

    pub(super) fn of(
        what: &'static str,
        mut samples: Vec<f64>,
        unit: &'static str,
        asked: &'static str,
    ) -> Result<Self> {
        samples.sort_by(f64::total_cmp);
        let at = |part: f64| samples.get(((samples.len() - 1) as f64 * part).round() as usize);
        let (Some(median), Some(p99)) = (at(0.5), at(0.99)) else {
            return Err(anyhow!("nothing was measured of: {what}"));
        };
        Ok(Self {
            what,
            median: *median,
            p99: *p99,
            unit,
            asked,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            out,
            "{}, {}, {} processors, load {} → {}\n",
            machine.date, machine.kernel, machine.cpus, machine.load_before, machine.load_after
        )?;
        let mut table = Table::new(["", "median", "99th", "", "asked"]);
        for row in &self.rows {
            table.row(vec![
                row.what.to_owned(),
                format!("{:.2}", row.median),
                format!("{:.2}", row.p99),
                row.unit.to_owned(),
                row.asked.to_owned(),
            ]);
        }
        write!(out, "{table}")
    }
}
