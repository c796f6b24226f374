//! Randomness for the kernel's generator (random(4)).

use crate::{Errno, check};
use rustix::fd::{AsRawFd, BorrowedFd};

/// The most bytes in one call.
pub const MOST: usize = 512;

/// `RNDADDENTROPY` and `RNDRESEEDCRNG` of <linux/random.h>.
const ADD: libc::Ioctl = 0x4008_5203;
const RESEED: libc::Ioctl = 0x5207;

/// What `RNDADDENTROPY` takes: `struct rand_pool_info` with room behind it.
#[repr(C)]
struct Pool {
    bits: libc::c_int,
    size: libc::c_int,
    bytes: [u8; MOST],
}

/// Mixes bytes in that nobody else knows, and has the generator use them from now on; `random` is
/// `/dev/urandom`. EINVAL if there are too many; EPERM without `CAP_SYS_ADMIN`.
pub fn add(random: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    let mut pool = Pool {
        bits: 0,
        size: 0,
        bytes: [0; MOST],
    };
    let place = pool.bytes.get_mut(..bytes.len()).ok_or(Errno::INVAL)?;
    place.copy_from_slice(bytes);
    pool.size = bytes.len() as libc::c_int;
    pool.bits = pool.size * 8;
    // SAFETY: the kernel reads `size` bytes behind the two numbers, which are there.
    check(unsafe { libc::ioctl(random.as_raw_fd(), ADD, &raw const pool) }.into())?;
    // SAFETY: it takes nothing.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RESEED) }.into())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;

    #[test]
    fn root_may_and_others_may_not() {
        let random = std::fs::File::open("/dev/urandom").unwrap();
        match add(random.as_fd(), b"nobody knows this") {
            Ok(()) => {}
            Err(errno) => assert_eq!(errno, Errno::PERM),
        }
        assert_eq!(add(random.as_fd(), &[0; MOST + 1]), Err(Errno::INVAL));
    }
}
