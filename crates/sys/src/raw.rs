//! System calls without the C library: for code that runs before it does, or beside it, and may
//! not touch errno, which is one per thread.

use std::arch::asm;
use std::sync::atomic::AtomicU32;

/// A system call and nothing else (syscall(2)): it returns -errno and leaves errno alone.
///
/// # Safety
/// As the call's manual page says.
#[inline(always)]
pub(crate) unsafe fn raw(
    number: libc::c_long,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
) -> i64 {
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

/// Waits until `word` is no longer `value`, or somebody wakes, or 50 ms have passed (futex(2)).
pub(crate) fn wait(word: &AtomicU32, value: u32) {
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

/// Wakes one who waits.
pub(crate) fn wake(word: &AtomicU32) {
    let word = std::ptr::from_ref(word) as u64;
    // SAFETY: the pointer is to living memory of this process.
    unsafe { raw(libc::SYS_futex, word, libc::FUTEX_WAKE as u64, 1, 0, 0, 0) };
}
