//! The canister itself, the clock, and what it says.

use super::{Word, blob, enter, function, given};
use crate::call::Principal;
use crate::guest::host::Host;
use crate::guest::slices::charge;
use crate::guest::trap::Stop;
use crate::system::{Context, Function};
use wasmtime::{Caller, Linker};

/// What can be certified, bytes.
const MOST_CERTIFIED: u64 = 32;
/// The longest line that is printed, bytes.
const LONGEST_LINE: u64 = 32 << 10;
/// The longest name of an environment variable, bytes.
const LONGEST_VARIABLE: u64 = 128;
/// Instructions for a byte that is printed.
const PRINTED: u64 = 50;

pub(super) fn link<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    blob::<W>(linker, "canister_self", |host| {
        Ok(host.call.statics.canister.as_slice())
    })?;
    // One machine is a subnet of one, whose name is nobody's.
    blob::<W>(linker, "subnet_self", |_| Ok(&[]))?;
    blob::<W>(linker, "root_key", |_| Ok(&[]))?;
    blob::<W>(linker, "data_certificate", |_| {
        Err(Stop::Contract(
            "data_certificate_copy",
            "there is no certificate".to_owned(),
        ))
    })?;
    numbers::<W>(linker)?;
    settings::<W>(linker)?;
    said::<W>(linker)
}

fn numbers<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("canister_status")?;
    linker.func_wrap(
        "ic0",
        "canister_status",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            wasmtime::Result::<i32>::Ok(caller.data().call.statics.status.number())
        },
    )?;
    let own = function("canister_version")?;
    linker.func_wrap(
        "ic0",
        "canister_version",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            wasmtime::Result::<u64>::Ok(caller.data().call.statics.version)
        },
    )?;
    let own = function("subnet_self_node_count")?;
    linker.func_wrap(
        "ic0",
        "subnet_self_node_count",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            wasmtime::Result::<i32>::Ok(1)
        },
    )?;
    let own = function("in_replicated_execution")?;
    linker.func_wrap(
        "ic0",
        "in_replicated_execution",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            let host = caller.data();
            let alone = matches!(host.context, Context::Query | Context::Inspect)
                || host.call.entry.is_composite();
            wasmtime::Result::<i32>::Ok(i32::from(!alone))
        },
    )?;
    let own = function("is_controller")?;
    linker.func_wrap(
        "ic0",
        "is_controller",
        move |mut caller: Caller<'_, Host>, from: W, size: W| {
            enter(&mut caller, own)?;
            let bytes = given(&mut caller, own, from, size, u64::MAX)?;
            let who = Principal::new(&bytes).map_err(|why| Stop::contract(own, why.to_string()))?;
            let is_one = caller.data().call.statics.controllers.contains(&who);
            wasmtime::Result::<i32>::Ok(i32::from(is_one))
        },
    )?;
    let own = function("time")?;
    linker.func_wrap("ic0", "time", move |mut caller: Caller<'_, Host>| {
        enter(&mut caller, own)?;
        wasmtime::Result::<u64>::Ok(caller.data().call.time)
    })?;
    let own = function("data_certificate_present")?;
    linker.func_wrap(
        "ic0",
        "data_certificate_present",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            wasmtime::Result::<i32>::Ok(0)
        },
    )?;
    Ok(())
}

fn settings<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("certified_data_set")?;
    linker.func_wrap(
        "ic0",
        "certified_data_set",
        move |mut caller: Caller<'_, Host>, from: W, size: W| {
            enter(&mut caller, own)?;
            let bytes = given(&mut caller, own, from, size, MOST_CERTIFIED)?;
            caller.data_mut().effects.certified = Some(bytes);
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    let own = function("global_timer_set")?;
    linker.func_wrap(
        "ic0",
        "global_timer_set",
        move |mut caller: Caller<'_, Host>, when: u64| {
            enter(&mut caller, own)?;
            let host = caller.data_mut();
            let before = host.effects.timer.replace(when);
            wasmtime::Result::<u64>::Ok(before.unwrap_or(host.call.statics.timer))
        },
    )?;
    let own = function("env_var_count")?;
    linker.func_wrap(
        "ic0",
        "env_var_count",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            wasmtime::Result::<W>::Ok(W::of(0))
        },
    )?;
    variables::<W>(linker)
}

