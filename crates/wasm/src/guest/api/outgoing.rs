//! Calls of other canisters: begun, filled, and given to whoever runs this one. They are made if
//! the call that made them succeeds.

use super::cycles::wide;
use super::{Word, enter, function, given};
use crate::call::{Callback, Outgoing, Principal};
use crate::guest::host::Host;
use crate::guest::trap::Stop;
use wasmtime::{Caller, Linker};

/// The longest name of a method, bytes.
const LONGEST_NAME: u64 = 20_000;
/// The longest argument, bytes.
const LONGEST_ARGUMENT: u64 = 10 << 20;
/// The longest time that a call with a best-effort response waits, seconds.
const LONGEST_WAIT: u32 = 300;
/// Calls of one call.
const MOST: usize = 500;
/// Calls of one canister that wait for an answer of the same other one.
const MOST_QUEUED: usize = 500;

pub(super) fn link<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    begin::<W>(linker)?;
    let own = function("call_on_cleanup")?;
    linker.func_wrap(
        "ic0",
        "call_on_cleanup",
        move |mut caller: Caller<'_, Host>, function: W, environment: W| {
            enter(&mut caller, own)?;
            let Some(begun) = &mut caller.data_mut().effects.begun else {
                return Err(Stop::contract(own, "no call was begun").into());
            };
            if begun.cleanup.is_some() {
                return Err(Stop::contract(own, "it was called before").into());
            }
            begun.cleanup = Some(Callback {
                function: function.number(),
                environment: environment.number(),
            });
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    let own = function("call_data_append")?;
    linker.func_wrap(
        "ic0",
        "call_data_append",
        move |mut caller: Caller<'_, Host>, from: W, size: W| {
            enter(&mut caller, own)?;
            let Some(begun) = &caller.data().effects.begun else {
                return Err(Stop::contract(own, "no call was begun").into());
            };
            let room = LONGEST_ARGUMENT.saturating_sub(begun.argument.len() as u64);
            let bytes = given(&mut caller, own, from, size, room)?;
            if let Some(begun) = &mut caller.data_mut().effects.begun {
                begun.argument.extend(bytes);
            }
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    ways(linker)?;
    perform(linker)
}

fn begin<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("call_new")?;
    linker.func_wrap(
        "ic0",
        "call_new",
        move |mut caller: Caller<'_, Host>,
              callee: W,
              callee_size: W,
              name: W,
              name_size: W,
              reply: W,
              reply_environment: W,
              reject: W,
              reject_environment: W| {
            enter(&mut caller, own)?;
            let callee = given(&mut caller, own, callee, callee_size, u64::MAX)?;
            let callee =
                Principal::new(&callee).map_err(|why| Stop::contract(own, why.to_string()))?;
            let name = given(&mut caller, own, name, name_size, LONGEST_NAME)?;
            let method = String::from_utf8(name)
                .map_err(|_| Stop::contract(own, "the method's name isn't UTF-8"))?;
            // One that was begun before and never performed is forgotten.
            caller.data_mut().effects.begun = Some(Outgoing {
                callee,
                method,
                argument: Vec::new(),
                cycles: 0,
                timeout: None,
                on_reply: Callback {
                    function: reply.number(),
                    environment: reply_environment.number(),
                },
                on_reject: Callback {
                    function: reject.number(),
                    environment: reject_environment.number(),
                },
                cleanup: None,
            });
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    Ok(())
}

fn ways(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("call_with_best_effort_response")?;
    linker.func_wrap(
        "ic0",
        "call_with_best_effort_response",
        move |mut caller: Caller<'_, Host>, seconds: u32| {
            enter(&mut caller, own)?;
            let Some(begun) = &mut caller.data_mut().effects.begun else {
                return Err(Stop::contract(own, "no call was begun").into());
            };
            if begun.timeout.is_some() {
                return Err(Stop::contract(own, "it was called before").into());
            }
            begun.timeout = Some(seconds.min(LONGEST_WAIT));
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    let own = function("call_cycles_add")?;
    linker.func_wrap(
        "ic0",
        "call_cycles_add",
        move |mut caller: Caller<'_, Host>, cycles: u64| {
            enter(&mut caller, own)?;
            wasmtime::Result::<()>::Ok(caller.data_mut().attach(own, u128::from(cycles))?)
        },
    )?;
    let own = function("call_cycles_add128")?;
    linker.func_wrap(
        "ic0",
        "call_cycles_add128",
        move |mut caller: Caller<'_, Host>, high: u64, low: u64| {
            enter(&mut caller, own)?;
            wasmtime::Result::<()>::Ok(caller.data_mut().attach(own, wide(high, low))?)
        },
    )?;
    Ok(())
}

fn perform(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("call_perform")?;
    linker.func_wrap(
        "ic0",
        "call_perform",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            let effects = &mut caller.data_mut().effects;
            let Some(begun) = effects.begun.take() else {
                return Err(Stop::contract(own, "no call was begun").into());
            };
            let same = |call: &&Outgoing| call.callee == begun.callee;
            let made = effects.calls.iter().filter(same).count();
            let is_full = effects.calls.len() >= MOST;
            let host = caller.data_mut();
            let before = host
                .call
                .queued
                .iter()
                .find(|(who, _)| *who == begun.callee);
            let before = before.map_or(0, |(_, calls)| *calls as usize);
            if is_full || made + before >= MOST_QUEUED {
                // The queue is full for now (reject code 2, SYS_TRANSIENT).
                return wasmtime::Result::<i32>::Ok(2);
            }
            host.effects.calls.push(begun);
            wasmtime::Result::<i32>::Ok(0)
        },
    )?;
    Ok(())
}
