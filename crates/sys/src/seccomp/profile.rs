//! The system calls that a sandboxed program may make, and why the others are refused.
//!
//! A group is a list of calls with one verdict. `Check` looks at arguments in registers; what a
//! pointer points to can't be seen by a filter and is never relied on. The errno of a refusal is
//! one that programs take as "not here, do it another way".

use super::Request;
use crate::Errno;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Allow,
    /// It fails with this errno, unnoticed: programs try it as a matter of course.
    Fail(Errno),
    /// It fails with this errno, and is counted where there is a listener.
    Refuse(Errno),
    /// The supervisor makes it, or says whether it may be made; without a listener it fails with
    /// this errno.
    Ask(Errno),
    /// It is refused where the program may be given sockets of another network
    /// ([`Profile::lends`]), and made elsewhere.
    Shield(Errno),
    /// It is made where the program is an agent that has a user namespace to make
    /// ([`Profile::nests`]), and refused elsewhere.
    Nest(Errno),
    /// It is made; before that the supervisor is told, where the program may be given sockets of
    /// another network. Only for what registers say: nothing is decided, and what is learnt is in
    /// [`Request::args`], which no other thread can change.
    Note,
}

/// A test of one argument's lower 32 bits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Test {
    /// `argument & mask == value`.
    Is { arg: usize, mask: u32, value: u32 },
    /// `argument & mask != 0`.
    Any { arg: usize, mask: u32 },
}

/// An action for when all tests hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) when: &'static [Test],
    pub(super) then: Action,
}

/// What is done with a call: the first case that holds, or else the last word.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Always(Action),
    Check {
        cases: &'static [Case],
        otherwise: Action,
    },
}

pub(super) struct Group {
    pub(super) calls: &'static [(&'static str, i64)],
    pub(super) verdict: Verdict,
}

/// What of the profile depends on the run.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// True if there is a listener; otherwise what would be asked fails.
    pub listener: bool,
    /// True if connected sockets of another network namespace may be put in the place of the
    /// program's own ([`super::Listener::install`]).
    pub lends: bool,
    /// True if a user namespace may be made, and no other one with it. Whoever is let do that sees
    /// to it that nobody else does ([`super::fence`]).
    pub nests: bool,
}

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

pub(super) const fn is(arg: usize, value: u32) -> Test {
    Test::Is {
        arg,
        mask: u32::MAX,
        value,
    }
}

pub(super) const fn masked(arg: usize, mask: u32, value: u32) -> Test {
    Test::Is { arg, mask, value }
}

pub(super) const fn any(arg: usize, mask: u32) -> Test {
    Test::Any { arg, mask }
}

const fn case(when: &'static [Test], then: Action) -> Case {
    Case { when, then }
}

use Action::{Allow, Ask, Fail, Nest, Note, Refuse, Shield};
use Verdict::{Always, Check};

/// Every namespace flag, with CLONE_NEWTIME, which only unshare(2) takes.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
const NEW_TIME: u32 = 0x80;
/// CLONE_NEWUSER.
pub(super) const NEW_USERS: u32 = 0x1000_0000;
/// A table of descriptors: shared with the parent (clone), or no longer shared (unshare).
const FILES: u32 = 0x400;
const THREAD: u32 = 0x1_0000;
/// CLOSE_RANGE_UNSHARE.
const UNSHARE_RANGE: u32 = 2;
/// PTRACE_O_TRACEEXIT.
const TRACE_EXIT: u32 = 0x40;
/// S_ISUID and S_ISGID.
const SET_ID: u32 = 0o6000;
/// O_CREAT and the bit of O_TMPFILE that is its own.
const CREATING: u32 = 0o100 | 0o20_000_000;
/// SOCK_STREAM and so on, without SOCK_NONBLOCK and SOCK_CLOEXEC.
const TYPE: u32 = 0xf;
const STREAM: u32 = 1;
const DGRAM: u32 = 2;
const RAW: u32 = 3;
/// SOCK_STREAM is 1 and SOCK_SEQPACKET 5; SOCK_DGRAM is 2 and SOCK_RAW 3.
const STREAM_OR_SEQPACKET: Test = masked(1, TYPE & !4, STREAM);
const DGRAM_OR_RAW: Test = masked(1, TYPE & !1, DGRAM);
const UNIX: u32 = 1;
/// AF_INET is 2 and AF_INET6 10.
const INET: Test = masked(0, !8, 2);
const NETLINK: u32 = 16;
const TCP: u32 = 6;
const UDP: u32 = 17;
/// MSG_FASTOPEN: a connect(2) inside a send, which no connect rule sees.
const FAST_OPEN: u32 = 0x2000_0000;

