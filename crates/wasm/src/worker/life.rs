//! A worker's life, and a compiler's.

use super::QUERIES;
use super::line::Line;
use super::message::{Addresses, Done, Request, Word, kind};
use super::queries::{self, Desk};
use crate::call::Ran;
use crate::guest::{self, Bundle, Guest, Image, Machine, Memories, Mode, State};
use crate::module::{self, Limits};
use crate::process::{Confined, Doors, Job, Runtime};
use crate::wire::Connection;
use casemate_core::error::{Error, Result};
use casemate_sys::pages::ring::Ring;
use casemate_sys::pages::sealed::SealedBytes;
use casemate_sys::pages::{PAGE, PageMap, Reader, Runs, Sealed, Tracker};
use rustix::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// The longest compiled module, bytes.
const LONGEST_BUNDLE: u64 = 1 << 30;
/// The longest module, bytes.
const LONGEST_MODULE: u64 = 100 << 20;
/// What a worker needs beside its guest's memories, bytes.
const OWN: u64 = 256 << 20;

/// What runs in the processes of the Wasm wall: canisters.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wasm;

impl Runtime for Wasm {
    type Shared = Machine;
    type Opened = Tracker;

    fn prepare(&self, _: &[u8]) -> Result<Machine> {
        Machine::new().map_err(|why| Error::rule("prepare the Wasm runtime", format!("{why:#}")))
    }

    fn open(&self, _: &Machine, doors: &Doors<'_>) -> Result<Tracker> {
        let failed = |why: casemate_sys::pages::Error| Error::rule("track pages", why.to_string());
        Ok(Tracker::over(
            PageMap::over(doors.pagemap()?).map_err(failed)?,
        ))
    }

    fn keeps<'a>(&self, opened: &'a Tracker) -> Vec<BorrowedFd<'a>> {
        opened.descriptors()
    }

    fn work(&self, machine: &Machine, tracker: Tracker, mut worker: Confined) -> i32 {
        // While nobody waits for it; none can be made later.
        let threads = queries::threads();
        // Nobody asked for a guest: it was one of a pool that isn't needed any more.
        let Ok((frame, descriptors)) = worker.control.receive(None) else {
            return 0;
        };
        let opening = match frame.kind {
            kind::OPEN => Opening::from(&frame.payload, descriptors),
            other => Err(format!("frame {other} isn't one that a worker begins with")),
        };
        let opened = opening.and_then(|opening| opening.image(machine));
        let (opening, image, threads) = match opened.and_then(|(opening, image)| {
            Ok((opening, image, threads.map_err(|why| why.to_string())?))
        }) {
            Ok(opened) => opened,
            Err(why) => {
                let _ = worker
                    .control
                    .send(kind::UNOPENED, why.as_bytes(), &[], None);
                return 1;
            }
        };
        let data = opening.private_memory();
        let sealed = worker.limit_data(data).and_then(|()| worker.seal());
        let Ok(mut sealed) = sealed else {
            // What is left of the worker can't be trusted to say so.
            return 1;
        };
        // Only now: they are files that this process can write, and before they could have been
        // mapped as code.
        let Some(rings) = rings(&mut sealed.control) else {
            return 1;
        };
        let mut life = match opening.begin(image, tracker, rings, &threads) {
            Ok(life) => life,
            Err(why) => {
                let _ = sealed
                    .control
                    .send(kind::UNOPENED, why.as_bytes(), &[], None);
                return 1;
            }
        };
        let addresses = life.addresses().to_bytes();
        match sealed.control.send(kind::OPENED, &addresses, &[], None) {
            Ok(()) => life.live(),
            Err(_) => 0,
        }
    }

    fn compile(&self, _: &Machine, job: &Job) -> Result<(), String> {
        let text = |why: &dyn std::fmt::Display| why.to_string();
        let bytes = SealedBytes::of(&job.input, LONGEST_MODULE).map_err(|why| text(&why))?;
        let prepared = module::prepare(&bytes, &Limits::default()).map_err(|why| text(&why))?;
        let bundle = guest::compile(&prepared).map_err(|why| format!("{why:#}"))?;
        let mut rest = &bundle[..];
        while !rest.is_empty() {
            let written = rustix::io::write(&job.output, rest).map_err(|why| text(&why))?;
            rest = &rest[written..];
        }
        Ok(())
    }
}

/// What calls come by: updates, and queries.
fn rings(control: &mut Connection) -> Option<[Ring; 1 + QUERIES]> {
    control.send(kind::SEALED, &[], &[], None).ok()?;
    let (frame, descriptors) = control.receive(None).ok()?;
    let rings: Result<Vec<_>, _> = descriptors.into_iter().map(Ring::adopt).collect();
    let rings = rings.ok().filter(|_| frame.kind == kind::RINGS)?;
    rings.try_into().ok()
}

