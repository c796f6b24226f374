//! The answer.

use super::{Word, enter, function, given};
use crate::call::Answer;
use crate::guest::host::Host;
use crate::guest::trap::Stop;
use crate::system::Function;
use wasmtime::{Caller, Linker};

/// The longest reason of a rejection, bytes.
const LONGEST_REASON: u64 = 8 << 10;

pub(super) fn link<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("msg_reply_data_append")?;
    linker.func_wrap(
        "ic0",
        "msg_reply_data_append",
        move |mut caller: Caller<'_, Host>, from: W, size: W| {
            enter(&mut caller, own)?;
            unanswered(caller.data(), own)?;
            let host = caller.data();
            let room = host
                .call
                .limits
                .reply
                .saturating_sub(host.reply.len() as u64);
            let bytes = given(&mut caller, own, from, size, room)?;
            caller.data_mut().reply.extend(bytes);
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    let own = function("msg_reply")?;
    linker.func_wrap("ic0", "msg_reply", move |mut caller: Caller<'_, Host>| {
        enter(&mut caller, own)?;
        unanswered(caller.data(), own)?;
        let host = caller.data_mut();
        host.answer = Some(Answer::Reply(std::mem::take(&mut host.reply)));
        wasmtime::Result::<()>::Ok(())
    })?;
    let own = function("msg_reject")?;
    linker.func_wrap(
        "ic0",
        "msg_reject",
        move |mut caller: Caller<'_, Host>, from: W, size: W| {
            enter(&mut caller, own)?;
            unanswered(caller.data(), own)?;
            let reason = given(&mut caller, own, from, size, LONGEST_REASON)?;
            let reason = String::from_utf8(reason)
                .map_err(|_| Stop::contract(own, "the reason isn't UTF-8"))?;
            caller.data_mut().answer = Some(Answer::Reject(reason));
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    Ok(())
}

fn unanswered(host: &Host, function: &'static Function) -> Result<(), Stop> {
    match host.answer.is_some() || host.call.is_answered {
        true => Err(Stop::contract(function, "the call is answered already")),
        false => Ok(()),
    }
}