/// The list. Each group says what it is for, or which attack its refusal stops.
pub(super) const GROUPS: &[Group] = &[
    // Files and folders: mounts and Landlock decide, so the calls are free.
    Group {
        calls: calls![
            SYS_read SYS_write SYS_close SYS_stat SYS_fstat SYS_lstat SYS_poll SYS_lseek SYS_pread64
            SYS_pwrite64 SYS_readv SYS_writev SYS_access SYS_pipe SYS_select SYS_dup SYS_dup2
            SYS_sendfile SYS_flock SYS_fsync SYS_fdatasync SYS_truncate SYS_ftruncate
            SYS_getdents SYS_getcwd SYS_chdir SYS_fchdir SYS_rename SYS_mkdir SYS_rmdir SYS_link
            SYS_unlink SYS_symlink SYS_readlink SYS_chown SYS_fchown SYS_lchown SYS_umask SYS_utime
            SYS_statfs SYS_fstatfs SYS_sync SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_getxattr
            SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_removexattr
            SYS_lremovexattr SYS_fremovexattr SYS_getdents64 SYS_fadvise64 SYS_utimes SYS_mkdirat
            SYS_fchownat SYS_futimesat SYS_newfstatat SYS_unlinkat SYS_renameat SYS_linkat
            SYS_symlinkat SYS_readlinkat SYS_faccessat SYS_pselect6 SYS_ppoll SYS_splice SYS_tee
            SYS_sync_file_range SYS_vmsplice SYS_utimensat SYS_fallocate SYS_dup3 SYS_pipe2
            SYS_inotify_init SYS_inotify_add_watch SYS_inotify_rm_watch SYS_inotify_init1 SYS_preadv
            SYS_pwritev SYS_syncfs SYS_renameat2 SYS_copy_file_range SYS_preadv2 SYS_pwritev2
            SYS_statx SYS_faccessat2 SYS_readahead
        ],
        verdict: Always(Allow),
    },
    // Calls that the libc crate doesn't name yet: io_pgetevents, cachestat, the futex2 family, mseal.
    Group {
        calls: &[
            ("io_pgetevents", 333),
            ("cachestat", 451),
            ("futex_wake", 454),
            ("futex_wait", 455),
            ("futex_requeue", 456),
            ("mseal", 462),
        ],
        verdict: Always(Allow),
    },
    // A set-id bit on a file in the workspace would survive the sandbox and give whoever runs
    // the file outside the rights of the caller.
    Group {
        calls: calls![SYS_chmod SYS_fchmod],
        verdict: Check {
            cases: &[case(&[any(1, SET_ID)], Refuse(Errno::PERM))],
            otherwise: Allow,
        },
    },
    Group {
        calls: &[("fchmodat", libc::SYS_fchmodat), ("fchmodat2", 452)],
        verdict: Check {
            cases: &[case(&[any(2, SET_ID)], Refuse(Errno::PERM))],
            otherwise: Allow,
        },
    },
    Group {
        calls: calls![SYS_creat SYS_mknod],
        verdict: Check {
            cases: &[case(&[any(1, SET_ID)], Refuse(Errno::PERM))],
            otherwise: Allow,
        },
    },
    Group {
        calls: calls![SYS_mknodat],
        verdict: Check {
            cases: &[case(&[any(2, SET_ID)], Refuse(Errno::PERM))],
            otherwise: Allow,
        },
    },
    Group {
        calls: calls![SYS_open],
        verdict: Check {
            cases: &[case(
                &[any(2, SET_ID), any(1, CREATING)],
                Refuse(Errno::PERM),
            )],
            otherwise: Allow,
        },
    },
    Group {
        calls: calls![SYS_openat],
        verdict: Check {
            cases: &[case(
                &[any(3, SET_ID), any(2, CREATING)],
                Refuse(Errno::PERM),
            )],
            otherwise: Allow,
        },
    },
    // A lease on a file that is only read here would stall those outside who write it: F_SETLEASE,
    // and F_SETDELEG, which has them for folders. F_NOTIFY is the old and rare form of inotify.
    Group {
        calls: calls![SYS_fcntl],
        verdict: Check {
            cases: &[
                case(&[is(1, 1024)], Refuse(Errno::PERM)),
                case(&[is(1, 1040)], Refuse(Errno::PERM)),
                case(&[is(1, 1026)], Refuse(Errno::PERM)),
            ],
            otherwise: Allow,
        },
    },
    // openat2 has its mode in memory, out of a filter's sight; callers fall back to openat.
    Group {
        calls: calls![SYS_openat2],
        verdict: Always(Fail(Errno::NOSYS)),
    },
    // Memory. memfd_secret hides memory from the accounting, so it stays out.
    Group {
        calls: calls![
            SYS_mmap SYS_mprotect SYS_munmap SYS_brk SYS_mremap SYS_msync SYS_mincore SYS_madvise
            SYS_mlock SYS_munlock SYS_mlockall SYS_munlockall SYS_remap_file_pages SYS_mbind
            SYS_set_mempolicy SYS_get_mempolicy SYS_memfd_create SYS_mlock2 SYS_pkey_mprotect
            SYS_pkey_alloc SYS_pkey_free SYS_process_madvise SYS_membarrier SYS_rseq
            SYS_set_mempolicy_home_node
        ],
        verdict: Always(Allow),
    },
    // Processes, threads, signals, time, scheduling of one's own.
    Group {
        calls: calls![
            SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sched_yield SYS_pause
            SYS_nanosleep SYS_getitimer SYS_alarm SYS_setitimer SYS_getpid SYS_fork SYS_vfork
            SYS_execve SYS_exit SYS_wait4 SYS_kill SYS_uname SYS_gettimeofday SYS_getrlimit
            SYS_getrusage SYS_sysinfo SYS_times SYS_getuid SYS_getgid SYS_setuid SYS_setgid
            SYS_geteuid SYS_getegid SYS_setpgid SYS_getppid SYS_getpgrp SYS_setsid SYS_setreuid
            SYS_setregid SYS_getgroups SYS_setgroups SYS_setresuid SYS_getresuid SYS_setresgid
            SYS_getresgid SYS_getpgid SYS_setfsuid SYS_setfsgid SYS_getsid SYS_capget SYS_capset
            SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_sigsuspend
            SYS_sigaltstack SYS_getpriority SYS_setpriority SYS_sched_setparam SYS_sched_getparam
            SYS_sched_setscheduler SYS_sched_getscheduler SYS_sched_get_priority_max
            SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_arch_prctl SYS_setrlimit
            SYS_gettid SYS_tkill SYS_time SYS_futex SYS_sched_setaffinity SYS_sched_getaffinity
            SYS_set_thread_area SYS_get_thread_area SYS_set_tid_address SYS_restart_syscall
            SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun
            SYS_timer_delete SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_exit_group
            SYS_tgkill SYS_waitid SYS_ioprio_set SYS_ioprio_get SYS_set_robust_list
            SYS_get_robust_list SYS_signalfd SYS_timerfd_create SYS_eventfd SYS_timerfd_settime
            SYS_timerfd_gettime SYS_signalfd4 SYS_eventfd2 SYS_rt_tgsigqueueinfo
            SYS_getcpu SYS_sched_setattr SYS_sched_getattr SYS_getrandom SYS_execveat
            SYS_pidfd_send_signal SYS_pidfd_open SYS_pidfd_getfd SYS_process_mrelease
            SYS_futex_waitv SYS_epoll_ctl SYS_epoll_wait SYS_epoll_pwait SYS_epoll_pwait2
        ],
        verdict: Always(Allow),
    },
    // Once there is an epoll instance, a socket has to be looked for in it before it is replaced.
    Group {
        calls: calls![SYS_epoll_create SYS_epoll_create1],
        verdict: Always(Note),
    },
    // Limits of one's own: prlimit would change those of any process of the same user, init too.
    Group {
        calls: calls![SYS_prlimit64],
        verdict: Check {
            cases: &[case(&[is(0, 0)], Allow)],
            otherwise: Refuse(Errno::PERM),
        },
    },
    // Debugging one's own children works; Landlock keeps it within the sandbox, and the
    // sandbox's init is outside that domain and can't be dumped.
    Group {
        calls: calls![SYS_process_vm_readv SYS_process_vm_writev],
        verdict: Always(Allow),
    },
    // Two that wait for each other's end, to which PTRACE_O_TRACEEXIT holds them up, never end: no
    // signal helps, nor does the end of their init. The supervisor lets one process at a time ask
    // for it, as strace(1) does.
    Group {
        calls: calls![SYS_ptrace],
        verdict: Check {
            cases: &[
                case(
                    &[is(0, libc::PTRACE_SETOPTIONS), any(3, TRACE_EXIT)],
                    Ask(Errno::PERM),
                ),
                case(
                    &[is(0, libc::PTRACE_SEIZE), any(3, TRACE_EXIT)],
                    Ask(Errno::PERM),
                ),
            ],
            otherwise: Allow,
        },
    },
    // New namespaces are new kernel surface: a program that is root in a namespace of its own
    // reaches nftables, overlayfs and mount code that it otherwise can't.
    Group {
        calls: calls![SYS_clone],
        verdict: Check {
            cases: &[
                case(&[any(0, NEW_NAMESPACES)], Refuse(Errno::PERM)),
                case(&[masked(0, THREAD | FILES, THREAD)], Refuse(Errno::PERM)),
            ],
            otherwise: Allow,
        },
    },
    // A thread with a table of descriptors of its own, by any of these calls: on older kernels the
    // supervisor can only take the descriptor of a process, and would take another socket than the
    // one that the thread means.
    Group {
        calls: calls![SYS_unshare],
        verdict: Check {
            cases: &[
                case(&[is(0, NEW_USERS)], Nest(Errno::PERM)),
                case(
                    &[any(0, NEW_NAMESPACES | NEW_TIME | FILES)],
                    Refuse(Errno::PERM),
                ),
            ],
            otherwise: Allow,
        },
    },
    Group {
        calls: calls![SYS_close_range],
        verdict: Check {
            cases: &[case(&[any(2, UNSHARE_RANGE)], Refuse(Errno::INVAL))],
            otherwise: Allow,
        },
    },
    // The flags of clone3 are in memory; the C library falls back to clone.
    Group {
        calls: calls![SYS_clone3],
        verdict: Always(Fail(Errno::NOSYS)),
    },
    Group {
        calls: calls![SYS_setns],
        verdict: Always(Refuse(Errno::PERM)),
    },
    // Sockets, strictly by (domain, type, protocol). MPTCP, SCTP and SMC get past rules for TCP;
    // a datagram Unix socket can be sent from to any path, with the address in memory where no
    // filter sees it, so there are none; rare families are kernel surface that nobody tests.
    Group {
        calls: calls![SYS_socket],
        verdict: Check {
            cases: &[
                case(&[is(0, UNIX), STREAM_OR_SEQPACKET], Allow),
                case(&[is(0, UNIX)], Refuse(Errno::ACCESS)),
                case(&[INET, masked(1, TYPE, STREAM), is(2, 0)], Allow),
                case(&[INET, masked(1, TYPE, STREAM), is(2, TCP)], Allow),
                case(&[INET, masked(1, TYPE, DGRAM), is(2, 0)], Allow),
                case(&[INET, masked(1, TYPE, DGRAM), is(2, UDP)], Allow),
                case(&[INET, masked(1, TYPE, RAW)], Refuse(Errno::PERM)),
                case(&[INET], Refuse(Errno::PROTONOSUPPORT)),
                // rtnetlink, by which getifaddrs(3) lists interfaces.
                case(&[is(0, NETLINK), DGRAM_OR_RAW, is(2, 0)], Allow),
                case(&[is(0, NETLINK)], Refuse(Errno::PROTONOSUPPORT)),
            ],
            otherwise: Refuse(Errno::AFNOSUPPORT),
        },
    },
    Group {
        calls: calls![SYS_socketpair],
        verdict: Check {
            cases: &[
                case(&[is(0, UNIX), STREAM_OR_SEQPACKET], Allow),
                case(&[is(0, UNIX)], Refuse(Errno::PROTONOSUPPORT)),
            ],
            otherwise: Refuse(Errno::AFNOSUPPORT),
        },
    },
    // The address is in memory, and a path may be a socket of the host: the supervisor copies
    // it, decides, and connects the very socket itself.
    Group {
        calls: calls![SYS_connect],
        verdict: Always(Ask(Errno::ACCESS)),
    },
    Group {
        calls: calls![SYS_sendto SYS_sendmmsg],
        verdict: Check {
            cases: &[case(&[any(3, FAST_OPEN)], Refuse(Errno::OPNOTSUPP))],
            otherwise: Allow,
        },
    },
    Group {
        calls: calls![SYS_sendmsg],
        verdict: Check {
            cases: &[case(&[any(2, FAST_OPEN)], Refuse(Errno::OPNOTSUPP))],
            otherwise: Allow,
        },
    },
    Group {
        calls: calls![
            SYS_accept SYS_recvfrom SYS_recvmsg SYS_shutdown SYS_bind SYS_listen SYS_getsockname
            SYS_getpeername SYS_getsockopt SYS_accept4 SYS_recvmmsg
        ],
        verdict: Always(Allow),
    },
    // IP_OPTIONS, IPV6_RTHDR and IPV6_2292PKTOPTIONS can name a first stop for the packets of a
    // connection that was allowed: the payload would go where nobody decided.
    Group {
        calls: calls![SYS_setsockopt],
        verdict: Check {
            cases: &[
                case(&[is(1, 0), is(2, 4)], Refuse(Errno::PERM)),
                case(&[is(1, 41), is(2, 57)], Refuse(Errno::PERM)),
                case(&[is(1, 41), is(2, 6)], Refuse(Errno::PERM)),
                // SO_BINDTODEVICE and SO_BINDTOIFINDEX: through another interface, the same
                // address may be somebody else.
                case(&[is(1, 1), is(2, 25)], Shield(Errno::PERM)),
                case(&[is(1, 1), is(2, 62)], Shield(Errno::PERM)),
                // What programs set as a matter of course, on many sockets or again and again:
                // SO_BROADCAST, SO_SNDBUF and SO_RCVBUF, SO_REUSEADDR, SO_KEEPALIVE, SO_LINGER,
                // the two timeouts; TCP_NODELAY, TCP_CORK, TCP_KEEPIDLE to TCP_KEEPCNT,
                // TCP_USER_TIMEOUT; IP_RECVERR; IPV6_V6ONLY and IPV6_RECVERR. These are looked at
                // when a socket is to be replaced ([`crate::socket`]).
                case(&[is(1, 1), masked(2, !1, 6)], Allow),
                case(&[is(1, 1), masked(2, !1, 8)], Allow),
                case(&[is(1, 1), is(2, 2)], Allow),
                case(&[is(1, 1), is(2, 13)], Allow),
                case(&[is(1, 1), masked(2, !1, 20)], Allow),
                case(&[is(1, 6), is(2, 1)], Allow),
                case(&[is(1, 6), is(2, 3)], Allow),
                case(&[is(1, 6), masked(2, !1, 4)], Allow),
                case(&[is(1, 6), is(2, 6)], Allow),
                case(&[is(1, 6), is(2, 18)], Allow),
                case(&[is(1, 0), is(2, 11)], Allow),
                case(&[is(1, 41), is(2, 26)], Allow),
                case(&[is(1, 41), is(2, 25)], Allow),
                // What means nothing to a TCP socket that isn't connected: SO_PASSCRED and
                // SO_PASSSEC, TCP_QUICKACK, multicast, and levels of other protocols (UDP,
                // netlink, TLS).
                case(&[is(1, 1), is(2, 16)], Allow),
                case(&[is(1, 1), is(2, 34)], Allow),
                case(&[is(1, 6), is(2, 12)], Allow),
                case(&[is(1, 0), masked(2, !3, 32)], Allow),
                case(&[is(1, 0), is(2, 36)], Allow),
                case(&[is(1, 41), is(2, 17)], Allow),
                case(&[is(1, 41), masked(2, !1, 18)], Allow),
                case(&[is(1, 41), masked(2, !1, 20)], Allow),
                case(&[is(1, 17)], Allow),
                case(&[is(1, 270)], Allow),
                case(&[is(1, 282)], Allow),
            ],
            // The others are rare enough to be told of.
            otherwise: Note,
        },
    },
    // IPC within the sandbox's own IPC namespace.
    Group {
        calls: calls![
            SYS_shmget SYS_shmat SYS_shmctl SYS_semget SYS_semop SYS_semctl SYS_shmdt SYS_msgget
            SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_semtimedop SYS_mq_open SYS_mq_unlink
            SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
        ],
        verdict: Always(Allow),
    },
    // TIOCSTI and TIOCLINUX type into a terminal, TIOCCONS takes its output, TIOCSETD loads
    // line disciplines. From 0x8910 on (netdevice(7)), a socket tells the interfaces, neighbours and
    // hardware addresses of its network, which a lent one must not; SIOCOUTQNSD is its own affair.
    // Netlink, by which ip(8) and getifaddrs(3) ask, belongs to the sandbox's network.
    Group {
        calls: calls![SYS_ioctl],
        verdict: Check {
            cases: &[
                case(&[is(1, 0x5412)], Refuse(Errno::PERM)),
                case(&[is(1, 0x541c)], Refuse(Errno::PERM)),
                case(&[is(1, 0x541d)], Refuse(Errno::PERM)),
                case(&[is(1, 0x5423)], Refuse(Errno::PERM)),
                case(&[masked(1, 0xfff0, 0x8900)], Allow),
                case(&[is(1, 0x894b)], Allow),
                case(&[masked(1, 0xff00, 0x8900)], Shield(Errno::PERM)),
            ],
            otherwise: Allow,
        },
    },
    // PR_SET_MM rewrites what /proc says of a process; the rest is a process's own affair.
    Group {
        calls: calls![SYS_prctl],
        verdict: Check {
            cases: &[case(&[is(0, 35)], Refuse(Errno::PERM))],
            otherwise: Allow,
        },
    },
    // A query, or no address randomisation, which debuggers ask for.
    Group {
        calls: calls![SYS_personality],
        verdict: Check {
            cases: &[
                case(&[is(0, 0)], Allow),
                case(&[is(0, 0x4_0000)], Allow),
                case(&[is(0, 0x2_0000)], Allow),
                case(&[is(0, u32::MAX)], Allow),
            ],
            otherwise: Refuse(Errno::PERM),
        },
    },
    // Stacked filters and Landlock domains only take away. A listener of the program's own
    // (flag 8) could answer in our place.
    Group {
        calls: calls![SYS_seccomp],
        verdict: Check {
            cases: &[case(&[any(1, 8)], Refuse(Errno::BUSY))],
            otherwise: Allow,
        },
    },
    Group {
        calls: calls![SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self],
        verdict: Always(Allow),
    },
    // Mounts: the view is the wall.
    Group {
        calls: calls![
            SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen
            SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr SYS_quotactl SYS_quotactl_fd
            SYS_swapon SYS_swapoff
        ],
        verdict: Always(Refuse(Errno::PERM)),
    },
    // Handles name files without a path, past the view; fanotify watches whole file systems.
    Group {
        calls: calls![SYS_name_to_handle_at SYS_open_by_handle_at],
        verdict: Always(Refuse(Errno::OPNOTSUPP)),
    },
    Group {
        calls: calls![SYS_fanotify_init SYS_fanotify_mark],
        verdict: Always(Refuse(Errno::PERM)),
    },
    // io_uring makes system calls that no filter sees.
    Group {
        calls: calls![SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register],
        verdict: Always(Refuse(Errno::NOSYS)),
    },
    // The older asynchronous I/O only reads and writes descriptors, and databases use it.
    Group {
        calls: calls![SYS_io_setup SYS_io_destroy SYS_io_getevents SYS_io_submit SYS_io_cancel],
        verdict: Always(Allow),
    },
    // Kernel programs, counters, faults in user space: the kernel's favourite ways to be broken.
    Group {
        calls: calls![SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_kcmp SYS_lookup_dcookie],
        verdict: Always(Refuse(Errno::PERM)),
    },
    // Keys outlive the process and are shared by uid.
    Group {
        calls: calls![SYS_add_key SYS_request_key SYS_keyctl],
        verdict: Always(Refuse(Errno::NOSYS)),
    },
    // The machine itself: modules, kexec, power, clocks, ports, the kernel's log.
    Group {
        calls: calls![
            SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_kexec_file_load
            SYS_reboot SYS_settimeofday SYS_clock_settime SYS_adjtimex SYS_clock_adjtime
            SYS_sethostname SYS_setdomainname SYS_iopl SYS_ioperm SYS_syslog SYS_acct SYS_vhangup
            SYS_modify_ldt SYS_migrate_pages SYS_move_pages
        ],
        verdict: Always(Refuse(Errno::PERM)),
    },
];

