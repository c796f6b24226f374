//! The instructions of a call, handed out a slice at a time.
//!
//! The counter that the code lessens has what is left of this slice; what is left of the call is kept
//! here. Less than nothing is a debt, which the next slices pay.

use super::host::Host;
use super::trap::Stop;
use crate::call::{Limits, MOST_SLICES, Next, Pace, Pacer, Pause};
use std::ptr::NonNull;
use wasmtime::{AsContext, AsContextMut, Global, StoreContextMut, Val};

/// What of a call isn't handed out yet.
#[derive(Default)]
pub(crate) struct Slices {
    limit: i64,
    slice: i64,
    rest: i64,
    begun: u64,
    pacer: Lent,
}

impl Slices {
    /// Begins a call. What this gives is its first slice.
    ///
    /// # Safety
    /// The pacer isn't used by anybody else until [`end`](Self::end), nor gone.
    pub(crate) unsafe fn begin(&mut self, limits: &Limits, pacer: &mut dyn Pacer) -> i64 {
        self.limit = i64::try_from(limits.instructions).unwrap_or(i64::MAX);
        self.slice = i64::try_from(limits.slice).unwrap_or(i64::MAX).max(1);
        let first = self.limit.min(self.slice);
        self.rest = self.limit - first;
        self.begun = 1;
        // SAFETY: the caller's.
        self.pacer = unsafe { Lent::of(pacer) };
        first
    }

    /// Gives the pacer back.
    pub(crate) fn end(&mut self) {
        self.pacer = Lent::default();
    }

    /// What the call has taken, if so much is left of the slice.
    fn taken(&self, left: i64) -> u64 {
        let left = left.saturating_add(self.rest);
        u64::try_from(self.limit.saturating_sub(left)).unwrap_or(0)
    }

    /// Stops the call for a moment.
    pub(crate) fn pause(&mut self, left: i64, next: Next) -> Result<(), Stop> {
        let pause = Pause {
            slices: self.begun,
            instructions: self.taken(left),
            next,
        };
        match self.pacer.pause(&pause) {
            Pace::Resume => Ok(()),
            Pace::Abort => Err(Stop::Aborted),
        }
    }

    /// What is left after a slice that ended with so much.
    fn next(&mut self, left: i64) -> Result<i64, Stop> {
        if left.saturating_add(self.rest) < 0 {
            return Err(Stop::Instructions);
        }
        if self.begun == MOST_SLICES {
            return Err(Stop::Slices);
        }
        self.pause(left, Next::Slice)?;
        let slice = self.slice.min(self.rest);
        self.rest -= slice;
        self.begun += 1;
        Ok(left.saturating_add(slice))
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
    // Where it is looked next, this slice ends.
    match left.saturating_add(store.data().slices.rest) < 0 {
        true => Err(Stop::Instructions),
        false => Ok(()),
    }
}

/// Instructions that the call took so far.
pub(crate) fn taken(mut caller: impl AsContextMut<Data = Host>) -> u64 {
    let mut store = caller.as_context_mut();
    let Some(meter) = store.data().meter else {
        return 0;
    };
    let left = left(&mut store, meter);
    store.data().slices.taken(left)
}

/// Goes on with the next slice, or with as many as it takes to pay for what was done.
pub(crate) fn next(mut caller: impl AsContextMut<Data = Host>) -> Result<(), Stop> {
    let mut store = caller.as_context_mut();
    let Some(meter) = store.data().meter else {
        return Err(Stop::Instructions);
    };
    let mut left = left(&mut store, meter);
    while left < 0 {
        left = store.data_mut().slices.next(left)?;
    }
    let _ = meter.set(&mut store, Val::I64(left));
    Ok(())
}

/// Stops a call that has ended, before so many pages are copied.
pub(crate) fn pause_before_copy(
    mut caller: impl AsContextMut<Data = Host>,
    pages: u64,
) -> Result<(), Stop> {
    let mut store = caller.as_context_mut();
    let left = match store.as_context().data().meter {
        Some(meter) => left(&mut store, meter),
        None => 0,
    };
    store.data_mut().slices.pause(left, Next::Copy { pages })
}

fn left(store: &mut StoreContextMut<'_, Host>, meter: Global) -> i64 {
    meter.get(store).i64().unwrap_or(0)
}

/// Whoever is asked between slices, for as long as a call runs.
#[derive(Default)]
struct Lent(Option<NonNull<dyn Pacer>>);

// SAFETY: it is used only while a call runs, which is in the thread that lent it.
unsafe impl Send for Lent {}

impl Lent {
    /// # Safety
    /// The pacer isn't used by anybody else as long as this value is, nor gone.
    unsafe fn of(pacer: &mut dyn Pacer) -> Self {
        let pacer = NonNull::from(pacer);
        // SAFETY: only the lifetime changes, which the caller sees to.
        Self(Some(unsafe {
            std::mem::transmute::<NonNull<dyn Pacer + '_>, NonNull<dyn Pacer + 'static>>(pacer)
        }))
    }

    fn pause(&mut self, pause: &Pause) -> Pace {
        match &mut self.0 {
            // SAFETY: it was lent, and is given back when the call ends.
            Some(pacer) => unsafe { pacer.as_mut() }.pause(pause),
            None => Pace::Abort,
        }
    }
}
