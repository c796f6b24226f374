//! What the Wasm wall costs: guests in workers beside the same guests in this process.
//!
//! `cargo xtask bench wasm` builds and runs this. It is the controller and all that it starts, so
//! that nothing else has to be built with a Wasm runtime in it.
//!
//! ```text
//!  guests   Wasm as text, made for each question
//!  sides    the two executors, each with a folder of its own, behind one interface
//!  pairs    one after the other, in turn, so that both meet the same minute
//!  cases    heap · empty · stable · cold · density · storm
//!  report   medians, ratios of pairs, spread → a table and a JSON file
//! ```
//!
//! Both do the same work: the same instrumented code, the same tracking of pages, the same journal.
//! Raw wasmtime has none of that and stands beside them.

#![allow(clippy::print_stdout, reason = "that is what it's for")]

mod cold;
mod density;
mod empty;
mod guests;
mod heap;
mod load;
mod pairs;
mod processes;
mod report;
mod sides;
mod stable;
mod stats;
mod storm;
mod wishes;

use report::Report;
use std::error::Error;
use std::process::ExitCode;
use wishes::Wishes;

/// Whatever goes wrong here ends the measurement.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What measures something, and adds its rows.
type Case = fn(&Wishes, &mut Report) -> Result<()>;

fn main() -> ExitCode {
    casemate_wasm::process::role(&casemate_wasm::worker::Wasm);
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench wasm: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let wishes = Wishes::from_arguments()?;
    let cases: [(&str, Case); 6] = [
        ("heap", heap::measure),
        ("empty", empty::measure),
        ("stable", stable::measure),
        ("cold", cold::measure),
        ("density", density::measure),
        ("storm", storm::measure),
    ];
    wishes.check(&cases.map(|(name, _)| name))?;
    let mut report = Report::begin(wishes.quick);
    for (name, case) in cases {
        if wishes.wants(name) {
            eprintln!("{name} …");
            case(&wishes, &mut report).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    report.finish();
    println!("{report}");
    match &wishes.json {
        Some(file) => report.save(file),
        None => Ok(()),
    }
}
