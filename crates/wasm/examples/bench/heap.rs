//! Walks over a heap of 1 GiB: reading or writing each 8 bytes, page or fourth page, in both
//! directions, as an update and as a query.
//!
//! *After a checkpoint* a canister has just got its place, in which one empty call was made: nothing
//! of its heap is mapped. *After updates* all of it was written before in the same place.

use super::Result;
use super::guests::{self, Access, Walk, Width};
use super::pairs::{Clock, Pairs, milliseconds};
use super::report::{Report, Row};
use super::sides::{Both, Side};
use super::stats::{Summary, geometric_mean};
use super::wishes::Wishes;
use std::time::Duration;
use wasmtime::{Config, Engine, Func, Instance, Module, Store};

const NAME: &str = "heap";
/// Pairs of raw wasmtime: it is no side of a pair.
const RAW: usize = 5;

pub(crate) fn measure(wishes: &Wishes, report: &mut Report) -> Result<()> {
    let bytes: u64 = if wishes.quick { 64 << 20 } else { 1 << 30 };
    let mut ratios: [Vec<f64>; 3] = Default::default();
    for width in Width::BOTH {
        let rows: Vec<(Case, String)> = Case::all()
            .map(|case| (case, case.name(width)))
            .filter(|(_, name)| wishes.wants_row(NAME, name))
            .collect();
        if rows.is_empty() {
            continue;
        }
        let module = guests::heap(width, bytes);
        let mut raw = Raw::new(&module)?;
        let raw: Vec<Vec<f64>> = rows
            .iter()
            .map(|(case, _)| raw.measure(&case.method(), wishes.clock))
            .collect::<Result<_>>()?;
        let both = Both::with(NAME, module.as_bytes())?;
        for ((case, name), raw) in rows.into_iter().zip(raw) {
            let pairs = case.measure(&both.sides, wishes)?;
            ratios[case.kind() as usize].push(pairs.ratios().median);
            if case.is_dense() {
                let pages = case.walk.pages(bytes) as f64;
                let took = Summary::of(&pairs.sandboxed).median;
                let each = Row::alone(format!("{name}: each page"), "µs", took * 1e3 / pages);
                report.add(each.at_most(2.0));
            }
            let row = Row::ratio(name, "ms", &pairs).raw(&raw);
            report.add(row.at_most(case.kind().most()));
        }
    }
    for (kind, ratios) in [Kind::Query, Kind::Read, Kind::Write]
        .into_iter()
        .zip(ratios)
    {
        if let Some(mean) = geometric_mean(&ratios) {
            let row = Row::alone(format!("heap, {}: geometric mean", kind.name()), "×", mean);
            report.add(row.at_most(kind.most_in_the_mean()));
        }
    }
    Ok(())
}

/// What is asked of a case.
#[derive(Clone, Copy)]
enum Kind {
    Query,
    Read,
    Write,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Query => "queries",
            Self::Read => "reads",
            Self::Write => "writes",
        }
    }

    fn most(self) -> f64 {
        match self {
            Self::Query | Self::Read => 1.10,
            Self::Write => 1.20,
        }
    }

    fn most_in_the_mean(self) -> f64 {
        match self {
            Self::Query | Self::Read => 1.03,
            Self::Write => 1.10,
        }
    }
}

#[derive(Clone, Copy)]
struct Case {
    walk: Walk,
    is_query: bool,
    is_fresh: bool,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        [true, false].into_iter().flat_map(|is_fresh| {
            [false, true].into_iter().flat_map(move |is_query| {
                Walk::all().map(move |walk| Self {
                    walk,
                    is_query,
                    is_fresh,
                })
            })
        })
    }

    fn kind(self) -> Kind {
        match (self.is_query, self.walk.access) {
            (true, _) => Kind::Query,
            (false, Access::Read) => Kind::Read,
            (false, Access::Write) => Kind::Write,
        }
    }

    fn method(self) -> String {
        let kind = if self.is_query { "q" } else { "u" };
        format!("{kind}_{}", self.walk.method())
    }

    fn name(self, width: Width) -> String {
        let kind = if self.is_query { "query" } else { "update" };
        let state = match self.is_fresh {
            true => "checkpoint",
            false => "updates",
        };
        format!(
            "{} {kind} {} after {state}",
            width.name(),
            self.walk.method()
        )
    }

    /// Each page is written, one after the other.
    fn is_dense(self) -> bool {
        let walk = self.walk;
        !self.is_query && walk.access == Access::Write && walk.step == 4096 && !walk.is_backward
    }

    fn measure(self, sides: &[Side; 2], wishes: &Wishes) -> Result<Pairs> {
        let method = self.method();
        if !self.is_fresh {
            for side in sides {
                side.call(NAME, "u_write_forward_4096")?;
                // The first of its kind makes its mapping.
                self.run(side, &method, wishes.clock)?;
            }
        }
        Pairs::measure(wishes.pairs(), |side| {
            let side = &sides[side];
            if self.is_fresh {
                side.rest(NAME)?;
                side.call(NAME, "empty")?;
            }
            Ok(milliseconds(self.run(side, &method, wishes.clock)?))
        })
    }

    fn run(self, side: &Side, method: &str, clock: Clock) -> Result<Duration> {
        clock.time(|| match self.is_query {
            true => side.query(NAME, method),
            false => side.call(NAME, method),
        })
    }
}

/// The same module in a plain runtime: no instrumentation, no tracking, no commit.
struct Raw {
    store: Store<()>,
    instance: Instance,
}

impl Raw {
    fn new(module: &str) -> Result<Self> {
        let mut config = Config::new();
        config.wasm_memory64(true).memory_init_cow(false);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, wat::parse_str(module)?)?;
        let mut store = Store::new(&engine, ());
        let reply = Func::wrap(&mut store, || {});
        let instance = Instance::new(&mut store, &module, &[reply.into()])?;
        let mut raw = Self { store, instance };
        raw.call("canister_init")?;
        Ok(raw)
    }

    fn call(&mut self, name: &str) -> Result<()> {
        let found = self
            .instance
            .get_typed_func::<(), ()>(&mut self.store, name)?;
        Ok(found.call(&mut self.store, ())?)
    }

    fn measure(&mut self, method: &str, clock: Clock) -> Result<Vec<f64>> {
        let kind = if method.starts_with('q') {
            "query"
        } else {
            "update"
        };
        let name = format!("canister_{kind} {method}");
        (0..RAW)
            .map(|_| Ok(milliseconds(clock.time(|| self.call(&name))?)))
            .collect()
    }
}
