//! Namespaces that are made while their caller is still starting.
//!
//! Most of a sandbox's start is the kernel making namespaces, the network's above all, and most
//! of the rest is a program coming to life: its C library asks the processor what it can do
//! (CPUID, which a virtual machine's host has to answer), it reads its
//! arguments, plans. None of that needs the other, so here they run side by side:
//!
//! ```text
//!  caller   entry ──▶ C library ──▶ main ──▶ arguments, plan ──▶ clone ──────┬──▶ goes on
//!             │ clone(VM, FILES)                                   │ futex  │ pidfd
//!  maker      └──▶ unshare, id maps, lo, clocks, mounts ──▶ waits ─┴▶ clone3 ──▶ exits
//!                                                                     │ PARENT
//!  child                                                              └──▶ runs the closure
//! ```
//!
//! The program's ELF entry point is [`casemate_entry`], which starts the *maker* and goes on to the C
//! library's. The maker shares the caller's memory and descriptors. It makes raw system calls on
//! a stack of its own and touches nothing else: no allocation, no thread-local storage (errno is
//! one), nothing that has to be relocated first, not even memcpy. When the child is cloned, the
//! caller waits, so the copy of memory that the child gets is one that a single thread left.
//!
//! All this saves time and nothing depends on it: whatever fails here, the caller does by itself
//! and says why it fails.

mod entry;
mod maker;
mod namespaces;
mod parts;

pub use entry::casemate_entry;
pub use parts::Parts;

use super::{Child, namespace};
use crate::Errno;
use crate::raw::{wait, wake};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::arch::asm;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// What a sandbox has of its own from the first, but for the process ids.
pub const NAMESPACES: u64 =
    namespace::USER | namespace::MOUNT | namespace::NET | namespace::IPC | namespace::UTS;

/// The maker's stack becomes the child's, so it has to do for a sandbox's init.
const STACK: usize = 1 << 20;

/// `Shared::order`.
const WAIT: u32 = 0;
const SOON: u32 = 1;
const CLONE: u32 = 2;
const GIVE_UP: u32 = 3;

/// What caller and maker share: the lowest page of the stack, zero at first.
#[repr(C)]
struct Shared {
    caller: AtomicI32,
    maker: AtomicI32,
    order: AtomicU32,
    /// 1 when the maker has done what it was ordered.
    done: AtomicU32,
    /// 0, or the errno of what failed.
    error: AtomicI32,
    /// The child's id in the caller's namespace, and its pidfd.
    pid: AtomicI32,
    pidfd: AtomicI32,
    /// A descriptor of a version 2 cgroup, or -1.
    cgroup: AtomicI32,
    /// 1 if the child will be in a time namespace whose clocks start near zero.
    clocks: AtomicU32,
    /// Descriptors of mounts plus one, or 0.
    parts: [AtomicI32; parts::COUNT],
    /// The caller's thread-local storage, which the maker was started without.
    tls: AtomicU64,
    /// Points to a `&mut dyn FnMut()` of the caller's.
    child: AtomicU64,
}

static STARTED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// What a child finds done.
pub struct Begun {
    /// Mounts for its view.
    pub parts: Parts,
    /// True if it is in a time namespace whose clocks start near zero.
    pub clocks: bool,
}

/// The [`NAMESPACES`] of a sandbox, with this user and group mapped to themselves and the
/// loopback interface up, and the process that made them. That process ends as soon as it has
/// cloned the child, and is reaped on drop, which waits for that end.
pub struct HeadStart {
    shared: &'static Shared,
}

