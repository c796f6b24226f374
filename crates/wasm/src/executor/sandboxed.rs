//! Guests in processes of their own, behind the wall.

use super::known::Known;
use super::pull::{Pages, pull};
use super::review::review;
use super::{CanisterMemory, Code, Committed, Crash, Executor, Seat};
use crate::call::{Call, Ran};
use crate::guest::State;
use crate::process::{CompileLimits, Processes, Spec, Uncompiled, Worker};
use crate::worker::message::{Addresses, Done, Reply, Request, kind};
use casemate_sys::pages::ring::{self, End, Ring};
use casemate_sys::pages::{Runs, Sealed};
use rustix::fd::{AsFd, BorrowedFd};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest compiled module, bytes.
const LONGEST_BUNDLE: u64 = 1 << 30;

/// The most that is told of why a worker gave up, bytes.
const LONGEST_REASON: usize = 4 << 10;

/// Runs guests in workers.
pub struct Sandboxed {
    processes: Processes,
    limits: CompileLimits,
    /// How long a worker may take for one request.
    patience: Duration,
    known: Known,
}

impl Sandboxed {
    /// Ready to start processes. The program's `main` has to have asked for its
    /// [role](crate::process::role) first.
    #[must_use]
    pub fn new(spec: Spec, patience: Duration) -> Self {
        Self {
            processes: Processes::new(spec, None),
            limits: CompileLimits::default(),
            patience,
            known: Known::default(),
        }
    }
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
        let gone = |why: &dyn std::fmt::Display| Crash::Gone(why.to_string());
        let mut worker = self.processes.worker().map_err(|why| gone(&why))?;
        let ring = Ring::new()?;
        let (heap, stable) = (memory.heap.reader()?, memory.stable.reader()?);
        let descriptors = [code.bundle.file().as_fd(), heap.as_fd(), stable.as_fd()];
        let deadline = Instant::now() + self.patience;
        let mut tell = |kind, payload: &[u8], descriptors: &[BorrowedFd<'_>], expected| {
            let control = &mut worker.connection;
            let sent = control.send(kind, payload, descriptors, Some(deadline));
            sent.map_err(|why| gone(&why))?;
            let (frame, _) = control.receive(Some(deadline)).map_err(|why| gone(&why))?;
            match frame.kind {
                found if found == expected => Ok(frame.payload),
                kind::UNOPENED => Err(gone(&quoted(&String::from_utf8_lossy(&frame.payload)))),
                other => Err(gone(&format!("it answered with frame {other}"))),
            }
        };
        tell(kind::OPEN, &state.to_bytes(), &descriptors, kind::SEALED)?;
        let opened = tell(kind::RING, &[], &[ring.as_fd()], kind::OPENED)?;
        let addresses = Addresses::from_bytes(&opened).map_err(|why| gone(&why))?;
        let mut ring = ring.caller()?;
        let pidfd = worker.pidfd().try_clone_to_owned();
        ring.watch(pidfd.map_err(|why| gone(&why))?);
        Ok(Box::new(Bench {
            worker,
            ring,
            addresses,
            code: code.clone(),
            state: state.clone(),
            number: 0,
            open: None,
            patience: self.patience,
            gone: None,
        }))
    }
}

struct Bench {
    worker: Worker,
    ring: End,
    addresses: Addresses,
    code: Arc<Code>,
    /// What is committed.
    state: State,
    number: u64,
    /// Pages of the last call, in the worker's memory.
    open: Option<[Runs; 2]>,
    patience: Duration,
    gone: Option<String>,
}

impl Bench {
    fn ask(&mut self, request: &Request, call: Option<&Call>) -> Result<Done, Crash> {
        if let Some(why) = &self.gone {
            return Err(Crash::Gone(why.clone()));
        }
        if self.open.take().is_some() {
            // The worker takes what it wrote for committed, and it isn't.
            return Err(self.end("what it wrote was not committed"));
        }
        self.worker.note(&name(request));
        self.number += 1;
        let deadline = Instant::now() + self.patience;
        let sent = self.ring.send(&request.to_bytes(self.number), deadline);
        sent.map_err(|why| match why {
            // Nothing was sent, and it isn't the worker's fault.
            ring::Error::TooLong { .. } => Crash::Refused(why.to_string()),
            other => self.end(&other),
        })?;
        let mut frame = Vec::new();
        let received = self.ring.receive(&mut frame, deadline);
        received.map_err(|why| self.end(&why))?;
        let reply = Reply::from_bytes(&frame).map_err(|why| self.end(&why))?;
        if reply.number != self.number {
            return Err(self.end("it answered another request"));
        }
        let done = reply.result.map_err(|why| self.end(&quoted(&why)))?;
        let runs = [&done.heap, &done.stable];
        let reviewed = review(&self.code.profile, &self.state, call, &done.ran, runs);
        reviewed.map_err(|what| self.end(&format!("it answered {what}")))?;
        Ok(done)
    }

    /// Ends the worker: nothing that it says is believed any more.
    fn end(&mut self, why: &(impl std::fmt::Display + ?Sized)) -> Crash {
        self.worker.kill();
        self.worker.wait(Duration::from_secs(1));
        let why = format!("{why}\n{}", self.worker.obituary());
        self.gone = Some(why.clone());
        Crash::Gone(why)
    }

    fn keep(&mut self, done: Done) -> Ran {
        self.open = Some([done.heap, done.stable]);
        done.ran
    }
}

impl Seat for Bench {
    fn initialise(&mut self) -> Result<Ran, Crash> {
        let done = self.ask(&Request::Initialise, None)?;
        Ok(self.keep(done))
    }

    fn run(&mut self, call: &Arc<Call>) -> Result<Ran, Crash> {
        let request = Request::Run(call.clone());
        let done = self.ask(&request, Some(call))?;
        match done.ran.result.is_ok() && call.entry.keeps() {
            true => Ok(self.keep(done)),
            false => Ok(done.ran),
        }
    }

    fn commit(&mut self, ran: &Ran, memory: &mut CanisterMemory) -> Result<Committed, Crash> {
        let Some([heap, stable]) = self.open.take() else {
            return Err(Crash::Gone("there is nothing to commit".to_owned()));
        };
        let memories = [
            Pages {
                address: self.addresses.heap,
                runs: &heap,
                file: &mut memory.heap,
            },
            Pages {
                address: self.addresses.stable,
                runs: &stable,
                file: &mut memory.stable,
            },
        ];
        let pulled = pull(&self.worker, memories);
        if let Err(why) = pulled {
            self.end(&why);
            return Err(why);
        }
        self.state = State {
            globals: ran.globals.clone(),
            heap_pages: ran.heap_pages,
            stable_pages: ran.stable_pages,
        };
        Ok(Committed { heap, stable })
    }

    fn process(&self) -> Option<u32> {
        u32::try_from(self.worker.pid()).ok()
    }

    fn query(&mut self, call: &Arc<Call>) -> Result<Ran, Crash> {
        let request = Request::Query(call.clone());
        Ok(self.ask(&request, Some(call))?.ran)
    }
}

/// What a worker says for people to read: it may be anything.
fn quoted(text: &str) -> String {
    let lines = text.lines().map(|line| line.escape_debug().to_string());
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.truncate(text.floor_char_boundary(LONGEST_REASON));
    text
}

fn name(request: &Request) -> String {
    match request {
        Request::Initialise => "initialise".to_owned(),
        Request::Run(call) | Request::Query(call) => {
            let entry = call
                .entry
                .export()
                .unwrap_or_else(|| "a callback".to_owned());
            format!("{entry}, with {} bytes", call.argument.len())
        }
    }
}
