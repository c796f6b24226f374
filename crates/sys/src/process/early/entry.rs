//! The program's entry point.

use super::maker::make;
use super::{STACK, STARTED, Shared};
use crate::raw::raw;
use std::arch::{asm, naked_asm};
use std::sync::atomic::{AtomicPtr, Ordering};

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
        if *stack < 2 {
            return;
        }
        let first = *stack.add(2) as *const u8;
        let wasm = *stack > 2 && is_wasm(first) && is_run(*stack.add(3) as *const u8);
        if !wasm && !is_run(first) {
            return;
        }
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
        populate(Half::Lower);
    }
}

/// The maker takes one, and the caller the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Lower,
    Upper,
}

/// Takes every page at once that start-up is about to write to, one after the other:
/// a hundred page faults are most of a virtual machine's time for that (madvise(2), Linux 5.14;
/// before, it does nothing).
///
/// # Safety
/// None is needed: no contents change.
pub(super) unsafe fn populate(half: Half) {
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
                let middle = (first + (end - first) / 2) & !4095;
                let (from, to) = match half {
                    Half::Lower => (first, middle),
                    Half::Upper => (middle, end),
                };
                raw(libc::SYS_madvise, from, to - from, POPULATE_WRITE, 0, 0, 0);
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

/// Whether a string is `wasm`.
///
/// # Safety
/// It ends in zero.
unsafe fn is_wasm(word: *const u8) -> bool {
    // SAFETY: no byte is read after the first that differs, nor after the zero.
    unsafe {
        *word == b'w'
            && *word.add(1) == b'a'
            && *word.add(2) == b's'
            && *word.add(3) == b'm'
            && *word.add(4) == 0
    }
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
