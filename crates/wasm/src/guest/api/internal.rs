//! What instrumented code asks of its host.

use crate::guest::host::Host;
use crate::guest::slices;
use crate::guest::trap::Stop;
use crate::module::abi;
use wasmtime::{Caller, Linker};

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        abi::HOOKS,
        abi::OUT_OF_INSTRUCTIONS,
        |caller: Caller<'_, Host>| -> wasmtime::Result<()> { Ok(slices::next(caller)?) },
    )?;
    // A guest that is told of no memory mostly gives up without saying why: the call ends here, with
    // the reason. Stable memory is asked for by those who look at the answer.
    linker.func_wrap(
        abi::HOOKS,
        abi::GROW_HEAP,
        |mut caller: Caller<'_, Host>, delta: i64, before: i64| {
            let host = caller.data_mut();
            match host.grow(u64::try_from(delta).unwrap_or(u64::MAX)) {
                true => wasmtime::Result::<i32>::Ok(1),
                false => Err(host.no_memory(delta, before).into()),
            }
        },
    )?;
    linker.func_wrap(
        abi::HOOKS,
        abi::GROW_STABLE,
        |mut caller: Caller<'_, Host>, delta: i64, _: i64| {
            let pages = u64::try_from(delta).unwrap_or(u64::MAX);
            i32::from(caller.data_mut().grow(pages))
        },
    )?;
    linker.func_wrap(
        abi::HOOKS,
        abi::INTERNAL_TRAP,
        |caller: Caller<'_, Host>, code: i32| -> wasmtime::Result<()> {
            Err(internal(caller.data(), code).into())
        },
    )?;
    Ok(())
}

impl Host {
    /// Books growth, in pages of WebAssembly; false if there is no room.
    fn grow(&mut self, pages: u64) -> bool {
        let Some(bytes) = pages.checked_mul(abi::WASM_PAGE) else {
            return false;
        };
        let Some(left) = self.left.checked_sub(bytes) else {
            return false;
        };
        self.left = left;
        self.grown += pages;
        true
    }

    /// Why the heap can't grow.
    fn no_memory(&self, delta: i64, before: i64) -> Stop {
        let limits = &self.call.limits;
        // It was the smaller of the two at first.
        let room = self.left + self.grown * abi::WASM_PAGE;
        Stop::Memory(match room < limits.grows_by {
            true => format!(
                "the heap would grow from {before} pages by {delta}, and heap and stable memory may have {} bytes",
                limits.memory
            ),
            false => format!(
                "the heap would grow from {before} pages by {delta}, and {} bytes are left for all canisters",
                limits.grows_by
            ),
        })
    }
}

fn internal(host: &Host, code: i32) -> Stop {
    let limits = &host.call.limits;
    let stable = |why: &str| Stop::Contract("stable memory", why.to_owned());
    match abi::Stop::from_code(code) {
        Some(abi::Stop::StableTooBigFor32Bit) => {
            stable("it is above 4 GiB, which 32-bit functions can't address")
        }
        Some(abi::Stop::StableOutOfBounds) => stable("beyond its end"),
        Some(abi::Stop::HeapOutOfBounds) => stable("the bytes in the heap are beyond its end"),
        Some(abi::Stop::StableWritesExceeded) => Stop::Memory(format!(
            "more than {} pages of stable memory written in one call",
            limits.stable_writes
        )),
        Some(abi::Stop::StableReadsExceeded) => Stop::Memory(format!(
            "more than {} pages of stable memory read in one call",
            limits.stable_reads
        )),
        Some(abi::Stop::GrowFailed) => Stop::Memory("it could not be made larger".to_owned()),
        None => Stop::Contract("internal_trap", format!("unknown code {code}")),
    }
}
