//! The worker's half by hand: for tests of what the controller makes of a worker that lies.
//!
//! It gives nobody more than they have, since whoever took over a worker can write any bytes.

use super::message::{Addresses, Reply, Request, Word};

use crate::call::{Call, Pace, Pause, Ran};
use crate::guest::State;
use crate::wire::Writer;

use std::sync::Arc;

pub use super::message::kind;

/// What follows [`kind::OPEN`].
#[must_use]
pub fn state(payload: &[u8]) -> Option<State> {
    State::from_bytes(payload).ok()
}

/// What goes with [`kind::OPENED`].
#[must_use]
pub fn opened(heap: u64, stable: u64) -> Vec<u8> {
    Addresses { heap, stable }.to_bytes()
}

/// A request's number, and its call.
#[must_use]
pub fn request(frame: &[u8]) -> Option<(u64, Option<Call>)> {
    let (number, request) = Request::from_bytes(frame).ok()?;
    Some(match request {
        Request::Initialise => (number, None),
        Request::Run(call) | Request::Query(_, call) => (number, Arc::into_inner(call)),
        Request::Go(_) | Request::Resume(..) | Request::Put(..) | Request::Forget => return None,
    })
}

/// Whether a request is one that is answered.
#[must_use]
pub fn is_answered(frame: &[u8]) -> bool {
    let request = Request::from_bytes(frame);
    !matches!(
        request,
        Ok((_, Request::Resume(..) | Request::Put(..) | Request::Forget))
    )
}

/// Whether a call that waits goes on.
#[must_use]
pub fn goes_on(frame: &[u8]) -> Option<bool> {
    match Request::from_bytes(frame).ok()?.1 {
        Request::Go(pace) => Some(pace == Pace::Resume),
        _ => None,
    }
}

/// Where a call waits.
#[must_use]
pub fn paused(number: u64, pause: Pause) -> Vec<u8> {
    let word = Word::Paused(pause);
    Reply { number, word }.to_bytes()
}

/// An answer. Runs of pages are as they are said: those left out before, and how many there are.
#[must_use]
pub fn reply(number: u64, ran: &Ran, heap: &[(u64, u64)], stable: &[(u64, u64)]) -> Vec<u8> {
    answer(number, None, ran, heap, stable)
}

/// What a composite query leaves, at these addresses.
#[must_use]
pub fn left(
    number: u64,
    at: [u64; 2],
    ran: &Ran,
    heap: &[(u64, u64)],
    stable: &[(u64, u64)],
) -> Vec<u8> {
    answer(number, Some(at), ran, heap, stable)
}

fn answer(
    number: u64,
    at: Option<[u64; 2]>,
    ran: &Ran,
    heap: &[(u64, u64)],
    stable: &[(u64, u64)],
) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u64(number);
    match at {
        None => writer.u8(0),
        Some([heap, stable]) => writer.u8(3).u64(heap).u64(stable),
    };
    writer.bytes(&ran.to_bytes());
    runs(&mut writer, heap);
    runs(&mut writer, stable);
    writer.finish()
}

fn runs(writer: &mut Writer, said: &[(u64, u64)]) {
    writer.count(said.len());
    for (gap, length) in said {
        writer.short(*gap).short(*length);
    }
}
