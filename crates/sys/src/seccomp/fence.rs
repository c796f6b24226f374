//! Two small filters on top of the profile, for the programs of an agent that nests
//! ([`Profile::nests`](super::Profile)).
//!
//! The kernel asks all filters, and the strictest answer counts; an errno is stricter than a
//! question to the supervisor.

use super::profile::NEW_USERS;
use super::program::{
    ARCH_X86_64, Instruction, JUMP_ANY_BIT, JUMP_EQUAL, LOAD, OFFSET_ARCH, OFFSET_ARGS, OFFSET_NR,
    RET_ALLOW, RET_ERRNO, RETURN, op,
};
use crate::Errno;

/// What changes owners and users, each with its number. All have a result of 0.
const OWNERS: [i64; 13] = [
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setgroups,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
];

/// Programs make no user namespace.
pub fn no_users() -> Vec<Instruction> {
    program(&[])
}

/// The same; and what gives a file to another user, or makes this one another, succeeds and does
/// nothing, as there is no other user.
pub fn no_users_and_one_owner() -> Vec<Instruction> {
    program(&OWNERS)
}

/// The profile before this has refused what isn't of this machine's call table, so such calls are
/// let through here.
fn program(without_effect: &[i64]) -> Vec<Instruction> {
    let count = without_effect.len() as u8;
    let refused = RET_ERRNO | Errno::PERM.raw_os_error() as u32;
    let jump = |code, k, jt, jf| Instruction {
        jt,
        jf,
        ..op(code, k)
    };
    let mut program = vec![
        op(LOAD, OFFSET_ARCH),
        jump(JUMP_EQUAL, ARCH_X86_64, 0, count + 2),
        op(LOAD, OFFSET_NR),
        jump(JUMP_EQUAL, libc::SYS_unshare as u32, count + 1, 0),
    ];
    for (number, left) in without_effect.iter().zip((0..count).rev()) {
        // Past the others, the permission, and the four for unshare(2), to the success.
        program.push(jump(JUMP_EQUAL, *number as u32, left + 5, 0));
    }
    program.extend([
        op(RETURN, RET_ALLOW),
        op(LOAD, OFFSET_ARGS),
        jump(JUMP_ANY_BIT, NEW_USERS, 0, 1),
        op(RETURN, refused),
        op(RETURN, RET_ALLOW),
        op(RETURN, RET_ERRNO),
    ]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::child;
    use crate::seccomp::install;
    use crate::{check, privilege};

    /// Runs a test behind a filter, in a process of its own.
    fn behind(filter: &[Instruction], test: impl Fn()) {
        let child = child::fork(|| {
            privilege::no_new_privileges().unwrap();
            install(filter, false).unwrap();
            test();
        });
        let status = child::reap(child.unwrap()).unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    fn unshare(flags: libc::c_int) -> Result<i64, Errno> {
        // SAFETY: a plain system call of a process that ends soon.
        check(unsafe { libc::unshare(flags) }.into())
    }

    fn chown(path: &std::ffi::CStr) -> Result<i64, Errno> {
        // SAFETY: takes a string and two numbers.
        check(unsafe { libc::chown(path.as_ptr(), 12345, 12345) }.into())
    }

    #[test]
    fn nobody_makes_a_user_namespace() {
        for filter in [no_users(), no_users_and_one_owner()] {
            behind(&filter, || {
                assert_eq!(unshare(libc::CLONE_NEWUSER), Err(Errno::PERM));
                let more = libc::CLONE_NEWUSER | libc::CLONE_NEWNET;
                assert_eq!(unshare(more), Err(Errno::PERM));
                assert_eq!(unshare(libc::CLONE_FS), Ok(0));
            });
        }
    }

    #[test]
    fn where_there_is_one_owner_nothing_has_another() {
        behind(&no_users(), || {
            assert_eq!(chown(c"/nowhere"), Err(Errno::NOENT));
        });
        behind(&no_users_and_one_owner(), || {
            let own = rustix::process::getuid();
            assert_eq!(chown(c"/nowhere"), Ok(0));
            for number in OWNERS {
                // SAFETY: doesn't get beyond the filter.
                let made = check(unsafe { libc::syscall(number, 12345, 12345, 12345, 0, 0) });
                assert_eq!(made, Ok(0), "{number}");
            }
            assert_eq!(rustix::process::getuid(), own);
        });
    }
}
