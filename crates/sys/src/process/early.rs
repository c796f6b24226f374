//! Namespaces that are made while their caller is still starting.
//!
//! Most of a sandbox's start is the kernel making namespaces, the network's above all, and most
//! of the rest is a program coming to life: its C library asks the processor what it can do
//! (CPUID, which a virtual machine's host has to answer), it relocates itself, reads its
//! arguments, plans. None of that needs the other, so here they run side by side:
//!
//! ```text
//!  caller   entry ──▶ C library ──▶ main ──▶ arguments, plan ──▶ clone ──────┬──▶ goes on
//!             │ clone(VM, FILES)                                   │ futex  │ pidfd
//!  maker      └──▶ unshare(user, net, …), id maps, lo ──▶ waits ───┴▶ clone3 ──▶ exits
//!                                                                     │ PARENT, NEWPID
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

use super::{Child, CloneArgs, namespace};
use crate::Errno;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::arch::{asm, naked_asm};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// What [`HeadStart`] has made, but for the process ids.
pub const NAMESPACES: u64 =
    namespace::USER | namespace::MOUNT | namespace::NET | namespace::IPC | namespace::UTS;

/// The maker's stack becomes the child's, so it has to do for a sandbox's init.
const STACK: usize = 1 << 20;

/// `Shared::order`.
const WAIT: u32 = 0;
const SOON: u32 = 1;
const CLONE: u32 = 2;
const GIVE_UP: u32 = 3;

/// How often the maker looks for the order that comes soon before it sleeps again: some 300 µs.
const LOOKS: u32 = 10_000;

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
    /// The caller's thread-local storage, which the maker was started without.
    tls: AtomicU64,
    /// Points to a `&mut dyn FnMut()` of the caller.
    child: AtomicU64,
}

static STARTED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// The [`NAMESPACES`] of a sandbox, with this user and group mapped to themselves and the
/// loopback interface up, and the process that made them. That process ends as soon as it has
/// cloned the child, and is reaped on drop, which waits for that end.
pub struct HeadStart {
    shared: &'static Shared,
}

