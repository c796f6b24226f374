//! userfaultfd: a process that fills another's pages. `userfaultfd(2)`, `ioctl_userfaultfd(2)`.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::region::Region;
use super::{Attempt, child};

/// `UFFD_USER_MODE_ONLY` of linux/userfaultfd.h.
const USER_MODE_ONLY: libc::c_int = 1;
/// `USERFAULTFD_IOC_NEW`: `_IO(0xAA, 0)`.
const NEW: libc::Ioctl = 0xAA00;
/// `UFFDIO_API`: `_IOWR(0xAA, 0x3F, struct uffdio_api)`.
const API: libc::Ioctl = 0xC018_AA3F;
/// `UFFDIO_REGISTER`: `_IOWR(0xAA, 0x00, struct uffdio_register)`.
const REGISTER: libc::Ioctl = 0xC020_AA00;
/// `UFFDIO_COPY`: `_IOWR(0xAA, 0x03, struct uffdio_copy)`.
const COPY: libc::Ioctl = 0xC028_AA03;
/// `UFFDIO_REGISTER_MODE_MISSING`.
const MISSING: u64 = 1;
/// `UFFD_FEATURE_WP_ASYNC` (Linux 6.7).
const WP_ASYNC: i32 = 1 << 15;

/// Which doors to userfaultfd are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Userfaultfd {
    /// The system call, for faults of the user's code only (Linux 5.11; open to everyone).
    pub user_faults: Attempt,
    /// The system call, for the kernel's faults too: what a page server of a VM needs.
    pub kernel_faults: Attempt,
    /// `/dev/userfaultfd`, for the kernel's faults too (Linux 6.1).
    pub device: Attempt,
    /// A missing page was filled by `UFFDIO_COPY`.
    pub fills: Attempt,
    /// Asynchronous write protection, with which dirty pages are tracked without a handler.
    pub tracks_writes: bool,
}

/// Opens each door in a child and fills a page through the first that is open.
pub fn probe() -> Userfaultfd {
    let steps = child::attempt::<5>(child::LIMIT, |slots| {
        let doors = [
            slots.note(0, by_call(USER_MODE_ONLY)),
            slots.note(1, by_call(0)),
            slots.note(2, by_device()),
        ];
        if let Some(handler) = doors.into_iter().flatten().next() {
            slots.note(
                3,
                features(&handler).and_then(|features| {
                    slots.value(4, features);
                    fills(&handler)
                }),
            );
        }
    });
    Userfaultfd {
        user_faults: steps.at(0),
        kernel_faults: steps.at(1),
        device: steps.at(2),
        fills: steps.at(3),
        tracks_writes: steps.found(4).is_some_and(|bits| bits & WP_ASYNC != 0),
    }
}

fn by_call(flags: libc::c_int) -> Result<OwnedFd, Errno> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: one integer; the call makes a descriptor and touches no memory.
    own(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })
}

fn by_device() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = open("/dev/userfaultfd", flags, Mode::empty())?;
    // SAFETY: this request takes its flags by value and makes a descriptor.
    own(unsafe { libc::ioctl(device.as_raw_fd(), NEW, libc::O_CLOEXEC) }.into())
}

fn own(returned: libc::c_long) -> Result<OwnedFd, Errno> {
    let raw = child::checked(returned)?;
    // SAFETY: the kernel just made this descriptor for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Shakes hands; returns the kernel's feature bits, of which the low 31 matter here.
fn features(handler: &OwnedFd) -> Result<i32, Errno> {
    // struct uffdio_api: api, features, ioctls.
    let mut api = [0xAA_u64, 0, 0];
    request(handler, API, &mut api)?;
    Ok(i32::try_from(api[1] & 0x7FFF_FFFF).unwrap_or_default())
}

fn fills(handler: &OwnedFd) -> Result<(), Errno> {
    let (missing, source) = (Region::new(1)?, Region::new(1)?);
    let size = rustix::param::page_size() as u64;
    source.touch(0);
    // struct uffdio_register: start, length, mode, ioctls.
    request(handler, REGISTER, &mut [missing.page(0), size, MISSING, 0])?;
    // struct uffdio_copy: destination, source, length, mode, copied.
    request(
        handler,
        COPY,
        &mut [missing.page(0), source.page(0), size, 0, 0],
    )?;
    let filled = missing.read(0) == 1;
    filled.then_some(()).ok_or(Errno::OPNOTSUPP)
}

fn request<const N: usize>(
    handler: &OwnedFd,
    request: libc::Ioctl,
    argument: &mut [u64; N],
) -> Result<(), Errno> {
    let at = argument.as_mut_ptr();
    // SAFETY: the size in the request's number is that of `argument`; the memory that its
    // addresses name is a Region that outlives the call.
    child::checked(unsafe { libc::ioctl(handler.as_raw_fd(), request, at) }.into()).map(drop)
}