/// What a worker is to be.
struct Opening {
    state: State,
    bundle: Arc<Bundle>,
    heap: Reader,
    stable: Reader,
}

impl Opening {
    fn from(payload: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, String> {
        let state = State::from_bytes(payload).map_err(|why| why.to_string())?;
        let [bundle, heap, stable]: [OwnedFd; 3] = descriptors
            .try_into()
            .map_err(|found: Vec<_>| format!("{} descriptors instead of 3", found.len()))?;
        let pages = |why: casemate_sys::pages::Error| why.to_string();
        let bundle = Sealed::adopt(bundle, LONGEST_BUNDLE).map_err(pages)?;
        Ok(Self {
            state,
            bundle: Arc::new(Bundle::of(bundle).map_err(|why| why.to_string())?),
            heap: Reader::adopt(heap).map_err(pages)?,
            stable: Reader::adopt(stable).map_err(pages)?,
        })
    }

    /// Maps the code, which can't be done any more once the worker is sealed.
    fn image(self, machine: &Machine) -> Result<(Self, Image), String> {
        // SAFETY: the controller says that it is what the compiler of this build made. If that was
        // taken over by its guest, then so is this worker, for which it is confined.
        let image = unsafe { Image::new(machine, self.bundle.clone()) };
        image
            .map(|image| (self, image))
            .map_err(|why| format!("{why:#}"))
    }

    /// What its guests may write to, bytes: the memories of all instances at most.
    fn private_memory(&self) -> u64 {
        let pages = self.heap.pages().saturating_add(self.stable.pages()) as u64;
        let instances = 1 + QUERIES as u64;
        pages
            .saturating_mul(instances * PAGE as u64)
            .saturating_add(OWN)
    }

    fn begin(
        self,
        image: Image,
        tracker: Tracker,
        [ring, rings @ ..]: [Ring; 1 + QUERIES],
        threads: &[SyncSender<Desk>],
    ) -> Result<Life, String> {
        let memories = Memories {
            heap: Arc::new(self.heap),
            stable: Arc::new(self.stable),
            tracker: Arc::new(tracker),
        };
        for (ring, thread) in rings.into_iter().zip(threads) {
            let line = Line::over(ring.callee().map_err(|why| why.to_string())?);
            let desk = Desk::new(line, &image, &memories);
            thread.send(desk).map_err(|why| why.to_string())?;
        }
        let text = |why: wasmtime::Error| format!("{why:#}");
        let update = Guest::new(&image, &memories, self.state, Mode::Update).map_err(text)?;
        Ok(Life {
            line: Line::over(ring.callee().map_err(|why| why.to_string())?),
            update,
        })
    }
}

/// A worker that has a guest.
struct Life {
    line: Line,
    update: Guest,
}

impl Life {
    fn addresses(&self) -> Addresses {
        Addresses {
            heap: self.update.heap(0) as u64,
            stable: self.update.stable(0) as u64,
        }
    }

    fn live(&mut self) -> i32 {
        while let Some(request) = self.line.next() {
            let word = self.answer(request);
            let word = word.unwrap_or_else(|why| Word::Failed(format!("{why:#}")));
            let is_over = matches!(word, Word::Failed(_));
            if !self.line.say(word) || is_over {
                return 1;
            }
        }
        0
    }

    fn answer(&mut self, request: Request) -> wasmtime::Result<Word> {
        let line = &mut self.line;
        let done = match request {
            Request::Initialise => {
                let ran = self.update.initialise()?;
                self.written(ran)?
            }
            Request::Run(call) => {
                let ran = self.update.run(&call, line)?;
                match call.entry.keeps() && ran.result.is_ok() {
                    true => self.written(ran)?,
                    false => nothing(ran),
                }
            }
            Request::Query(..) => return Err(wasmtime::Error::msg("queries go elsewhere")),
            Request::Go(_) => return Err(wasmtime::Error::msg("nothing waits")),
            Request::Resume(..) | Request::Put(..) | Request::Forget => {
                return Err(wasmtime::Error::msg("only queries go on"));
            }
        };
        Ok(Word::Done(done))
    }

    /// With the pages that were written, which are committed when the next request comes.
    fn written(&mut self, ran: Ran) -> wasmtime::Result<Done> {
        let written = self.update.commit(&ran)?;
        Ok(Done {
            ran,
            heap: written.heap,
            stable: written.stable,
            at: None,
        })
    }
}

pub(super) fn nothing(ran: Ran) -> Done {
    Done {
        ran,
        heap: Runs::default(),
        stable: Runs::default(),
        at: None,
    }
}
