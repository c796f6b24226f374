//! A few private anonymous pages for the probes that are about memory.

use std::ptr::NonNull;

use rustix::io::Errno;

use super::child;

/// Whole pages, unmapped on drop. Fresh ones are absent until touched.
pub(super) struct Region {
    at: NonNull<u8>,
    pages: usize,
}

impl Region {
    /// Maps that many pages, readable and writable, small ones only.
    pub(super) fn new(pages: usize) -> Result<Self, Errno> {
        let length = pages * rustix::param::page_size();
        // SAFETY: a new anonymous mapping at an address that the kernel chooses aliases nothing.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(child::errno());
        }
        let at = NonNull::new(at.cast()).ok_or(Errno::NOMEM)?;
        Ok(Region { at, pages })
    }

    /// The address at which page `index` begins; `index` may be one past the last.
    pub(super) fn page(&self, index: usize) -> u64 {
        self.at.as_ptr() as u64 + (index * rustix::param::page_size()) as u64
    }

    /// Writes one byte at the start of page `index`.
    pub(super) fn touch(&self, index: usize) {
        self.write(index * rustix::param::page_size(), &[1]);
    }

    /// Copies `bytes` to `offset`; what does not fit is a mistake of the caller's.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.pages * rustix::param::page_size());
        // SAFETY: the range was just checked to lie in the mapping, which no reference points to.
        unsafe {
            let to = self.at.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// The byte at the start of page `index`.
    pub(super) fn read(&self, index: usize) -> u8 {
        assert!(index < self.pages);
        // SAFETY: the page lies in the mapping; volatile, since the kernel may have filled it.
        unsafe {
            let at = self.at.as_ptr().add(index * rustix::param::page_size());
            at.read_volatile()
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let length = self.pages * rustix::param::page_size();
        // SAFETY: exactly the mapping made in `new`; no reference points into it.
        unsafe { libc::munmap(self.at.as_ptr().cast(), length) };
    }
}
