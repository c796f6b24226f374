//! What the tests of this folder share: tests in a process of their own.

use super::{Method, Region, Tracker};
use crate::privilege;
use crate::probe::child;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A user that owns nothing.
pub(super) const NOBODY: u32 = 65534;

/// Runs a part of a test in a forked process, and fails with it.
pub(super) fn in_a_fork(test: impl FnOnce()) {
    let child = child::fork(|| report(test)).unwrap();
    let status = child::reap(child).unwrap();
    assert_eq!(status.exit_status(), Some(0), "{status:?}");
}

/// Runs it as this user and, if that is root, as an ordinary one as well.
pub(super) fn as_each_user(test: impl Fn()) {
    in_a_fork(&test);
    if rustix::process::geteuid().is_root() {
        in_a_fork(|| {
            become_nobody();
            test();
        });
    }
}

/// A change of users takes `/proc/self` away until the process may be looked at again.
pub(super) fn become_nobody() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    privilege::become_user(NOBODY, NOBODY).unwrap();
    set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
}

/// Ends this process with what came of the test. The harness's hook is left alone: its lock may
/// have been taken when this process was forked.
fn report(test: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(test)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        let line = format!("{}\n", text.unwrap_or("panicked"));
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        crate::process::exit_now(1);
    }
}

/// Writes one byte at the start of a page that is mapped.
pub(super) fn poke(region: &Region, page: usize, value: u8) {
    assert!(page < region.pages());
    // SAFETY: the page is inside of the region, and the test has mapped it.
    unsafe { region.address(page).write_volatile(value) };
}

/// The byte at the start of a page that is mapped.
pub(super) fn peek(region: &Region, page: usize) -> u8 {
    assert!(page < region.pages());
    // SAFETY: as above.
    unsafe { region.address(page).read_volatile() }
}

/// The signal that ends a process which reads, or writes, at an address.
pub(super) fn dies_by(address: usize, write: bool) -> i32 {
    let child = child::fork(|| {
        // A handler of the harness would say that the test's stack overflowed.
        // SAFETY: nothing but this process's end depends on the signal; the access is what is tried,
        // in a process of its own that ends with it.
        unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            let at = address as *mut u8;
            let found = at.read_volatile();
            if write {
                at.write_volatile(found);
            }
        }
    });
    let status = child::reap(child.unwrap()).unwrap();
    status.terminating_signal().unwrap_or(0)
}

/// Whether this kernel tracks writes: what it can't do isn't tested.
pub(super) fn tracks_writes() -> bool {
    Tracker::with(Method::Protect).is_ok()
}
