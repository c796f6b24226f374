//! The system calls of the processes that meet guests' Wasm: one filter for a worker, one for a
//! compiler. Each call is listed with who makes it; whoever takes such a process over has these calls
//! and no other.
//!
//! ```text
//!  a worker   [worker]  from before its first message: maps the compiled module, makes its threads
//!               │
//!             [sealed]  on top, before the guest's first instruction: no code, no thread, no limit
//!                       and no filter is added any more
//!
//!  a compiler [compiler] from before it sees the guest's bytes
//! ```
//!
//! None of them opens, makes, or executes anything by a name, makes a socket or a process, or looks at
//! another process. What isn't listed is ENOSYS: the C library then takes an older way (clone3), and a
//! panic goes on without its backtrace. ioctl(2) is let through by its request number, whatever the
//! descriptor: no other kind of file has these numbers.

use super::Instruction;
use super::profile::{Test, is, masked};
use super::program::{
    AND, ARCH_X86_64, JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, OFFSET_ARCH, OFFSET_ARGS,
    OFFSET_NR, RET_ALLOW, RET_ERRNO, RETURN, op,
};
use crate::Errno;

/// A call, who makes it, and when it is let through.
struct Rule {
    call: i64,
    /// The call's name, and its caller.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "it is what the list is read for")
    )]
    who: (&'static str, &'static str),
    when: When,
}

/// With which arguments.
enum When {
    Always,
    /// All tests of one of these sets hold; otherwise it is refused with the errno.
    Only(&'static [&'static [Test]], Errno),
}

use When::{Always, Only};

macro_rules! rule {
    ($call:ident, $caller:expr) => {
        rule!($call, $caller, Always)
    };
    ($call:ident, $caller:expr, $when:expr) => {
        Rule {
            call: libc::$call,
            who: (stringify!($call), $caller),
            when: $when,
        }
    };
}

const EXEC: u32 = libc::PROT_EXEC as u32;
const READ_EXEC: u32 = EXEC | libc::PROT_READ as u32;
const ANONYMOUS: u32 = libc::MAP_ANONYMOUS as u32;
/// FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME.
const FUTEX_FLAGS: u32 = 0x180;
/// CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID and CHILD_CLEARTID: what
/// pthread_create(3) asks for, and nothing else.
const THREAD: u32 = 0x003d_0f00;

const fn futex(operation: u32) -> [Test; 1] {
    [masked(1, !FUTEX_FLAGS, operation)]
}

const fn second(value: u32) -> [Test; 1] {
    [is(1, value)]
}

const fn third(value: u32) -> [Test; 1] {
    [is(2, value)]
}

/// Waiting and waking. The operations with priority inheritance are left out: nobody here uses them,
/// and they are the ones that were attacked.
const FUTEX: When = Only(
    &[
        &futex(0),  // FUTEX_WAIT
        &futex(1),  // FUTEX_WAKE
        &futex(3),  // FUTEX_REQUEUE
        &futex(4),  // FUTEX_CMP_REQUEUE
        &futex(5),  // FUTEX_WAKE_OP
        &futex(9),  // FUTEX_WAIT_BITSET
        &futex(10), // FUTEX_WAKE_BITSET
    ],
    Errno::NOSYS,
);

/// What an allocator and a memory of pages say about them. Nothing that pokes holes into files, merges
/// pages with those of other processes, or poisons them.
const MADVISE: When = Only(
    &[
        &third(0),  // MADV_NORMAL
        &third(1),  // MADV_RANDOM
        &third(2),  // MADV_SEQUENTIAL
        &third(3),  // MADV_WILLNEED
        &third(4),  // MADV_DONTNEED
        &third(8),  // MADV_FREE
        &third(15), // MADV_NOHUGEPAGE
        &third(18), // MADV_WIPEONFORK
        &third(20), // MADV_COLD
        &third(21), // MADV_PAGEOUT
        &third(22), // MADV_POPULATE_READ
        &third(23), // MADV_POPULATE_WRITE
    ],
    Errno::INVAL,
);

/// No memory becomes executable that was not.
const NO_EXEC: When = Only(&[&[masked(2, EXEC, 0)]], Errno::ACCESS);

/// Code comes from a file, to be read and executed; never from memory that was written here.
const CODE_FROM_FILES: When = Only(
    &[
        &[masked(2, EXEC, 0)],
        &[is(2, READ_EXEC), masked(3, ANONYMOUS, 0)],
    ],
    Errno::ACCESS,
);

/// Its own threads: each worker is process 1 of its pid namespace.
const OWN_THREADS: When = Only(&[&[is(0, 1)]], Errno::PERM);

const NAME_ONLY: When = Only(&[&[is(0, libc::PR_SET_NAME as u32)]], Errno::INVAL);

