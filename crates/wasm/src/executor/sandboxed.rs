//! Guests in processes of their own, behind the wall.

use super::kept::{self, Kept};
use super::known::Known;
use super::life::Life;
use super::line::{Line, quoted};
use super::places::Places;
use super::pull::Pages;
use super::{CanisterMemory, Code, Coming, Committed, Crash, Executor, Queries, Seat};
use crate::call::{Call, Failure, Pacer, Ran};
use crate::guest::State;
use crate::lifecycle;
use crate::process::{CompileLimits, Processes, Spec, Uncompiled, Worker};
use crate::worker::QUERIES;
use crate::worker::message::{Addresses, Done, Request, kind};
use casemate_sys::cgroup::{self, Cgroup, Wanted};
use casemate_sys::pages::ring::{End, Ring};
use casemate_sys::pages::{Runs, Sealed};
use rustix::fd::AsFd;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest compiled module, bytes.
const LONGEST_BUNDLE: u64 = 1 << 30;

/// Tasks of all workers and compilers.
const MOST_TASKS: u32 = 1 << 17;

/// Runs guests in workers.
pub struct Sandboxed {
    processes: Processes,
    limits: CompileLimits,
    /// How long a worker may take for one request, or one slice of it.
    patience: Duration,
    known: Known,
}

impl Sandboxed {
    /// Ready to start processes. The program's `main` has to have asked for its
    /// [role](crate::process::role) first.
    #[must_use]
    pub fn new(spec: Spec, patience: Duration) -> Self {
        Self {
            processes: Processes::new(spec, cgroup()),
            limits: CompileLimits::default(),
            patience,
            known: Known::default(),
        }
    }
}

/// All workers and compilers together leave the host some memory, where this user may say so: each is
/// bounded by its own limits (RLIMIT_DATA), but there are many.
fn cgroup() -> Option<Arc<Cgroup>> {
    cgroup::sweep();
    let total = lifecycle::total().ok()?;
    let wanted = Wanted {
        memory: total - total / 16,
        pids: MOST_TASKS,
        milli_cpus: None,
        // The largest dies alone.
        ends_together: false,
    };
    Cgroup::create(&wanted).ok()?.map(Arc::new)
}

impl Executor for Sandboxed {
    fn compile(&self, bytes: &[u8]) -> Result<Arc<Code>, Crash> {
        self.known.get(Sha256::digest(bytes).into(), |hash| {
            let input = Sealed::of("guest", bytes)?;
            let output = self.processes.compile(input.as_fd(), &self.limits);
            let output = output.map_err(|why| match why {
                Uncompiled::Refused(why) => Crash::Refused(why),
                other => Crash::Gone(other.to_string()),
            })?;
            let bundle = Sealed::adopt(output, LONGEST_BUNDLE)?;
            Code::new(hash, bundle).map(Arc::new)
        })
    }

    fn seat(
        &self,
        code: &Arc<Code>,
        memory: &CanisterMemory,
        state: &State,
    ) -> Result<Box<dyn Seat>, Crash> {
        Box::new(self.open(code, memory, state)?).seat()
    }

    fn summon(
        &self,
        code: &Arc<Code>,
        memory: &CanisterMemory,
        state: &State,
    ) -> Result<Option<Box<dyn Coming>>, Crash> {
        Ok(Some(Box::new(self.open(code, memory, state)?)))
    }
}

impl Sandboxed {
    /// Takes a worker and tells it what it is to be. It maps its code, and nothing of the canister's
    /// memory yet.
    fn open(
        &self,
        code: &Arc<Code>,
        memory: &CanisterMemory,
        state: &State,
    ) -> Result<Opened, Crash> {
        let mut worker = self.processes.worker().map_err(|why| gone(&why))?;
        let [heap, stable] = memory.readers()?;
        let descriptors = [code.bundle.file().as_fd(), heap.as_fd(), stable.as_fd()];
        let deadline = Instant::now() + self.patience;
        let control = &mut worker.connection;
        let sent = control.send(kind::OPEN, &state.to_bytes(), &descriptors, Some(deadline));
        sent.map_err(|why| gone(&why))?;
        Ok(Opened {
            worker,
            code: code.clone(),
            memory: memory.clone(),
            state: Arc::new(state.clone()),
            patience: self.patience,
        })
    }
}