/// There are no environment variables, so none has a name or a value.
fn variables<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("env_var_name_size")?;
    linker.func_wrap(
        "ic0",
        "env_var_name_size",
        move |mut caller: Caller<'_, Host>, index: W| {
            enter(&mut caller, own)?;
            wasmtime::Result::<W>::Err(no_variable(own, index).into())
        },
    )?;
    let own = function("env_var_name_copy")?;
    linker.func_wrap(
        "ic0",
        "env_var_name_copy",
        move |mut caller: Caller<'_, Host>, index: W, _: W, _: W, _: W| {
            enter(&mut caller, own)?;
            wasmtime::Result::<()>::Err(no_variable(own, index).into())
        },
    )?;
    let own = function("env_var_name_exists")?;
    linker.func_wrap(
        "ic0",
        "env_var_name_exists",
        move |mut caller: Caller<'_, Host>, from: W, size: W| {
            enter(&mut caller, own)?;
            variable(&mut caller, own, from, size)?;
            wasmtime::Result::<i32>::Ok(0)
        },
    )?;
    let own = function("env_var_value_size")?;
    linker.func_wrap(
        "ic0",
        "env_var_value_size",
        move |mut caller: Caller<'_, Host>, from: W, size: W| {
            enter(&mut caller, own)?;
            let name = variable(&mut caller, own, from, size)?;
            wasmtime::Result::<W>::Err(no_value(own, &name).into())
        },
    )?;
    let own = function("env_var_value_copy")?;
    linker.func_wrap(
        "ic0",
        "env_var_value_copy",
        move |mut caller: Caller<'_, Host>, from: W, size: W, _: W, _: W, _: W| {
            enter(&mut caller, own)?;
            let name = variable(&mut caller, own, from, size)?;
            wasmtime::Result::<()>::Err(no_value(own, &name).into())
        },
    )?;
    Ok(())
}

/// The name of one.
fn variable<W: Word>(
    caller: &mut Caller<'_, Host>,
    own: &'static Function,
    from: W,
    size: W,
) -> Result<String, Stop> {
    let name = given(caller, own, from, size, LONGEST_VARIABLE)?;
    String::from_utf8(name).map_err(|_| Stop::contract(own, "the name isn't UTF-8"))
}

fn no_variable<W: Word>(own: &'static Function, index: W) -> Stop {
    let index = index.number();
    Stop::contract(own, format!("there is no environment variable {index}"))
}

fn no_value(own: &'static Function, name: &str) -> Stop {
    Stop::contract(own, format!("there is no environment variable {name:?}"))
}

fn said<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("debug_print")?;
    linker.func_wrap(
        "ic0",
        "debug_print",
        move |mut caller: Caller<'_, Host>, from: W, size: W| {
            enter(&mut caller, own)?;
            let kept = size.number().min(LONGEST_LINE);
            charge(&mut caller, kept.saturating_mul(PRINTED))?;
            let line = given(&mut caller, own, from, W::of(kept), LONGEST_LINE)?;
            caller.data_mut().log(&line);
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    let own = function("trap")?;
    linker.func_wrap(
        "ic0",
        "trap",
        move |mut caller: Caller<'_, Host>, from: W, size: W| -> wasmtime::Result<()> {
            enter(&mut caller, own)?;
            let kept = size.number().min(LONGEST_LINE);
            let message = given(&mut caller, own, from, W::of(kept), LONGEST_LINE)?;
            Err(Stop::Canister(String::from_utf8_lossy(&message).into_owned()).into())
        },
    )?;
    Ok(())
}