/// The group that a call belongs to.
fn verdict(nr: i64) -> Option<Verdict> {
    GROUPS
        .iter()
        .find(|group| group.calls.iter().any(|(_, number)| *number == nr))
        .map(|group| group.verdict)
}

/// The name of a call that the profile knows.
pub fn name(nr: i32) -> Option<&'static str> {
    GROUPS
        .iter()
        .flat_map(|group| group.calls)
        .find(|(_, number)| *number == i64::from(nr))
        .map(|(name, _)| name.strip_prefix("SYS_").unwrap_or(name))
}

/// What the profile says of a call, decided the slow way: the supervisor asks it which errno a
/// notified call gets, and tests hold the assembled program against it.
pub fn evaluate(call: &Request) -> Action {
    match verdict(i64::from(call.nr)) {
        None => Fail(Errno::NOSYS),
        Some(Always(action)) => action,
        Some(Check { cases, otherwise }) => cases
            .iter()
            .find(|case| case.when.iter().all(|test| test.holds(&call.args)))
            .map_or(otherwise, |case| case.then),
    }
}

impl Test {
    fn holds(self, args: &[u64; 6]) -> bool {
        match self {
            Self::Is { arg, mask, value } => args[arg] as u32 & mask == value,
            Self::Any { arg, mask } => args[arg] as u32 & mask != 0,
        }
    }
}
