//! Which process something was made in.
//!
//! A descriptor of `/proc/self/pagemap` and one of userfaultfd(2) stay with the memory of the process
//! that opened them. After a fork the child has them too, and whatever it does with them it does to
//! its parent, unnoticed. Ids don't tell: both can be the first process of a namespace.

use super::Error;
use rustix::rand::{GetRandomFlags, getrandom};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of the process that a value was made in.
#[derive(Clone, Copy)]
pub(super) struct Birthplace(u64);

impl Birthplace {
    /// This process.
    pub(super) fn here() -> Result<Self, Error> {
        let mark = mark()?;
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())
            .map_err(Error::refused("drawing a number (getrandom)"))?;
        let fresh = u64::from_ne_bytes(random) | 1;
        let known = mark.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        Ok(Self(known.err().unwrap_or(fresh)))
    }

    /// Refuses in any other process.
    pub(super) fn check(self) -> Result<(), Error> {
        if mark()?.load(Ordering::Relaxed) == self.0 {
            return Ok(());
        }
        Err(Error::Foreign)
    }
}

/// A word that is zero in each new process (madvise(2), MADV_WIPEONFORK).
fn mark() -> Result<&'static AtomicU64, Error> {
    static MARK: OnceLock<Result<&'static AtomicU64, Error>> = OnceLock::new();
    MARK.get_or_init(|| {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let refused = Error::refused("mapping a page that is wiped by fork (MADV_WIPEONFORK)");
        // SAFETY: a new anonymous mapping, at an address that the kernel chooses, that stays.
        let page = unsafe { libc::mmap(ptr::null_mut(), super::PAGE, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(refused(crate::Errno::NOMEM));
        }
        // SAFETY: the mapping just made.
        crate::check(unsafe { libc::madvise(page, super::PAGE, libc::MADV_WIPEONFORK) }.into())
            .map_err(refused)?;
        // SAFETY: it is aligned, zeroed, which is a number, and never unmapped.
        Ok(unsafe { &*page.cast::<AtomicU64>() })
    })
    .clone()
}

#[cfg(test)]
mod tests {
    use super::{Birthplace, Error};
    use crate::pages::testing::in_a_fork;

    #[test]
    fn a_forked_process_is_another_one_and_can_make_its_own() {
        let (ours, again) = (Birthplace::here().unwrap(), Birthplace::here().unwrap());
        assert_eq!((ours.check(), again.check()), (Ok(()), Ok(())));
        in_a_fork(|| {
            assert_eq!(ours.check(), Err(Error::Foreign));
            let theirs = Birthplace::here().unwrap();
            assert_eq!(
                (theirs.check(), ours.check()),
                (Ok(()), Err(Error::Foreign))
            );
        });
        assert_eq!(ours.check(), Ok(()));
    }
}
