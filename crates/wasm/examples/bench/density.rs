//! Many canisters: what each worker that has nothing to do costs, and what canisters cost that only
//! lie in their folder.

use super::Result;
use super::guests::COUNTER;
use super::pairs::{milliseconds, timed};
use super::processes;
use super::report::{Report, Row};
use super::sides::{Kind, Side};
use super::stats::Summary;
use super::wishes::Wishes;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long idle processes are watched.
const WATCH: Duration = Duration::from_secs(5);

pub(crate) fn measure(wishes: &Wishes, report: &mut Report) -> Result<()> {
    if wishes.wants_row("density", "idle") {
        idle(wishes, report)?;
    }
    if wishes.wants_row("density", "installed") {
        installed(wishes, report)?;
    }
    Ok(())
}

/// Workers after one update each.
fn idle(wishes: &Wishes, report: &mut Report) -> Result<()> {
    let home = tempfile::tempdir()?;
    let side = Side::open(Kind::Sandboxed(4), home.path())?;
    let modules = modules(wishes)?;
    for (number, (module, method)) in modules.iter().enumerate() {
        // Compiled, and the pool started.
        let name = format!("first-{number}");
        side.install(&name, module)?;
        side.call(&name, method)?;
    }
    let before = processes::below();
    let available = processes::available();
    let many = wishes.idle();
    for number in 0..many {
        let (module, method) = &modules[number % modules.len()];
        let name = format!("idle-{number}");
        side.install(&name, module)?;
        side.call(&name, method)?;
    }
    let workers = processes::below();
    let workers: Vec<_> = workers
        .into_iter()
        .filter(|found| !before.iter().any(|known| known.id == found.id))
        .collect();
    let left = processes::available();
    let shares: Vec<f64> = workers
        .iter()
        .filter_map(|own| processes::share(own.id))
        .collect();
    let what = format!("{many} idle workers, PSS of each");
    let row = Row::alone(what, "MiB", shares.iter().sum::<f64>() / many as f64);
    report.add(row.sandboxed(&shares).at_most(2.0));
    if let (Some(before), Some(after)) = (available, left) {
        let what = format!("{many} idle workers, MemAvailable less for each");
        report.add(Row::alone(what, "MiB", (before - after) / many as f64));
    }
    let ticks = |all: &[processes::Process]| -> u64 {
        let ours = |found: &&processes::Process| workers.iter().any(|own| own.id == found.id);
        all.iter().filter(ours).map(|found| found.ticks).sum()
    };
    let since = ticks(&processes::below());
    std::thread::sleep(WATCH);
    let used = ticks(&processes::below()) - since;
    let what = format!(
        "{many} idle workers, processor time in {} s",
        WATCH.as_secs()
    );
    report.add(Row::alone(what, "ms", used as f64 * 10.0).at_most(0.0));
    Ok(())
}

/// A small one, and one that a Motoko compiler made if there is any.
fn modules(wishes: &Wishes) -> Result<Vec<(Vec<u8>, String)>> {
    let mut modules = vec![(COUNTER.as_bytes().to_vec(), "increment".to_owned())];
    if let Some(file) = &wishes.motoko {
        modules.push((fs::read(file)?, "inc".to_owned()));
    }
    Ok(modules)
}

/// Canisters that have no worker: one is installed, and its folder copied.
fn installed(wishes: &Wishes, report: &mut Report) -> Result<()> {
    let home = tempfile::tempdir()?;
    let many = if wishes.quick { 500 } else { 50_000 };
    let side = Side::open(Kind::Sandboxed(4), home.path())?;
    side.install("c0", COUNTER.as_bytes())?;
    drop(side);
    let first = folder(home.path(), "c0").ok_or("there is no folder of c0")?;
    for number in 1..many {
        let copy = first.with_file_name(format!("c{number}"));
        fs::create_dir(&copy)?;
        for entry in fs::read_dir(&first)? {
            let entry = entry?;
            fs::copy(entry.path(), copy.join(entry.file_name()))?;
        }
    }
    let before = processes::below().len();
    let since = Instant::now();
    let side = Side::open(Kind::Sandboxed(4), home.path())?;
    let names = side.names()?.len();
    side.wake_all()?;
    let opened = milliseconds(since.elapsed());
    if names != many {
        return Err(format!("{names} canisters of {many}").into());
    }
    let what = format!("{many} installed: open the folder, wake whoever has something to do");
    report.add(Row::alone(what, "ms", opened).at_most(2000.0));
    let what = format!("{many} installed: processes for them");
    let more = processes::below().len() - before;
    report.add(Row::alone(what, "", more as f64).at_most(0.0));
    let mut calls = Vec::new();
    for name in ["c17", "c399", "c250"] {
        calls.push(milliseconds(timed(|| side.call(name, "increment"))?));
    }
    let what = format!("{many} installed: the first call of one");
    report.add(Row::alone(what, "ms", Summary::of(&calls).median).sandboxed(&calls));
    Ok(())
}

/// The folder of this name, wherever it is below another.
fn folder(below: &Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(below).ok()?.flatten();
    let folders: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    let found = folders
        .iter()
        .find(|path| path.file_name().is_some_and(|own| own == name));
    found
        .cloned()
        .or_else(|| folders.iter().find_map(|path| folder(path, name)))
}
