//! A canister that has no worker yet: compiled before, its code in the cache of files.

use super::Result;
use super::guests;
use super::pairs::{milliseconds, timed};
use super::report::{Report, Row};
use super::sides::{Kind, Side};
use super::stats::Summary;
use super::wishes::Wishes;
use std::time::Duration;

/// In which the pool gets another worker.
const REFILL: Duration = Duration::from_millis(60);
/// What a module of a Motoko program has, bytes.
const SIZE: usize = 187_000;
const NAME: &str = "cold";
/// Calls that nobody had written down in pages when all of it ended.
const RUN_AGAIN: usize = 50;

pub(crate) fn measure(wishes: &Wishes, report: &mut Report) -> Result<()> {
    let (module, method, kind) = module(wishes)?;
    let rounds = wishes.pairs() * 3;
    for (pool, said) in [(4, "pool warm"), (0, "pool empty")] {
        let home = tempfile::tempdir()?;
        let mut side = Side::open(Kind::Sandboxed(pool), home.path())?;
        side.install(NAME, &module)?;
        let (mut kept, mut stored, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            side.rest(NAME)?;
            std::thread::sleep(REFILL);
            kept.push(milliseconds(timed(|| side.call(NAME, &method))?));
            // Evicted, and its folder taken by a new owner, who has read nothing yet.
            side.evict(NAME)?;
            side = side.again()?;
            std::thread::sleep(REFILL);
            stored.push(milliseconds(timed(|| side.call(NAME, &method))?));
            // As a crash leaves it: calls since the last checkpoint are run again.
            for _ in 1..RUN_AGAIN {
                side.call(NAME, &method)?;
            }
            side = side.again()?;
            std::thread::sleep(REFILL);
            again.push(milliseconds(timed(|| side.call(NAME, &method))?));
            side.evict(NAME)?;
        }
        let replayed = format!("from the folder, {RUN_AGAIN} calls run again");
        let all = [
            ("memory kept", kept),
            ("from the folder", stored),
            (&replayed, again),
        ];
        for (from, samples) in all {
            let what = format!("cold canister, {kind}, {said}, {from}");
            let row = Row::alone(what, "ms", Summary::of(&samples).median).sandboxed(&samples);
            // What runs again takes as long as it took.
            report.add(match pool == 0 || from == replayed {
                true => row,
                false => row.at_most(3.0),
            });
        }
    }
    Ok(())
}

/// What a Motoko compiler made, if somebody has it; otherwise something of its size.
fn module(wishes: &Wishes) -> Result<(Vec<u8>, String, String)> {
    Ok(match &wishes.motoko {
        Some(file) => {
            let bytes = std::fs::read(file)?;
            let kind = format!("Motoko of {} kB", bytes.len() / 1000);
            (bytes, "inc".to_owned(), kind)
        }
        None => {
            let bytes = wat::parse_str(guests::large(SIZE))?;
            let kind = format!("synthetic module of {} kB", bytes.len() / 1000);
            (bytes, "empty".to_owned(), kind)
        }
    })
}