/// A worker that knows what it is to be.
struct Opened {
    worker: Worker,
    code: Arc<Code>,
    memory: CanisterMemory,
    state: Arc<State>,
    patience: Duration,
}

impl Opened {
    /// What it answers: a frame of this kind.
    fn hear(&mut self, expected: u16, deadline: Instant) -> Result<Vec<u8>, Crash> {
        let received = self.worker.connection.receive(Some(deadline));
        let (frame, _) = received.map_err(|why| gone(&why))?;
        match frame.kind {
            found if found == expected => Ok(frame.payload),
            kind::UNOPENED => Err(gone(&quoted(&String::from_utf8_lossy(&frame.payload)))),
            other => Err(gone(&format!("it answered with frame {other}"))),
        }
    }
}

impl Coming for Opened {
    fn seat(mut self: Box<Self>) -> Result<Box<dyn Seat>, Crash> {
        let deadline = Instant::now() + self.patience;
        self.memory.begin(&self.state)?;
        let rings = (0..=QUERIES).map(|_| Ring::new());
        let rings = rings.collect::<Result<Vec<_>, _>>()?;
        self.hear(kind::SEALED, deadline)?;
        let descriptors: Vec<_> = rings.iter().map(Ring::as_fd).collect();
        let control = &mut self.worker.connection;
        let sent = control.send(kind::RINGS, &[], &descriptors, Some(deadline));
        sent.map_err(|why| gone(&why))?;
        let mut ends = Vec::new();
        for ring in rings {
            let mut end = ring.caller()?;
            let pidfd = self.worker.pidfd().try_clone_to_owned();
            end.watch(pidfd.map_err(|why| gone(&why))?);
            ends.push(end);
        }
        let opened = self.hear(kind::OPENED, deadline)?;
        let addresses = Addresses::from_bytes(&opened).map_err(|why| gone(&why))?;
        let Self {
            worker,
            code,
            memory,
            state,
            patience,
        } = *self;
        let wires = ends.iter().map(End::line).collect();
        let life = Arc::new(Life::of(worker, wires));
        let line = |end| Line::new(end, &life, &code, patience);
        let mut lines = ends.into_iter().map(line);
        let Some(updates) = lines.next() else {
            return Err(gone(&"it has no ring"));
        };
        let queries = lines.map(|line| Some((line, None))).collect();
        Ok(Box::new(Bench {
            line: updates,
            queries: Arc::new(Benches {
                places: Places::new(queries),
                memory: memory.clone(),
                life: life.clone(),
            }),
            life,
            addresses,
            memory,
            state,
            open: None,
        }))
    }
}

fn gone(why: &dyn std::fmt::Display) -> Crash {
    Crash::Gone(why.to_string())
}

/// A canister's place in a worker: the side of updates.
struct Bench {
    line: Line,
    queries: Arc<Benches>,
    life: Arc<Life>,
    addresses: Addresses,
    memory: CanisterMemory,
    /// What is committed.
    state: Arc<State>,
    /// Pages of the last call, in the worker's memory.
    open: Option<[Runs; 2]>,
}

impl Bench {
    fn ask(
        &mut self,
        request: &Request,
        call: Option<&Call>,
        pacer: &mut dyn Pacer,
    ) -> Result<Ran, Crash> {
        if self.open.take().is_some() {
            // The worker takes what it wrote for committed, and it isn't.
            return Err(self.life.end("what it wrote was not committed"));
        }
        self.life.check()?;
        // What it rolls back is what the files have.
        self.memory.settle()?;
        let done = self.line.ask(request, call, &self.state, pacer)?;
        if done.ran.result.is_ok() && call.is_none_or(|call| call.entry.keeps()) {
            self.open = Some([done.heap, done.stable]);
        }
        Ok(done.ran)
    }
}

impl Seat for Bench {
    fn initialise(&mut self) -> Result<Ran, Crash> {
        self.ask(&Request::Initialise, None, &mut ())
    }

