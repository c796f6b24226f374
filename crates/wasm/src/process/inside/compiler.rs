//! A compiler: one job, and it is gone.

use super::confine::{self, Limits};
use super::fork::Ends;
use super::launcher::Cradle;
use super::worker::take;
use super::{PANICKED, UNREADY, kind};
use crate::process::order::encode_error;
use crate::process::{Doors, Job, Runtime};
use crate::wire::{Connection, Hello, Writer};
use casemate_core::error::Result;
use casemate_sys::process;
use rustix::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The longest text about what is wrong with a guest, bytes.
pub(in crate::process) const LONGEST_REFUSAL: usize = 16 << 10;

/// In the new process.
pub(super) fn live<R: Runtime>(cradle: &Cradle<'_, R>, ends: Ends, job: &Job, limits: &Limits) {
    let status = catch_unwind(AssertUnwindSafe(|| be(cradle, ends, job, limits)));
    process::exit_now(status.unwrap_or(PANICKED));
}

fn be<R: Runtime>(cradle: &Cradle<'_, R>, ends: Ends, job: &Job, limits: &Limits) -> i32 {
    process::wipe_start_strings("wasm-compiler");
    let _ = rustix::thread::set_name(c"wasm-compiler");
    let Ok(mut control) = take(cradle, ends, &[job.input.as_fd(), job.output.as_fd()]) else {
        return UNREADY;
    };
    if let Err(error) = close_in(cradle, &control, job, limits) {
        let _ = control.send(kind::FAILED, &encode_error(&error), &[], None);
        return UNREADY;
    }
    let hello = Hello::own(*cradle.build).encode();
    if control.send(kind::HELLO, &hello, &[], None).is_err() {
        return 0;
    }
    let sent = match cradle.runtime.compile(cradle.shared, job) {
        Ok(()) => control.send(kind::COMPILED, &[], &[], None),
        Err(text) => {
            let cut = &text[..text.floor_char_boundary(LONGEST_REFUSAL)];
            let payload = Writer::default().text(cut).finish();
            control.send(kind::REFUSED, &payload, &[], None)
        }
    };
    i32::from(sent.is_err())
}

fn close_in<R: Runtime>(
    cradle: &Cradle<'_, R>,
    control: &Connection,
    job: &Job,
    limits: &Limits,
) -> Result<()> {
    confine::before_opening(&Doors {
        proc: cradle.kept.proc.as_fd(),
    })?;
    let keep = [control.as_fd(), job.input.as_fd(), job.output.as_fd()];
    confine::after_opening(&keep, limits, &cradle.filters.compiler)
}
