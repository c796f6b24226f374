//! A call that does nothing: what is left is the way there and back, and the journal.

use super::Result;
use super::guests::COUNTER;
use super::load::Busy;
use super::pairs::{Pairs, microseconds, timed};
use super::report::{Report, Row};
use super::sides::{Both, Side};
use super::stats::Summary;
use super::wishes::Wishes;
use std::time::Duration;

/// What each client calls: a canister of its own.
const NAMES: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
/// An empty call may take so much more behind the wall, µs.
const MORE: f64 = 5.0;

pub(crate) fn measure(wishes: &Wishes, report: &mut Report) -> Result<()> {
    let both = Both::with(NAMES[0], COUNTER.as_bytes())?;
    for side in &both.sides {
        for name in &NAMES[1..] {
            side.install(name, COUNTER.as_bytes())?;
        }
    }
    let calls = if wishes.quick { 50 } else { 1000 };
    let alone = Clients {
        count: 1,
        calls,
        pause: None,
    };
    let rows = [
        ("warm", alone, 0, Some(MORE)),
        ("two busy loops beside it", alone, 2, None),
        (
            "1 ms think time",
            Clients {
                calls: calls / 10,
                pause: Some(Duration::from_millis(1)),
                ..alone
            },
            0,
            None,
        ),
        ("2 clients", alone.times(2), 0, None),
        ("4 clients", alone.times(4), 0, None),
        ("8 clients", alone.times(8), 0, None),
    ];
    for (what, clients, loops, most) in rows {
        let name = format!("empty update, {what}");
        if !wishes.wants_row("empty", &name) {
            continue;
        }
        let _busy = Busy::start(loops)?;
        let mut late = Pairs::default();
        let usual = Pairs::measure(wishes.pairs().max(2), |side| {
            let summary = Summary::of(&clients.calls(&both.sides[side])?);
            match side {
                0 => late.in_process.push(summary.p99),
                _ => late.sandboxed.push(summary.p99),
            }
            Ok(summary.median)
        })?;
        let row = Row::difference(format!("{name}: median"), "µs", &usual);
        report.add(match most {
            Some(most) => row.at_most(most),
            None => row,
        });
        report.add(Row::difference(format!("{name}: 99th"), "µs", &late));
    }
    Ok(())
}

/// Who calls at one time, and how.
#[derive(Clone, Copy)]
struct Clients {
    count: usize,
    /// How often each.
    calls: usize,
    pause: Option<Duration>,
}

impl Clients {
    fn times(self, count: usize) -> Self {
        Self {
            count,
            calls: self.calls / count,
            ..self
        }
    }

    /// How long each call took, µs.
    fn calls(self, side: &Side) -> Result<Vec<f64>> {
        std::thread::scope(|scope| {
            let clients: Vec<_> = NAMES[..self.count]
                .iter()
                .map(|name| scope.spawn(move || self.client(side, name)))
                .collect();
            let mut all = Vec::new();
            for client in clients {
                all.extend(client.join().map_err(|_| "a client panicked")??);
            }
            Ok(all)
        })
    }

    fn client(self, side: &Side, name: &str) -> Result<Vec<f64>> {
        // The first makes the worker, or finds it asleep.
        for _ in 0..20 {
            side.call(name, "empty")?;
        }
        let mut times = Vec::with_capacity(self.calls);
        for _ in 0..self.calls {
            if let Some(pause) = self.pause {
                std::thread::sleep(pause);
            }
            times.push(microseconds(timed(|| side.call(name, "empty"))?));
        }
        Ok(times)
    }
}