    fn run(&mut self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> Result<Ran, Crash> {
        self.ask(&Request::Run(call.clone()), Some(call), pacer)
    }

    fn commit(&mut self, ran: &Ran) -> Result<Committed, Crash> {
        let Some([heap, stable]) = self.open.take() else {
            return Err(Crash::Gone("there is nothing to commit".to_owned()));
        };
        let state = Arc::new(State::after(ran));
        let pages = Pages {
            worker: &self.life.worker,
            addresses: [self.addresses.heap, self.addresses.stable],
            runs: [&heap, &stable],
        };
        if let Err(why) = self.memory.commit(&pages, state.clone()) {
            self.life.end(&why);
            return Err(why);
        }
        self.state = state;
        Ok(Committed { heap, stable })
    }

    fn queries(&self) -> Arc<dyn Queries> {
        self.queries.clone()
    }

    fn ended(&self) -> Option<Crash> {
        self.life.check().err()
    }

    fn process(&self) -> Option<u32> {
        u32::try_from(self.life.worker.pid()).ok()
    }

    fn resident(&self) -> Option<u64> {
        self.life.worker.resident()
    }
}

/// The places of a canister's queries in its worker, which they keep alive.
struct Benches {
    /// A line for each thread, with the version that was told by it last.
    places: Places<(Line, Option<u64>)>,
    memory: CanisterMemory,
    life: Arc<Life>,
}

impl Benches {
    /// Takes what a query wrote that goes on, before the worker is asked anything else.
    fn keep(
        &self,
        done: &Done,
        at: Addresses,
        base: [u64; 2],
    ) -> Result<Result<Kept, Failure>, Crash> {
        let runs = [&done.heap, &done.stable].map(Clone::clone);
        let pages = Pages {
            worker: &self.life.worker,
            addresses: [at.heap, at.stable],
            runs: [&runs[0], &runs[1]],
        };
        let state = State {
            globals: done.ran.globals.clone(),
            heap_pages: done.ran.heap_pages,
            stable_pages: done.ran.stable_pages,
        };
        let kept = kept::take(&pages, base, state);
        kept.map_err(|why| self.life.end(&why))
    }
}

impl Queries for Benches {
    fn ended(&self) -> Option<Crash> {
        self.life.check().err()
    }

    fn query(&self, call: &Arc<Call>, pacer: &mut dyn Pacer) -> Result<Ran, Crash> {
        let mut held = self.places.take();
        let Some((line, told)) = &mut held.place else {
            return Err(Crash::Gone("it has no place for queries".to_owned()));
        };
        let reading = self.memory.read()?;
        let is_known = *told == Some(reading.version);
        let state = (!is_known).then(|| State::clone(&reading.state));
        let request = Request::Query(state, call.clone());
        let done = line.ask(&request, Some(call), &reading.state, pacer)?;
        *told = Some(reading.version);
        Ok(done.ran)
    }

    fn converse(
        &self,
        call: &Arc<Call>,
        before: Option<&Kept>,
        pacer: &mut dyn Pacer,
    ) -> Result<(Ran, Option<Kept>), Crash> {
        let mut held = self.places.take();
        let Some((line, told)) = &mut held.place else {
            return Err(Crash::Gone("it has no place for queries".to_owned()));
        };
        let reading = self.memory.read()?;
        // Until all is said that belongs together.
        let is_known = told.take() == Some(reading.version);
        let state = (!is_known).then(|| State::clone(&reading.state));
        let (mut done, base) = match before {
            None => {
                let request = Request::Query(state, call.clone());
                let done = line.ask(&request, Some(call), &reading.state, pacer)?;
                (done, reading.sizes())
            }
            Some(kept) => {
                let request = Request::Query(None, call.clone());
                let done = line.ask_on(kept, state, &request, call, pacer)?;
                (done, kept.base())
            }
        };
        *told = Some(reading.version);
        let Some(at) = done.at else {
            return Ok((done.ran, None));
        };
        let kept = self.keep(&done, at, base)?;
        line.forget()?;
        match kept {
            Ok(kept) => {
                reading.put_aside(kept.shelf());
                Ok((done.ran, Some(kept)))
            }
            Err(why) => {
                kept::fail(&mut done.ran, why, before, &reading.state);
                Ok((done.ran, None))
            }
        }
    }
}
