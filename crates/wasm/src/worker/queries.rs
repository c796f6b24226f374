//! The threads of a worker that answer queries, each by a ring of its own and with an instance of its
//! own. They are made before there is a guest, since none can be made later.

use super::QUERIES;
use super::life::nothing;
use super::line::Line;
use super::message::{Addresses, Request, Word};
use crate::guest::{Guest, Image, Memories, Mode, State};
use casemate_sys::process;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// A thread's stack, bytes: the guest's, and as much again for what serves it.
const STACK: usize = 2 << 20;

/// What the process ends with when a thread can't go on.
const FAILED: i32 = 1;
/// The same if its code panicked, as of any Rust program.
const PANICKED: i32 = 101;

/// What a thread answers queries with.
pub(super) struct Desk {
    line: Line,
    image: Image,
    memories: Memories,
    /// None before the first query.
    guest: Option<Guest>,
}

/// Makes the threads, which wait for their desks.
pub(super) fn threads() -> std::io::Result<Vec<SyncSender<Desk>>> {
    let spawn = |_| {
        let (sender, receiver) = sync_channel::<Desk>(1);
        let thread = thread::Builder::new().stack_size(STACK);
        let thread = thread.spawn(move || {
            let Ok(mut desk) = receiver.recv() else {
                return;
            };
            // A worker that has lost one of its threads would be waited for.
            let status = catch_unwind(AssertUnwindSafe(|| desk.serve()));
            match status.unwrap_or(PANICKED) {
                0 => {}
                status => process::exit_now(status),
            }
        });
        thread.map(|_| sender)
    };
    (0..QUERIES).map(spawn).collect()
}

impl Desk {
    pub(super) fn new(line: Line, image: &Image, memories: &Memories) -> Self {
        Self {
            line,
            image: image.clone(),
            memories: memories.clone(),
            guest: None,
        }
    }

    fn serve(&mut self) -> i32 {
        while let Some(request) = self.line.next() {
            let word = match self.answer(request) {
                Ok(Some(word)) => word,
                Ok(None) => continue,
                Err(why) => Word::Failed(format!("{why:#}")),
            };
            let is_over = matches!(word, Word::Failed(_));
            if !self.line.say(word) || is_over {
                return FAILED;
            }
        }
        0
    }

    /// The answer, if it is time for one.
    fn answer(&mut self, request: Request) -> wasmtime::Result<Option<Word>> {
        let call = match request {
            Request::Query(state, call) => {
                self.guest(state)?;
                call
            }
            Request::Resume(committed, base, state) => {
                self.guest(committed)?.resume(base, &state)?;
                return Ok(None);
            }
            Request::Put(which, page, bytes) => {
                let page = usize::try_from(page)?;
                self.guest(None)?.put(usize::from(which), page, &bytes)?;
                return Ok(None);
            }
            Request::Forget => {
                self.guest(None)?.forget()?;
                return Ok(None);
            }
            _ => return Err(wasmtime::Error::msg("only queries come here")),
        };
        let Some(guest) = &mut self.guest else {
            return Ok(None);
        };
        let mut done = nothing(guest.run(&call, &mut self.line)?);
        if let Some(left) = guest.left() {
            (done.heap, done.stable) = (left.heap.clone(), left.stable.clone());
            done.at = Some(Addresses {
                heap: guest.heap(0) as u64,
                stable: guest.stable(0) as u64,
            });
        }
        Ok(Some(Word::Done(done)))
    }

    /// This thread's instance, which follows what was committed.
    fn guest(&mut self, state: Option<State>) -> wasmtime::Result<&mut Guest> {
        Ok(match (&mut self.guest, state) {
            (Some(guest), None) => guest,
            (Some(guest), Some(state)) => {
                guest.follow(&state)?;
                guest
            }
            (none, state) => none.insert(Guest::new(
                &self.image,
                &self.memories,
                state.unwrap_or_default(),
                Mode::Query,
            )?),
        })
    }
}
