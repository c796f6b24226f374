//! What the System API knows and collects while a call runs.

use super::slices::{Slices, charge};
use super::trap::Stop;
use crate::call::{Answer, Call, Effects};
use crate::system::{Context, Function};
use std::sync::Arc;
use wasmtime::{Caller, Global, Memory};

/// What is printed in one call, at most, bytes.
const MOST_LOGGED: usize = 1 << 20;

/// The host's half of a store.
pub(crate) struct Host {
    /// The call that runs.
    pub(crate) call: Arc<Call>,
    /// What may be called in it.
    pub(crate) context: Context,
    /// Its reply, as far as it has been put together.
    pub(crate) reply: Vec<u8>,
    /// Its answer, once it has one.
    pub(crate) answer: Option<Answer>,
    /// What is to come of it.
    pub(crate) effects: Effects,
    /// Bytes that heap and stable memory may grow by still.
    pub(crate) left: u64,
    /// By how many pages of WebAssembly they have grown.
    pub(crate) grown: u64,
    logged: usize,
    /// The module's memory, if it has one.
    pub(crate) heap: Option<Memory>,
    /// The count of instructions that are left of this slice.
    pub(crate) meter: Option<Global>,
    /// What is left beside it.
    pub(crate) slices: Slices,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            call: Arc::new(Call::nothing()),
            context: Context::Start,
            reply: Vec::new(),
            answer: None,
            effects: Effects::default(),
            left: 0,
            grown: 0,
            logged: 0,
            heap: None,
            meter: None,
            slices: Slices::default(),
        }
    }

    /// Turns to another call.
    pub(crate) fn begin(&mut self, call: Arc<Call>) {
        self.context = call.entry.context();
        self.left = call.limits.grows_by;
        self.grown = 0;
        self.call = call;
        self.reply.clear();
        self.answer = None;
        self.effects = Effects::default();
        self.logged = 0;
    }

    /// Says that a system call is made; not every context allows each.
    pub(crate) fn enter(&self, function: &'static Function) -> Result<(), Stop> {
        match function.is_legal(self.context) {
            true => Ok(()),
            false => Err(Stop::contract(
                function,
                format!("it can't be called in {}", self.context.name()),
            )),
        }
    }

    /// Keeps a line that was printed, as far as there is room.
    pub(crate) fn log(&mut self, text: &[u8]) {
        let room = MOST_LOGGED.saturating_sub(self.logged);
        if room == 0 {
            return;
        }
        let text = &text[..text.len().min(room)];
        self.logged += text.len().max(1);
        self.effects.logs.push(crate::call::Log {
            time: self.call.time,
            text: text.to_vec(),
        });
    }
}

/// A window of the heap, after its bounds were checked and its bytes paid for.
pub(crate) fn window<'a>(
    caller: &'a mut Caller<'_, Host>,
    function: &'static Function,
    address: u64,
    size: u64,
) -> Result<(&'a mut [u8], &'a mut Host), Stop> {
    charge(&mut *caller, size)?;
    let out = || {
        Stop::contract(
            function,
            format!("{size} bytes at {address} of the heap are beyond its end"),
        )
    };
    let Some(heap) = caller.data().heap else {
        return match size {
            0 => Ok((&mut [], caller.data_mut())),
            _ => Err(out()),
        };
    };
    let (bytes, host) = heap.data_and_store_mut(caller);
    let start = usize::try_from(address).map_err(|_| out())?;
    let end = usize::try_from(size)
        .ok()
        .and_then(|size| start.checked_add(size));
    let window = end
        .and_then(|end| bytes.get_mut(start..end))
        .ok_or_else(out)?;
    Ok((window, host))
}
