//! What controller and worker say to each other.

use crate::call::{Call, Next, Pace, Pause, Ran, Value};
use crate::guest::State;
use crate::wire::{Malformed, Reader, Writer};
use casemate_sys::pages::{Run, Runs};
use std::sync::Arc;

/// Kinds of frames on the control socket.
pub mod kind {
    /// Be this canister.
    pub const OPEN: u16 = 1;
    /// No code is mapped any more.
    pub const SEALED: u16 = 4;
    /// By these, calls come: updates by the first, queries by the others.
    pub const RINGS: u16 = 5;
    /// It is that canister.
    pub const OPENED: u16 = 2;
    /// It can't be, and why.
    pub const UNOPENED: u16 = 3;
}

/// Where a worker has its guest's memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) heap: u64,
    pub(crate) stable: u64,
}

impl Addresses {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u64(self.heap).u64(self.stable);
        writer.finish()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let addresses = Self {
            heap: reader.u64("an address")?,
            stable: reader.u64("an address")?,
        };
        reader.end().map(|()| addresses)
    }
}

impl State {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .list(&self.globals, |writer, value| value.write(writer))
            .u64(self.heap_pages)
            .u64(self.stable_pages);
        writer.finish()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(bytes);
        let state = Self {
            globals: reader.list("globals", Value::read)?,
            heap_pages: reader.u64("a size")?,
            stable_pages: reader.u64("a size")?,
        };
        reader.end().map(|()| state)
    }
}

/// What a worker is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Put the module's data into the heap.
    Initialise,
    /// Run a call that may change things. Whatever the last one wrote is committed.
    Run(Arc<Call>),
    /// Run a call of which nothing is kept, on what is committed: its globals and sizes, if they
    /// aren't those that were told last.
    Query(Option<State>, Arc<Call>),
    /// What becomes of the call that waits.
    Go(Pace),
    /// Become what a composite query left, but for its pages: what is committed, as of
    /// [`Query`](Self::Query), the sizes that the query began with, and how it was. Not answered, nor
    /// is what follows, up to a query.
    Resume(Option<State>, [u64; 2], State),
    /// Pages of it: of the heap or (1) of stable memory, from which on, and what they hold.
    Put(u8, u64, Vec<u8>),
    /// What the last call left was taken. Not answered either.
    Forget,
}

impl Request {
    pub(crate) fn to_bytes(&self, number: u64) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u64(number);
        match self {
            Self::Initialise => {
                writer.u8(0);
            }
            Self::Run(call) => {
                writer.u8(1);
                writer.raw(&call.to_bytes());
            }
            Self::Query(state, call) => {
                writer.u8(2).option(state.as_ref(), |writer, state| {
                    writer.bytes(&state.to_bytes());
                });
                writer.raw(&call.to_bytes());
            }
            Self::Go(pace) => {
                writer.u8(3).bool(*pace == Pace::Resume);
            }
            Self::Resume(committed, [heap, stable], state) => {
                writer.u8(4).option(committed.as_ref(), |writer, state| {
                    writer.bytes(&state.to_bytes());
                });
                writer.u64(*heap).u64(*stable).raw(&state.to_bytes());
            }
            Self::Put(which, page, bytes) => {
                writer.u8(5).u8(*which).u64(*page).raw(bytes);
            }
            Self::Forget => {
                writer.u8(6);
            }
        }
        writer.finish()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<(u64, Self), Malformed> {
        let mut reader = Reader::new(bytes);
        let number = reader.u64("a number")?;
        let kind = reader.u8("a request")?;
        let call = |reader: &mut Reader<'_>| Call::from_bytes(reader.rest()).map(Arc::new);
        let request = match kind {
            0 => Self::Initialise,
            1 => Self::Run(call(&mut reader)?),
            2 => {
                let state = committed(&mut reader)?;
                Self::Query(state, call(&mut reader)?)
            }
            3 => {
                let pace = match reader.bool("whether it goes on")? {
                    true => Pace::Resume,
                    false => Pace::Abort,
                };
                reader.end()?;
                Self::Go(pace)
            }
            4 => {
                let committed = committed(&mut reader)?;
                let base = [reader.u64("a size")?, reader.u64("a size")?];
                Self::Resume(committed, base, State::from_bytes(reader.rest())?)
            }
            5 => {
                let (which, page) = (reader.u8("a memory")?, reader.u64("a page")?);
                Self::Put(which, page, reader.rest().to_vec())
            }
            6 => {
                reader.end()?;
                Self::Forget
            }
            _ => return Err(reader.malformed("a request")),
        };
        Ok((number, request))
    }
}

/// Globals and sizes of what is committed, if they are said.
fn committed(reader: &mut Reader<'_>) -> Result<Option<State>, Malformed> {
    reader.option("whether there is a state", |reader| {
        State::from_bytes(reader.bytes_within(usize::MAX, "a state")?)
    })
}

/// What a worker answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The request's.
    pub(crate) number: u64,
    pub(crate) word: Word,
}

/// What is said of a request.
#[derive(Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the large kind, and none is kept"
)]
pub(crate) enum Word {
    /// This came of it.
    Done(Done),
    /// The runtime failed.
    Failed(String),
    /// It waits for [`Request::Go`].
    Paused(Pause),
}

/// What came of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) ran: Ran,
    pub(crate) heap: Runs,
    pub(crate) stable: Runs,
    /// Where these pages are, if they aren't the updates': those of a query that goes on.
    pub(crate) at: Option<Addresses>,
}

