//! The process of a guest.

use super::engine;
use super::job::Job;
use super::program::Program;
use super::sheet::{Phase, Sheet};
use super::verdict::{Complaint, End, Verdict};
use super::world::Guest;
use super::{confine, end, invoke};
use casemate_core::error::{Error, Result};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;
use wasmtime::{Engine, Store, Val};

/// Carries out the job of a sheet and writes how it ended. For a process that is confined already:
/// what is compiled and executed here is the guest's. Between the two, it gives up making anything
/// executable.
///
/// # Errors
/// The sheet can't be read or written, or there is no thread to be had.
pub fn run(sheet: &Sheet) -> Result<()> {
    let started = Instant::now();
    let (job, bytes) = sheet.job()?;
    let deadline = job.timeout.map(|timeout| started + timeout);
    sheet.enter(Phase::Compiling)?;
    match Prepared::new(&job, &bytes) {
        Ok(prepared) => {
            drop(bytes);
            // All that is to be executed is there, and nothing of the guest was.
            confine::give_up(&job.folders)?;
            sheet.enter(Phase::Running)?;
            let verdict = prepared.run(&job, deadline)?;
            sheet.answer(verdict)
        }
        Err(end) => sheet.answer(Verdict {
            end,
            frames: Vec::new(),
            instructions: None,
            peak_memory: 0,
        }),
    }
}

/// A program that is compiled, and the guest that it will be.
struct Prepared {
    engine: Engine,
    program: Program,
    store: Store<Guest>,
}

impl Prepared {
    fn new(job: &Job, bytes: &[u8]) -> Result<Self, End> {
        let engine = engine::engine(job).map_err(End::Unfit)?;
        let mut store = Store::new(&engine, Guest::new(job).map_err(End::Misused)?);
        store.limiter(|guest| &mut guest.gauge);
        engine::allow(&mut store, job).map_err(End::Unfit)?;
        let program = Program::new(&engine, &mut store, job, bytes)?;
        Ok(Self {
            engine,
            program,
            store,
        })
    }

    fn run(mut self, job: &Job, deadline: Option<Instant>) -> Result<Verdict> {
        let step = "start the guest";
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io(step, &error))?;
        if let Some(deadline) = deadline {
            ring_at(deadline, self.engine.clone()).map_err(|error| Error::io(step, &error))?;
        }
        let outcome = runtime.block_on(async {
            let calling = self.program.call(&mut self.store, job);
            match deadline {
                // The bell interrupts Wasm; this is for a guest that waits in a host function.
                Some(deadline) => timeout_at(deadline.into(), calling).await.ok(),
                None => Some(calling.await),
            }
        });
        let (end, frames) = match outcome {
            None => (End::TimeLimit, Vec::new()),
            Some(Ok(values)) => (self.returned(job, &values), Vec::new()),
            Some(Err(error)) => {
                let unfit =
                    || End::Unfit(Complaint::new("start the program", format!("{error:#}")));
                (end::of(&error).unwrap_or_else(unfit), end::frames(&error))
            }
        };
        // A program that exits has come to no place that anybody wants to know.
        let frames = match &end {
            End::Exited { .. } => Vec::new(),
            _ => frames,
        };
        Ok(Verdict {
            end,
            frames,
            instructions: engine::instructions(&self.store, job),
            peak_memory: self.store.data().gauge.peak(),
        })
    }

    /// A command that returns has succeeded; what another function returns is printed.
    fn returned(&self, job: &Job, values: &[Val]) -> End {
        if job.invoke.is_none() {
            return End::Exited { code: 0 };
        }
        let values: Vec<String> = values.iter().map(invoke::shown).collect();
        let mut output = std::io::stdout().lock();
        // Nobody is left to tell if it is closed.
        let _ = values
            .iter()
            .try_for_each(|value| writeln!(output, "{value}"))
            .and_then(|()| output.flush());
        End::Returned { values }
    }
}

/// Interrupts what runs in the engine when its time is over.
fn ring_at(deadline: Instant, engine: Engine) -> std::io::Result<()> {
    let bell = std::thread::Builder::new().name("bell".into());
    let ring = move || {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return engine.increment_epoch();
            }
            std::thread::sleep(left);
        }
    };
    bell.spawn(ring).map(drop)
}
