//! What a canister has to spend, and what came with a call.

use super::{Word, enter, function, put_128};
use crate::guest::host::Host;
use crate::guest::trap::Stop;
use crate::system::Function;
use wasmtime::{Caller, Linker};

impl Host {
    /// Cycles that the canister has now.
    fn balance(&self) -> u128 {
        let spent = self.effects.burned + self.effects.attached();
        let had = self.call.statics.cycles + self.effects.accepted;
        had.saturating_sub(spent)
    }

    /// Cycles of the call that weren't accepted yet.
    fn available(&self) -> u128 {
        self.call.cycles.saturating_sub(self.effects.accepted)
    }

    fn accept(&mut self, most: u128) -> u128 {
        let accepted = most.min(self.available());
        self.effects.accepted += accepted;
        accepted
    }

    /// Takes cycles for a call that is made.
    pub(super) fn attach(&mut self, function: &'static Function, cycles: u128) -> Result<(), Stop> {
        let has = self.balance();
        if cycles > has {
            let why = format!("{cycles} cycles are more than the canister has: {has}");
            return Err(Stop::contract(function, why));
        }
        match &mut self.effects.begun {
            Some(begun) => begun.cycles += cycles,
            None => return Err(Stop::contract(function, "no call was begun")),
        }
        Ok(())
    }
}

/// What a 64-bit function can't say ends the call.
fn short(function: &'static Function, cycles: u128) -> Result<u64, Stop> {
    u64::try_from(cycles)
        .map_err(|_| Stop::contract(function, format!("{cycles} cycles don't fit into 64 bits")))
}

pub(super) fn wide(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

pub(super) fn link<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    type Cycles = fn(&Host) -> u128;
    let read: [(&str, Cycles); 3] = [
        ("msg_cycles_available", Host::available),
        ("msg_cycles_refunded", |host| host.call.refunded),
        ("canister_cycle_balance", Host::balance),
    ];
    for (name, cycles) in read {
        let own = function(name)?;
        linker.func_wrap("ic0", name, move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            wasmtime::Result::<u64>::Ok(short(own, cycles(caller.data()))?)
        })?;
    }
    let read: [(&str, Cycles); 4] = [
        ("msg_cycles_available128", Host::available),
        ("msg_cycles_refunded128", |host| host.call.refunded),
        ("canister_cycle_balance128", Host::balance),
        ("canister_liquid_cycle_balance128", Host::balance),
    ];
    for (name, cycles) in read {
        let own = function(name)?;
        linker.func_wrap("ic0", name, move |mut caller: Caller<'_, Host>, to: W| {
            enter(&mut caller, own)?;
            let value = cycles(caller.data());
            wasmtime::Result::<()>::Ok(put_128(&mut caller, own, to, value)?)
        })?;
    }
    let own = function("msg_cycles_accept")?;
    linker.func_wrap(
        "ic0",
        "msg_cycles_accept",
        move |mut caller: Caller<'_, Host>, most: u64| {
            enter(&mut caller, own)?;
            let accepted = caller.data_mut().accept(u128::from(most));
            wasmtime::Result::<u64>::Ok(short(own, accepted)?)
        },
    )?;
    let own = function("msg_cycles_accept128")?;
    linker.func_wrap(
        "ic0",
        "msg_cycles_accept128",
        move |mut caller: Caller<'_, Host>, high: u64, low: u64, to: W| {
            enter(&mut caller, own)?;
            let accepted = caller.data_mut().accept(wide(high, low));
            wasmtime::Result::<()>::Ok(put_128(&mut caller, own, to, accepted)?)
        },
    )?;
    let own = function("cycles_burn128")?;
    linker.func_wrap(
        "ic0",
        "cycles_burn128",
        move |mut caller: Caller<'_, Host>, high: u64, low: u64, to: W| {
            enter(&mut caller, own)?;
            let host = caller.data_mut();
            let burned = wide(high, low).min(host.balance());
            host.effects.burned += burned;
            wasmtime::Result::<()>::Ok(put_128(&mut caller, own, to, burned)?)
        },
    )?;
    mint::<W>(linker)
}

/// Making cycles out of nothing is for one canister of the network, which isn't here.
fn mint<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let refused = |own| {
        Stop::contract(
            own,
            "only the network's cycles minting canister can make cycles",
        )
    };
    let own = function("mint_cycles")?;
    linker.func_wrap(
        "ic0",
        "mint_cycles",
        move |mut caller: Caller<'_, Host>, _: u64| {
            enter(&mut caller, own)?;
            wasmtime::Result::<u64>::Err(refused(own).into())
        },
    )?;
    let own = function("mint_cycles128")?;
    linker.func_wrap(
        "ic0",
        "mint_cycles128",
        move |mut caller: Caller<'_, Host>, _: u64, _: u64, _: W| {
            enter(&mut caller, own)?;
            wasmtime::Result::<()>::Err(refused(own).into())
        },
    )?;
    Ok(())
}