impl HeadStart {
    /// What the entry point began, once. None if it didn't: the program's first arguments
    /// are neither `run` nor `wasm run`, or the maker could not be started.
    pub fn take() -> Option<Self> {
        let shared = STARTED.swap(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: the entry point put a zeroed, aligned Shared there, in a mapping that stays; all
        // of it is atomic.
        unsafe { shared.as_ref() }.map(|shared| Self { shared })
    }

    /// Makes a child in the namespaces, the first of its process ids, and in a version 2 cgroup if
    /// one is given. It runs `child`, which doesn't return. The caller has one thread.
    ///
    /// # Errors
    /// What the making of the namespaces, or the clone, failed with; then there is no child.
    pub fn clone(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        child: &mut dyn FnMut(Begun),
    ) -> Result<Child, Errno> {
        let mask = Mask::current();
        let shared = self.shared;
        let mut run = || {
            mask.restore();
            take_main_signals();
            child(Begun {
                parts: Parts::take(shared),
                clocks: shared.clocks.load(Ordering::Relaxed) == 1,
            });
        };
        let mut child: &mut dyn FnMut() = &mut run;
        let cgroup = cgroup.map_or(-1, |fd| fd.as_raw_fd());
        shared.cgroup.store(cgroup, Ordering::Relaxed);
        let child = (&raw mut child) as u64;
        shared.child.store(child, Ordering::Relaxed);
        shared.tls.store(thread_pointer(), Ordering::Relaxed);
        self.give(CLONE);
        self.wait_until_done()?;
        drop(Parts::take(shared));
        match shared.error.load(Ordering::Relaxed) {
            0 => {}
            errno => return Err(Errno::from_raw_os_error(errno)),
        }
        let pid = shared.pid.load(Ordering::Relaxed);
        // SAFETY: the kernel stored a new descriptor there, in the table that both share.
        let pidfd = unsafe { OwnedFd::from_raw_fd(shared.pidfd.load(Ordering::Relaxed)) };
        Ok(Child { pid, pidfd })
    }

    /// Tells the maker that the clone is near, so that it need not be woken then.
    pub fn soon(&self) {
        self.give(SOON);
    }

    fn give(&self, order: u32) {
        self.shared.order.store(order, Ordering::Release);
        wake(&self.shared.order);
    }

    fn wait_until_done(&self) -> Result<(), Errno> {
        let done = &self.shared.done;
        while done.load(Ordering::Acquire) == 0 {
            wait(done, 0);
            // Whoever killed the maker has not killed the caller: it must not wait for ever.
            if done.load(Ordering::Acquire) == 0 && self.has_ended() {
                return Err(Errno::INTR);
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        let maker = self.shared.maker.load(Ordering::Relaxed) as libc::id_t;
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: waitid writes one siginfo, of which all zeros is a valid value.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let result = libc::waitid(libc::P_PID, maker, &raw mut info, options);
            result != 0 || info.si_pid() != 0
        }
    }
}

impl Drop for HeadStart {
    /// Lets the maker go if it still waits, and waits for its end.
    fn drop(&mut self) {
        if self.shared.done.load(Ordering::Acquire) == 0 {
            self.give(GIVE_UP);
        }
        let maker = self.shared.maker.load(Ordering::Relaxed);
        // SAFETY: waits for a child of this process; its status doesn't matter.
        unsafe { libc::waitpid(maker, std::ptr::null_mut(), 0) };
        drop(Parts::take(self.shared));
    }
}

/// The signals that are blocked in this thread.
struct Mask(libc::sigset_t);

impl Mask {
    fn current() -> Self {
        // SAFETY: all zeros is a set, which sigprocmask overwrites.
        unsafe {
            let mut current = std::mem::zeroed();
            libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut current);
            Self(current)
        }
    }

    fn restore(&self) {
        // SAFETY: the set was filled by the kernel.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// The child has the maker's dispositions, which are those of before `main`: this makes them what
/// [`crate::signal::wait_for_children`] and the Rust runtime make them in the caller.
fn take_main_signals() {
    crate::signal::wait_for_children();
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Where this thread's own storage is: its first word points to itself (ELF Handling For
/// Thread-Local Storage, 4.4.6).
fn thread_pointer() -> u64 {
    let pointer;
    // SAFETY: reads a word that every started thread has.
    unsafe { asm!("mov {}, fs:[0]", out(reg) pointer) };
    pointer
}
