//! A filter besides, for a process that has all its code: nothing becomes executable any more.
//!
//! mmap(2), mprotect(2) and pkey_mprotect(2) with PROT_EXEC are refused, and so are execve(2) and
//! shmat(2), which can map executable, too, and ptrace(2) and process_vm_writev(2), by which one
//! process writes into another. `/proc/PID/mem` is a file, and not for a filter to refuse. The
//! filter below this one has refused the foreign call tables, under whose numbers these calls would
//! be others.

use super::program::{
    Instruction, JUMP_ANY_BIT, JUMP_EQUAL, LOAD, OFFSET_ARGS, OFFSET_NR, RET_ALLOW, RET_ERRNO,
    RETURN, op,
};

/// Where the third argument is: the protection of all three calls.
const PROTECTION: u32 = OFFSET_ARGS + 2 * 8;

/// The filter.
pub static NO_NEW_CODE: [Instruction; 14] = [
    op(LOAD, OFFSET_NR),
    equal(libc::SYS_execve, 10, 0),
    equal(libc::SYS_execveat, 9, 0),
    equal(libc::SYS_ptrace, 8, 0),
    equal(libc::SYS_process_vm_writev, 7, 0),
    equal(libc::SYS_shmat, 6, 0),
    equal(libc::SYS_mmap, 3, 0),
    equal(libc::SYS_mprotect, 2, 0),
    equal(libc::SYS_pkey_mprotect, 1, 0),
    op(RETURN, RET_ALLOW),
    op(LOAD, PROTECTION),
    Instruction {
        code: JUMP_ANY_BIT,
        jt: 0,
        jf: 1,
        k: libc::PROT_EXEC as u32,
    },
    op(RETURN, RET_ERRNO | libc::EPERM as u32),
    op(RETURN, RET_ALLOW),
];

/// Skips as many instructions as are given for this call and for others.
const fn equal(call: libc::c_long, jt: u8, jf: u8) -> Instruction {
    Instruction {
        code: JUMP_EQUAL,
        jt,
        jf,
        k: call as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privilege;
    use crate::probe::child;
    use crate::seccomp::install;

    const READ: i32 = libc::PROT_READ;
    const CODE: i32 = libc::PROT_READ | libc::PROT_EXEC;

    fn map(protection: i32) -> *mut libc::c_void {
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping somewhere.
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, kind, -1, 0) }
    }

    fn protect(place: *mut libc::c_void, protection: i32) -> bool {
        // SAFETY: a mapping of this test, in which nobody has anything.
        unsafe { libc::mprotect(place, 4096, protection) == 0 }
    }

    fn is_refused(result: libc::c_long) -> bool {
        result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
    }

    #[test]
    fn nothing_becomes_executable_and_the_rest_goes_on() {
        let child = child::fork(|| {
            let (before, data) = (map(CODE), map(READ));
            assert_ne!(before, libc::MAP_FAILED);
            privilege::no_new_privileges().unwrap();
            install(&NO_NEW_CODE, false).unwrap();
            assert_eq!(map(CODE), libc::MAP_FAILED);
            assert_eq!(map(libc::PROT_EXEC), libc::MAP_FAILED);
            assert!(!protect(data, CODE));
            // SAFETY: the calls fail before they look at the rest of what they are given.
            unsafe {
                let with_key = libc::syscall(libc::SYS_pkey_mprotect, data, 4096, CODE, -1);
                assert!(is_refused(with_key));
                assert!(is_refused(libc::syscall(libc::SYS_shmat, -1, 0, 0)));
                assert!(is_refused(libc::syscall(libc::SYS_execve, 0, 0, 0)));
                assert!(is_refused(libc::syscall(libc::SYS_ptrace, 0, 0, 0, 0)));
                let written = libc::syscall(libc::SYS_process_vm_writev, 1, 0, 0, 0, 0, 0);
                assert!(is_refused(written));
                assert!(is_refused(libc::syscall(
                    libc::SYS_execveat,
                    -1,
                    0,
                    0,
                    0,
                    0
                )));
            }
            // What was executable may cease to be, and memory goes on.
            assert!(protect(before, READ));
            assert!(!protect(before, CODE));
            assert!(protect(data, READ | libc::PROT_WRITE));
            assert_ne!(map(READ), libc::MAP_FAILED);
        });
        let status = child::reap(child.unwrap()).unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}
