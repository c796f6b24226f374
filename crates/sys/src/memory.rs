//! What a process keeps, and what it gives back while it waits.

unsafe extern "C" {
    /// Where the program's image starts, and where its code ends (end(3)).
    static __executable_start: u8;
    static etext: u8;
}

fn code() -> (*mut libc::c_void, usize) {
    const PAGE: usize = 4096;
    let start = (&raw const __executable_start) as usize / PAGE * PAGE;
    let end = (&raw const etext) as usize / PAGE * PAGE;
    (start as *mut libc::c_void, end.saturating_sub(start))
}

/// Lets go of the code that was needed so far (madvise(2), MADV_DONTNEED). The pages are the
/// file's own and come back when they are needed; a process that only waits needs few, and a
/// thousand waiting supervisors need them a thousand times less.
pub fn release_code() {
    let (start, length) = code();
    // SAFETY: the range is this program's own read-only, file-backed image, of which the kernel
    // drops clean pages and reads them again on the next access.
    unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
}

/// Lets all threads allocate from two heaps (mallopt(3), `M_ARENA_MAX`), not from up to eight for
/// each processor. What is free in one is of no use to the threads of another: with many of them, a
/// process keeps as much free as it uses.
pub fn share_heaps() {
    const HEAPS: libc::c_int = 2;
    // SAFETY: it takes and returns numbers. It can only refuse, and then the heaps are as many as
    // before.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
}
