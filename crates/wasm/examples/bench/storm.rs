//! Calls at a steady rate while processes are killed under them: no update that was answered is lost,
//! and the others go on.

use super::Result;
use super::guests::COUNTER;
use super::pairs::milliseconds;
use super::processes;
use super::report::{Report, Row};
use super::sides::{Kind, Side};
use super::stats::Summary;
use super::wishes::Wishes;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Calls come this often, whether others were answered or not.
const EVERY: Duration = Duration::from_millis(1);
/// Processes are killed this often.
const KILLS: Duration = Duration::from_millis(20);
const CANISTERS: usize = 32;
const CLIENTS: usize = 32;

/// What was answered and what failed, of one canister.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
}

pub(crate) fn measure(wishes: &Wishes, report: &mut Report) -> Result<()> {
    let calls = if wishes.quick { 1000 } else { 10_000 };
    let home = tempfile::tempdir()?;
    let side = Side::open(Kind::Sandboxed(8), home.path())?;
    for number in 0..CANISTERS {
        side.install(&name(number), COUNTER.as_bytes())?;
    }
    let tallies: Vec<Tally> = (0..CANISTERS).map(|_| Tally::default()).collect();
    let idle = Summary::of(&open_loop(&side, &tallies, calls)?);
    report.add(Row::alone("storm: 99th without it", "ms", idle.p99));
    for keepers in [false, true] {
        let what = if keepers {
            "storm, keepers too"
        } else {
            "storm"
        };
        let before = failed(&tallies);
        let (times, killed) = storm(&side, &tallies, calls, keepers)?;
        let row = |what: String, unit, figure| Row::alone(what, unit, figure);
        let seconds = (EVERY * calls as u32).as_secs();
        report.add(row(
            format!("{what}: processes killed in {seconds} s"),
            "",
            killed as f64,
        ));
        let failures = failed(&tallies) - before;
        report.add(row(
            format!("{what}: calls that failed"),
            "",
            failures as f64,
        ));
        report.add(row(format!("{what}: median"), "ms", times.median));
        let row = row(format!("{what}: 99th"), "ms", times.p99);
        // With its keeper, every worker dies.
        report.add(if keepers {
            row
        } else {
            row.at_most(2.0 * idle.p99 + 5.0)
        });
    }
    let side = side.again()?;
    let mut lost = 0;
    for (number, tally) in tallies.iter().enumerate() {
        let found = counter(&side.query(&name(number), "get")?);
        let answered = tally.answered.load(Ordering::Relaxed);
        lost += answered.saturating_sub(found);
        if found > answered + tally.failed.load(Ordering::Relaxed) {
            return Err(format!("{} counted to {found} in {answered} calls", name(number)).into());
        }
    }
    report.add(Row::alone("storm: answered updates that are lost", "", lost as f64).at_most(0.0));
    Ok(())
}

/// Calls while processes are killed; their times, and how many were killed.
fn storm(side: &Side, tallies: &[Tally], calls: usize, keepers: bool) -> Result<(Summary, usize)> {
    let is_over = AtomicBool::new(false);
    let (times, killed) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill(&is_over, keepers));
        let times = open_loop(side, tallies, calls);
        is_over.store(true, Ordering::Relaxed);
        (times, killer.join())
    });
    let killed = killed.map_err(|_| "the killer panicked")?;
    Ok((Summary::of(&times?), killed))
}

fn failed(tallies: &[Tally]) -> u64 {
    tallies
        .iter()
        .map(|tally| tally.failed.load(Ordering::Relaxed))
        .sum()
}

fn name(number: usize) -> String {
    format!("storm-{number}")
}

fn counter(reply: &[u8]) -> u64 {
    reply.try_into().map_or(0, u64::from_le_bytes)
}

/// Calls at their times; how long after its time each was answered, ms.
fn open_loop(side: &Side, tallies: &[Tally], calls: usize) -> Result<Vec<f64>> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let client = || {
        let mut times = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= calls {
                return times;
            }
            let due = begun + EVERY * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let canister = number % tallies.len();
            let tally = &tallies[canister];
            match side.call(&name(canister), "increment") {
                Ok(_) => tally.answered.fetch_add(1, Ordering::Relaxed),
                Err(_) => tally.failed.fetch_add(1, Ordering::Relaxed),
            };
            times.push(milliseconds(due.elapsed()));
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.join().map_err(|_| "a client panicked")?);
        }
        Ok(all)
    })
}

/// Kills one process after the other, whichever role it has; how many.
fn kill(is_over: &AtomicBool, keepers: bool) -> usize {
    let mut killed = 0;
    let mut seed = 1_u64;
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(KILLS);
        let mut all = processes::below();
        all.retain(|process| keepers || !process.is_keeper);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let Some(victim) = all.get((seed >> 33) as usize % all.len().max(1)) else {
            continue;
        };
        if let Some(id) = Pid::from_raw(victim.id) {
            killed += usize::from(kill_process(id, Signal::KILL).is_ok());
        }
    }
    killed
}
