//! Processes: clone3(2) or clone(2) with a pidfd, execve(2), and what is wiped between the two.
//!
//! fork(3) runs the C library's handlers and hides the pidfd; posix_spawn(3) can't enter
//! namespaces. A sandbox is made by a single-threaded program, so the plain system call is
//! enough: the child goes on with a copy of everything. [`early`] is the way for a child whose
//! namespaces can be made ahead, [`command`] that of a program which has threads, [`nursery`] that of
//! one which is to be left alone by what it starts, [`confined`] that of one which isn't ours.

pub mod command;
pub mod confined;
pub mod early;
pub mod nursery;

use crate::mount::Rest;
use crate::{Errno, check, raw};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// `CLONE_NEW*` flags (namespaces(7)); the values are the kernel's.
pub mod namespace {
    /// Time (time_namespaces(7)); only for unshare(2), the children enter it.
    pub const TIME: u64 = 0x80;
    /// Mounts.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// Cgroup names.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// Host name.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// System V and POSIX IPC.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// Users and capabilities.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    /// Process ids.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// Network.
    pub const NET: u64 = libc::CLONE_NEWNET as u64;
}

/// The two sides of a clone.
pub enum Clone {
    /// The caller's side.
    Parent(Child),
    /// The new process.
    Child,
}

/// A process that was just made.
pub struct Child {
    /// Its id in the caller's pid namespace.
    pub pid: i32,
    /// A descriptor that stays with this very process (pidfd_open(2)), close-on-exec.
    pub pidfd: OwnedFd,
}

/// `struct clone_args` of clone3(2), its first version with `cgroup`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child in new namespaces, and in a version 2 cgroup if one is given.
///
/// Returns twice, like fork(2): once here and once in the child. The caller has one thread.
pub fn clone(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Clone, Errno> {
    let child = CloneArgs {
        flags: namespaces,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    clone_with(child, namespaces == 0, cgroup)
}

/// The same, but what is made is a child of this process's parent, which waits for it.
pub fn clone_sibling(namespaces: u64) -> Result<Clone, Errno> {
    let sibling = CloneArgs {
        // The signal that the parent gets is that for this process.
        flags: namespaces | libc::CLONE_PARENT as u64,
        ..CloneArgs::default()
    };
    clone_with(sibling, false, None)
}

fn clone_with(
    mut args: CloneArgs,
    older: bool,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Clone, Errno> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: i32 = -1;
    args.flags |= libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args is a whole clone_args with its size; without CLONE_VM the child has its own
    // copy of memory and of this stack, so both sides may return from here. The older call stores
    // the pidfd where its third argument says.
    let pid = check(unsafe {
        if older && cgroup.is_none() {
            // Inside a sandbox there is only this one, whose flags a filter sees.
            let flags = args.flags | args.exit_signal;
            libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0)
        } else {
            libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>())
        }
    })?;
    if pid == 0 {
        return Ok(Clone::Child);
    }
    // SAFETY: the kernel stored a new descriptor in pidfd, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Clone::Parent(Child {
        pid: pid as i32,
        pidfd,
    }))
}

/// Makes a child that shares this process's memory until it executes a program or ends, as vfork(2)
/// does: nothing is copied, which saves most of a fork's time. While the child gets ready, this
/// process finishes the rest of the view, and then waits.
///
/// `child` ends in execve(2) or returns its exit status; what it changes in memory stays
/// changed. It runs on a stack of its own. The caller has one thread.
pub fn spawn_sharing_memory(child: &mut dyn FnMut() -> i32, rest: &Rest) -> Result<Child, Errno> {
    const STACK: usize = 512 << 10;
    extern "C" fn start(argument: *mut libc::c_void) -> libc::c_int {
        // SAFETY: argument points to the closure's reference, which outlives the waiting
        // parent's call.
        let child = unsafe { &mut *argument.cast::<&mut dyn FnMut() -> i32>() };
        child()
    }
    let mut child = child;
    let mut pidfd: i32 = -1;
    // The kernel clears this, and wakes whoever waits for it, when the child has left the memory.
    let shares = AtomicU32::new(1);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
    let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: a fresh mapping for the child's stack, which grows down from its end and is
    // unmapped only when the child no longer uses it. Until then, this process makes raw system
    // calls and touches nothing but atomics: allocator and errno are the child's.
    unsafe {
        let stack = libc::mmap(std::ptr::null_mut(), STACK, protection, kind, -1, 0);
        if stack == libc::MAP_FAILED {
            return Err(Errno::NOMEM);
        }
        let top = stack.byte_add(STACK);
        let argument = (&raw mut child).cast();
        let storage = std::ptr::null_mut::<libc::c_void>();
        let pid = libc::clone(
            start,
            top,
            flags,
            argument,
            &raw mut pidfd,
            storage,
            shares.as_ptr(),
        );
        if pid >= 0 {
            rest.finish();
            while shares.load(Ordering::Acquire) != 0 {
                raw::wait(&shares, 1);
            }
        }
        let pid = check(pid.into());
        libc::munmap(stack, STACK);
        Ok(Child {
            pid: pid? as i32,
            pidfd: OwnedFd::from_raw_fd(pidfd),
        })
    }
}