impl Reply {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u64(self.number);
        match &self.word {
            Word::Done(done) => {
                match done.at {
                    None => writer.u8(0),
                    Some(at) => writer.u8(3).u64(at.heap).u64(at.stable),
                };
                writer.bytes(&done.ran.to_bytes());
                write_runs(&mut writer, &done.heap);
                write_runs(&mut writer, &done.stable);
            }
            Word::Failed(why) => {
                writer.u8(1).text(why);
            }
            Word::Paused(pause) => {
                writer.u8(2).u64(pause.slices).u64(pause.instructions);
                let pages = match pause.next {
                    Next::Slice => None,
                    Next::Copy { pages } => Some(pages),
                };
                writer.option(pages, |writer, pages| {
                    writer.u64(pages);
                });
            }
        }
        writer.finish()
    }

    /// From bytes, which may be anybody's.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(bytes);
        let number = reader.u64("a number")?;
        let word = match reader.u8("an outcome")? {
            kind @ (0 | 3) => Word::Done(Done {
                at: match kind {
                    0 => None,
                    _ => Some(Addresses {
                        heap: reader.u64("an address")?,
                        stable: reader.u64("an address")?,
                    }),
                },
                ran: Ran::from_bytes(&reader.bytes("an outcome")?)?,
                heap: read_runs(reader)?,
                stable: read_runs(reader)?,
            }),
            1 => Word::Failed(reader.text("an error")?),
            2 => Word::Paused(Pause {
                slices: reader.u64("slices")?,
                instructions: reader.u64("instructions")?,
                next: match reader.option("whether it is copied", |reader| reader.u64("pages"))? {
                    None => Next::Slice,
                    Some(pages) => Next::Copy { pages },
                },
            }),
            _ => return Err(reader.malformed("an outcome")),
        };
        reader.end().map(|()| Self { number, word })
    }
}

/// Runs in order, each as the pages before it and its own, in 7 bits a byte (LEB128).
pub(crate) fn write_runs(writer: &mut Writer, runs: &Runs) {
    writer.count(runs.as_slice().len());
    let mut end = 0;
    for run in runs.as_slice() {
        writer
            .short((run.start - end) as u64)
            .short(run.len() as u64);
        end = run.end;
    }
}

pub(crate) fn read_runs(reader: &mut Reader<'_>) -> Result<Runs, Malformed> {
    let count = reader.count("runs")?;
    let mut runs = Runs::default();
    let mut end = 0_usize;
    for number in 0..count {
        let mut pages = || {
            let pages = usize::try_from(reader.short("pages")?).ok();
            pages.ok_or(reader.malformed("pages"))
        };
        let (gap, length) = (pages()?, pages()?);
        // Runs that touch would be one.
        if length == 0 || gap == 0 && number > 0 {
            return Err(reader.malformed("a run of pages"));
        }
        let start = end.checked_add(gap);
        let next = start.and_then(|start| start.checked_add(length));
        let (Some(start), Some(next)) = (start, next) else {
            return Err(reader.malformed("a run of pages"));
        };
        runs.extend([Run { start, end: next }]);
        end = next;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_come_back(
            list in prop::collection::vec((0..1_000_000_usize, 1..300_usize), 0..50)
        ) {
            let written: Runs = list.into_iter().map(|(start, count)| Run { start, end: start + count }).collect();
            let mut writer = Writer::default();
            write_runs(&mut writer, &written);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(read_runs(&mut reader).unwrap(), written);
            prop_assert!(reader.end().is_ok());
        }

        #[test]
        fn anything_is_refused_or_comes_back(noise in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(reply) = Reply::from_bytes(&noise) {
                prop_assert_eq!(reply.to_bytes(), noise.clone());
            }
            let _ = Request::from_bytes(&noise);
            let mut reader = Reader::new(&noise);
            if let Ok(found) = read_runs(&mut reader) {
                prop_assert!(found.as_slice().is_sorted_by(|a, b| a.end < b.start));
            }
        }
    }

    /// Whatever is in it: pages that were written here and there take a few bytes each.
    #[test]
    fn a_page_is_told_by_its_number() {
        let written: Runs = (0..10_000)
            .map(|page| Run {
                start: 100 * page,
                end: 100 * page + 1 + page % 2,
            })
            .collect();
        let pages = written.pages();
        let mut writer = Writer::default();
        write_runs(&mut writer, &written);
        let bytes = writer.finish().len();
        assert!(bytes <= 8 + 2 * pages, "{bytes} bytes for {pages} pages");
    }

    #[test]
    fn requests_and_states_come_back() {
        let call = Arc::new(Call::nothing());
        for request in [
            Request::Initialise,
            Request::Run(call.clone()),
            Request::Query(None, call.clone()),
            Request::Query(Some(State::default()), call),
            Request::Go(Pace::Resume),
            Request::Go(Pace::Abort),
            Request::Resume(None, [1, 2], State::default()),
            Request::Resume(Some(State::default()), [1, 2], State::default()),
            Request::Put(1, 7, vec![9; 5000]),
            Request::Forget,
        ] {
            let found = Request::from_bytes(&request.to_bytes(7)).unwrap();
            assert_eq!(found, (7, request));
        }
        for next in [Next::Slice, Next::Copy { pages: 9 }] {
            let word = Word::Paused(Pause {
                slices: 3,
                instructions: 4,
                next,
            });
            let reply = Reply { number: 7, word };
            assert_eq!(Reply::from_bytes(&reply.to_bytes()), Ok(reply));
        }
        let state = State {
            globals: vec![Value::I64(-1)],
            heap_pages: 3,
            stable_pages: 4,
        };
        assert_eq!(State::from_bytes(&state.to_bytes()), Ok(state));
        let addresses = Addresses { heap: 1, stable: 2 };
        assert_eq!(Addresses::from_bytes(&addresses.to_bytes()), Ok(addresses));
    }
}