impl HeadStart {
    /// What the entry point began, once. None if it didn't: the program's first argument isn't
    /// `run`, or the maker could not be started.
    pub fn take() -> Option<Self> {
        let shared = STARTED.swap(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: the entry point put a zeroed, aligned Shared there, in a mapping that stays; all
        // of it is atomic.
        unsafe { shared.as_ref() }.map(|shared| Self { shared })
    }

    /// Makes a child in the namespaces, in a new one of process ids, and in a version 2 cgroup
    /// if one is given. It runs `child`, which doesn't return. The caller has one thread.
    ///
    /// # Errors
    /// What the making of the namespaces, or the clone, failed with; then there is no child.
    pub fn clone(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        child: &mut dyn FnMut(),
    ) -> Result<Child, Errno> {
        let mask = Mask::current();
        let mut run = || {
            mask.restore();
            take_main_signals();
            child();
        };
        let mut child: &mut dyn FnMut() = &mut run;
        let shared = self.shared;
        let cgroup = cgroup.map_or(-1, |fd| fd.as_raw_fd());
        shared.cgroup.store(cgroup, Ordering::Relaxed);
        let child = (&raw mut child) as u64;
        shared.child.store(child, Ordering::Relaxed);
        shared.tls.store(thread_pointer(), Ordering::Relaxed);
        self.give(CLONE);
        self.wait_until_done()?;
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

/// The program's entry point, where the C library's would be (System V ABI, AMD64 supplement,
/// 3.4.1): the stack has argc and argv, and rdx belongs to the C library.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn casemate_entry() -> ! {
    naked_asm!(
        "mov rdi, rsp",
        "push rdx",
        "sub rsp, 8",
        "call {begin}",
        "add rsp, 8",
        "pop rdx",
        "jmp _start",
        begin = sym begin,
    )
}

/// Starts the maker if the program is about to run something.
///
/// # Safety
/// `stack` is the stack as the kernel laid it out.
unsafe extern "C" fn begin(stack: *const u64) {
    const ALL_SIGNALS: u64 = u64::MAX;
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK) as u64;
    // SAFETY: argc is at the stack's top, and argc pointers follow to strings that end in zero. The
    // mapping is large enough and aligned for Shared at its start, zero is a value of it, and
    // the maker's stack grows down from its end; it is never unmapped.
    unsafe {
        if *stack < 2 || !is_run(*stack.add(2) as *const u8) {
            return;
        }
        populate();
        let base = raw(
            libc::SYS_mmap,
            0,
            STACK as u64,
            protection,
            kind,
            u64::MAX,
            0,
        );
        if base < 0 {
            return;
        }
        let shared = base as *mut Shared;
        let caller = raw(libc::SYS_getpid, 0, 0, 0, 0, 0, 0);
        (*shared).caller.store(caller as i32, Ordering::Relaxed);
        // The signals that arrive meanwhile are the caller's to handle.
        let (mut before, all) = (0u64, ALL_SIGNALS);
        block(&raw const all, &raw mut before);
        let maker = start_maker(shared);
        block(&raw const before, std::ptr::null_mut());
        if maker > 0 {
            (*shared).maker.store(maker as i32, Ordering::Relaxed);
            // Not by its address in a table, which isn't relocated yet.
            let started: *const AtomicPtr<Shared>;
            asm!("lea {}, [rip + {}]", out(reg) started, sym STARTED);
            (*started).store(shared, Ordering::Relaxed);
        }
    }
}

/// Takes every page at once that relocation and start-up are about to write to, one after the other:
/// a hundred page faults are most of a virtual machine's time for that (madvise(2), Linux 5.14;
/// before, it does nothing).
///
/// # Safety
/// None is needed: no contents change.
unsafe fn populate() {
    const WRITABLE: u32 = 2;
    const LOAD: u32 = 1;
    const POPULATE_WRITE: u64 = 23;
    // SAFETY: the linker puts the ELF header and the program headers at the start of the first
    // segment (elf(5)), and names it; the segments lie where those say, from there.
    unsafe {
        let base: u64;
        asm!("lea {}, [rip + __ehdr_start]", out(reg) base, options(nomem, nostack));
        let header = base as *const libc::Elf64_Ehdr;
        let mut segment = (base + (*header).e_phoff) as *const libc::Elf64_Phdr;
        let mut left = (*header).e_phnum;
        while left > 0 {
            if (*segment).p_type == LOAD && (*segment).p_flags & WRITABLE != 0 {
                let first = (base + (*segment).p_vaddr) & !4095;
                let end = (base + (*segment).p_vaddr + (*segment).p_memsz + 4095) & !4095;
                raw(
                    libc::SYS_madvise,
                    first,
                    end - first,
                    POPULATE_WRITE,
                    0,
                    0,
                    0,
                );
            }
            segment = segment.wrapping_add(1);
            left -= 1;
        }
    }
}

/// Whether a string is `run`.
///
/// # Safety
/// It ends in zero.
unsafe fn is_run(word: *const u8) -> bool {
    // SAFETY: no byte is read after the first that differs, nor after the zero.
    unsafe { *word == b'r' && *word.add(1) == b'u' && *word.add(2) == b'n' && *word.add(3) == 0 }
}

/// Sets the mask of blocked signals.
unsafe fn block(set: *const u64, before: *mut u64) {
    let how = libc::SIG_SETMASK as u64;
    // SAFETY: the caller's; a set has 8 bytes.
    unsafe {
        raw(
            libc::SYS_rt_sigprocmask,
            how,
            set as u64,
            before as u64,
            8,
            0,
            0,
        )
    };
}

/// Clones the maker onto the stack above `shared`.
unsafe fn start_maker(shared: *mut Shared) -> i64 {
    let flags = (libc::CLONE_VM | libc::CLONE_FILES | libc::SIGCHLD) as u64;
    let result;
    // SAFETY: the new process runs `make` on a fresh stack and ends in exit(2); this one goes on.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call {make}",
            "mov edi, 0",
            "mov eax, 60",
            "syscall",
            "2:",
            make = sym make,
            inlateout("rax") libc::SYS_clone => result,
            in("rdi") flags,
            in("rsi") shared as u64 + STACK as u64,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            in("r12") shared,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// The maker. See the module: raw system calls only.
unsafe extern "C" fn make(shared: *const Shared) {
    // SAFETY: start_maker() passed a Shared that is never unmapped; the calls get what their manual
    // pages ask for.
    unsafe {
        let shared = &*shared;
        let (user, group) = (
            raw(libc::SYS_geteuid, 0, 0, 0, 0, 0, 0),
            raw(libc::SYS_getegid, 0, 0, 0, 0, 0, 0),
        );
        let mut result = raw(libc::SYS_unshare, NAMESPACES, 0, 0, 0, 0, 0);
        // After unshare(2), which may clear it: this process ends with the caller.
        let (death, kill) = (libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64);
        raw(libc::SYS_prctl, death, kill, 0, 0, 0, 0);
        let parent = raw(libc::SYS_getppid, 0, 0, 0, 0, 0, 0);
        if parent != i64::from(shared.caller.load(Ordering::Relaxed)) {
            return;
        }
        if result == 0 {
            result = map_ids(user as u32, group as u32);
        }
        if result == 0 {
            result = loopback_up();
        }
        shared.error.store(-result as i32, Ordering::Relaxed);
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

/// Maps one user and one group to themselves (user_namespaces(7)).
unsafe fn map_ids(user: u32, group: u32) -> i64 {
    let mut text = [0u8; 32];
    // SAFETY: the strings end in zero, and `one_to_one` fills what it says.
    unsafe {
        let mut result = write_file(c"/proc/self/setgroups".as_ptr(), b"deny".as_ptr(), 4);
        if result >= 0 {
            let length = one_to_one(user, &raw mut text);
            result = write_file(
                c"/proc/self/uid_map".as_ptr(),
                (&raw const text).cast(),
                length,
            );
        }
        if result >= 0 {
            let length = one_to_one(group, &raw mut text);
            result = write_file(
                c"/proc/self/gid_map".as_ptr(),
                (&raw const text).cast(),
                length,
            );
        }
        result.min(0)
    }
}

/// Writes `ID ID 1`; returns how many bytes that is: at most 23.
unsafe fn one_to_one(id: u32, text: *mut [u8; 32]) -> u64 {
    let text: *mut u8 = text.cast();
    let mut at = 0;
    // SAFETY: two numbers of at most ten digits, two spaces and a one fit.
    unsafe {
        for _ in 0..2u8 {
            let mut unit = 1_000_000_000;
            while unit > 1 && id < unit {
                unit /= 10;
            }
            while unit > 0 {
                *text.add(at) = b'0' + (id / unit % 10) as u8;
                at += 1;
                unit /= 10;
            }
            *text.add(at) = b' ';
            at += 1;
        }
        *text.add(at) = b'1';
    }
    at as u64 + 1
}

unsafe fn write_file(path: *const libc::c_char, bytes: *const u8, length: u64) -> i64 {
    let (here, flags) = (
        libc::AT_FDCWD as u64,
        (libc::O_WRONLY | libc::O_CLOEXEC) as u64,
    );
    // SAFETY: the caller's; the descriptor is closed by the one who made it.
    unsafe {
        let fd = raw(libc::SYS_openat, here, path as u64, flags, 0, 0, 0);
        if fd < 0 {
            return fd;
        }
        let result = raw(libc::SYS_write, fd as u64, bytes as u64, length, 0, 0, 0);
        raw(libc::SYS_close, fd as u64, 0, 0, 0, 0, 0);
        result
    }
}

/// Brings the loopback interface up (netdevice(7)).
unsafe fn loopback_up() -> i64 {
    /// `struct ifreq`, as far as it's used here.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u64,
        rest: [u64; 2],
    }
    let request = Request {
        name: [b'l', b'o', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        flags: (libc::IFF_UP | libc::IFF_RUNNING) as u64,
        rest: [0; 2],
    };
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as u64;
    // SAFETY: request is a whole ifreq; the descriptor is closed by the one who made it.
    unsafe {
        let fd = raw(libc::SYS_socket, libc::AF_INET as u64, kind, 0, 0, 0, 0);
        if fd < 0 {
            return fd;
        }
        let call = libc::SIOCSIFFLAGS;
        let result = raw(
            libc::SYS_ioctl,
            fd as u64,
            call,
            (&raw const request) as u64,
            0,
            0,
            0,
        );
        raw(libc::SYS_close, fd as u64, 0, 0, 0, 0, 0);
        result
    }
}

/// Clones the child; returns in the maker only. The caller has started by now, and waits.
fn clone_child(shared: &Shared) {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: i32 = -1;
    // The caller becomes the parent, and the signal that it gets is the maker's.
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::CLONE_SETTLS;
    let mut args = CloneArgs {
        flags: flags as u64 | namespace::PID,
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
            super::exit_now(1);
        }
        pid if pid > 0 => {
            shared.pid.store(pid as i32, Ordering::Relaxed);
            shared.pidfd.store(pidfd, Ordering::Relaxed);
        }
        error => shared.error.store(-error as i32, Ordering::Relaxed),
    }
}

/// Where this thread's own storage is: its first word points to itself (ELF Handling For
/// Thread-Local Storage, 4.4.6).
fn thread_pointer() -> u64 {
    let pointer;
    // SAFETY: reads a word that every started thread has.
    unsafe { asm!("mov {}, fs:[0]", out(reg) pointer) };
    pointer
}

/// Waits until `word` is no longer `value`, or somebody wakes, or 50 ms have passed (futex(2)).
fn wait(word: &AtomicU32, value: u32) {
    let timeout = [0u64, 50_000_000];
    let (word, timeout) = (std::ptr::from_ref(word) as u64, (&raw const timeout) as u64);
    let operation = libc::FUTEX_WAIT as u64;
    // SAFETY: both pointers are to living memory of this process.
    unsafe {
        raw(
            libc::SYS_futex,
            word,
            operation,
            value.into(),
            timeout,
            0,
            0,
        )
    };
}

fn wake(word: &AtomicU32) {
    let word = std::ptr::from_ref(word) as u64;
    // SAFETY: the pointer is to living memory of this process.
    unsafe { raw(libc::SYS_futex, word, libc::FUTEX_WAKE as u64, 1, 0, 0, 0) };
}

/// A system call and nothing else (syscall(2)): it returns -errno and leaves errno alone.
///
/// # Safety
/// As the call's manual page says.
#[inline(always)]
unsafe fn raw(number: libc::c_long, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64 {
    let result;
    // SAFETY: the caller's; the kernel changes rax, rcx and r11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}