/// Leaves some namespaces for new ones (unshare(2)). The caller has one thread.
pub fn unshare(namespaces: u64) -> Result<(), Errno> {
    // SAFETY: only namespaces are left, no memory or descriptors.
    check(unsafe { libc::unshare(namespaces as libc::c_int) }.into())?;
    Ok(())
}

/// Ends this process at once, without destructors and exit handlers: the only right end of a
/// clone that did not exec, since those belong to the parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes any status and does not return.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor from `first` up, whoever owned it (close_range(2)): for the start of
/// `main`, before anything else opens files.
pub fn close_from(first: i32) -> Result<(), Errno> {
    // SAFETY: the caller gave them up; a later use of one is an error, not undefined.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Marks every descriptor from `first` up as close-on-exec (close_range(2)).
pub fn close_on_exec_from(first: i32) -> Result<(), Errno> {
    const CLOEXEC: libc::c_uint = 4;
    // SAFETY: only sets a flag on descriptors.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            u32::MAX,
            CLOEXEC,
        )
    })?;
    Ok(())
}

/// Closes every descriptor above 2 but this one (close_range(2)), whoever owned it: only for a
/// process that will not use any of them again and ends in [`exit_now`].
pub fn close_all_but(keep: BorrowedFd<'_>) {
    close_all_but_these(&[keep]);
}

