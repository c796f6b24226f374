//! What new namespaces need before anybody can use them.

use crate::process::namespace;
use crate::raw::raw;

/// Maps one user and one group to themselves (user_namespaces(7)).
pub(super) unsafe fn map_ids(user: u32, group: u32) -> i64 {
    let mut text = [0u8; 32];
    // SAFETY: the strings end in zero, and `one_to_one` fills what it says.
    unsafe {
        let mut result = write_file(c"/proc/self/setgroups".as_ptr(), b"deny".as_ptr(), 4);
        if result >= 0 {
            let length = one_to_one(user, &raw mut text);
            result = write_file(
                c"/proc/self/uid_map".as_ptr(),
                (&raw const text).cast(),
                length,
            );
        }
        if result >= 0 {
            let length = one_to_one(group, &raw mut text);
            result = write_file(
                c"/proc/self/gid_map".as_ptr(),
                (&raw const text).cast(),
                length,
            );
        }
        result.min(0)
    }
}

/// Writes `ID ID 1`; returns how many bytes that is: at most 23.
unsafe fn one_to_one(id: u32, text: *mut [u8; 32]) -> u64 {
    let text: *mut u8 = text.cast();
    // SAFETY: two numbers of at most ten digits, two spaces and a one fit.
    unsafe {
        let mut end = decimal(id.into(), text);
        *end = b' ';
        end = decimal(id.into(), end.add(1));
        *end = b' ';
        *end.add(1) = b'1';
        end.add(2).offset_from(text) as u64
    }
}

/// Writes a number of at most ten digits; returns where it ends.
unsafe fn decimal(number: u64, mut text: *mut u8) -> *mut u8 {
    let mut unit = 1_000_000_000;
    while unit > 1 && number < unit {
        unit /= 10;
    }
    // SAFETY: the caller's: there are ten bytes.
    unsafe {
        while unit > 0 {
            *text = b'0' + (number / unit % 10) as u8;
            text = text.add(1);
            unit /= 10;
        }
    }
    text
}

/// Lets the clocks of boot start near zero for children, so that they don't tell which machine
/// this is (time_namespaces(7)). They may not become negative, hence the second that is left.
pub(super) unsafe fn clocks_from_zero() -> i64 {
    let mut text = [0u8; 32];
    let mut now = [0i64; 2];
    // SAFETY: clock_gettime fills a timespec; a line has two numbers of at most ten digits and
    // five more letters.
    unsafe {
        let mut result = raw(libc::SYS_unshare, namespace::TIME, 0, 0, 0, 0, 0);
        for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME] {
            if result < 0 {
                break;
            }
            let time = (&raw mut now) as u64;
            raw(libc::SYS_clock_gettime, clock as u64, time, 0, 0, 0, 0);
            // The file takes a clock by its number or its name; the offset is never positive here.
            let start: *mut u8 = (&raw mut text).cast();
            let mut end = decimal(clock as u64, start);
            *end = b' ';
            *end.add(1) = b'-';
            end = decimal((now[0] - 1).max(0) as u64, end.add(2));
            *end = b' ';
            *end.add(1) = b'0';
            let length = end.add(2).offset_from(start) as u64;
            let path = c"/proc/self/timens_offsets".as_ptr();
            result = write_file(path, start, length);
        }
        result.min(0)
    }
}

unsafe fn write_file(path: *const libc::c_char, bytes: *const u8, length: u64) -> i64 {
    let (here, flags) = (
        libc::AT_FDCWD as u64,
        (libc::O_WRONLY | libc::O_CLOEXEC) as u64,
    );
    // SAFETY: the caller's; the descriptor is closed by the one who made it.
    unsafe {
        let fd = raw(libc::SYS_openat, here, path as u64, flags, 0, 0, 0);
        if fd < 0 {
            return fd;
        }
        let result = raw(libc::SYS_write, fd as u64, bytes as u64, length, 0, 0, 0);
        raw(libc::SYS_close, fd as u64, 0, 0, 0, 0, 0);
        result
    }
}

/// Brings the loopback interface up (netdevice(7)).
pub(super) unsafe fn loopback_up() -> i64 {
    /// `struct ifreq`, as far as it's used here.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u64,
        rest: [u64; 2],
    }
    let request = Request {
        name: [b'l', b'o', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        flags: (libc::IFF_UP | libc::IFF_RUNNING) as u64,
        rest: [0; 2],
    };
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as u64;
    // SAFETY: request is a whole ifreq; the descriptor is closed by the one who made it.
    unsafe {
        let fd = raw(libc::SYS_socket, libc::AF_INET as u64, kind, 0, 0, 0, 0);
        if fd < 0 {
            return fd;
        }
        let call = libc::SIOCSIFFLAGS;
        let result = raw(
            libc::SYS_ioctl,
            fd as u64,
            call,
            (&raw const request) as u64,
            0,
            0,
            0,
        );
        raw(libc::SYS_close, fd as u64, 0, 0, 0, 0, 0);
        result
    }
}
