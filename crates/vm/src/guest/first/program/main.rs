//! The program that a virtual machine's kernel starts first, from the initramfs.
//!
//! ```text
//!   /dev          devtmpfs, so that disks have names
//!   /modules      what to load, in this order                        (list)
//!   /dev/vda      the root disk, at /root
//!   /dev/vdb      the tools disk, read-only, at /root/.casemate
//!   /root → /     moved over the initramfs, which is emptied before
//!   /.casemate/agent --guest, with the arguments of this program: process 1
//! ```
//!
//! It has no library below it: a system call is an instruction (`call`), and what the compiler
//! itself expects of a C library is written out (`memory`). So it is some kilobytes that hold no
//! memory of the machine, and one program fits every kernel and every root.
//!
//! A step that fails ends the machine: one line on the console says which step, of what, and the
//! errno. The host reads it there.
#![no_std]
#![no_main]

mod call;
mod console;
mod list;
mod memory;
mod steps;

use core::arch::global_asm;
use core::ffi::c_char;

// The kernel leaves the arguments on the stack, and the stack aligned (System V ABI, x86-64,
// "Initial Stack and Register State").
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {enter}",
    "ud2",
    enter = sym enter,
);

/// The most arguments that are handed on.
const ARGUMENTS: usize = 64;

/// # Safety
/// `stack` is what the kernel made: a count, so many strings, null, the environment, null.
unsafe extern "C" fn enter(stack: *const *const c_char) -> ! {
    if call::process_id() != 1 {
        console::line(&[b"it is the first process of a machine, nothing to be called by hand"]);
        call::exit(1);
    }
    // SAFETY: as the caller promises; the count is where the first string would be.
    let (given, environment) = unsafe {
        let count = stack.cast::<usize>().read();
        let strings = core::slice::from_raw_parts(stack.add(1), count);
        (strings, stack.add(count + 2))
    };
    let mut arguments = [core::ptr::null(); ARGUMENTS + 3];
    arguments[0] = steps::AGENT.as_ptr();
    arguments[1] = c"--guest".as_ptr();
    for (place, argument) in arguments[2..ARGUMENTS + 2]
        .iter_mut()
        .zip(given.iter().skip(1))
    {
        *place = *argument;
    }
    let failure = match steps::make() {
        // SAFETY: both arrays end with null and hold strings that the kernel made, or constants.
        Ok(()) => unsafe { steps::become_agent(&arguments, environment) },
        Err(failure) => failure,
    };
    failure.say();
    call::power_off()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    console::line(&[b"a fault of its own"]);
    call::power_off()
}

/// The precompiled core library names it in tables that nobody reads: a panic ends the machine
/// instead of unwinding.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
