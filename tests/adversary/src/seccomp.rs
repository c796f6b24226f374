//! Ways round a filter of system calls: other tables, other numbers, other filters.

use std::arch::asm;
use std::io;

use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, errno_name, fork, sys, wait};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(int80_getpid, "call the 32-bit table with int 0x80").kernel("ia32"),
    attempt!(
        int80_unshare,
        "unshare the user namespace through the 32-bit table"
    )
    .kernel("ia32"),
    attempt!(
        int80_socket,
        "make a netlink socket through the 32-bit table"
    )
    .kernel("ia32"),
    attempt!(x32_getpid, "call the x32 table").kernel("x32"),
    attempt!(
        number_high_half,
        "unshare by a number with a bit above the 32nd"
    ),
    attempt!(
        newest_numbers,
        "call what is newer than any list, and number -1"
    )
    .kernel("a call above 461"),
    attempt!(
        filter_with_listener,
        "install a filter that asks oneself about every call"
    ),
    attempt!(
        filter_that_allows,
        "install a filter that allows all, then unshare"
    ),
];

/// The i386 call `number` by int 0x80, from 64-bit code.
fn int80(number: i32, first: i32, second: i32, third: i32) -> i32 {
    let mut result = number;
    // rbx belongs to the compiler, so it is swapped in and out.
    unsafe {
        asm!(
            "xchg {first:r}, rbx",
            "int 0x80",
            "xchg {first:r}, rbx",
            first = inout(reg) i64::from(first) => _,
            inout("eax") result,
            in("ecx") second,
            in("edx") third,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

/// Calls in a child: a kernel without the 32-bit table answers with SIGSEGV.
fn int80_in_child(call: &str, number: i32, arguments: [i32; 3]) -> Verdict {
    let [first, second, third] = arguments;
    let child = fork(|| match int80(number, first, second, third) {
        error @ -4095..=-1 => -error,
        _ => 0,
    })
    .prepare("fork")?;
    match wait(child).prepare("waitpid")? {
        0 => Ok(format!("{call} of the 32-bit table succeeded")),
        status if libc::WIFEXITED(status) => {
            Err(io::Error::from_raw_os_error(libc::WEXITSTATUS(status))).attack(call)
        }
        status => blocked(format!(
            "int 0x80: killed by signal {}",
            libc::WTERMSIG(status)
        )),
    }
}

/// A filter that does not check the architecture reads the numbers of another table.
fn int80_getpid() -> Verdict {
    int80_in_child("getpid", 20, [0; 3])
}

/// i386 number 310; seccomp(2), "the arch field is not unique".
fn int80_unshare() -> Verdict {
    int80_in_child("unshare", 310, [libc::CLONE_NEWUSER, 0, 0])
}

/// i386 number 359, with NETLINK_NETFILTER.
fn int80_socket() -> Verdict {
    int80_in_child(
        "socket",
        359,
        [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER],
    )
}

/// seccomp(2): x32 has the same architecture and differs by one bit of the number.
fn x32_getpid() -> Verdict {
    const X32: i64 = 0x4000_0000;
    let pid = sys!(libc::syscall(X32 | libc::SYS_getpid)).attack("x32 getpid")?;
    if pid != i64::from(std::process::id()) {
        return blocked("x32 getpid gave another answer");
    }
    Ok("the x32 table answers".to_owned())
}

/// The kernel reads half of the register: a filter must not be fooled by the other half.
fn number_high_half() -> Verdict {
    let mut result = (1 << 32) | libc::SYS_unshare;
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") i64::from(libc::CLONE_NEWUSER),
            out("rcx") _, out("r11") _,
        );
    }
    match result {
        0 => Ok("the call was made".to_owned()),
        error => Err(io::Error::from_raw_os_error(-error as i32)).attack("unshare"),
    }
}

/// A list of the forbidden lets through whatever came after it was written. The arguments are
/// all -1, so a call that exists fails with something other than ENOSYS.
fn newest_numbers() -> Verdict {
    // statmount to lsm_list_modules, setxattrat to file_setattr, and what may come next.
    let numbers = (457..=461)
        .chain(463..=511)
        .chain([-1, i64::from(i32::MAX)]);
    let mut last = String::new();
    for number in numbers {
        let Err(error) = sys!(libc::syscall(number, -1, -1, -1, -1, -1, -1)) else {
            return Ok(format!("number {number} succeeded"));
        };
        match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => last = errno_name(&error),
            _ => {
                return Ok(format!(
                    "number {number} was answered by the kernel ({error})"
                ));
            }
        }
    }
    blocked(format!("syscall: {last}"))
}

/// BPF_RET | BPF_K, SECCOMP_RET_ALLOW.
fn install_allowing(flags: libc::c_ulong) -> Result<i64, Stop> {
    let mut allow = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &mut allow,
    };
    sys!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)).prepare("no_new_privs")?;
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    sys!(libc::syscall(libc::SYS_seccomp, operation, flags, &program)).attack("seccomp")
}

/// seccomp_unotify(2): the newest listener would be asked first.
fn filter_with_listener() -> Verdict {
    let fd = install_allowing(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    Ok(format!("descriptor {fd} is asked about every call"))
}

/// seccomp(2): the strictest of all filters must win.
fn filter_that_allows() -> Verdict {
    install_allowing(0)?;
    sys!(libc::unshare(libc::CLONE_NEWUSER)).attack("unshare")?;
    Ok("the call was made".to_owned())
}