/// What every process of ours needs to live.
const LIFE: &[Rule] = &[
    rule!(SYS_futex, "locks; waiting at the ring", FUTEX),
    rule!(SYS_madvise, "the allocator; pages of memories", MADVISE),
    rule!(
        SYS_mprotect,
        "the allocator; guard pages of stacks",
        NO_EXEC
    ),
    rule!(SYS_munmap, "the allocator; memories"),
    rule!(SYS_mremap, "the allocator's realloc of large blocks"),
    rule!(SYS_brk, "the allocator"),
    rule!(SYS_read, "the control socket"),
    rule!(SYS_write, "the control socket; standard error"),
    rule!(SYS_writev, "standard error, from a panic"),
    rule!(SYS_sendmsg, "the control socket"),
    rule!(SYS_recvmsg, "the control socket"),
    rule!(SYS_sendto, "the control socket"),
    rule!(SYS_recvfrom, "the control socket"),
    rule!(SYS_poll, "the control socket, with a deadline"),
    rule!(SYS_ppoll, "the control socket, with a deadline"),
    rule!(SYS_close, "descriptors that were received"),
    rule!(SYS_fstat, "the length of a file that was received"),
    rule!(SYS_fstatfs, "whether it is a memory file"),
    rule!(
        SYS_fcntl,
        "flags and seals of a file that was received",
        Only(
            &[
                &second(libc::F_GETFD as u32),
                &second(libc::F_GETFL as u32),
                &second(libc::F_GET_SEALS as u32),
            ],
            Errno::INVAL
        )
    ),
    rule!(SYS_rt_sigaction, "handlers of traps"),
    rule!(SYS_rt_sigprocmask, "threads that start; abort"),
    rule!(SYS_rt_sigreturn, "the end of a handler"),
    rule!(SYS_sigaltstack, "handlers of traps; threads that start"),
    rule!(SYS_restart_syscall, "the kernel, after a stop"),
    rule!(
        SYS_clock_gettime,
        "the clock, where it isn't read without a call"
    ),
    rule!(SYS_getrandom, "seeds"),
    rule!(SYS_sched_yield, "the ring's bounded spin"),
    rule!(SYS_sched_getaffinity, "threads that start; the allocator"),
    rule!(SYS_set_robust_list, "threads that start"),
    rule!(SYS_rseq, "threads that start"),
    rule!(SYS_gettid, "abort; threads"),
    rule!(SYS_getpid, "abort; the handshake"),
    rule!(SYS_tgkill, "abort", OWN_THREADS),
    rule!(SYS_prctl, "names of threads", NAME_ONLY),
    rule!(SYS_exit, "threads that end"),
    rule!(SYS_exit_group, "the end"),
];

/// A worker's own.
const WORKER: &[Rule] = &[
    rule!(
        SYS_ioctl,
        "dirty pages",
        Only(
            &[
                &second(0xc060_6610), // PAGEMAP_SCAN
                &second(0xc018_aa06), // UFFDIO_WRITEPROTECT
                &second(0xc020_aa00), // UFFDIO_REGISTER
                &second(0x8010_aa01), // UFFDIO_UNREGISTER
                &second(0xc018_aa3f), // UFFDIO_API
            ],
            Errno::NOTTY
        )
    ),
    rule!(
        SYS_mmap,
        "the allocator; memories; the module",
        CODE_FROM_FILES
    ),
    rule!(
        SYS_clone,
        "threads for queries",
        Only(&[&[is(0, THREAD)]], Errno::PERM)
    ),
    rule!(
        SYS_prlimit64,
        "its own limits, sized to the guest",
        Only(&[&[is(0, 0)]], Errno::PERM)
    ),
    rule!(
        SYS_seccomp,
        "the filter on top of this one",
        // SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_TSYNC.
        Only(&[&[is(0, 1), is(1, 1)]], Errno::PERM)
    ),
];

/// What a worker doesn't do any more once a guest is in it.
const SEALED: &[Rule] = &[
    rule!(SYS_mmap, "nobody maps code any more", NO_EXEC),
    rule!(
        SYS_clone,
        "nobody makes threads any more",
        Only(&[], Errno::PERM)
    ),
    rule!(SYS_prlimit64, "limits are final", Only(&[], Errno::PERM)),
    rule!(SYS_seccomp, "filters are final", Only(&[], Errno::PERM)),
];

/// A compiler's own. What it compiles it only writes.
const COMPILER: &[Rule] = &[
    rule!(SYS_mmap, "the allocator; the guest's bytes", NO_EXEC),
    rule!(
        SYS_clone,
        "threads that compile",
        Only(&[&[is(0, THREAD)]], Errno::PERM)
    ),
    rule!(SYS_pread64, "the guest's bytes"),
    rule!(SYS_pwrite64, "what was compiled"),
    rule!(SYS_lseek, "what was compiled"),
    rule!(SYS_ftruncate, "what was compiled"),
];

