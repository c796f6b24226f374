//! Copying bytes that somebody else may be writing at the same time.

use super::layout::CAPACITY;
use std::arch::asm;

/// Copies to a lane, from its byte `at` (modulo its length) on, around its end.
///
/// # Safety
/// `lane` is the start of a lane that is mapped, and `bytes` aren't more than it has.
pub(super) unsafe fn into_lane(lane: *mut u8, at: u64, bytes: &[u8]) {
    let (offset, first) = split(at, bytes.len());
    // SAFETY: both parts are inside of the lane, the caller says.
    unsafe {
        copy(bytes.as_ptr(), lane.add(offset), first);
        copy(bytes.as_ptr().add(first), lane, bytes.len() - first);
    }
}

/// Copies out of a lane, from its byte `at` (modulo its length) on, around its end.
///
/// # Safety
/// `lane` is the start of a lane that is mapped, `length` isn't more than it has, and there are so
/// many bytes to write to at `to`.
pub(super) unsafe fn out_of_lane(lane: *const u8, at: u64, to: *mut u8, length: usize) {
    let (offset, first) = split(at, length);
    // SAFETY: both parts are inside of the lane and of what there is at `to`, the caller says.
    unsafe {
        copy(lane.add(offset), to, first);
        copy(lane, to.add(first), length - first);
    }
}

/// Where the bytes begin, and how many of them come before the lane's end.
fn split(at: u64, length: usize) -> (usize, usize) {
    let offset = (at % CAPACITY as u64) as usize;
    (offset, length.min(CAPACITY - offset))
}

/// A copy that the compiler knows nothing of: it may not assume that the bytes stay what they are, and
/// doesn't read them twice.
///
/// # Safety
/// There are so many bytes at both, and they don't overlap.
unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller's; the direction flag is clear, as it has to be between instructions of
    // Rust's.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}
