//! The System API, `ic0`: all of it answered in the process that the guest runs in.
//!
//! A function first says what it is ([`Host::enter`]), which ends the call where the context
//! doesn't allow it; what it copies is paid for by the byte. Each is written once for both sizes of
//! addresses ([`Word`]).
//!
//! - [`message`]: what a call says of itself
//! - [`reply`]: its answer
//! - [`canister`]: the canister, and the clock
//! - [`cycles`]: what it has to spend
//! - [`cost`]: what things would cost
//! - [`outgoing`]: calls of other canisters
//! - [`metering`]: what the call has taken so far
//! - [`internal`]: what instrumented code asks for
//!
//! [`Host::enter`]: super::host::Host::enter

mod canister;
mod cost;
mod cycles;
mod internal;
mod message;
mod metering;
mod outgoing;
mod reply;

use super::host::{Host, window};
use super::slices::charge;
use super::trap::Stop;
use crate::system::{self, Function};
use wasmtime::{Caller, Linker, WasmTy};

/// An address or size, as wide as the module's.
pub(crate) trait Word: WasmTy + Copy {
    fn number(self) -> u64;
    fn of(number: u64) -> Self;
}

impl Word for u32 {
    fn number(self) -> u64 {
        u64::from(self)
    }
    fn of(number: u64) -> Self {
        // Nothing that is measured in it is longer than an answer may be.
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

impl Word for u64 {
    fn number(self) -> u64 {
        self
    }
    fn of(number: u64) -> Self {
        number
    }
}

/// Everything that a module may import.
pub(crate) fn link(linker: &mut Linker<Host>, is64: bool) -> wasmtime::Result<()> {
    match is64 {
        true => link_as::<u64>(linker)?,
        false => link_as::<u32>(linker)?,
    }
    metering::link(linker)?;
    internal::link(linker)
}

fn link_as<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    message::link::<W>(linker)?;
    reply::link::<W>(linker)?;
    canister::link::<W>(linker)?;
    cycles::link::<W>(linker)?;
    cost::link::<W>(linker)?;
    outgoing::link::<W>(linker)
}

/// The function of this name.
fn function(name: &str) -> wasmtime::Result<&'static Function> {
    system::find(name).ok_or_else(|| wasmtime::Error::msg(format!("ic0 has no function {name}")))
}

/// Begins a system call.
fn enter(caller: &mut Caller<'_, Host>, function: &'static Function) -> Result<(), Stop> {
    caller.data().enter(function)?;
    charge(caller, function.overhead)
}

/// `NAME_size` and `NAME_copy`, of bytes that don't change while a call runs.
fn blob<W: Word>(
    linker: &mut Linker<Host>,
    name: &str,
    bytes: impl Fn(&Host) -> Result<&[u8], Stop> + Copy + Send + Sync + 'static,
) -> wasmtime::Result<()> {
    let size = format!("{name}_size");
    let own = function(&size)?;
    linker.func_wrap("ic0", &size, move |mut caller: Caller<'_, Host>| {
        enter(&mut caller, own)?;
        wasmtime::Result::<W>::Ok(W::of(bytes(caller.data())?.len() as u64))
    })?;
    let copy = format!("{name}_copy");
    let own = function(&copy)?;
    linker.func_wrap(
        "ic0",
        &copy,
        move |mut caller: Caller<'_, Host>, to: W, offset: W, size: W| {
            enter(&mut caller, own)?;
            // Looked at before it is paid for, and copied once.
            part(own, bytes(caller.data())?, offset, size)?;
            let (window, host) = window(&mut caller, own, to.number(), size.number())?;
            window.copy_from_slice(part(own, bytes(host)?, offset, size)?);
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    Ok(())
}

/// A part of what a guest asked for.
fn part<'a, W: Word>(
    function: &'static Function,
    all: &'a [u8],
    offset: W,
    size: W,
) -> Result<&'a [u8], Stop> {
    let (offset, size) = (offset.number(), size.number());
    let start = usize::try_from(offset).ok();
    let end = offset
        .checked_add(size)
        .and_then(|end| usize::try_from(end).ok());
    let part = start.zip(end).and_then(|(start, end)| all.get(start..end));
    part.ok_or_else(|| {
        let length = all.len();
        Stop::contract(
            function,
            format!("{size} bytes from {offset} are more than there are: {length}"),
        )
    })
}

/// What the guest has in its heap.
fn given<W: Word>(
    caller: &mut Caller<'_, Host>,
    function: &'static Function,
    address: W,
    size: W,
    most: u64,
) -> Result<Vec<u8>, Stop> {
    let (address, size) = (address.number(), size.number());
    if size > most {
        return Err(Stop::contract(
            function,
            format!("{size} bytes are more than the {most} that it takes"),
        ));
    }
    let (window, _) = window(caller, function, address, size)?;
    Ok(window.to_vec())
}

/// Writes 128 bits, the low ones first.
fn put_128<W: Word>(
    caller: &mut Caller<'_, Host>,
    function: &'static Function,
    to: W,
    value: u128,
) -> Result<(), Stop> {
    let (window, _) = window(caller, function, to.number(), 16)?;
    window.copy_from_slice(&value.to_le_bytes());
    Ok(())
}