/// A worker from before its first message.
pub fn worker() -> Vec<Instruction> {
    assemble(&[LIFE, WORKER], RET_ERRNO | libc::ENOSYS as u32)
}

/// On top of [`worker`], before the guest's first instruction.
pub fn sealed() -> Vec<Instruction> {
    assemble(&[SEALED], RET_ALLOW)
}

/// A compiler.
pub fn compiler() -> Vec<Instruction> {
    assemble(&[LIFE, COMPILER], RET_ERRNO | libc::ENOSYS as u32)
}

/// A search tree over the numbers: the kernel remembers which calls are always let through, and to know
/// that it runs the program for every number there is, which is most of what a filter costs.
fn assemble(lists: &[&[Rule]], otherwise: u32) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD, OFFSET_ARCH),
        Instruction {
            jt: 1,
            ..op(JUMP_EQUAL, ARCH_X86_64)
        },
        op(RETURN, RET_ERRNO | libc::ENOSYS as u32),
        op(LOAD, OFFSET_NR),
    ];
    let mut rules: Vec<&Rule> = lists.iter().copied().flatten().collect();
    rules.sort_unstable_by_key(|rule| rule.call);
    program.extend(search(&rules, otherwise));
    program
}

fn search(rules: &[&Rule], otherwise: u32) -> Vec<Instruction> {
    if let [rule] = rules {
        let body = body(&rule.when);
        let mut leaf = vec![Instruction {
            jf: skip(&body),
            ..op(JUMP_EQUAL, rule.call as u32)
        }];
        leaf.extend(body);
        leaf.push(op(RETURN, otherwise));
        return leaf;
    }
    let (low, high) = rules.split_at(rules.len() / 2);
    let first = high[0].call as u32;
    let (low, high) = (search(low, otherwise), search(high, otherwise));
    let mut tree = vec![Instruction {
        jt: skip(&low),
        ..op(JUMP_AT_LEAST, first)
    }];
    tree.extend(low);
    tree.extend(high);
    tree
}

fn body(when: &When) -> Vec<Instruction> {
    let Only(sets, errno) = when else {
        return vec![op(RETURN, RET_ALLOW)];
    };
    let mut body = Vec::new();
    for set in *sets {
        body.extend(conjunction(set));
    }
    body.push(op(RETURN, RET_ERRNO | errno.raw_os_error() as u32));
    body
}

/// Lets the call through if all tests hold, and goes on behind itself otherwise.
fn conjunction(tests: &[Test]) -> Vec<Instruction> {
    let mut backwards = vec![op(RETURN, RET_ALLOW)];
    for test in tests.iter().rev() {
        let fails = skip(&backwards);
        let (arg, mask, jump) = match *test {
            Test::Is { arg, mask, value } => (
                arg,
                mask,
                Instruction {
                    jf: fails,
                    ..op(JUMP_EQUAL, value)
                },
            ),
            Test::Any { arg, mask } => (
                arg,
                u32::MAX,
                Instruction {
                    jf: fails,
                    ..op(JUMP_ANY_BIT, mask)
                },
            ),
        };
        backwards.push(jump);
        if mask != u32::MAX {
            backwards.push(op(AND, mask));
        }
        backwards.push(op(LOAD, OFFSET_ARGS + 8 * arg as u32));
    }
    backwards.reverse();
    backwards
}

