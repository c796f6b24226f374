//! What the System API knows and collects while a call runs.

use super::trap::Stop;
use crate::call::{Answer, Call, Effects};
use crate::system::{Context, Function};
use std::sync::Arc;
use wasmtime::{AsContextMut, Caller, Global, Memory, StoreContextMut, Val};

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
    /// The count of instructions that are left.
    pub(crate) meter: Option<Global>,
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

/// Takes instructions off what is left.
pub(crate) fn charge(mut caller: impl AsContextMut<Data = Host>, cost: u64) -> Result<(), Stop> {
    let mut store = caller.as_context_mut();
    let Some(meter) = store.data().meter else {
        return Ok(());
    };
    let left = left(&mut store, meter).saturating_sub_unsigned(cost);
    let _ = meter.set(&mut store, Val::I64(left));
    match left < 0 {
        true => Err(Stop::Instructions),
        false => Ok(()),
    }
}

/// Instructions that the call took so far.
pub(crate) fn taken(mut caller: impl AsContextMut<Data = Host>) -> u64 {
    let mut store = caller.as_context_mut();
    let limit = store.data().call.limits.instructions;
    let left = match store.data().meter {
        Some(meter) => left(&mut store, meter),
        None => return 0,
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    u64::try_from(limit.saturating_sub(left)).unwrap_or(0)
}

fn left(store: &mut StoreContextMut<'_, Host>, meter: Global) -> i64 {
    meter.get(store).i64().unwrap_or(0)
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
