//! Programs that nobody wrote come to the same in each executor, and when they are run again.
//!
//! A program is all of a seed: `wasm-smith` makes a module of it that imports some of the System
//! API, and the calls that are made. What is compared after each call is the answer or the failure,
//! instructions, effects, sizes, globals and the pages that were committed; in the end, a hash of
//! all memory. 300 seeds are run, and those in `kept.txt`, which failed once;
//! `CASEMATE_DETERMINISM=COUNT:FIRST` (`cargo xtask wasm-determinism`) is another choice. The module
//! of a seed that fails is kept in the target folder.
//!
//! This program is the controller and all that it starts, so it asks for its role first.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod program;
mod side;

use casemate_wasm::executor::{Executor, InProcess, Sandboxed};
use casemate_wasm::module::Limits;
use casemate_wasm::process::Spec;
use program::Program;
use side::Side;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const COUNT: &str = "CASEMATE_DETERMINISM";
const RANDOM: &str = "random_programs_behave_alike";
const KEPT: &str = "kept_programs_behave_alike";
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    casemate_wasm::process::role(&casemate_wasm::worker::Wasm);
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let is_chosen = |name: &str| {
        let filters = args.iter().filter(|arg| !arg.starts_with('-'));
        let mut filters = filters.filter(|arg| *arg != "terse").peekable();
        filters.peek().is_none() || filters.any(|filter| name.contains(filter.as_str()))
    };
    if has("--ignored") {
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for name in [RANDOM, KEPT].into_iter().filter(|name| is_chosen(name)) {
        if has("--list") {
            println!("{name}: test");
            continue;
        }
        failed += match name {
            RANDOM => run(name, wanted()),
            _ => run(name, include_str!("kept.txt").lines().filter_map(seed)),
        };
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(101),
    }
}

/// A line of those that are kept: `SEED  what was wrong`.
fn seed(line: &str) -> Option<u64> {
    line.split_whitespace().next()?.parse().ok()
}

fn wanted() -> Range<u64> {
    let said = std::env::var(COUNT).unwrap_or_else(|_| "300:0".to_owned());
    let (count, first) = said.split_once(':').unwrap_or((&said, "0"));
    let (count, first): (u64, u64) = (count.parse().unwrap(), first.parse().unwrap());
    first..first.checked_add(count).unwrap()
}

/// Counts those that fail.
fn run(name: &str, seeds: impl Iterator<Item = u64> + Send) -> usize {
    let executors: [Box<dyn Executor>; 2] = [
        Box::new(InProcess::new(Limits::default()).unwrap()),
        Box::new(Sandboxed::new(Spec::default(), PATIENCE)),
    ];
    let [calls, ended, wrote] = [const { AtomicU64::new(0) }; 3];
    let seeds = std::sync::Mutex::new(seeds);
    let ran = AtomicU64::new(0);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let next = seeds.lock().unwrap().next();
            let Some(seed) = next else { break failed };
            let compare = std::panic::AssertUnwindSafe(|| compare(seed, &executors));
            match catch_unwind(compare) {
                Ok(counts) => {
                    for (count, sum) in counts.into_iter().zip([&calls, &ended, &wrote]) {
                        sum.fetch_add(count, Relaxed);
                    }
                }
                Err(_) => failed.push(seed),
            }
            ran.fetch_add(1, Relaxed);
        }
    };
    let threads = match std::env::var_os(COUNT) {
        Some(_) => std::thread::available_parallelism().map_or(1, usize::from),
        None => 1,
    };
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let failed = threads.into_iter().map(|thread| thread.join().unwrap());
        failed.flatten().collect()
    });
    for seed in &failed {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("determinism-{seed}.wasm"));
        std::fs::write(&path, Program::of(*seed).module).unwrap();
        println!("seed {seed} failed; its module is {}", path.display());
    }
    let [ran, calls, ended, wrote] = [ran, calls, ended, wrote].map(AtomicU64::into_inner);
    println!("test {name}: {ran} programs");
    println!("  {calls} calls, {ended} to their end, {wrote} of which wrote memory");
    // Programs that all trap at once would compare nothing.
    let is_little = ended < 2 * ran || 4 * wrote < ran;
    assert!(ran < 100 || !is_little, "the programs do too little");
    failed.len()
}

/// The calls that were made, those that came to their end, and those of these that wrote memory.
fn compare(seed: u64, executors: &[Box<dyn Executor>; 2]) -> [u64; 3] {
    let program = Program::of(seed);
    let [inside, walled] = executors;
    let code = inside.compile(&program.module).unwrap();
    if seed.is_multiple_of(10) {
        let again = walled.compile(&program.module).unwrap();
        assert_eq!(again.profile, code.profile, "seed {seed}");
        assert!(again.bundle.bytes() == code.bundle.bytes(), "seed {seed}");
    }
    // In the controller, behind the wall, and in the controller again with calls that were written
    // down and read.
    let mut sides = [(inside, false), (walled, false), (inside, true)]
        .map(|(executor, is_replayed)| Side::new(executor.as_ref(), &code, is_replayed));
    let mut counts = [0; 3];
    for step in program.steps(&code.profile) {
        let [first, others @ ..] = sides.each_mut().map(|side| side.take(&step));
        for other in others {
            assert_eq!(other, first, "seed {seed}, {step:?}");
        }
        for (count, is_one) in counts
            .iter_mut()
            .zip([true, first.is_well(), first.wrote()])
        {
            *count += u64::from(is_one);
        }
    }
    let [first, others @ ..] = sides.map(|side| side.hash());
    for other in others {
        assert_eq!(other, first, "seed {seed}, the memory in the end");
    }
    counts
}