/// A jump reaches 255 instructions. The lists are ours and short, and the tests assemble all of them.
fn skip(over: &[Instruction]) -> u8 {
    u8::try_from(over.len()).expect("a filter of ours is short enough to jump over its half")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpret(program: &[Instruction], nr: i64, args: [u64; 6]) -> u32 {
        let (mut at, mut a) = (0usize, 0u32);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                LOAD if k == OFFSET_NR => a = nr as u32,
                LOAD if k == OFFSET_ARCH => a = ARCH_X86_64,
                LOAD => a = args[((k - OFFSET_ARGS) / 8) as usize] as u32,
                AND => a &= k,
                JUMP_EQUAL => at += jump(a == k),
                JUMP_AT_LEAST => at += jump(a >= k),
                JUMP_ANY_BIT => at += jump(a & k != 0),
                RETURN => return k,
                other => panic!("no such instruction {other:#x}"),
            }
        }
    }

    fn allowed(program: &[Instruction], nr: i64, args: [u64; 3]) -> bool {
        let [a, b, c] = args;
        interpret(program, nr, [a, b, c, 0, 0, 0]) == RET_ALLOW
    }

    fn lists() -> [&'static [&'static [Rule]]; 3] {
        [&[LIFE, WORKER], &[SEALED], &[LIFE, COMPILER]]
    }

    #[test]
    fn every_call_is_listed_once_and_says_who_makes_it() {
        for list in lists() {
            let rules: Vec<&Rule> = list.iter().copied().flatten().collect();
            for (at, rule) in rules.iter().enumerate() {
                let (name, caller) = rule.who;
                assert!(caller.len() >= 5, "{name}");
                let again = rules[..at].iter().any(|other| other.call == rule.call);
                assert!(!again, "{name} is listed twice");
            }
        }
    }

    #[test]
    fn unlisted_calls_and_foreign_tables_have_no_calls() {
        const X32: i64 = 0x4000_0000;
        for program in [worker(), compiler()] {
            for nr in (0..600).chain([-1, X32, X32 + 1]) {
                let listed = lists()
                    .into_iter()
                    .flat_map(|list| list.iter().copied().flatten())
                    .any(|rule| rule.call == nr);
                let verdict = interpret(&program, nr, [0; 6]);
                assert!(listed || verdict == RET_ERRNO | libc::ENOSYS as u32, "{nr}");
            }
            for nr in [
                libc::SYS_open,
                libc::SYS_openat,
                libc::SYS_execve,
                libc::SYS_execveat,
                libc::SYS_socket,
                libc::SYS_connect,
                libc::SYS_fork,
                libc::SYS_clone3,
                libc::SYS_kill,
                libc::SYS_ptrace,
                libc::SYS_process_vm_readv,
                libc::SYS_memfd_create,
                libc::SYS_userfaultfd,
                libc::SYS_pkey_mprotect,
            ] {
                assert!(!allowed(&program, nr, [0; 3]), "{nr}");
            }
        }
    }

    #[test]
    fn code_is_mapped_from_files_until_the_worker_is_sealed() {
        let (before, after) = (worker(), sealed());
        let map = |program: &[Instruction], protection: i32, flags: i32| {
            let args = [0, 4096, protection as u64, flags as u64, 3, 0];
            interpret(program, libc::SYS_mmap, args) == RET_ALLOW
        };
        let (read, write, exec) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
        let (private, anonymous) = (libc::MAP_PRIVATE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        assert!(map(&before, read | exec, private));
        for (protection, flags) in [
            (read | exec, anonymous),
            (read | write | exec, private),
            (exec, private),
        ] {
            assert!(!map(&before, protection, flags), "{protection} {flags:#x}");
        }
        assert!(!map(&after, read | exec, private));
        assert!(!map(&compiler(), read | exec, private));
        for program in [&before, &after] {
            assert!(map(program, read | write, anonymous));
        }
    }

    #[test]
    fn arguments_that_are_let_through_are_exact() {
        let worker = worker();
        let scan = 0xc060_6610;
        assert!(allowed(&worker, libc::SYS_ioctl, [9, scan, 0]));
        // TIOCSTI, UFFDIO_COPY, FIONBIO.
        for request in [0x5412, 0xc028_aa03, 0x5421] {
            assert!(!allowed(&worker, libc::SYS_ioctl, [9, request, 0]));
        }
        let thread = u64::from(THREAD);
        assert!(allowed(&worker, libc::SYS_clone, [thread, 0, 0]));
        for flags in [
            17,
            thread | 0x1000_0000,
            thread & !0x400,
            thread | 0x2000_0000,
        ] {
            assert!(
                !allowed(&worker, libc::SYS_clone, [flags, 0, 0]),
                "{flags:#x}"
            );
        }
        assert!(allowed(&worker, libc::SYS_tgkill, [1, 1, 6]));
        assert!(!allowed(&worker, libc::SYS_tgkill, [2, 2, 6]));
        let private_wait = [0, 128, 0];
        assert!(allowed(&worker, libc::SYS_futex, private_wait));
        // FUTEX_LOCK_PI, FUTEX_WAIT_REQUEUE_PI.
        for operation in [6, 11, 6 | 128] {
            assert!(!allowed(&worker, libc::SYS_futex, [0, operation, 0]));
        }
        assert!(allowed(&worker, libc::SYS_prctl, [15, 0, 0]));
        assert!(!allowed(&worker, libc::SYS_prctl, [4, 1, 0]));
        assert!(!allowed(&worker, libc::SYS_madvise, [0, 0, 9]));
        assert!(!allowed(&worker, libc::SYS_prlimit64, [77, 0, 0]));
        assert!(!allowed(&worker, libc::SYS_seccomp, [1, 8, 0]));
        let sealed = sealed();
        for nr in [libc::SYS_clone, libc::SYS_seccomp, libc::SYS_prlimit64] {
            assert!(!allowed(&sealed, nr, [thread, 0, 0]), "{nr}");
        }
    }
}
