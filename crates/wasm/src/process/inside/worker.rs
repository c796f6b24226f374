//! A worker: one guest, for life.

use super::confine::{self, Limits};
use super::fork::Ends;
use super::launcher::Cradle;
use super::{CONTROL, PANICKED, UNREADY, failed, kind};
use crate::process::order::encode_error;
use crate::process::{Doors, Runtime};
use crate::wire::{Connection, Descriptors, Hello};
use casemate_core::error::Result;
use casemate_sys::seccomp::{self, Instruction};
use casemate_sys::{Errno, descriptor, process};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::process::Resource;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A worker that is closed in, before its guest's first instruction: it gets its module, maps it, and
/// makes its threads.
///
/// Code may still be mapped from a file. What is in the module was written by a process that read a
/// guest, so a file that this worker may write is for the time after [`Confined::seal`]: mapped before as
/// code, it would be code that can be written.
pub struct Confined {
    /// To the controller.
    pub control: Connection,
    filter: Vec<Instruction>,
}

/// A worker in which a guest may run.
pub struct Sealed {
    /// To the controller.
    pub control: Connection,
}

impl Confined {
    /// Sizes this process's private memory to the guest, bytes (RLIMIT_DATA). It can't be raised
    /// again.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn limit_data(&self, bytes: u64) -> Result<()> {
        confine::limit(Resource::Data, bytes)
    }

    /// The last step: on every thread, no process or thread is made any more, no limit changed, no
    /// filter added, and no code mapped.
    ///
    /// # Errors
    /// The kernel refuses it; no guest may run.
    pub fn seal(self) -> Result<Sealed> {
        confine::limit(Resource::Nproc, 0)?;
        seccomp::install_on_all_threads(&self.filter)
            .map_err(|errno| failed("seal the worker", errno))?;
        Ok(Sealed {
            control: self.control,
        })
    }
}

/// In the new process.
pub(super) fn live<R: Runtime>(cradle: &Cradle<'_, R>, ends: Ends) {
    let status = catch_unwind(AssertUnwindSafe(|| be(cradle, ends)));
    process::exit_now(status.unwrap_or(PANICKED));
}

fn be<R: Runtime>(cradle: &Cradle<'_, R>, ends: Ends) -> i32 {
    process::wipe_start_strings("wasm-worker");
    let _ = rustix::thread::set_name(c"wasm-worker");
    let Ok(mut control) = take(cradle, ends, &[]) else {
        return UNREADY;
    };
    match close_in(cradle, &control) {
        Ok(opened) => {
            let hello = Hello::own(*cradle.build).encode();
            if control.send(kind::HELLO, &hello, &[], None).is_err() {
                return 0;
            }
            let confined = Confined {
                control,
                filter: cradle.filters.sealed.clone(),
            };
            cradle.runtime.work(cradle.shared, opened, confined)
        }
        Err(error) => {
            let _ = control.send(kind::FAILED, &encode_error(&error), &[], None);
            UNREADY
        }
    }
}

/// Takes the places of the launcher's descriptors, and closes the others: those of the pool would keep
/// sockets open that are to close with the launcher.
pub(super) fn take<R: Runtime>(
    cradle: &Cradle<'_, R>,
    ends: Ends,
    files: &[BorrowedFd<'_>],
) -> Result<Connection, Errno> {
    cradle.signals.restore_mask();
    rustix::stdio::dup2_stderr(&ends.stderr)?;
    // The launcher's own channel is closed by this; in this process, nobody uses it.
    let control = descriptor::place(ends.control, CONTROL, true)?;
    drop(ends.stderr);
    let own = [control.as_fd(), cradle.kept.proc.as_fd()];
    process::close_all_but_these(&[&own, files].concat());
    Ok(Connection::new(control, Descriptors::Taken))
}

fn close_in<R: Runtime>(cradle: &Cradle<'_, R>, control: &Connection) -> Result<R::Opened> {
    let doors = Doors {
        proc: cradle.kept.proc.as_fd(),
    };
    confine::before_opening(&doors)?;
    let opened = cradle.runtime.open(cradle.shared, &doors)?;
    let mut keep = cradle.runtime.keeps(&opened);
    keep.push(control.as_fd());
    let limits = Limits {
        data: cradle.data,
        open_files: cradle.open_files,
        // What it writes goes to its socket; memories are mapped.
        file_size: 0,
        address_space: None,
        seconds: None,
    };
    confine::after_opening(&keep, &limits, &cradle.filters.worker)?;
    drop(keep);
    Ok(opened)
}