/// The same with more than one that is kept.
pub fn close_all_but_these(keep: &[BorrowedFd<'_>]) {
    let mut kept: Vec<libc::c_uint> = keep.iter().map(|fd| fd.as_raw_fd() as _).collect();
    kept.sort_unstable();
    let mut first = 3;
    for keep in kept.into_iter().map(Some).chain([None]) {
        let last = keep.map_or(libc::c_uint::MAX, |keep| keep.saturating_sub(1));
        if first <= last {
            // SAFETY: the caller gave up the descriptors; a later use of one is an error, not
            // undefined.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        first = first.max(keep.map_or(first, |keep| keep + 1));
    }
}

/// A program, its arguments and its environment, as execve(2) takes them.
///
/// It is put together before the sandbox is entered, so that nothing is allocated after.
pub struct Exec {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Exec {
    /// The three parts of execve(2).
    pub fn new(path: CString, args: Vec<CString>, env: Vec<CString>) -> Self {
        Self { path, args, env }
    }

    /// The path that will be executed.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// Becomes the program that a descriptor leads to, wherever it is (execveat(2)); returns only
    /// if that failed.
    pub fn exec_file(&self, program: BorrowedFd<'_>) -> Errno {
        let args = pointers(&self.args);
        let env = pointers(&self.env);
        // SAFETY: both arrays hold pointers to C strings that outlive the call and end in null.
        let result = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                program.as_raw_fd(),
                c"".as_ptr(),
                args.as_ptr(),
                env.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        match check(result) {
            Err(errno) => errno,
            Ok(_) => Errno::IO,
        }
    }

    /// Becomes the program; returns only if that failed.
    pub fn exec(&self) -> Errno {
        let args = pointers(&self.args);
        let env = pointers(&self.env);
        // SAFETY: both arrays hold pointers to C strings that outlive the call and end in null.
        let result = unsafe { libc::execve(self.path.as_ptr(), args.as_ptr(), env.as_ptr()) };
        match check(result.into()) {
            Err(errno) => errno,
            Ok(_) => Errno::IO,
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

static ARGV: AtomicUsize = AtomicUsize::new(0);
static ENVP: AtomicUsize = AtomicUsize::new(0);

extern "C" fn keep_start_pointers(
    _argc: libc::c_int,
    argv: *mut *mut libc::c_char,
    envp: *mut *mut libc::c_char,
) {
    ARGV.store(argv as usize, Ordering::Relaxed);
    ENVP.store(envp as usize, Ordering::Relaxed);
}

#[used]
#[unsafe(link_section = ".init_array")]
static KEEP: extern "C" fn(libc::c_int, *mut *mut libc::c_char, *mut *mut libc::c_char) =
    keep_start_pointers;

/// Overwrites the arguments and the environment that this process was started with.
///
/// The init of a sandbox is a copy of its supervisor, and its `/proc/1/cmdline` is readable
/// for every process inside: it would show host paths and values given on the command line.
/// `std::env` must not be used after this.
pub fn wipe_start_strings(title: &str) {
    for (list, title) in [(&ARGV, title), (&ENVP, "")] {
        let list = list.load(Ordering::Relaxed) as *const *mut libc::c_char;
        if list.is_null() {
            continue;
        }
        let mut first = true;
        let mut index = 0;
        loop {
            // SAFETY: the array that the kernel laid out at start ends in a null pointer, and
            // its strings lie in writable stack memory that this process owns.
            unsafe {
                let string = *list.add(index);
                if string.is_null() {
                    break;
                }
                let length = libc::strlen(string);
                std::ptr::write_bytes(string, 0, length);
                if first {
                    let shown = title.len().min(length);
                    std::ptr::copy_nonoverlapping(title.as_ptr().cast(), string, shown);
                }
            }
            first = false;
            index += 1;
        }
    }
}

/// The CPU time and memory of all children that were waited for (getrusage(2)).
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User time, microseconds.
    pub user_micros: u64,
    /// System time, microseconds.
    pub system_micros: u64,
    /// The largest resident set of one of them, bytes.
    pub max_rss: u64,
}

/// What the children that were waited for have used.
pub fn children_usage() -> Usage {
    // SAFETY: an all-zero rusage is a valid value, and the call only writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let micros = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    Usage {
        user_micros: micros(usage.ru_utime),
        system_micros: micros(usage.ru_stime),
        max_rss: usage.ru_maxrss as u64 * 1024,
    }
}

/// How a child changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// This signal stopped it; it can go on.
    Stopped(i32),
}

/// Waits for any child (waitid(2)): its id and how it changed. `None` if nothing changed and
/// `block` is false; ECHILD if there are no children.
pub fn wait_any(block: bool, stopped: bool) -> Result<Option<(i32, Change)>, Errno> {
    let mut options = libc::WEXITED;
    if stopped {
        options |= libc::WSTOPPED;
    }
    if !block {
        options |= libc::WNOHANG;
    }
    // SAFETY: an all-zero siginfo is valid; waitid fills it, and with WNOHANG may leave the pid 0.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        check(libc::waitid(libc::P_ALL, 0, &raw mut info, options).into())?;
        let (pid, status) = (info.si_pid(), info.si_status());
        Ok((pid != 0).then_some(match info.si_code {
            libc::CLD_EXITED => (pid, Change::Exited(status)),
            libc::CLD_STOPPED | libc::CLD_TRAPPED => (pid, Change::Stopped(status)),
            _ => (pid, Change::Signaled(status)),
        }))
    }
}

/// Kills every process that this one may signal, except itself; in a pid namespace's init that
/// is the whole sandbox (kill(2) with -1).
pub fn kill_all() {
    // SAFETY: a plain system call; the caller is the init of a pid namespace.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Reads memory of another process (process_vm_readv(2)); fewer bytes than asked for may come
/// back.
pub fn read_memory(pid: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: local points to the buffer for its whole length; remote is another process's
    // address, which the kernel checks.
    let count =
        check(
            unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) }
                as libc::c_long,
        )?;
    Ok(count as usize)
}
