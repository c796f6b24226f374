//! How a thread stands among others that want the processor (sched(7)).

use crate::Errno;
use std::io;

/// The longest that the kernel takes.
const SLICE_NS: u64 = 100_000_000;

/// Makes this thread one that computes for long, beside others that have to answer soon: it is
/// nicer than they are, doesn't push them aside when it wakes up (SCHED_BATCH), and its slice is
/// longer: a thread that wakes up pushes aside whoever has a longer slice than itself, and waits
/// for others until theirs is over, or until the next tick (sched_setattr(2); since Linux 6.12).
/// Without privilege none of it can be taken back.
///
/// # Errors
/// EPERM, if it was nicer already.
pub fn compute_in_background(nice: i32) -> Result<(), Errno> {
    // SAFETY: all zeros is a value of it, and the kernel reads as much as `size` says.
    let result = unsafe {
        let mut wanted: libc::sched_attr = std::mem::zeroed();
        wanted.size = size_of::<libc::sched_attr>() as u32;
        wanted.sched_policy = libc::SCHED_BATCH as u32;
        wanted.sched_nice = nice;
        wanted.sched_runtime = SLICE_NS;
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0)
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    #[test]
    fn only_the_thread_that_asks() {
        let before = getpriority_process(None).unwrap();
        let nicer = (before + 1).min(19);
        let during = std::thread::spawn(move || {
            super::compute_in_background(nicer).unwrap();
            getpriority_process(None).unwrap()
        });
        assert_eq!(during.join().unwrap(), nicer);
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
