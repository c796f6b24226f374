//! What a call has taken so far.

use super::{enter, function};
use crate::guest::host::Host;
use crate::guest::slices::taken;
use crate::guest::trap::Stop;
use wasmtime::{Caller, Linker};

/// Instructions of this call.
const OF_CALL: u32 = 0;
/// Instructions of this call and of those before it that it goes on with.
const OF_CONTEXT: u32 = 1;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("performance_counter")?;
    linker.func_wrap(
        "ic0",
        "performance_counter",
        move |mut caller: Caller<'_, Host>, kind: u32| {
            enter(&mut caller, own)?;
            let now = taken(&mut caller);
            let before = caller.data().call.instructions_before;
            wasmtime::Result::<u64>::Ok(match kind {
                OF_CALL => now,
                OF_CONTEXT => before.saturating_add(now),
                other => {
                    let why = format!("there is no counter {other}");
                    return Err(Stop::contract(own, why).into());
                }
            })
        },
    )?;
    Ok(())
}
