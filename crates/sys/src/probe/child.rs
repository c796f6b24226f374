//! One attempt in a forked child, so that nothing the attempt changes outlives it.
//!
//! ```text
//!   caller ── fork ──► child: runs the steps, notes each result in a shared page, _exit
//!      │                 │
//!      └─ poll(pipe) ◄───┘  the pipe closes when the child and what it forked are gone
//!           │
//!           └─ time is up: SIGKILL, then reap; the steps noted so far still count
//! ```
//!
//! The page is shared rather than sent, so a child that a seccomp filter kills, or that hangs,
//! still tells how far it came. A child dies with its parent, also one that is killed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, set_parent_process_death_signal, waitpid,
};

use super::Attempt;

/// How long one attempt may take where nothing says otherwise.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// A step that has not been noted.
const UNTRIED: i32 = i32::MIN;

/// Where a child notes its steps: non-negative for success, `-errno` for a refusal.
pub(super) struct Slots<const N: usize>([AtomicI32; N]);

impl<const N: usize> Slots<N> {
    /// Notes what step `at` came to and hands the value on.
    pub(super) fn note<T>(&self, at: usize, result: Result<T, Errno>) -> Option<T> {
        match result {
            Ok(value) => {
                self.value(at, 0);
                Some(value)
            }
            Err(errno) => {
                self.refuse(at, errno);
                None
            }
        }
    }

    /// Notes that step `at` was refused.
    pub(super) fn refuse(&self, at: usize, errno: Errno) {
        self.value(at, -errno.raw_os_error());
    }

    /// Notes the number that step `at` found; a negative one is a refusal.
    pub(super) fn value(&self, at: usize, value: i32) {
        self.0[at].store(value, Ordering::SeqCst);
    }
}

/// What the steps of one child came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps<const N: usize>([i32; N]);

impl<const N: usize> Steps<N> {
    /// What step `at` came to.
    pub(super) fn at(&self, at: usize) -> Attempt {
        match self.0[at] {
            UNTRIED => Attempt::NotReached,
            value if value < 0 => Attempt::Refused(Errno::from_raw_os_error(-value)),
            _ => Attempt::Worked,
        }
    }

    /// The number that step `at` found, if it worked.
    pub(super) fn found(&self, at: usize) -> Option<i32> {
        Some(self.0[at]).filter(|value| *value >= 0)
    }
}

/// Runs `steps` in a forked child for at most `limit`.
///
/// A fork that is itself refused is noted as the refusal of step 0.
pub(super) fn attempt<const N: usize>(limit: Duration, steps: impl FnOnce(&Slots<N>)) -> Steps<N> {
    let outcome = Page::<N>::new().and_then(|page| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let child = fork(|| steps(page.slots()))?;
        drop(writer);
        let deadline = Instant::now() + limit;
        while !hung_up(&reader, deadline) {}
        end(child);
        Ok(page.read())
    });
    outcome.unwrap_or_else(|errno| {
        let mut refused = [UNTRIED; N];
        refused[0] = -errno.raw_os_error();
        Steps(refused)
    })
}

/// Forks; the child runs `life` and exits without running any destructor of the caller's. It is
/// killed when the thread that forked it ends.
pub(crate) fn fork(life: impl FnOnce()) -> Result<Pid, Errno> {
    // SAFETY: fork copies the process; the child runs only `life` and then _exit, so it never
    // returns into frames that the parent owns. glibc makes its allocator usable after fork.
    let raw = unsafe { libc::fork() };
    if raw == 0 {
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        let code = i32::from(catch_unwind(AssertUnwindSafe(life)).is_err());
        // SAFETY: _exit ends this process at once and touches no memory.
        unsafe { libc::_exit(code) };
    }
    Pid::from_raw(raw).filter(|_| raw > 0).ok_or_else(errno)
}

/// Waits for a child; `None` if it was reaped elsewhere.
pub(crate) fn reap(child: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(Some((_, status))) => return Some(status),
            _ => return None,
        }
    }
}

/// Kills and reaps a child; harmless if it has ended.
pub(crate) fn end(child: Pid) {
    let _ = kill_process(child, Signal::KILL);
    let _ = reap(child);
}

/// The calling thread's errno, as the C library left it.
pub(super) fn errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Turns a C return value into a result.
pub(super) fn checked(returned: libc::c_long) -> Result<i32, Errno> {
    if returned < 0 {
        return Err(errno());
    }
    Ok(i32::try_from(returned).unwrap_or(i32::MAX))
}

/// True when every writer of the pipe is gone or the time is up.
fn hung_up(reader: &impl std::os::fd::AsFd, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    let mut watched = [PollFd::new(reader, PollFlags::IN)];
    !matches!(poll(&mut watched, Some(&timeout)), Err(Errno::INTR))
}

/// The shared page, unmapped on drop.
struct Page<const N: usize>(std::ptr::NonNull<Slots<N>>);

impl<const N: usize> Page<N> {
    fn new() -> Result<Self, Errno> {
        // SAFETY: a new anonymous mapping at an address that the kernel chooses aliases nothing.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Slots<N>>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        let page = Page(std::ptr::NonNull::new(at.cast()).ok_or(Errno::NOMEM)?);
        for at in 0..N {
            page.slots().value(at, UNTRIED);
        }
        Ok(page)
    }

    fn slots(&self) -> &Slots<N> {
        // SAFETY: the mapping is page-aligned, at least that large, zeroed (a valid AtomicI32)
        // and lives as long as `self`.
        unsafe { self.0.as_ref() }
    }

    fn read(&self) -> Steps<N> {
        Steps(std::array::from_fn(|at| {
            self.slots().0[at].load(Ordering::SeqCst)
        }))
    }
}

impl<const N: usize> Drop for Page<N> {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no reference into it outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Slots<N>>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_reports_success_refusal_and_silence() {
        let steps = attempt::<4>(LIMIT, |slots| {
            slots.note(0, Ok(()));
            slots.refuse(1, Errno::PERM);
            slots.value(2, 42);
        });
        assert_eq!(steps.at(0), Attempt::Worked);
        assert_eq!(steps.at(1), Attempt::Refused(Errno::PERM));
        assert_eq!(steps.found(2), Some(42));
        assert_eq!(steps.at(3), Attempt::NotReached);
    }

    #[test]
    fn a_child_that_hangs_is_killed_and_its_steps_count() {
        let begun = Instant::now();
        let steps = attempt::<2>(Duration::from_millis(50), |slots| {
            slots.note(0, Ok(()));
            std::thread::sleep(Duration::from_secs(600));
            slots.note(1, Ok(()));
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(steps.at(0), Attempt::Worked);
        assert_eq!(steps.at(1), Attempt::NotReached);
    }

    #[test]
    fn a_child_that_dies_keeps_what_it_noted() {
        let steps = attempt::<2>(LIMIT, |slots| {
            slots.note(0, Ok(()));
            let _ = kill_process(rustix::process::getpid(), Signal::KILL);
            slots.note(1, Ok(()));
        });
        assert_eq!(steps.at(0), Attempt::Worked);
        assert_eq!(steps.at(1), Attempt::NotReached);
    }
}
