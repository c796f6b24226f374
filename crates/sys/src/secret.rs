//! Memory for what must not be found anywhere else.

use crate::{Errno, check};
use std::ffi::c_void;
use std::ops::Deref;
use std::{ptr, slice};

/// Bytes in pages of their own. They are left out of core dumps (MADV_DONTDUMP), read as zeros in
/// processes that are forked from this one (MADV_WIPEONFORK), stay out of swap where the limit of
/// locked memory allows it (mlock(2)), and are cleared before the kernel gets them back.
pub struct Kept {
    start: *mut u8,
    length: usize,
}

// SAFETY: the pages belong to this value alone, and nothing writes to them while it's shared.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Kept {
    /// Copies the bytes; the caller clears its own.
    ///
    /// # Errors
    /// There is no memory for them, or none of this kind.
    pub fn new(bytes: &[u8]) -> Result<Self, Errno> {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let size = size(bytes.len());
        // SAFETY: a new anonymous mapping, at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::NOMEM);
        }
        let kept = Self {
            start: start.cast(),
            length: bytes.len(),
        };
        for advice in [libc::MADV_DONTDUMP, libc::MADV_WIPEONFORK] {
            // SAFETY: the range is the mapping just made, and is zero so far.
            check(unsafe { libc::madvise(start, size, advice) }.into())?;
        }
        // SAFETY: as above. A limit may refuse it: then it can be swapped out, as all memory can.
        unsafe { libc::mlock(start, size) };
        // SAFETY: the mapping has at least as many bytes, and nothing else knows it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), kept.start, bytes.len()) };
        Ok(kept)
    }
}

/// How much is mapped: a mapping can't be empty.
fn size(length: usize) -> usize {
    length.max(1)
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as this value, and nothing writes to it.
        unsafe { slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for offset in 0..self.length {
            // SAFETY: inside of the mapping, which nobody else has any more. Volatile, so that it
            // isn't left out for being read by nobody.
            unsafe { self.start.add(offset).write_volatile(0) };
        }
        // SAFETY: the mapping is this value's own, and this is its end.
        unsafe { libc::munmap(self.start.cast::<c_void>(), size(self.length)) };
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;
    use crate::probe::child;

    /// The flags of the mapping that an address is in (proc_pid_smaps(5)).
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(from), Some(to))) = range.map(|(a, b)| (number(a), number(b))) {
                inside = (from..to).contains(&address);
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.to_owned();
            }
        }
        String::new()
    }

    #[test]
    fn it_holds_what_it_was_given_and_is_dumped_nowhere() {
        for bytes in [&b""[..], b"s3cr3t", &[7; 10_000]] {
            let kept = Kept::new(bytes).unwrap();
            assert_eq!(&*kept, bytes);
            let flags = flags(kept.as_ptr() as usize);
            // Don't dump, wipe on fork.
            assert!(flags.contains(" dd") && flags.contains(" wf"), "{flags}");
        }
    }

    #[test]
    fn a_forked_process_has_zeros() {
        let kept = Kept::new(b"s3cr3t").unwrap();
        let child = child::fork(|| {
            let wiped = kept.iter().all(|byte| *byte == 0);
            crate::process::exit_now(if wiped { 7 } else { 1 });
        });
        let status = child::reap(child.unwrap()).unwrap().exit_status();
        assert_eq!((status, &*kept), (Some(7), &b"s3cr3t"[..]));
    }
}
