//! Stable memory: 131,072 calls of 8 bytes, at one place or at one in each page, and long ones.

use super::Result;
use super::guests;
use super::pairs::{Pairs, milliseconds};
use super::report::{Report, Row};
use super::sides::Both;
use super::stats::Summary;
use super::wishes::Wishes;

const NAME: &str = "stable";

pub(crate) fn measure(wishes: &Wishes, report: &mut Report) -> Result<()> {
    let pages = if wishes.quick { 4096 } else { 131_072 };
    let both = Both::with(NAME, guests::stable(pages).as_bytes())?;
    let methods = [
        "single_read",
        "sparse_read",
        "single_write",
        "sparse_write",
        "read_20_mib",
        "write_2_mib",
    ];
    for method in methods {
        let name = format!("stable memory, {method}");
        if !wishes.wants_row(NAME, &name) {
            continue;
        }
        for side in &both.sides {
            side.call(NAME, method)?;
        }
        let pairs = Pairs::measure(wishes.pairs(), |side| {
            let side = &both.sides[side];
            // Each begins where the last one wrote elsewhere.
            side.call(NAME, "empty")?;
            Ok(milliseconds(wishes.clock.time(|| side.call(NAME, method))?))
        })?;
        let took = Summary::of(&pairs.sandboxed).median * 1e3 / pages as f64;
        report.add(Row::ratio(name.clone(), "ms", &pairs));
        if method.starts_with("s") {
            let each = Row::alone(format!("{name}: each call"), "µs", took);
            report.add(match method {
                "sparse_write" => each.at_most(2.0),
                _ => each,
            });
        }
    }
    Ok(())
}
