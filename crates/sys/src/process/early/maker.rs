//! The process that makes the namespaces. Raw system calls only.

use super::entry::{Half, populate};
use super::{CLONE, NAMESPACES, SOON, Shared, WAIT, namespaces, parts};
use crate::process::{CloneArgs, exit_now, namespace};
use crate::raw::{raw, wait, wake};
use std::arch::asm;
use std::sync::atomic::Ordering;

/// How often the maker looks for the order that comes soon before it sleeps again: some 300 µs.
const LOOKS: u32 = 10_000;

/// The maker. See the module: raw system calls only.
pub(super) unsafe extern "C" fn make(shared: *const Shared) {
    // SAFETY: start_maker() passed a Shared that is never unmapped; the calls get what their manual
    // pages ask for.
    unsafe {
        let shared = &*shared;
        populate(Half::Upper);
        let (user, group) = (
            raw(libc::SYS_geteuid, 0, 0, 0, 0, 0, 0),
            raw(libc::SYS_getegid, 0, 0, 0, 0, 0, 0),
        );
        let all = NAMESPACES | namespace::PID;
        let mut result = raw(libc::SYS_unshare, all, 0, 0, 0, 0, 0);
        // After unshare(2), which may clear it: this process ends with the caller.
        let (death, kill) = (libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64);
        raw(libc::SYS_prctl, death, kill, 0, 0, 0, 0);
        let parent = raw(libc::SYS_getppid, 0, 0, 0, 0, 0, 0);
        if parent != i64::from(shared.caller.load(Ordering::Relaxed)) {
            return;
        }
        if result == 0 {
            result = namespaces::map_ids(user as u32, group as u32);
        }
        if result == 0 {
            result = namespaces::loopback_up();
        }
        shared.error.store(-result as i32, Ordering::Relaxed);
        if result == 0 {
            let clocks = namespaces::clocks_from_zero() >= 0;
            shared.clocks.store(clocks.into(), Ordering::Relaxed);
            parts::make(shared);
        }
        let mut looks = 0;
        loop {
            match shared.order.load(Ordering::Acquire) {
                WAIT => wait(&shared.order, WAIT),
                SOON if looks < LOOKS => {
                    looks += 1;
                    asm!("pause", options(nomem, nostack));
                }
                SOON => wait(&shared.order, SOON),
                _ => break,
            }
        }
        if result == 0 && shared.order.load(Ordering::Acquire) == CLONE {
            clone_child(shared);
        }
        shared.done.store(1, Ordering::Release);
        wake(&shared.done);
    }
}

/// Clones the child; returns in the maker only. The caller has started by now, and waits.
fn clone_child(shared: &Shared) {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: i32 = -1;
    // The caller becomes the parent, and the signal that it gets is the maker's.
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::CLONE_SETTLS;
    let mut args = CloneArgs {
        flags: flags as u64,
        pidfd: (&raw mut pidfd) as u64,
        tls: shared.tls.load(Ordering::Relaxed),
        ..CloneArgs::default()
    };
    let cgroup = shared.cgroup.load(Ordering::Relaxed);
    if cgroup >= 0 {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup as u64;
    }
    let size = size_of::<CloneArgs>() as u64;
    // SAFETY: args is a whole clone_args with its size; without CLONE_VM the child has its own
    // copy of memory and of this stack, so both sides go on from here.
    let result = unsafe { raw(libc::SYS_clone3, (&raw const args) as u64, size, 0, 0, 0, 0) };
    match result {
        0 => {
            // SAFETY: the caller stored a pointer to its closure and waits; this is the only
            // thread of a copy of its memory, with its thread-local storage.
            unsafe {
                let child = shared.child.load(Ordering::Relaxed) as *mut &mut dyn FnMut();
                (*child)();
            }
            exit_now(1);
        }
        pid if pid > 0 => {
            shared.pid.store(pid as i32, Ordering::Relaxed);
            shared.pidfd.store(pidfd, Ordering::Relaxed);
        }
        error => shared.error.store(-error as i32, Ordering::Relaxed),
    }
}
