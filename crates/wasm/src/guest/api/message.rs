//! What a call says of itself.

use super::{Word, blob, enter, function};
use crate::guest::host::Host;
use crate::guest::trap::Stop;
use wasmtime::{Caller, Linker};

pub(super) fn link<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    blob::<W>(linker, "msg_arg_data", |host| Ok(&host.call.argument))?;
    blob::<W>(linker, "msg_caller", |host| Ok(host.call.caller.as_slice()))?;
    blob::<W>(linker, "msg_reject_msg", |host| match &host.call.rejected {
        Some((_, text)) => Ok(text.as_bytes()),
        None => Err(nothing_rejected("msg_reject_msg_size")),
    })?;
    blob::<W>(linker, "msg_method_name", |host| {
        Ok(host.call.method.as_bytes())
    })?;
    // Nobody signs for a caller here.
    blob::<W>(linker, "msg_caller_info_data", |_| Ok(&[]))?;
    blob::<W>(linker, "msg_caller_info_signer", |_| Ok(&[]))?;

    let own = function("msg_reject_code")?;
    linker.func_wrap(
        "ic0",
        "msg_reject_code",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            let code = caller.data().call.rejected.as_ref();
            wasmtime::Result::<i32>::Ok(code.map_or(0, |(code, _)| *code as i32))
        },
    )?;
    let own = function("msg_deadline")?;
    linker.func_wrap(
        "ic0",
        "msg_deadline",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            wasmtime::Result::<u64>::Ok(caller.data().call.deadline)
        },
    )?;
    let own = function("accept_message")?;
    linker.func_wrap(
        "ic0",
        "accept_message",
        move |mut caller: Caller<'_, Host>| {
            enter(&mut caller, own)?;
            let accepts = &mut caller.data_mut().effects.accepts_message;
            if std::mem::replace(accepts, true) {
                return Err(Stop::contract(own, "it was called before").into());
            }
            wasmtime::Result::<()>::Ok(())
        },
    )?;
    Ok(())
}

fn nothing_rejected(name: &'static str) -> Stop {
    Stop::Contract(name, "nothing was rejected".to_owned())
}
